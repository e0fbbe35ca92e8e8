"""What a reference shows of the object, and the numbers that tell whether to believe it.

Retrieval names pairs of patches: the object's with those that show the like (eq. 3), the background's with
those in the like light (eq. 5), and says which of the reference's patches are more like the object than like
its background. Where the object is found by that (`object_localisation`), its colours there are what the
reference proposes; else the object's pairs say it. The background's pairs say how the reference's light
differs; how many pairs there are, how alike, and how little their differences spread, tells another photo of
the same thing from a photo of something similar.
Source: this project. Shapes: K references of one composite.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .. import masks
from ..features.match_quality import match_quality
from ..features.references import Match, Reference
from ..masked_statistics import RegionStatistics
from .matched_patches import matched_cells, over_patches, patch_grid, patch_means, squash
from .object_localisation import localise_object
from .statistics import MeasuredObject

# what each number of a measurement is about; slices of the numbers, in their order
QUALITY, PAIRS, SPREAD = slice(0, 1), slice(1, 7), slice(7, 10)
LIGHT_PAIRS, LIGHT, LIGHT_SPREAD = slice(10, 17), slice(17, 20), slice(20, 23)
PLACE = slice(23, 30)
NUMBERS = 30
WORKING_SIDE = 256  # at most, of the squashed pictures whose patches are compared


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


def _pairs(matches: Sequence[Match], here: Tensor, there: Tensor) -> tuple[list[float], Tensor, Tensor]:
    """Six numbers, and mean and deviation (3,) of the pairs' differences; zeros without a pair."""
    if not matches:
        return [0.0] * 6, torch.zeros(3), torch.zeros(3)
    difference = there[[m.photo_patch for m in matches]] - here[[m.query_patch for m in matches]]
    weight = torch.tensor([max(m.content, 1e-3) for m in matches])
    share = (weight / weight.sum())[:, None]
    mean = (share * difference).sum(0)
    spread = (share * (difference - mean).square()).sum(0).sqrt()
    cosines = [m.appearance for m in matches]
    count, partners = len(matches), len({m.photo_patch for m in matches})
    known = torch.tensor([count, partners]).log1p().tolist()
    return (
        [*known, float(weight.mean()), float(weight.max()), sum(cosines) / count, max(cosines)],
        mean,
        spread,
    )


def _localised(
    lab: Tensor, reference: Reference, grid: int, area: float, pairs: RegionStatistics
) -> tuple[list[float], RegionStatistics]:
    """Seven numbers of where and how the object is found in a reference, and its colours there.

    Args: lab: the squashed reference; pairs: the colours by the pairs, all there is where it is not found.
    """
    if not reference.similarity_margin:
        return [0.0] * 7, pairs
    if len(reference.similarity_margin) != grid * grid:
        count = len(reference.similarity_margin)
        raise ValueError(
            f"reference '{reference.id}' has {count} similarity margins for {grid} x {grid} patches"
        )
    similarity_margin = torch.tensor(reference.similarity_margin).view(grid, grid)
    found = localise_object(lab, similarity_margin, matched_cells(reference.content_matches, grid)[0, 0] > 0)
    if not found.found:
        return [0.0] * 7, pairs
    apart = (found.colour.mean - pairs.mean)[0].abs() / 10
    numbers = [
        1.0,
        math.log(found.share / area),
        float(similarity_margin.max()),
        found.certainty,
        *apart.tolist(),
    ]
    return numbers, found.colour


def measure_references(references: Sequence[Reference], measured: MeasuredObject) -> ReferenceMeasurement:
    """What each reference says that has a patch like one of the object's, in their order.

    Args: measured: of one composite.
    Raises: ValueError naming a reference whose patch grid is unknown, or whose similarity margins are not
        those of its patches.
    """
    numbers, differences, lights, deviations = [], [], [], []
    image, own = measured.image, measured.colour.mean[0].cpu()
    area = float(measured.mask.mean().clamp_min(1e-6))
    of_composite: dict[int, tuple[Tensor, int]] = {}  # by patches per side: their Lab, and the object's count
    for reference in references:
        if not reference.content_matches:
            continue
        grid = patch_grid(reference)
        if grid not in of_composite:
            count = int(masks.foreground_patches(measured.mask.cpu(), grid).sum())
            of_composite[grid] = patch_means(squash(image, grid, WORKING_SIDE), grid).cpu(), count
        here, count = of_composite[grid]
        lab = squash(reference.image.to(image), grid, WORKING_SIDE)
        there = patch_means(lab, grid).cpu()
        of_object, difference, spread = _pairs(reference.content_matches, here, there)
        of_light, light, light_spread = _pairs(reference.illumination_matches, here, there)
        partners = over_patches(lab, reference.content_matches, grid)
        by_pairs = RegionStatistics((own + difference)[None], partners.variance.cpu(), partners.amount.cpu())
        of_place, colour = _localised(lab, reference, grid, area, by_pairs)
        numbers.append(
            torch.tensor(
                [
                    reference_quality(reference, count),
                    *of_object,
                    *(spread / 10).tolist(),
                    float(bool(reference.illumination_matches)),
                    *of_light,
                    *(light.abs() / 10).tolist(),
                    *(light_spread / 10).tolist(),
                    *of_place,
                ]
            )
        )
        differences.append(colour.mean[0] - own)
        lights.append(light)
        deviations.append(colour.variance[0].sqrt())
    if not numbers:
        none = torch.zeros(0, 3)
        return ReferenceMeasurement(torch.zeros(0, NUMBERS), none, none, none)
    return ReferenceMeasurement(*(torch.stack(rows) for rows in (numbers, differences, lights, deviations)))


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
