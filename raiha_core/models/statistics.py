"""The preset without weights: the object takes over the colour statistics of what surrounds it.

Reinhard's transfer of mean and deviation in Lab (IEEE CG&A 21(5), 2001), with three changes, measured by
`train/tune_statistics.py`: the background is a ring around the object; the means move half the way and
never far, so that a red thing before a grey wall stays red; references speak through their matched
patches (`matched_colours`).
Shapes: B images of h x w at a working size, K references.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import regions
from ..color import srgb_to_lab
from ..features.references import Reference, ReferenceBatch
from ..records import LATER
from ..regions import RegionStatistics, measure
from ..render import LabTransfer, Prediction
from .matched_colours import Guidance, from_batch, from_matches

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
    reference_trust: float = 0.7  # their part where the match is perfect; best of 0.3, 0.5, 0.7, 1
    # power of the match quality (then the best one's): above 1 poor matches say less
    reference_power: float = field(default=1.0, metadata=LATER)
    # close all of the difference to the references, not the ring's share of it
    reference_whole: bool = field(default=False, metadata=LATER)
    strength: float = 1.0  # of the whole change; 0 gives the input
    working_side: int = 256  # the long side at which statistics are measured

    def __post_init__(self) -> None:
        for name in ("lightness", "chroma", "deviation", "contrast", "reference_trust", "strength"):
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
        if not self.reference_power > 0:
            raise ValueError(f"reference_power must be above 0, got {self.reference_power}")
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
    found, ring = _measure(image, image, mask, _whole_object(mask), regions.outside(mask), config)
    return _follow(found, ring, None, config)


@torch.no_grad()
def distance_to_ring(image: Tensor, mask: Tensor, config: StatisticsConfig | None = None) -> Tensor:
    """How unlike its surroundings the object looks: (B,), about root mean squared grey levels, >= 0.

    Args: image sRGB (B, 3, h, w), values 0..1, at a working size; mask (B, 1, h, w), values 0..1.
    """
    config = config or StatisticsConfig()
    image, mask = image.float(), mask.float()
    found, ring = _measure(image, image, mask, _whole_object(mask), regions.outside(mask), config)
    known = ((found.amount > 0) & (ring.amount > 0)).to(image)
    means = (found.mean - ring.mean).square()
    spreads = (found.variance.sqrt() - ring.variance.sqrt()).square()
    levels = means.new_tensor(LEVELS_PER_LAB)
    return ((means + spreads) * levels).sum(1).sqrt() * known


class Statistics(nn.Module):
    """The `statistics` preset: called like a network, or by `predict` with full-size pictures."""

    def __init__(self, config: StatisticsConfig | None = None) -> None:
        super().__init__()
        self.config = config or StatisticsConfig()

    def forward(
        self,
        image: Tensor,
        mask: Tensor,
        content: Tensor | None = None,
        references: ReferenceBatch | None = None,
    ) -> Prediction:
        """The look of the object, from a picture at a working size.

        Args:
            image: sRGB (B, 3, h, w), values 0..1; mask (B, 1, h, w), values 0..1.
            content: patch features (B, D, g, g), which choose the references' matched patches; without
                them a reference speaks as a whole.
        Returns: a transfer of (B, 3) each. No reference, or weight 0, gives exactly the ring's answer.
        """
        image, mask = image.float(), mask.float()
        found, ring = _measure(image, image, mask, _whole_object(mask), regions.outside(mask), self.config)
        guidance = None if references is None else from_batch(mask, content, references)
        return Prediction(lab=_follow(found, ring, guidance, self.config))

    def predict(
        self, composite: Tensor, mask: Tensor, references: Sequence[Sequence[Reference]] = ()
    ) -> Prediction:
        """The look of the object, from pictures of any size.

        Args: composite sRGB (B, 3, H, W), values 0..1; mask (B, 1, H, W), values 0..1; references:
            one row for each composite, or nothing.
        Raises: ValueError where a mask leaves no background and its references have no weight, and
            where there are rows of references for another number of composites.
        """
        found, ring, guidance = self._read(composite, mask, references)
        self._require_guidance(found, ring, guidance)
        return Prediction(lab=_follow(found, ring, guidance, self.config))

    def guide_batch(
        self,
        prediction: Prediction,
        image: Tensor,
        mask: Tensor,
        content: Tensor | None,
        references: ReferenceBatch,
    ) -> Prediction:
        """Another model's prediction, moved towards a network's references as far as they are believed.

        Args: as `forward`; prediction: with a Lab transfer.
        """
        image, mask = image.float(), mask.float()
        found, ring = _measure(image, image, mask, _whole_object(mask), regions.outside(mask), self.config)
        return _guided(prediction, found, ring, from_batch(mask, content, references), self.config)

    def guide(
        self,
        prediction: Prediction,
        composite: Tensor,
        mask: Tensor,
        references: Sequence[Sequence[Reference]],
    ) -> Prediction:
        """The same with pictures of any size and the patches that retrieval matched.

        Args, Raises: as `predict`.
        """
        found, ring, guidance = self._read(composite, mask, references)
        if guidance is None:
            return prediction
        self._require_guidance(found, ring, guidance)
        return _guided(prediction, found, ring, guidance, self.config)

    def regions(self, composite: Tensor, mask: Tensor) -> tuple[RegionStatistics, RegionStatistics]:
        """Statistics of the object and of its ring, from pictures of any size."""
        composite, mask = composite.float(), mask.float()
        factor = _factor(composite, self.config.working_side)
        # colours are averaged on their own side of the edge, before the edge is resized away
        own, clean = _whole_object(mask), regions.outside(mask)
        inside, inside_weight = _pool_within(composite, own, factor)
        around, around_weight = _pool_within(composite, clean, factor)
        return _measure(inside, around, _pool(mask, factor), inside_weight, around_weight, self.config)

    def _read(
        self, composite: Tensor, mask: Tensor, references: Sequence[Sequence[Reference]]
    ) -> tuple[RegionStatistics, RegionStatistics, Guidance | None]:
        """Statistics of the object and of its ring, and what the references say, where there are any.

        Raises: ValueError where there are rows of references for another number of composites.
        """
        if references:
            check_rows(references, composite)
        found, ring = self.regions(composite, mask)
        guidance = None
        if any(references):
            small = working_copy(composite, self.config.working_side)
            guidance = from_matches(references, small, self.config.working_side)
        return found, ring, guidance

    def _require_guidance(
        self, found: RegionStatistics, ring: RegionStatistics, guidance: Guidance | None
    ) -> None:
        """Raises: ValueError where a mask leaves no background and no reference has a say."""
        lost = (found.amount > 0) & (ring.amount == 0)
        if guidance is not None:
            lost &= guidance.weight == 0
        if lost.any():
            raise ValueError(
                f"the masks of images {lost.nonzero().flatten().tolist()} cover the whole picture: without "
                "a background there must be references of some weight"
            )


def _whole_object(mask: Tensor) -> Tensor:
    """The object's own cells, without soft edges; where the mask is soft everywhere, the mask itself."""
    filled = (mask > regions.FILLED).float()
    return torch.where(filled.sum((1, 2, 3), keepdim=True) > 0, filled, mask)


def _factor(composite: Tensor, working_side: int) -> int:
    return math.ceil(max(composite.shape[-2:]) / working_side)


def check_rows(references: Sequence[Sequence[Reference]], composite: Tensor) -> None:
    """Raises: ValueError where there are rows of references for another number of composites."""
    if len(references) != len(composite):
        raise ValueError(f"{len(references)} rows of references for {len(composite)} composites")


def working_copy(composite: Tensor, working_side: int) -> Tensor:
    """The composite (B, 3, h, w) at the size at which statistics are measured."""
    return _pool(composite.float(), _factor(composite, working_side))


def _pool(values: Tensor, factor: int) -> Tensor:
    """Means over factor x factor pixels; cells that the frame cuts average what they have."""
    if factor == 1:
        return values
    return F.avg_pool2d(values, factor, ceil_mode=True, count_include_pad=False)


def _pool_within(image: Tensor, region: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """Mean colour of the region's pixels in each cell (B, 3, h, w), and their share of it (B, 1, h, w)."""
    weight = _pool(region, factor)
    return (_pool(image * region, factor) / weight.clamp_min(1e-12)).clamp(0, 1), weight


def _measure(
    inside: Tensor, around: Tensor, mask: Tensor, own: Tensor, clean: Tensor, config: StatisticsConfig
) -> tuple[RegionStatistics, RegionStatistics]:
    """Lab statistics of the object and of its ring.

    Args: inside, around: sRGB (B, 3, h, w), colours of the object's and of the background's pixels;
        mask (B, 1, h, w); own, clean (B, 1, h, w): shares of each cell that the two cover.
    """
    core = regions.core(mask, config.margin)
    large = core.sum((1, 2, 3), keepdim=True) >= _LEAST_CORE * own.sum((1, 2, 3), keepdim=True)
    found = measure(srgb_to_lab(inside), torch.where(large, core, own))
    weight = clean
    if config.rings:
        distances = regions.distance(regions.touched(mask), config.rings[-1])
        enough = _LEAST_BACKGROUND * mask.shape[-2] * mask.shape[-1]
        for width in reversed(config.rings):  # the narrowest that holds something has the last word
            ring = regions.ring(mask, width, config.gap, distances=distances) * clean
            weight = torch.where(ring.sum((1, 2, 3), keepdim=True) >= enough, ring, weight)
    return found, measure(srgb_to_lab(around), weight)


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


def _steps(
    found: RegionStatistics, target: RegionStatistics, config: StatisticsConfig
) -> tuple[Tensor, Tensor]:
    """Scale - 1 and shift towards one target: (B, 3) each; zeros where object or target is empty."""
    difference = target.mean - found.mean
    lightness_shift = _limited(config.lightness * difference[:, :1], config.lightness_limit)
    chroma_shift = _limited(config.chroma * difference[:, 1:], config.chroma_limit)
    shift = torch.cat((lightness_shift, chroma_shift), 1)
    before, after = (_joint(x.variance, config) + config.variance_floor for x in (found, target))
    ratio = (after / before).sqrt().clamp(*config.ratio)
    # light that is k times as strong makes L + 16, a and b of every pixel the cube root of k times as large
    lightness = found.mean[:, :1] + 16
    gain = ((lightness + shift[:, :1]) / lightness).clamp(0.5, 2)
    stretch = (1 + config.deviation * (ratio - 1)) * gain**config.contrast - 1
    known = ((found.amount > 0) & (target.amount > 0)).to(shift)[:, None]
    return stretch * known, shift * known


def _reference_steps(
    found: RegionStatistics, guidance: Guidance, config: StatisticsConfig
) -> tuple[Tensor, Tensor]:
    whole = replace(config, lightness=1.0, chroma=1.0, deviation=1.0) if config.reference_whole else config
    return _steps(found, guidance.target, whole)


def _part(ring: RegionStatistics, guidance: Guidance, config: StatisticsConfig) -> Tensor:
    """How far the references move the answer: (B, 1), all the way where there is no ring to ask."""
    # four poor matches are no good one: where quality counts by a power, it is that of the best
    weight = guidance.weight if config.reference_power == 1 else guidance.best**config.reference_power
    part = config.reference_trust * weight
    alone = (ring.amount == 0) & (guidance.weight > 0)
    return torch.where(alone, torch.ones_like(part), part)[:, None]


def _guided(
    prediction: Prediction,
    found: RegionStatistics,
    ring: RegionStatistics,
    guidance: Guidance,
    config: StatisticsConfig,
) -> Prediction:
    """Another model's prediction, moved towards the references as this preset's ring answer is."""
    assert prediction.lab is not None
    part = _part(ring, guidance, config)
    stretch, shift = _reference_steps(found, guidance, config)
    lab = LabTransfer(
        centre=prediction.lab.centre,
        scale=prediction.lab.scale + part * (1 + stretch - prediction.lab.scale),
        shift=prediction.lab.shift + part * (shift - prediction.lab.shift),
    )
    affine = None if prediction.affine is None else prediction.affine * (1 - part[..., None, None])
    return Prediction(lab=lab, affine=affine)


def _follow(
    found: RegionStatistics, ring: RegionStatistics, guidance: Guidance | None, config: StatisticsConfig
) -> LabTransfer:
    """The transfer towards the ring, and towards the references as far as they are to be believed."""
    stretch, shift = _steps(found, ring, config)
    if guidance is not None:
        part = _part(ring, guidance, config)
        reference_stretch, reference_shift = _reference_steps(found, guidance, config)
        stretch = stretch + part * (reference_stretch - stretch)
        shift = shift + part * (reference_shift - shift)
    return LabTransfer(centre=found.mean, scale=1 + config.strength * stretch, shift=config.strength * shift)
