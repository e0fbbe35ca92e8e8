"""The colour statistics that references propose for the object: those of their matched patches.

A reference's patches that match the object (eq. 3) show the look of such things; those that match the
background (eq. 5) show how the reference's light differs from the composite's.
Source: this project. Shapes: B composites, K references, g x g patches of c x c pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import masks
from ..color import srgb_to_lab
from ..features.references import Match, Reference, ReferenceBatch
from ..regions import RegionStatistics, measure
from ..render import shrink

UNMATCHED = 0.25  # what a reference without matched patches, as a whole, weighs beside a matched one
LIGHT_SHARE = (
    0.5  # of the difference between matched backgrounds: patches of one kind differ by themselves too
)
LIGHT_LIMIT = 15.0  # Lab units


@dataclass(frozen=True, slots=True)
class Guidance:
    """What the references of each composite say, and how much they are to be believed."""

    target: RegionStatistics  # (B, 3) Lab
    weight: Tensor  # (B,) 0..1, grows with every reference's weight
    best: Tensor  # (B,) 0..1, the largest weight of one


def _pool(mean: Tensor, variance: Tensor, weight: Tensor) -> Guidance:
    """One target from K: means and variances (B, K, 3) of a mixture with weights (B, K), 0..1."""
    total = weight.sum(1)
    share = (weight / total.clamp_min(1e-12)[:, None])[..., None]
    centre = (share * mean).sum(1)
    spread = (share * (variance + (mean - centre[:, None]).square())).sum(1)
    return Guidance(RegionStatistics(centre, spread, total), 1 - (1 - weight).prod(1), weight.amax(1))


def matched_cells(matches: Sequence[Match], of_query: bool, grid: int) -> Tensor:
    """The patches that matches name, each weighed by its best cosine: (1, 1, g, g)."""
    cells = torch.zeros(grid * grid)
    for match in matches:
        index = match.query_patch if of_query else match.photo_patch
        cells[index] = max(float(cells[index]), match.content, 1e-3)
    return cells.view(1, 1, grid, grid)


def squash(image: Tensor, grid: int, working_side: int) -> Tensor:
    """Lab of a picture squashed so that patches are c x c pixels. Statistics need no aspect."""
    side = max(1, min(working_side, *image.shape[-2:]) // grid)
    return srgb_to_lab(shrink(image, (grid * side, grid * side)))


def _over(lab: Tensor, cells: Tensor) -> RegionStatistics:
    """Statistics of squashed pictures (B, 3, g c, g c) over weighted patches (B, 1, g, g)."""
    side = lab.shape[-1] // cells.shape[-1]
    return measure(lab, cells.to(lab).repeat_interleave(side, -1).repeat_interleave(side, -2))


def checked_grid(reference: Reference) -> int:
    """Patches per side of a reference with matched patches.

    Raises: ValueError naming it where its weight is not 0..1, or where it has no features to tell the grid.
    """
    check_weight(reference)
    if reference.features is None:
        raise ValueError(f"reference '{reference.id}' has matched patches but no features to tell their grid")
    return reference.features.spec.grid


def check_weight(reference: Reference) -> None:
    if not 0 <= reference.weight <= 1:
        raise ValueError(f"the weight of reference '{reference.id}' must lie in 0..1, got {reference.weight}")


def patch_means(lab: Tensor, grid: int) -> Tensor:
    """Mean of each patch of a squashed picture (1, 3, g c, g c): (P, 3), row-major."""
    return F.adaptive_avg_pool2d(lab, grid)[0].flatten(1).T


def over_partners(lab: Tensor, matches: Sequence[Match], grid: int) -> RegionStatistics:
    """Statistics of a squashed reference (1, 3, g c, g c) over the patches that matched."""
    return _over(lab, matched_cells(matches, False, grid))


def _light(reference: Reference, lab: Tensor, image: Tensor, grid: int, working_side: int) -> Tensor:
    """How much lighter and more coloured the composite's light is, by the matched backgrounds: (1, 3)."""
    matches = reference.illumination_matches
    here = _over(squash(image, grid, working_side), matched_cells(matches, True, grid))
    there = _over(lab, matched_cells(matches, False, grid))
    return (LIGHT_SHARE * (here.mean - there.mean)).clamp(-LIGHT_LIMIT, LIGHT_LIMIT)


def _one(reference: Reference, image: Tensor, working_side: int) -> tuple[Tensor, Tensor, float]:
    """Mean and variance (1, 3) that one reference proposes for the object of one image, and its weight."""
    check_weight(reference)
    if not reference.content_matches:
        whole = _over(squash(reference.image.to(image), 1, working_side), torch.ones(1, 1, 1, 1))
        return whole.mean, whole.variance, UNMATCHED * reference.weight
    grid = checked_grid(reference)
    lab = squash(reference.image.to(image), grid, working_side)
    found = over_partners(lab, reference.content_matches, grid)
    mean = found.mean
    if reference.illumination_matches:
        mean = mean + _light(reference, lab, image, grid, working_side)
    return mean, found.variance, reference.weight


def from_matches(rows: Sequence[Sequence[Reference]], image: Tensor, working_side: int) -> Guidance:
    """What retrieved references say, by the patches that retrieval matched.

    Args: rows: one of references for each composite; image: the composites, sRGB (B, 3, h, w), small.
    Raises: ValueError naming a reference whose weight is not 0..1, or whose patch grid is unknown.
    """
    most = max(len(row) for row in rows)
    mean, variance = (image.new_zeros(len(rows), most, 3) for _ in range(2))
    weight = image.new_zeros(len(rows), most)
    for b, row in enumerate(rows):
        for k, reference in enumerate(row):
            mean[b, k], variance[b, k], weight[b, k] = _one(reference, image[b : b + 1], working_side)
    return _pool(mean, variance, weight)


def from_batch(mask: Tensor, content: Tensor | None, references: ReferenceBatch) -> Guidance:
    """The same for a network's inputs: matched patches are those above the spec's threshold.

    Args: mask (B, 1, h, w); content: the composites' patch features (B, D, g, g), or None.
    """
    batch, most = references.present.shape
    images = references.images.flatten(0, 1)  # (B K, 3, h, w)
    weight = (references.weight * references.present).to(images)
    cells = torch.zeros(batch * most, 1, 1, 1, device=images.device)
    if content is not None and references.content is not None and references.spec is not None:
        threshold = references.spec.content_threshold
        cells = _matched(mask, content, references.content, threshold).flatten(0, 1)[:, None]
    matched = (cells > 0).any(-1).any(-1)  # (B K, 1)
    cells = torch.where(matched[..., None, None], cells, torch.ones_like(cells))
    weight = weight * torch.where(matched.view(batch, most), 1.0, UNMATCHED)
    found = _over(squash(images, cells.shape[-1], min(images.shape[-2:])), cells)
    return _pool(found.mean.view(batch, most, 3), found.variance.view(batch, most, 3), weight)


def _matched(mask: Tensor, content: Tensor, others: Tensor, threshold: float) -> Tensor:
    """Best cosine of each reference patch with the object's, 0 below the threshold: (B, K, g, g)."""
    grid = content.shape[-1]
    object_patches = masks.foreground_patches(mask, grid).to(content.device)
    cosine = torch.einsum("bdq,bkdp->bkqp", content.flatten(2), others.flatten(3))
    cosine = cosine.masked_fill(~object_patches[:, None, :, None], -1.0)
    best = cosine.amax(2)  # (B, K, P)
    return torch.where(best >= threshold, best, torch.zeros_like(best)).unflatten(2, (grid, grid))
