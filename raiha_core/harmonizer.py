"""A harmonizer ready to use: a preset or a checkpoint, with what it needs around it.

Source: this project. Shapes: B composites of H x W; h x w is the network's size.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from . import checkpoint, render
from .features.encoders import Encoder, build_encoder
from .features.patches import PatchFeatures
from .features.references import Reference, collate
from .features.spec import FeatureSpec, require_same_space
from .model_folders import user_weights
from .models.blocks import Operations
from .models.presets import SCORERS, filed
from .models.reference_gate import FittedGate
from .models.seam import SeamConfig, seam
from .models.statistics import Statistics, StatisticsConfig

WEIGHTS = Path(__file__).parent / "models" / "weights"
# usual errors over the object in grey levels, as `fit_reference_gate.py` measures them: of colour statistics,
# and of published networks, which are nearer to the truth than raiha-plus by some 5 dB (half of its 18)
STATISTICS_ERROR, PUBLISHED_ERROR = 34.0, 9.0
DEFAULT_MODEL = "raiha-plus"  # shipped; chosen on held-out validation, see train/RESULTS.md


class Harmonizer(ABC):
    """What `pipeline.harmonize` asks of a model."""

    name: str
    spec: FeatureSpec | None = None  # of the patch features it was trained with; None: it reads none
    max_references: int = 0  # that it reads itself, for one composite; 0: the gate follows its answer
    gate: FittedGate | None = None  # fitted to its own errors; None: the shipped one serves
    reference_strength: float = 0.0  # -1..1, as `following.follow`
    # of its answers, in grey levels over the object; None: as much as the network that its gate was fitted to
    usual_error: float | None = None
    least_share: float = 0.0  # of what it is shown, that the object should be; 0: it is shown all

    @abstractmethod
    def predict(
        self,
        composite: Tensor,
        mask: Tensor,
        references: Sequence[Sequence[Reference]],
        *,
        encoder: Encoder | None = None,
        features: PatchFeatures | None = None,
    ) -> render.Prediction:
        """The look of the object.

        Args:
            composite (B, 3, H, W), mask (B, 1, H, W).
            references: for the harmonizer to read, one row for each composite; nothing where it reads none.
            encoder, features: of the composites, where the harmonizer reads patch features; with neither the
                encoder is loaded by name.
        """


class StatisticsHarmonizer(Harmonizer):
    """The preset without weights: colour statistics of a ring around the object."""

    def __init__(self, config: StatisticsConfig | None = None, *, reference_strength: float = 0.0) -> None:
        self.name = "statistics"
        self.statistics = Statistics(config or StatisticsConfig())
        self.reference_strength = reference_strength
        self.usual_error = STATISTICS_ERROR

    def predict(
        self,
        composite: Tensor,
        mask: Tensor,
        references: Sequence[Sequence[Reference]],
        *,
        encoder: Encoder | None = None,
        features: PatchFeatures | None = None,
    ) -> render.Prediction:
        return self.statistics.predict(composite, mask)


class SeamHarmonizer(Harmonizer):
    """The preset for regions that continue their surroundings, as after inpainting: no weights either."""

    name = "seam"

    def __init__(self, config: SeamConfig | None = None) -> None:
        self.config = config or SeamConfig()

    def predict(
        self,
        composite: Tensor,
        mask: Tensor,
        references: Sequence[Sequence[Reference]],
        *,
        encoder: Encoder | None = None,
        features: PatchFeatures | None = None,
    ) -> render.Prediction:
        return seam(composite, mask, self.config)


WITHOUT_WEIGHTS: dict[str, type[Harmonizer]] = {"statistics": StatisticsHarmonizer, "seam": SeamHarmonizer}


class NetworkHarmonizer(Harmonizer):
    """A network at its own size; its colour transform is rendered at the photo's by `render`."""

    def __init__(self, name: str, loaded: checkpoint.LoadedCheckpoint) -> None:
        if loaded.preset in SCORERS:
            raise ValueError(f"'{name}' scores composites (`raiha score`) and harmonizes none")
        self.name = name
        self.network = loaded.network
        self.metadata = loaded.metadata
        self.spec = loaded.spec
        self._built: tuple[torch.device, Encoder] | None = None
        self.needs = loaded.config.requirements
        self.max_references = self.needs.max_references
        self.least_share = self.needs.least_share
        self.gate = loaded.gate
        if self.gate is None and filed()[loaded.preset].published is not None:
            self.usual_error = PUBLISHED_ERROR

    def predict(
        self,
        composite: Tensor,
        mask: Tensor,
        references: Sequence[Sequence[Reference]],
        *,
        encoder: Encoder | None = None,
        features: PatchFeatures | None = None,
    ) -> render.Prediction:
        most = max(len(row) for row in references)
        if most > self.max_references:
            taken = f"at most {self.max_references} references" if self.max_references else "none"
            raise ValueError(f"{most} references, but '{self.name}' takes {taken}")
        size = (self.needs.size, self.needs.size)  # a square; the answer is enlarged with the same anisotropy
        batch = collate(references, size, self.needs.content)
        content = None
        if self.needs.content and (batch is not None or self.needs.content_without_references):
            content = self._features(composite, encoder, features).content.to(composite.device)
        if batch is not None:
            batch = batch.to(composite.device)
            if batch.spec is not None and self.spec is not None:
                require_same_space(self.spec, batch.spec, f"the model '{self.name}'", "the references")
        seen = [composite.float(), mask.float()]
        if not self.needs.own_size:
            seen = [render.shrink(picture, size, antialias=self.needs.antialias) for picture in seen]
        return self.network(*seen, content, batch)

    def _features(
        self, composite: Tensor, encoder: Encoder | None, features: PatchFeatures | None
    ) -> PatchFeatures:
        if features is None:
            return self._encoder(encoder, composite.device).encode(composite.float())
        if self.spec is not None:
            require_same_space(self.spec, features.spec, f"the model '{self.name}'", "the composite")
        if len(features) not in (1, len(composite)):
            raise ValueError(f"features of {len(features)} composites for {len(composite)}")
        return features

    def _encoder(self, encoder: Encoder | None, device: torch.device) -> Encoder:
        if self.spec is None:
            if encoder is None:
                raise ValueError(f"'{self.name}' reads patch features but names no encoder: hand one in")
            return encoder
        if encoder is None:
            if self._built is None or self._built[0] != device:  # once for a batch
                self._built = device, build_encoder(self.spec.encoder, device=device)
            return self._built[1]
        require_same_space(self.spec, encoder.spec, f"the model '{self.name}'", "the encoder")
        return encoder


def shipped_weights() -> dict[str, Path]:
    """Names of the weight files that come with the package."""
    return {path.stem: path for path in sorted(WEIGHTS.glob("*.safetensors"), key=lambda path: path.stem)}


@cache
def shipped_gate() -> FittedGate:
    """The gate of references that comes with the package, for every harmonizer that brings none."""
    gate = checkpoint.load_gate(shipped_weights()[DEFAULT_MODEL])
    assert gate is not None
    return gate


def load_harmonizer(
    name_or_file: str | Path, device: torch.device | str = "cpu", *, operations: Operations = torch.nn
) -> Harmonizer:
    """A harmonizer by the name of a preset without weights, of weights that are here, or from a file.

    Weights that are here come with the package, or lie in a folder of `model_folders.user_folders`.

    Args: operations: the layer classes to build networks from; ComfyUI hands in its casting ones.
    Raises: ValueError naming what was asked for and what there is; as `checkpoint.load`.
    """
    name = str(name_or_file)
    if name in WITHOUT_WEIGHTS:
        return WITHOUT_WEIGHTS[name]()
    here = user_weights() | shipped_weights()
    path = here.get(name, Path(name_or_file))
    if not path.is_file():
        raise ValueError(absence(name, [*WITHOUT_WEIGHTS, *here]))
    if path.suffix == ".pth":
        raise ValueError(f"{path} is an authors' file: `raiha convert` opens it, once")
    loaded = checkpoint.load(path, device=device, operations=operations)
    return NetworkHarmonizer(path.stem, loaded)


def absence(name: str, here: Sequence[str]) -> str:
    """What to tell somebody who asks for weights that are not here: how they come here.

    Args: here: the names of what there is.
    """
    known = ", ".join(here)
    if name not in filed():
        return f"no model '{name}': neither a file nor one of {known}"
    card = filed()[name].published
    if card is None:
        return f"the preset '{name}' has no weights here; name a .safetensors file (or {known})"
    if not card.can_be_fetched:
        return card.by_hand
    return f"the weights of '{name}' are not here yet: `raiha fetch {name}` brings them; {card.use}"
