"""What every network here is: a frozen config that builds it, and one call that answers with a `Prediction`.

A network is one file with both, and one line in `presets.py`; docs/extending.md shows the smallest one.
Shapes: B composites, D content numbers, g x g content grid, h x w the size the network is handed.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn

from ..features.references import ReferenceBatch
from ..features.spec import FeatureSpec
from ..render import Prediction
from .blocks import Operations
from .checks import check_inputs, drop_absent


@dataclass(frozen=True, kw_only=True, slots=True)
class Requirements:
    """What a network needs around it."""

    size: int  # the side of the square it was made for, and is handed by `harmonize`
    multiple: int = 1  # sides are padded to this inside; no caller needs to
    content: bool = False  # reads retrieval features of the composite (and of the references)
    content_dim: int = 0  # numbers per patch that it was built for; 0: any
    content_without_references: bool = False  # needs them even where there is no reference
    max_references: int = 0  # that it can read itself; 0: none
    own_size: bool = False  # is handed the photo as it is, and makes its own thumbnails
    # of the picture it is handed, that the object should be: of a smaller one it is handed a part around it
    least_share: float = 0.0
    antialias: bool = True  # of the picture it is handed; False: as it was trained, sampled without

    @property
    def references(self) -> bool:
        """Whether it can read references at all."""
        return self.max_references > 0


class NetworkConfig(ABC):
    """Base of the configs: frozen dataclasses whose fields are what JSON can hold, checked when made."""

    __slots__ = ()
    size: int  # a field of every config: the side it is trained at
    max_references: int = 0  # a field where the network reads references

    @property
    @abstractmethod
    def requirements(self) -> Requirements:
        """What a network of this config needs around it."""

    @abstractmethod
    def build(self, *, name: str, operations: Operations = nn, pretrained: bool = True) -> "Network":
        """A network with fresh weights, in training mode, on the CPU.

        Args:
            name: of the preset, for errors.
            operations: the namespace of layer classes; a host hands in its casting ones.
            pretrained: load a backbone's ImageNet weights, where there is a backbone.
        Raises: ValueError where the backbone's weights are not installed.
        """


class Network(nn.Module):
    """Base of the networks. What they normalise, pad or scale stays inside: callers know sRGB 0..1 only."""

    config: NetworkConfig
    name: str
    feature_spec: FeatureSpec | None  # of the features it was trained with; set by whoever knows it

    def __init__(self, config: NetworkConfig, name: str) -> None:
        super().__init__()
        self.config = config
        self.name = name
        self.feature_spec = None

    def forward(
        self,
        image: Tensor,
        mask: Tensor,
        content: Tensor | None = None,
        references: ReferenceBatch | None = None,
    ) -> Prediction:
        """The look of the object; `render` writes the pixels, at the photo's size and inside the mask only.

        Args:
            image: composite (B, 3, h, w), sRGB 0..1, any size; mask (B, 1, h, w), values 0..1.
            content: retrieval features (B, D, g, g) of the composite, where the config asks for them.
            references: at most `config.max_references` per composite.
        Returns: the prediction, at least float32.
        Raises: ValueError naming what does not fit, before any work is done (`checks.check_inputs`).
        """
        most = self.config.requirements.max_references
        image, mask = check_inputs(image, mask, references, name=self.name, max_references=most)
        return self.predict(image, mask, content, drop_absent(references))

    @abstractmethod
    def predict(
        self, image: Tensor, mask: Tensor, content: Tensor | None, references: ReferenceBatch | None
    ) -> Prediction:
        """`forward` on checked inputs of equal batch sizes; references are None where no row has one."""
