"""Where predictions come from: a harmonizer, a folder, or the composite itself."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol as Interface

import torch
from torch import Tensor

from raiha_core.data.item import Triple
from raiha_core.features.encoders import Encoder
from raiha_core.harmonizer import Harmonizer, NetworkHarmonizer, shipped_weights
from raiha_core.model_folders import user_weights
from raiha_core.models.presets import PRESETS
from raiha_core.pipeline import Harmonized, harmonize_with_beliefs

from .belief_log import append_belief
from .listed_references import ListedReferences
from .plan import NONE
from .prediction_folder import PredictionFolder
from .protocols import Prepared


@dataclass(frozen=True, slots=True)
class PredictionRequest:
    """One composite, and the references it is to be harmonized with, one after the other."""

    item: Triple
    prepared: Prepared
    references: Sequence[str]


class Predictor(Interface):
    """Predictions for prepared composites."""

    def predict(self, jobs: Sequence[PredictionRequest]) -> list[list[Tensor]]:
        """Per job one (1, 3, h, w) per reference: float sRGB 0..1, or the bytes of a stored one."""


class NoPredictor:
    """The untouched composite is scored in any case; here nothing is added."""

    def predict(self, jobs: Sequence[PredictionRequest]) -> list[list[Tensor]]:
        return [[] for _ in jobs]


class FolderPredictor:
    """Another method's outputs. They know no references."""

    def __init__(self, folder: PredictionFolder) -> None:
        self.folder = folder

    def predict(self, jobs: Sequence[PredictionRequest]) -> list[list[Tensor]]:
        return [[self.folder.read(job.item)] * len(job.references) for job in jobs]


def is_the_authors(harmonizer: Harmonizer) -> bool:
    """Whether its weights were converted from a published method's file: its figures are its authors' way."""
    if not isinstance(harmonizer, NetworkHarmonizer):
        return False
    about = harmonizer.metadata
    return PRESETS[about.preset].published is not None and "converted_from" in about.notes


class ModelPredictor:
    """A harmonizer.

    On a CPU every picture is a forward of its own: a batch gains nothing there, and the bits of the
    result do not depend on it. On other devices pictures of one size are one batch.
    """

    def __init__(
        self,
        harmonizer: Harmonizer,
        device: torch.device,
        strength: float,
        listed: ListedReferences | None = None,
        beliefs: Path | None = None,
        *,
        exact: bool = False,
        encoder: Encoder | None = None,
    ) -> None:
        """
        Args:
            beliefs: a file for how far each reference was followed; exact: as `harmonize`.
            encoder: of the composites, where the harmonizer reads their features; built once, by the caller.
        """
        self.encoder = encoder if listed is None else listed.encoder
        self.harmonizer = harmonizer
        self.device = device
        self.strength = strength
        self.listed = listed
        self.beliefs = beliefs
        self.exact = exact

    def predict(self, jobs: Sequence[PredictionRequest]) -> list[list[Tensor]]:
        groups = [[job] for job in jobs] if self.device.type == "cpu" else [list(jobs)]
        return [found for group in groups for found in self._group(group)]

    def _group(self, jobs: Sequence[PredictionRequest]) -> list[list[Tensor]]:
        inputs = [job.prepared.inputs() for job in jobs]
        composite, mask = (torch.cat(parts).to(self.device) for parts in zip(*inputs, strict=True))
        plain: list[Tensor | None] = [None] * len(jobs)
        if any(NONE in job.references for job in jobs):
            plain = list(self._harmonize(composite, mask, [[] for _ in jobs]).image.split(1))
        found = []
        for b, job in enumerate(jobs):
            one = composite[b : b + 1], mask[b : b + 1]
            features = self.listed.encode(one[0]) if self.listed and set(job.references) - {NONE} else None
            row = []
            for path in job.references:
                if path == NONE:
                    prediction = plain[b]
                else:
                    assert self.listed is not None
                    assert features is not None
                    done = self._harmonize(*one, [[self.listed.reference(path, features, one[1])]])
                    prediction = done.image
                    if self.beliefs is not None and done.beliefs[0]:
                        append_belief(self.beliefs, job.item.id, path, done.beliefs[0][0])
                assert prediction is not None
                row.append(prediction)
            found.append(row)
        return found

    def _harmonize(self, composite: Tensor, mask: Tensor, references: list[list]) -> Harmonized:  # type: ignore[type-arg]
        done = harmonize_with_beliefs(
            composite,
            mask,
            references,
            self.harmonizer,
            encoder=self.encoder,
            strength=self.strength,
            exact=self.exact,
            as_stored=True,
        )
        return replace(done, image=done.image.cpu())


def weights_file(name_or_file: str) -> Path | None:
    """The file behind a model's name, where there is one."""
    path = (user_weights() | shipped_weights()).get(name_or_file, Path(name_or_file))
    return path if path.is_file() else None
