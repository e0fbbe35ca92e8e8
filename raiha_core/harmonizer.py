"""A harmonizer ready to use: a preset or a checkpoint, with what it needs around it.

Source: this project. Shapes: B composites of H x W; h x w is the network's size.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn as nn
from torch import Tensor

from . import checkpoint, render
from .features.encoders import Encoder, build_encoder
from .features.references import Reference, collate
from .features.spec import FeatureSpec, require_same_space
from .models.presets import PRESETS, Preset
from .models.statistics import Statistics, StatisticsConfig

WEIGHTS = Path(__file__).parent / "models" / "weights"


class Harmonizer(ABC):
    """What `pipeline.harmonize` asks of a model."""

    name: str
    spec: FeatureSpec | None = None  # of the patch features it was trained with; None: it reads none

    @abstractmethod
    def predict(
        self,
        composite: Tensor,
        mask: Tensor,
        references: Sequence[Sequence[Reference]],
        *,
        encoder: Encoder | None = None,
    ) -> render.Prediction:
        """The look of the object: composite (B, 3, H, W), mask (B, 1, H, W), one row of references each."""


class StatisticsHarmonizer(Harmonizer):
    """The preset without weights: colour statistics of a ring, and of the references' matched patches."""

    def __init__(self, config: StatisticsConfig | None = None) -> None:
        self.name = "statistics"
        self.statistics = Statistics(config or StatisticsConfig())

    def predict(
        self,
        composite: Tensor,
        mask: Tensor,
        references: Sequence[Sequence[Reference]],
        *,
        encoder: Encoder | None = None,
    ) -> render.Prediction:
        return self.statistics.predict(composite, mask, references)


class NetworkHarmonizer(Harmonizer):
    """A network at its own size; its colour transform is rendered at the photo's by `render`."""

    def __init__(self, name: str, network: nn.Module, preset: Preset, spec: FeatureSpec | None) -> None:
        self.name = name
        self.network = network.eval()
        self.preset = preset
        self.spec = spec

    def predict(
        self,
        composite: Tensor,
        mask: Tensor,
        references: Sequence[Sequence[Reference]],
        *,
        encoder: Encoder | None = None,
    ) -> render.Prediction:
        side = self.preset.requirements.size
        size = (side, side)  # networks squash to a square; parameters are enlarged with the same anisotropy
        needs_content = self.preset.requirements.content
        if not self.preset.requirements.references:
            references = [()] * len(composite)
        most = self.preset.requirements.max_references
        if any(len(row) > most for row in references):
            raise ValueError(
                f"{max(len(row) for row in references)} references, but '{self.name}' takes at most {most}"
            )
        batch = collate(references, size, needs_content)
        content = self._content(composite, encoder, references) if needs_content else None
        return self.network(
            render.shrink(composite.float(), size), render.shrink(mask.float(), size), content, batch
        )

    def _content(
        self, composite: Tensor, encoder: Encoder | None, references: Sequence[Sequence[Reference]]
    ) -> Tensor:
        if encoder is None:
            if self.spec is None:
                raise ValueError(f"'{self.name}' reads patch features: hand in an encoder")
            encoder = build_encoder(self.spec.encoder, device=composite.device)
        if self.spec is not None:
            require_same_space(self.spec, encoder.spec, f"the model '{self.name}'", "the encoder")
            for row in references:
                for reference in row:
                    if reference.features is not None:
                        require_same_space(
                            self.spec,
                            reference.features.spec,
                            f"the model '{self.name}'",
                            f"the reference '{reference.id}'",
                        )
        return encoder.encode(composite.float()).content


def shipped_weights() -> dict[str, Path]:
    """Names of the weight files that come with the package."""
    return {path.stem: path for path in sorted(WEIGHTS.glob("*.safetensors"))}


def load_harmonizer(
    name_or_file: str | Path, device: torch.device | str = "cpu", *, operations: object = torch.nn
) -> Harmonizer:
    """A harmonizer by the name of a preset without weights, of shipped weights, or from a file.

    Args: operations: the layer classes to build networks from; ComfyUI hands in its casting ones.
    Raises: ValueError naming what was asked for and what there is; as `checkpoint.load`.
    """
    name = str(name_or_file)
    if name == "statistics":
        return StatisticsHarmonizer()
    shipped = shipped_weights()
    path = shipped.get(name, Path(name_or_file))
    if not path.is_file():
        known = ", ".join(["statistics", *shipped])
        if name in PRESETS:
            raise ValueError(
                f"the preset '{name}' has no weights here; name a .safetensors file (or {known})"
            )
        raise ValueError(f"no model '{name}': neither a file nor one of {known}")
    loaded = checkpoint.load(path, device=device, operations=operations)
    return NetworkHarmonizer(path.stem, loaded.network, PRESETS[loaded.preset], loaded.spec)
