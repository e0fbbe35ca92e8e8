"""What is seen in a reference, before anything is concluded: pairs of patches, colours, the object's place.

Retrieval names for each patch of the object, and for each patch of its background, the one of the reference
that is most alike; and of the reference's patches how much more they are like the object than like its
background. Where the object is found by that (`object_localisation`), its colours there are what the
reference proposes; else the object's pairs say it.
Source: this project. Shapes: P patches of a reference and of the composite, n pairs of the object, m pairs
of its background.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from ..features.references import Match, Reference
from ..masked_statistics import RegionStatistics
from ..resizing import area_means
from .matched_patches import matched_cells, over_patches, patch_grid, squash
from .object_localisation import localise_object
from .statistics import MeasuredObject

WORKING_SIDE = 256  # at most, of the squashed pictures whose patches are compared
QUERY, PHOTO, CONTENT, APPEARANCE = range(4)  # columns of pairs


@dataclass(frozen=True, slots=True)
class Observation:
    """One reference beside one composite, as tensors on the CPU that can be kept in a file."""

    object_pairs: (
        Tensor  # (n, 4): patch of the composite, of the reference, content cosine, appearance cosine
    )
    background_pairs: Tensor  # (m, 4)
    here: Tensor  # (P, 6) Lab: mean and deviation of each patch of the composite
    there: Tensor  # (P, 6): of the reference
    margin: Tensor  # (P,), or (0,) where nobody compared the reference's patches with the background
    place: Tensor  # (4,): found or not, logarithm of its size beside the object's, largest margin, certainty
    colour: Tensor  # (2, 3) Lab: mean and variance of the object as it is shown there
    by_pairs: Tensor  # (2, 3): the same by the pairs alone

    def tensors(self) -> dict[str, Tensor]:
        return {field.name: getattr(self, field.name) for field in fields(self)}


def patch_colours(lab: Tensor, grid: int) -> Tensor:
    """Mean and deviation of each patch of a squashed picture (1, 3, g c, g c): (P, 6), row-major."""
    mean = area_means(lab, (grid, grid))
    spread = (area_means(lab.square(), (grid, grid)) - mean.square()).clamp_min(0).sqrt()
    return torch.cat((mean, spread), 1)[0].flatten(1).T.cpu().contiguous()


def _table(matches: Sequence[Match]) -> Tensor:
    rows = [[m.query_patch, m.photo_patch, m.content, m.appearance] for m in matches]
    return torch.tensor(rows, dtype=torch.float32).view(-1, 4)


def _mean_difference(pairs: Tensor, here: Tensor, there: Tensor) -> Tensor:
    weight = pairs[:, CONTENT].clamp_min(1e-3)
    share = (weight / weight.sum())[:, None]
    first, second = (pairs[:, column].long() for column in (QUERY, PHOTO))
    return (share * (there[second, :3] - here[first, :3])).sum(0)


def observe(reference: Reference, measured: MeasuredObject, here: Tensor) -> Observation:
    """One reference that has matched patches.

    Args: measured: of one composite; here: its `patch_colours` on the reference's grid.
    Raises: ValueError naming a reference whose patch grid is unknown, or whose similarity margins are not
        those of its patches.
    """
    grid = patch_grid(reference)
    lab = squash(reference.image.to(measured.image), grid, WORKING_SIDE)
    there = patch_colours(lab, grid)
    pairs = _table(reference.object_pairs or reference.content_matches)
    own = measured.colour.mean[0].cpu()
    partners = over_patches(lab, reference.content_matches, grid)
    mean = own + _mean_difference(_table(reference.content_matches), here, there)
    by_pairs = RegionStatistics(mean[None], partners.variance.cpu(), partners.amount.cpu())
    place, colour = _localised(lab, reference, grid, float(measured.mask.mean().clamp_min(1e-6)), by_pairs)
    return Observation(
        object_pairs=pairs,
        background_pairs=_table(reference.background_pairs or reference.illumination_matches),
        here=here,
        there=there,
        margin=torch.tensor(reference.similarity_margin, dtype=torch.float32),
        place=torch.tensor(place),
        colour=torch.cat((colour.mean, colour.variance)),
        by_pairs=torch.cat((by_pairs.mean, by_pairs.variance)),
    )


def _localised(
    lab: Tensor, reference: Reference, grid: int, area: float, by_pairs: RegionStatistics
) -> tuple[list[float], RegionStatistics]:
    """Where and how surely the object is found in a squashed reference, and its colours there."""
    if not reference.similarity_margin:
        return [0.0] * 4, by_pairs
    if len(reference.similarity_margin) != grid * grid:
        count = len(reference.similarity_margin)
        raise ValueError(
            f"reference '{reference.id}' has {count} similarity margins for {grid} x {grid} patches"
        )
    margin = torch.tensor(reference.similarity_margin).view(grid, grid)
    found = localise_object(lab, margin, matched_cells(reference.content_matches, grid)[0, 0] > 0)
    if not found.found:
        return [0.0] * 4, by_pairs
    return [1.0, math.log(found.share / area), float(margin.max()), found.certainty], found.colour


def composite_colours(measured: MeasuredObject, grid: int) -> Tensor:
    """`patch_colours` of one composite."""
    return patch_colours(squash(measured.image, grid, WORKING_SIDE), grid)
