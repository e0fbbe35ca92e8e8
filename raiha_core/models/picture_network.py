"""Networks that read composite and mask alone: the call and the requirements that they have in common.

Shapes: B composites, h x w the size the network is handed.
"""

from abc import abstractmethod
from typing import ClassVar

from torch import Tensor

from ..features.references import ReferenceBatch
from ..render import Prediction
from .blocks import pad_to_multiple
from .network import Network, NetworkConfig, Requirements


class PictureConfig(NetworkConfig):
    """Base of their configs; what the class says of all its networks is no field of a file."""

    __slots__ = ()
    multiple: ClassVar[int] = 1  # as in `Requirements`, each of the three
    own_size: ClassVar[bool] = False
    antialias: ClassVar[bool] = True

    @property
    def requirements(self) -> Requirements:
        return Requirements(
            size=self.size, multiple=self.multiple, own_size=self.own_size, antialias=self.antialias
        )


class PictureNetwork(Network):
    """Refuses references, as its requirements say, reads no content, and leaves the rest to `answer`."""

    def predict(
        self, image: Tensor, mask: Tensor, content: Tensor | None, references: ReferenceBatch | None
    ) -> Prediction:
        return self.answer(image, mask)

    @abstractmethod
    def answer(self, image: Tensor, mask: Tensor) -> Prediction:
        """Composite (B, 3, h, w), sRGB 0..1, and mask (B, 1, h, w), 0..1, both checked -> the look."""


class RepaintingNetwork(PictureNetwork):
    """Picture and hard mask to a picture, inside a frame whose sides are multiples of the config's."""

    def answer(self, image: Tensor, mask: Tensor) -> Prediction:
        height, width = image.shape[-2:]
        multiple = self.config.requirements.multiple
        hard = (mask > 0.5).to(mask.dtype)  # the masks of their authors are hard
        new = self.repaint(pad_to_multiple(image, multiple), pad_to_multiple(hard, multiple))
        return Prediction(dense=new[..., :height, :width])

    @abstractmethod
    def repaint(self, image: Tensor, hard: Tensor) -> Tensor:
        """Padded composite, sRGB 0..1, and mask, 0 or 1 -> a picture (B, 3, h, w), at least float32."""
