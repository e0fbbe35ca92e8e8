"""The preset without weights: the object takes over the colour statistics of what surrounds it.

Reinhard's transfer of mean and deviation in Lab (IEEE CG&A 21(5), 2001), with three changes, measured by
`train/tune_statistics.py`: the background is a ring around the object; the means move half the way and
never far, so that a red thing before a grey wall stays red. What is measured here, on one working copy of
the composite, also tells the gate of references what the object is like.
Shapes: B images of H x W, h x w at a working size.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from .. import regions
from ..background import outside
from ..color import srgb_to_lab
from ..masked_statistics import RegionStatistics, colours_within, deviation_ratio, measure
from ..remembered import once
from ..render import LabTransfer, Prediction
from ..resizing import block_means

LEVELS_PER_LAB = (6.2, 1.2, 1.2)  # mean squared grey levels that a unit of L, a, b is worth, about
_LEAST_BACKGROUND = 2.5e-4  # of the picture: 16 cells of 256 x 256; a ring with less is widened
_LEAST_CORE = 0.3  # of the object: where the margin eats more than the rest, the object is measured whole


@dataclass(frozen=True, kw_only=True, slots=True)
class StatisticsConfig:
    """What to measure and how far to follow it. Lengths are fractions of the sides, colours Lab units."""

    rings: tuple[float, ...] = (0.03, 0.11)  # tried in this order, then the whole background
    gap: float = 0.004  # between object and ring: soft edges and JPEG's chroma blocks bleed into it
    margin: float = 0.004  # inside the object's edge, not measured
    lightness: float = 0.5  # share of the difference of means that is closed
    chroma: float = 0.5
    deviation: float = 0.5  # share of the ratio of deviations
    contrast: float = 0.0  # power with which all contrasts follow the lightness; a gain in linear light has 1
    joint_chroma: bool = True  # one ratio of deviations for a and b, so that hues keep their order
    lightness_limit: float | None = None  # the furthest that the mean moves, softly; None: no limit
    chroma_limit: float | None = 25.0
    ratio: tuple[float, float] = (0.5, 2.0)  # limits of the ratio of deviations
    variance_floor: float = 2.0  # added to variances, so that flat regions have a ratio; 2e-4 of L's range^2
    strength: float = 1.0  # of the whole change; 0 gives the input
    working_side: int = 256  # the long side at which statistics are measured

    def __post_init__(self) -> None:
        for name in ("lightness", "chroma", "deviation", "contrast", "strength"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in 0..1, got {getattr(self, name)}")
        for name in ("gap", "margin"):
            if not 0 <= getattr(self, name) < 0.5:
                raise ValueError(f"{name} must lie in 0..0.5, got {getattr(self, name)}")
        for name in ("lightness_limit", "chroma_limit"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be above 0, or None, got {value}")
        widths = (self.gap, *self.rings)
        if not all(narrow < wide for narrow, wide in pairwise(widths)):
            raise ValueError(f"rings must be wider than the gap {self.gap} and ascend, got {self.rings}")
        if not 0 < self.ratio[0] <= 1 <= self.ratio[1]:
            raise ValueError(f"ratio must be a range around 1, got {self.ratio}")
        if not self.variance_floor > 0:
            raise ValueError(f"variance_floor must be above 0, got {self.variance_floor}")
        if self.working_side < 16:
            raise ValueError(f"working_side must be at least 16, got {self.working_side}")


def reinhard(strength: float) -> StatisticsConfig:
    """The classic, to compare with: the whole background, the same share of every difference."""
    return StatisticsConfig(
        rings=(),
        gap=0.0,
        margin=0.0,
        lightness=1.0,
        chroma=1.0,
        deviation=1.0,
        contrast=0.0,
        joint_chroma=False,
        lightness_limit=None,
        chroma_limit=None,
        ratio=(0.01, 100.0),
        strength=strength,
    )


def ring_statistics_transfer(
    image: Tensor, mask: Tensor, config: StatisticsConfig | None = None
) -> LabTransfer:
    """What the ring around each object says about the object's look.

    Args: image sRGB (B, 3, h, w), values 0..1, at a working size; mask (B, 1, h, w), values 0..1.
    Returns: (B, 3) each, float32, differentiable with respect to the image. Where a mask is empty or
        leaves no background, the identity.
    """
    config = config or StatisticsConfig()
    image, mask = image.float(), mask.float()
    found, ring = _measure(image, image, mask, once(_whole_object, mask), once(outside, mask), config)
    return _follow(found, ring, config)


@torch.no_grad()
def distance_to_ring(image: Tensor, mask: Tensor, config: StatisticsConfig | None = None) -> Tensor:
    """How unlike its surroundings the object looks: (B,), about root mean squared grey levels, >= 0.

    Args: image sRGB (B, 3, h, w), values 0..1, at a working size; mask (B, 1, h, w), values 0..1.
    """
    config = config or StatisticsConfig()
    image, mask = image.float(), mask.float()
    found, ring = _measure(image, image, mask, once(_whole_object, mask), once(outside, mask), config)
    known = ((found.amount > 0) & (ring.amount > 0)).to(image)
    means = (found.mean - ring.mean).square()
    spreads = (found.variance.sqrt() - ring.variance.sqrt()).square()
    levels = means.new_tensor(LEVELS_PER_LAB)
    return ((means + spreads) * levels).sum(1).sqrt() * known


@dataclass(frozen=True, slots=True)
class MeasuredObject:
    """The objects of some composites and what surrounds them, measured once for all that asks."""

    image: Tensor  # (B, 3, h, w): the working copy, sRGB 0..1
    mask: Tensor  # (B, 1, H, W): as it was given
    own: Tensor  # (B, 1, h, w): the share of each cell that the object fills, 0..1
    colour: RegionStatistics  # Lab of the object
    ring: RegionStatistics  # Lab of its ring; amount 0 where the mask leaves no background

    def row(self, b: int) -> "MeasuredObject":
        """One composite's alone."""
        image, mask, own = (part[b : b + 1] for part in (self.image, self.mask, self.own))
        return MeasuredObject(image, mask, own, self.colour.row(b), self.ring.row(b))


def measure_object(composite: Tensor, mask: Tensor, config: StatisticsConfig | None = None) -> MeasuredObject:
    """Statistics of the object and of its ring, from pictures of any size.

    Args: composite sRGB (B, 3, H, W), values 0..1; mask (B, 1, H, W), values 0..1.
    """
    config = config or StatisticsConfig()
    composite, mask = composite.float(), mask.float()
    factor = math.ceil(max(composite.shape[-2:]) / config.working_side)
    # colours are averaged on their own side of the edge, before the edge is resized away
    own, clean = _whole_object(mask), outside(mask)
    inside, inside_weight = colours_within(composite, own, factor)
    around, around_weight = colours_within(composite, clean, factor)
    found, ring = _measure(inside, around, block_means(mask, factor), inside_weight, around_weight, config)
    return MeasuredObject(block_means(composite, factor), mask, inside_weight, found, ring)


class Statistics(nn.Module):
    """The `statistics` preset: called like a network, or by `predict` with full-size pictures."""

    def __init__(self, config: StatisticsConfig | None = None) -> None:
        super().__init__()
        self.config = config or StatisticsConfig()

    def forward(self, image: Tensor, mask: Tensor) -> Prediction:
        """The look of the object, from a picture at a working size.

        Args: image sRGB (B, 3, h, w), values 0..1; mask (B, 1, h, w), values 0..1.
        Returns: a transfer of (B, 3) each.
        """
        return Prediction(lab=ring_statistics_transfer(image, mask, self.config))

    def predict(self, composite: Tensor, mask: Tensor) -> Prediction:
        """The look of the object, from pictures of any size.

        Args: composite sRGB (B, 3, H, W), values 0..1; mask (B, 1, H, W), values 0..1.
        Returns: a transfer of (B, 3) each; the identity where the mask leaves no background.
        """
        found = measure_object(composite, mask, self.config)
        return Prediction(lab=_follow(found.colour, found.ring, self.config))


def _whole_object(mask: Tensor) -> Tensor:
    """The object's own cells, without soft edges; where the mask is soft everywhere, the mask itself."""
    filled = (mask > regions.FILLED).float()
    return torch.where(filled.sum((1, 2, 3), keepdim=True) > 0, filled, mask)


def _measure(
    inside: Tensor, around: Tensor, mask: Tensor, own: Tensor, clean: Tensor, config: StatisticsConfig
) -> tuple[RegionStatistics, RegionStatistics]:
    """Lab statistics of the object and of its ring.

    Args: inside, around: sRGB (B, 3, h, w), colours of the object's and of the background's pixels;
        mask (B, 1, h, w); own, clean (B, 1, h, w): shares of each cell that the two cover.
    """
    core = once(regions.core, mask, config.margin)
    large = core.sum((1, 2, 3), keepdim=True) >= _LEAST_CORE * own.sum((1, 2, 3), keepdim=True)
    lab = once(srgb_to_lab, inside)
    found = measure(lab, torch.where(large, core, own))
    weight = clean
    if config.rings:
        near = once(regions.Surroundings, mask, config.rings[-1])
        own_clean = clean[near.row]
        weight = own_clean
        enough = _LEAST_BACKGROUND * mask.shape[-2] * mask.shape[-1]
        for width in reversed(config.rings):  # the narrowest that holds something has the last word
            ring = near.bands(width, config.gap) * own_clean
            weight = torch.where(ring.sum((1, 2, 3), keepdim=True) >= enough, ring, weight)
        weight = near.together(weight)
    return found, measure(lab if around is inside else srgb_to_lab(around), weight)


def _joint(variance: Tensor, config: StatisticsConfig) -> Tensor:
    """(B, 3) with the mean of both chroma channels in each of the two, where the config asks for it."""
    if not config.joint_chroma:
        return variance
    return torch.cat((variance[:, :1], variance[:, 1:].mean(1, keepdim=True).expand(-1, 2)), 1)


def _limited(shift: Tensor, limit: float | None) -> Tensor:
    """The same direction (B, C), at most `limit` long; short ones are left nearly as they are."""
    if limit is None:
        return shift
    length = shift.square().sum(1, keepdim=True).add(1e-12).sqrt()
    return shift * (limit * torch.tanh(length / limit) / length)


def steps_towards(
    found: RegionStatistics, target: RegionStatistics, config: StatisticsConfig
) -> tuple[Tensor, Tensor]:
    """Scale - 1 and shift towards one target: (B, 3) each; zeros where object or target is empty."""
    difference = target.mean - found.mean
    lightness_shift = _limited(config.lightness * difference[:, :1], config.lightness_limit)
    chroma_shift = _limited(config.chroma * difference[:, 1:], config.chroma_limit)
    shift = torch.cat((lightness_shift, chroma_shift), 1)
    before, after = (_joint(x.variance, config) for x in (found, target))
    ratio = deviation_ratio(after, before, config.variance_floor).clamp(*config.ratio)
    # light that is k times as strong makes L + 16, a and b of every pixel the cube root of k times as large
    lightness = found.mean[:, :1] + 16
    gain = ((lightness + shift[:, :1]) / lightness).clamp(0.5, 2)
    stretch = (1 + config.deviation * (ratio - 1)) * gain**config.contrast - 1
    known = ((found.amount > 0) & (target.amount > 0)).to(shift)[:, None]
    return stretch * known, shift * known


def _follow(found: RegionStatistics, ring: RegionStatistics, config: StatisticsConfig) -> LabTransfer:
    """The transfer towards the ring."""
    stretch, shift = steps_towards(found, ring, config)
    return LabTransfer(centre=found.mean, scale=1 + config.strength * stretch, shift=config.strength * shift)
