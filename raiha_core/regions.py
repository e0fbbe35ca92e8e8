"""Soft regions around and inside the pasted object, at any size of the picture.

All widths are fractions of the picture's sides (0.03 reaches 3 % of the width sideways and 3 % of the
height upwards), so a picture, its thumbnail and its squashed square have the same regions.
Meant for working sizes of some hundred pixels: the cost grows with the reach. No gradient passes.
Shapes: B images of h x w.
"""

import math

import torch
from torch import Tensor

from .background import outside, touched
from .islands import Islands, find_islands
from .remembered import once

FILLED = 0.98  # a cell with less of the mask than this is not the object's alone


@torch.no_grad()
def distance(inside: Tensor, reach: float) -> Tensor:
    """Euclidean distance to the nearest true cell, as a fraction of the sides.

    Args: inside (B, 1, h, w) bool; reach: how far to look, > 0.
    Returns: (B, 1, h, w) float32; 0 in true cells, inf where the nearest is further than about `reach`.
    """
    height, width = inside.shape[-2:]
    place = torch.arange(width, device=inside.device, dtype=torch.float32)
    left = torch.where(inside, place, -math.inf).cummax(-1).values
    right = torch.where(inside, place, math.inf).flip(-1).cummin(-1).values.flip(-1)
    along = (torch.minimum(place - left, right - place) / width).square()  # within the row
    nearest = along.clone()
    for step in range(1, min(math.ceil(reach * height), height - 1) + 1):
        climb = (step / height) ** 2
        nearest[..., step:, :] = torch.minimum(nearest[..., step:, :], along[..., :-step, :] + climb)
        nearest[..., :-step, :] = torch.minimum(nearest[..., :-step, :], along[..., step:, :] + climb)
    nearest = nearest.sqrt()
    beyond = nearest > reach + 1 / min(height, width)  # rows were searched further than columns
    return nearest.masked_fill(beyond, math.inf)


def _within(distances: Tensor, width: float) -> Tensor:
    """1 up to `width`, falling to 0 over one cell, so that widths between two cells mean something."""
    height, wide = distances.shape[-2:]
    return ((width - distances) * math.sqrt(height * wide) + 0.5).clamp(0, 1)


def _islands_of(mask: Tensor) -> Islands:
    return find_islands(mask, touched(mask))


class Surroundings:
    """What lies around the objects of some masks, island by island.

    Measured over all islands at once, a few stray pixels had as long a ring as an object and moved it
    by some Lab units; here each island's surroundings weigh as much as the island.
    """

    def __init__(self, mask: Tensor, reach: float) -> None:
        """Args: mask (B, 1, h, w), 0..1; reach: of the widest band, a fraction of the sides."""
        self._islands = once(_islands_of, mask)
        self._distances = distance(self._islands.inside, reach)
        self._clean = once(outside, mask)

    @property
    def row(self) -> Tensor:
        """(N,) int64: which mask each island, or group of small ones, is of."""
        return self._islands.row

    def bands(self, outer: float, inner: float = 0.0) -> Tensor:
        """Background within `outer` of each island and not within `inner`: (N, 1, h, w) float32, 0..1."""
        band = _within(self._distances, outer)
        if inner > 0:
            band = (band - _within(self._distances, inner)).clamp_min(0)
        return band * self._clean[self.row]

    def together(self, weights: Tensor) -> Tensor:
        """Weights around each island (N, 1, h, w) -> around all of a mask's islands (B, 1, h, w), >= 0.

        A mean by the result is the mean of the islands' own means by their areas, of those islands that
        have surroundings. Its sum is that of the islands' own sums, each by its area beside the largest
        island's, and never more than they cover; one island's weights are its own.
        """
        group = self._islands.group
        there = group >= 0
        amount = weights.sum((1, 2, 3))[group.clamp_min(0)] * there  # (B, G)
        area = self._islands.area.clamp_min(1e-12) * (amount > 0)
        around = [  # G of (B, 1, h, w)
            weights[number.clamp_min(0)] * here[:, None, None, None]
            for number, here in zip(group.unbind(1), there.unbind(1), strict=True)
        ]
        covered = torch.stack(around).amax(0).sum((1, 2, 3))
        sums = (amount * area).sum(1) / area.amax(1).clamp_min(1e-30)
        share = area / area.sum(1, keepdim=True).clamp_min(1e-30)
        factor = torch.minimum(sums, covered)[:, None] * share / amount.clamp_min(1e-30)
        factor = torch.where(there.sum(1, keepdim=True) > 1, factor, 1.0)
        return sum(
            (found * by[:, None, None, None] for found, by in zip(around, factor.unbind(1), strict=True)),
            start=torch.zeros_like(self._clean),
        )


@torch.no_grad()
def ring(mask: Tensor, outer: float, inner: float = 0.0) -> Tensor:
    """Background within `outer` of the object and not within `inner`: (B, 1, h, w) float32, >= 0.

    Of several islands each one's counts by its area (`Surroundings`); of one it lies in 0..1.
    """
    around = once(Surroundings, mask, outer)
    return around.together(around.bands(outer, inner))


def rim(mask: Tensor, width: float) -> Tensor:
    """The object within `width` of its edge: (B, 1, h, w) float32, 0..1. The frame is not an edge."""
    filled = mask > FILLED
    return _within(distance(~filled, width), width) * filled


@torch.no_grad()
def core(mask: Tensor, margin: float) -> Tensor:
    """The object further than `margin` from its edge: (B, 1, h, w) float32, 0..1; may be empty."""
    filled = mask > FILLED
    if margin <= 0:
        return filled.float()
    return (1 - _within(distance(~filled, margin), margin)) * filled
