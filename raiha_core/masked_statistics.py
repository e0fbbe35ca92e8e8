"""Means and variances over regions of a picture or a map; where two of them differ, they have two names.

| name | over | the weights' sum is kept from 0 by | the variance | an empty region has |
|---|---|---|---|---|
| `measure` | a soft region | at least 1e-12: a single faint cell keeps its mean | in two passes | zeros |
| `masked_moments` | a soft region | 1e-5 added, as RAIN does | two passes, 1e-5 added | 0 and sqrt(1e-5) |
| `weighted_moments` | a soft region | at least `floor` | in two passes | zeros |
| `region_moments` | several regions at once | at least 1e-6 | mean of squares less square of mean | zeros |
| `cell_moments` | the part of a region in each cell of a grid | at least 1e-6 | the same | zeros |

Two passes leave a flat region with variance 0; one pass is for maps, and cancels below about 1e-7 of the
square. Floors of a *ratio* of variances are the caller's, in the units of its colours (`deviation_ratio`).
Shapes: B images, C channels, h x w picture or map, R regions, N = h*w.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .precision import widen
from .resizing import area_means, block_means

FEATURE_FLOOR = 1e-5  # of every variance of feature maps; the value of RAIN's source
SHARE_FLOOR = 1e-6  # of the weights' sum, where a region may be empty
VARIANCE_FLOOR = 2e-4  # of Lab / 100: flat regions must not explode in a ratio
_FAINTEST = 1e-12


@dataclass(frozen=True, slots=True)
class RegionStatistics:
    """First and second moments of a region; zeros where the region is empty."""

    mean: Tensor  # (B, C)
    variance: Tensor  # (B, C)
    amount: Tensor  # (B,) sum of the weights

    def row(self, b: int) -> "RegionStatistics":
        """One image's alone."""
        return RegionStatistics(self.mean[b : b + 1], self.variance[b : b + 1], self.amount[b : b + 1])

    def cpu(self) -> "RegionStatistics":
        return RegionStatistics(self.mean.cpu(), self.variance.cpu(), self.amount.cpu())


def measure(values: Tensor, weight: Tensor) -> RegionStatistics:
    """Weighted mean and variance of (B, C, h, w) over the region (B, 1, h, w), weights >= 0.

    Differentiable with respect to both. In two passes, so that a flat region has variance 0 and no
    cancellation noise.
    """
    amount = weight.sum((1, 2, 3))
    share = weight / amount.clamp_min(_FAINTEST)[:, None, None, None]
    mean = (values * share).sum((2, 3))
    variance = ((values - mean[:, :, None, None]).square() * share).sum((2, 3))
    return RegionStatistics(mean, variance, amount)


def masked_moments(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each channel of a feature map over a region, as RAIN takes them.

    Args: x: (B, C, h, w); weight: (B, 1, h, w), values 0..1, at least float32.
    Returns: two of (B, C, 1, 1), at least float32; an empty region gives mean 0 and deviation sqrt(1e-5).
    """
    wide = widen(x)
    total = weight.sum((2, 3), keepdim=True) + FEATURE_FLOOR
    mean = (wide * weight).sum((2, 3), keepdim=True) / total
    variance = ((wide - mean).square() * weight).sum((2, 3), keepdim=True) / total
    return mean, (variance + FEATURE_FLOOR).sqrt()


def weighted_mean(
    values: Tensor, weight: Tensor, dim: tuple[int, ...] = (2, 3), floor: float = SHARE_FLOOR
) -> Tensor:
    """Weighted mean over `dim`, whose axes stay with length 1; 0 where the weights are all 0.

    Args:
        values: (B, C, h, w). weight: (B, 1, h, w), at least 0.
        floor: the divisor is at least this, so a region with a smaller sum of weights gets a mean nearer 0.
    Returns: (B, C, 1, 1) for the default `dim`.
    """
    return (values * weight).sum(dim, keepdim=True) / weight.sum(dim, keepdim=True).clamp_min(floor)


def weighted_moments(values: Tensor, weight: Tensor, floor: float = SHARE_FLOOR) -> tuple[Tensor, Tensor]:
    """Mean and variance (B, C, 1, 1) of (B, C, h, w) over the region (B, 1, h, w), in two passes."""
    mean = weighted_mean(values, weight, floor=floor)
    return mean, weighted_mean((values - mean).square(), weight, floor=floor)


def shares_of(weights: Tensor) -> Tensor:
    """Weights (..., N) that sum to 1 over the last axis, or to 0 where there are none."""
    return weights / weights.sum(-1, keepdim=True).clamp_min(SHARE_FLOOR)


def region_moments(values: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance over several regions: (B, C, N), shares (B, R, N) -> two of (B, R, C)."""
    mean = torch.einsum("brn,bcn->brc", share, values)
    square = torch.einsum("brn,bcn->brc", share, values.square())
    return mean, (square - mean.square()).clamp_min(0)


def cell_moments(values: Tensor, weight: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and variance over the weighted pixels of each cell, and the cell's mean weight.

    Args: values (B, C, h, w); weight (B, 1, h, w), 0..1; grid: (rows, columns) of cells.
    Returns: (B, C, *grid) twice, (B, 1, *grid).
    """
    share = area_means(weight, grid)
    total = share.clamp_min(SHARE_FLOOR)
    mean = area_means(values * weight, grid) / total
    square = area_means(values.square() * weight, grid) / total
    return mean, (square - mean.square()).clamp_min(0), share


def colours_within(image: Tensor, region: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """A picture of a region alone, made small: mean colour of its pixels in each block, and their share.

    Args: image sRGB (B, 3, H, W), 0..1; region (B, 1, H, W), 0..1; side: of a block, in pixels.
    Returns: (B, 3, h, w), 0..1, and (B, 1, h, w), 0..1; black where a block has none of the region.
    """
    share = block_means(region, side)
    return (block_means(image * region, side) / share.clamp_min(_FAINTEST)).clamp(0, 1), share


def deviation_ratio(after: Tensor, before: Tensor, floor: float) -> Tensor:
    """To stretch by, of two variances: sqrt((after + floor) / (before + floor)); 1 for two flat regions."""
    return ((after + floor) / (before + floor)).sqrt()
