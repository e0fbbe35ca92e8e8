"""What a reference shows of the object, and the numbers that tell whether to believe it.

From what is seen in it (`reference_observation`) and from what the backgrounds tell of the lights
(`light_evidence`): how alike the object's patches are, how little their differences spread, whether the
pattern of colours is the same, how the light differs, and where the object is found. They tell another photo
of the same thing from a photo of something similar.
Source: this project. Shapes: K references of one composite, n pairs of the object.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..features.match_quality import match_quality
from ..features.references import Reference
from .light_evidence import light_evidence
from .matched_patches import patch_grid
from .reference_observation import (
    APPEARANCE,
    CONTENT,
    PHOTO,
    QUERY,
    Observation,
    composite_colours,
    observe,
)
from .statistics import MeasuredObject

# what each number of a measurement is about; slices of the numbers, in their order
ALIKE, PATTERN, SPREAD = slice(0, 7), slice(7, 9), slice(9, 12)
LIGHT_TOLD, LIGHT, LIGHT_SPREAD = slice(12, 17), slice(17, 20), slice(20, 23)
PLACE = slice(23, 30)
NUMBERS = 30
ENOUGH, SOFTNESS = 0.6, 0.05  # content cosine from which two patches show one thing, and how sharply
FEW = 6.0  # pairs: with so many a pattern counts half
_FLAT = 1.0  # squared Lab units


@dataclass(frozen=True, slots=True)
class ReferenceMeasurement:
    """What references show of one object, and the numbers by which they are believed or not."""

    numbers: Tensor  # (K, NUMBERS)
    difference: Tensor  # (K, 3) Lab: the object as it is shown there minus as it was pasted
    light: Tensor  # (K, 3) Lab: the same of the background, by its pairs
    deviation: Tensor  # (K, 3) Lab: of the object as it is shown there

    @property
    def parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """In the order of the fields."""
        return self.numbers, self.difference, self.light, self.deviation

    def __len__(self) -> int:
        return len(self.numbers)


def _correlation(first: Tensor, second: Tensor, share: Tensor) -> float:
    """Of two sets of colours (n, c), all channels together; 0 where one of them is flat."""
    first = first - (share * first).sum(0)
    second = second - (share * second).sum(0)
    both = (share * first * second).sum()
    each = ((share * first.square()).sum() * (share * second.square()).sum()).sqrt()
    return float(both / (each + _FLAT))


def conclude(seen: Observation, own: Tensor) -> ReferenceMeasurement:
    """The measurement of one reference, K = 1.

    Args: own (3,): mean Lab of the object as it was pasted.
    """
    pairs = seen.object_pairs
    count, partner = len(pairs), pairs[:, PHOTO].long()
    cosine, appearance = pairs[:, CONTENT], pairs[:, APPEARANCE]
    here, there = seen.here[pairs[:, QUERY].long(), :3], seen.there[partner, :3]
    weight = cosine.clamp_min(1e-3).square()
    share = (weight / weight.sum())[:, None]
    difference = there - here
    mean = (share * difference).sum(0)
    spread = (share * (difference - mean).square()).sum(0).sqrt()
    known = count / (count + FEW)
    alike = [
        float(cosine.max()),
        float(cosine.mean()),
        float(torch.sigmoid((cosine - ENOUGH) / SOFTNESS).mean()),
        math.log1p(count),
        len(set(partner.tolist())) / count,
        float((share[:, 0] * appearance).sum()),
        float(appearance.max()),
        known * _correlation(here[:, :1], there[:, :1], share),
        known * _correlation(here[:, 1:], there[:, 1:], share),
    ]
    light = light_evidence(seen)
    apart = (seen.colour[0] - seen.by_pairs[0]).abs()
    numbers = torch.cat(
        (
            torch.tensor(alike),
            spread / 10,
            light.numbers,
            light.difference.abs() / 10,
            light.spread / 10,
            seen.place,
            apart / 10,
        )
    )
    return ReferenceMeasurement(
        numbers[None],
        (seen.colour[0] - own)[None],
        light.difference[None],
        seen.colour[1].clamp_min(0).sqrt()[None],
    )


def measure_references(references: Sequence[Reference], measured: MeasuredObject) -> ReferenceMeasurement:
    """What each reference says that has a patch like one of the object's, in their order.

    Args: measured: of one composite.
    Raises: ValueError as `observe`.
    """
    own = measured.colour.mean[0].cpu()
    of_composite: dict[int, Tensor] = {}  # by patches per side
    found = []
    for reference in references:
        if not reference.content_matches:
            continue
        grid = patch_grid(reference)
        if grid not in of_composite:
            of_composite[grid] = composite_colours(measured, grid)
        found.append(conclude(observe(reference, measured, of_composite[grid]), own).parts)
    if not found:
        none = torch.zeros(0, 3)
        return ReferenceMeasurement(torch.zeros(0, NUMBERS), none, none, none)
    return ReferenceMeasurement(*(torch.cat(rows) for rows in zip(*found, strict=True)))


def reference_quality(reference: Reference, object_patches: int) -> float:
    """Match quality (`features.match_quality`) of a reference with matched patches, by its pairs."""
    content = max(match.content for match in reference.content_matches)
    coverage = len({match.query_patch for match in reference.content_matches}) / max(1, object_patches)
    light = max((match.appearance for match in reference.illumination_matches), default=math.nan)
    return match_quality(content, min(1.0, coverage), light)


def stack(measured: Sequence[ReferenceMeasurement], most: int) -> tuple[ReferenceMeasurement, Tensor]:
    """Measurements of B objects, padded: (B, K, ...), and which are there (B, K) bool."""
    present = torch.zeros(len(measured), most, dtype=torch.bool)
    parts = [torch.zeros(len(measured), most, count) for count in (NUMBERS, 3, 3, 3)]
    for b, row in enumerate(measured):
        present[b, : len(row)] = True
        for part, value in zip(parts, row.parts, strict=True):
            part[b, : len(row)] = value
    return ReferenceMeasurement(*parts), present
