"""The colour statistics that references propose for the object: those of their matched patches.

A reference's patches that match the object (eq. 3) show the look of such things; those that match the
background (eq. 5) show how the reference's light differs from the composite's.
Source: this project. Shapes: B composites, K references, g x g patches, c pixels to a patch's side.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
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


def _pool(mean: Tensor, variance: Tensor, weight: Tensor) -> Guidance:
    """One target from K: means and variances (B, K, 3) of a mixture with weights (B, K), 0..1."""
    total = weight.sum(1)
    share = (weight / total.clamp_min(1e-12)[:, None])[..., None]
    centre = (share * mean).sum(1)
    spread = (share * (variance + (mean - centre[:, None]).square())).sum(1)
    return Guidance(RegionStatistics(centre, spread, total), 1 - (1 - weight).prod(1))


def _cells(matches: Sequence[Match], of_query: bool, grid: int) -> Tensor:
    """The patches that matches name, each weighed by its best cosine: (1, 1, g, g)."""
    cells = torch.zeros(grid * grid)
    for match in matches:
        index = match.query_patch if of_query else match.photo_patch
        cells[index] = max(float(cells[index]), match.content, 1e-3)
    return cells.view(1, 1, grid, grid)


def _pixels(cells: Tensor, side: int) -> Tensor:
    return cells.repeat_interleave(side, -1).repeat_interleave(side, -2)


def _square(image: Tensor, grid: int, working_side: int) -> tuple[Tensor, int]:
    """Lab of the picture squashed so that patches are c x c pixels, and c. Statistics need no aspect."""
    side = max(1, min(working_side, *image.shape[-2:]) // grid)
    return srgb_to_lab(shrink(image, (grid * side, grid * side))), side


def _light(reference: Reference, lab: Tensor, image: Tensor, grid: int, working_side: int) -> Tensor:
    """How much lighter and more coloured the composite's light is, by the matched backgrounds: (1, 3)."""
    matches = reference.illumination_matches
    own, side = _square(image, grid, working_side)
    here = measure(own, _pixels(_cells(matches, True, grid), side).to(own))
    there = measure(lab, _pixels(_cells(matches, False, grid), side).to(lab))
    return (LIGHT_SHARE * (here.mean - there.mean)).clamp(-LIGHT_LIMIT, LIGHT_LIMIT)


def _one(reference: Reference, image: Tensor, working_side: int) -> tuple[Tensor, Tensor, float]:
    """Mean and variance (1, 3) that one reference proposes for the object of one image, and its weight."""
    if not 0 <= reference.weight <= 1:
        raise ValueError(f"the weight of reference '{reference.id}' must lie in 0..1, got {reference.weight}")
    if not reference.content_matches:
        lab, _ = _square(reference.image.to(image), 1, working_side)
        whole = measure(lab, torch.ones_like(lab[:, :1]))
        return whole.mean, whole.variance, UNMATCHED * reference.weight
    if reference.features is None:
        raise ValueError(f"reference '{reference.id}' has matched patches but no features to tell their grid")
    grid = reference.features.spec.grid
    lab, side = _square(reference.image.to(image), grid, working_side)
    found = measure(lab, _pixels(_cells(reference.content_matches, False, grid), side).to(lab))
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
    whole = torch.ones_like(images[:, :1])
    region = whole
    if content is not None and references.content is not None and references.spec is not None:
        grid = content.shape[-1]
        side = max(1, min(images.shape[-2:]) // grid)
        images = shrink(images, (grid * side, grid * side))
        cells = _matched(mask, content, references.content, references.spec.content_threshold)
        region = _pixels(cells.view(batch * most, 1, grid, grid), side).to(images)
        matched = region.sum((1, 2, 3), keepdim=True) > 0
        region = torch.where(matched, region, torch.ones_like(region))
        weight = weight * torch.where(matched.view(batch, most), 1.0, UNMATCHED)
    else:
        weight = weight * UNMATCHED
    found = measure(srgb_to_lab(images), region)
    return _pool(found.mean.view(batch, most, 3), found.variance.view(batch, most, 3), weight)


def _matched(mask: Tensor, content: Tensor, others: Tensor, threshold: float) -> Tensor:
    """Best cosine of each reference patch with the object's, 0 below the threshold: (B, K, g, g)."""
    grid = content.shape[-1]
    object_patches = masks.foreground_patches(mask, grid).to(content.device)
    cosine = torch.einsum("bdq,bkdp->bkqp", content.flatten(2), others.flatten(3))
    cosine = cosine.masked_fill(~object_patches[:, None, :, None], -1.0)
    best = cosine.amax(2)  # (B, K, P)
    return torch.where(best >= threshold, best, torch.zeros_like(best)).unflatten(2, (grid, grid))
