"""Frames of one clip harmonized as a clip: each frame's answer, steadied over time.

A harmonizer answers frame by frame, and its answers differ by more than the frames do: the object flickers.
What an answer does to the object is measured as a shift of its mean and a ratio of its deviations in Lab;
these numbers are steadied over the frames of a shot, and the rendered object is moved by what is left.
So every network and every control serves, and nothing outside the mask changes.
Shapes: frames (1, 3, H, W), masks (1, 1, H, W); T frames.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .color import srgb_to_lab
from .masked_statistics import measure
from .render import LabTransfer, Prediction, apply
from .resizing import area_means
from .strips import with_objects

PER_FRAME, FIRST, MEAN, SMOOTH = "per frame", "first frame", "mean of all", "smooth"
MODES = (PER_FRAME, FIRST, MEAN, SMOOTH)
REACH = 12  # frames to each side that `smooth` looks at
_SIDE = 128  # at which objects are measured, at most; pixels of the long side
_FLOOR = 0.25  # squared Lab units, added to variances: flat objects have a ratio too
_CUT = 8.0  # Lab units: a mean difference of two small frames that can be a cut
_SUDDEN = 4.0  # times as much as the frames near by differ


def require_mode(mode: str) -> None:
    """Raises: ValueError naming a mode that is none of `MODES`."""
    if mode not in MODES:
        raise ValueError(f"frames must be one of {', '.join(MODES)}, got '{mode}'")


@dataclass(frozen=True, slots=True)
class Look:
    """Of one frame: the object's colours before and after, and the small frame that cuts are found by."""

    change: Tensor  # (6,): shift of Lab's means, then logarithms of the ratios of deviations
    centre: Tensor  # (3,): the harmonized object's mean
    small: Tensor  # (3, 12, 12): the composite in Lab
    seen: bool  # whether the mask holds an object


def look_at(composite: Tensor, harmonized: Tensor, mask: Tensor) -> Look:
    """Measure one frame. Args: composite, harmonized: sRGB, values 0..1; mask: as it was used."""
    height, width = mask.shape[-2:]
    size = _small_size(height, width)
    frame = area_means(composite.float(), size)
    small = srgb_to_lab(area_means(frame, (12, 12)))[0].cpu()
    if not with_objects(mask).any():
        return Look(torch.zeros(6), torch.zeros(3), small, False)
    weight = area_means(mask.float(), size)
    weight = weight * (weight > weight.amax() / 2)  # cells at the rim hold background too
    after = area_means(harmonized.float(), size)
    found, made = (measure(srgb_to_lab(image), weight) for image in (frame, after))
    ratio = ((made.variance + _FLOOR) / (found.variance + _FLOOR)).log() / 2
    change = torch.cat((made.mean - found.mean, ratio), 1)[0]
    return Look(change.cpu(), made.mean[0].cpu(), small, True)


def _small_size(height: int, width: int) -> tuple[int, int]:
    factor = min(1.0, _SIDE / max(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))


def _is_cut(step: float, near: list[float]) -> bool:
    """Whether two frames that differ by so much are of two shots, by the differences of those near by."""
    usual = sorted(near)[len(near) // 2] if near else 0.0
    return step > _CUT and step > _SUDDEN * usual


class CutFinder:
    """Cuts found while the frames come: a shot's first frame is known by those before it alone.

    A sudden fast pan is taken for a cut where `shots`, which knows what follows, takes it for none.
    """

    def __init__(self) -> None:
        self._last: Tensor | None = None
        self._steps: list[float] = []

    def starts_shot(self, composite: Tensor) -> bool:
        """Whether this frame (1, 3, H, W), which follows the last one asked for, starts a shot."""
        frame = area_means(composite.float(), _small_size(composite.shape[-2], composite.shape[-1]))
        small = srgb_to_lab(area_means(frame, (12, 12)))[0]
        last, self._last = self._last, small
        if last is None:
            return True
        step = (small - last).abs().mean().item()
        if _is_cut(step, self._steps):
            self._steps = []
            return True
        self._steps = [*self._steps, step][-REACH:]
        return False


def shots(looks: list[Look]) -> list[slice]:
    """The frames between cuts. A cut is a difference far above those of the frames near by."""
    pairs = zip(looks[1:], looks[:-1], strict=True)
    steps = [(this.small - last.small).abs().mean().item() for this, last in pairs]
    starts = [0]
    for place, step in enumerate(steps):
        near = steps[max(0, place - REACH) : place] + steps[place + 1 : place + 1 + REACH]
        if _is_cut(step, near):
            starts.append(place + 1)
    return [slice(start, stop) for start, stop in zip(starts, [*starts[1:], len(looks)], strict=True)]


def steady(looks: list[Look], mode: str) -> list[Tensor]:
    """The change that each frame's object shall have: (6,) each.

    `first frame`: what the first frame with an object of its shot has. `mean of all`: one for the whole clip.
    `smooth`: a straight line through the frames within `REACH` of the same shot, nearer ones counting more,
    so that light that fades evenly is followed without delay.
    """
    require_mode(mode)
    changes = torch.stack([look.change for look in looks])
    seen = torch.tensor([look.seen for look in looks])
    if mode == PER_FRAME or not seen.any():
        return list(changes)
    if mode == MEAN:
        return [changes[seen].mean(0)] * len(looks)
    result = []
    for shot in shots(looks):
        part, own = changes[shot], seen[shot]
        for place in range(len(part)):
            if not own.any():
                result.append(part[place])
            elif mode == FIRST:
                result.append(part[int(own.nonzero()[0])])
            else:
                result.append(_on_line(part, own, place))
    return result


def _on_line(changes: Tensor, seen: Tensor, place: int) -> Tensor:
    """The value at `place` of a weighted line through (T, 6); the mean where there is no line."""
    distance = torch.arange(len(changes), dtype=torch.float64) - place
    weight = (1 - (distance / (REACH + 1)).square()).clamp_min(0) * seen
    total = weight.sum()
    if total == 0:
        return changes[place]
    values = changes.double()
    centre = (weight * distance).sum() / total
    mean = (weight[:, None] * values).sum(0) / total
    spread = (weight * (distance - centre).square()).sum()
    if spread < 1e-9:
        return mean.float()
    slope = ((weight * (distance - centre))[:, None] * values).sum(0) / spread
    return (mean - slope * centre).float()


def corrected(harmonized: Tensor, mask: Tensor, look: Look, wanted: Tensor) -> Tensor:
    """A harmonized frame whose object has changed as it shall; the same bits where it has already."""
    rest = wanted - look.change
    if not look.seen or not rest.any():
        return harmonized
    transfer = LabTransfer(
        centre=look.centre[None],
        scale=rest[None, 3:].clamp(-math.log(2), math.log(2)).exp(),
        shift=rest[None, :3],
    )
    return apply(Prediction(lab=transfer), harmonized, mask)
