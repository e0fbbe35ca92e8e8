"""Hands on the wheel: what an artist may do with any harmonizer's answer, in one function after rendering.

The answer differs from the composite; here the difference is made smaller or larger, as a whole or its
light, its contrast and its colour apart, kept below a limit, and kept from changing hues. Nothing here
knows which network answered.
Shapes: B composites of H x W.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .color import lab_to_srgb, srgb_to_lab
from .mask_shape import LARGEST
from .precision import doubled, widen
from .render import STRIP_PIXELS, paste
from .strips import in_strips, touched_rows

BY_GATE = -1.0  # of `reference_strength`: the gate decides
BY_HARMONIZER = -1.0  # of `context`: by the object's share of the picture, `Harmonizer.least_share`
UNLIMITED = 100.0  # of `limit`: black to white, so nothing is limited
MOST = 2.0  # of strength, light, colour, contrast
_FLAT = 0.5  # squared Lab units: the variance of a lightness that has no contrast to speak of


def require_strength(value: float, name: str = "strength") -> None:
    """Raises: ValueError naming a value that is not in 0..2."""
    if not 0 <= value <= MOST:
        raise ValueError(f"{name} must lie in 0..{MOST:g}, got {value}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Controls:
    """All that can be set beside `strength`; as it stands, nothing is changed in any harmonizer's answer."""

    light: float = 1.0  # 0..2, of the change of lightness, without that of contrast
    colour: float = 1.0  # 0..2, of the change of Lab's a and b
    contrast: float = 1.0  # 0..2, of the change of lightness that follows the object's own lightness
    reference_strength: float = BY_GATE  # 0..1: the share of the way to what references show; -1: by the gate
    limit: float = UNLIMITED  # the furthest that a pixel moves, in Lab units
    keep_hue: bool = False  # colours move along the object's own hues only
    grow: int = 0  # pixels by which the mask is grown, shrunk where negative
    feather: int = 0  # pixels of the ramp that the mask's border becomes
    # what is seen around the object, in lengths of its longer side; 0: the whole picture; -1: as the
    # harmonizer sees best
    context: float = BY_HARMONIZER
    local_light: float = 0.0  # 0..2, of the ramp of brightness that the border suggests (`local_light`)

    def __post_init__(self) -> None:
        for name in ("light", "colour", "contrast", "local_light"):
            require_strength(getattr(self, name), name)
        if self.reference_strength != BY_GATE and not 0 <= self.reference_strength <= 1:
            raise ValueError(
                f"reference_strength must be -1, by the gate, or lie in 0..1, got {self.reference_strength}"
            )
        if not self.limit >= 0:
            raise ValueError(f"limit must not be negative, got {self.limit}")
        if not abs(self.grow) <= LARGEST:
            raise ValueError(f"grow must lie in -{LARGEST}..{LARGEST} pixels, got {self.grow}")
        if not 0 <= self.feather <= LARGEST:
            raise ValueError(f"feather must lie in 0..{LARGEST} pixels, got {self.feather}")
        if self.context != BY_HARMONIZER and not 0 <= self.context <= 100:
            raise ValueError(
                f"context must lie in 0..100, or be -1, by the object's size, got {self.context}"
            )

    @property
    def change_pixels(self) -> bool:
        """Whether `adjusted` has more to do than to blend."""
        apart = (self.light, self.colour, self.contrast) != (1.0, 1.0, 1.0)
        return apart or self.keep_hue or self.limit < UNLIMITED or self.local_light > 0


def adjusted(composite: Tensor, answer: Tensor, mask: Tensor, strength: float, controls: Controls) -> Tensor:
    """The composite with as much of a harmonizer's answer as was asked for, inside the mask.

    Of the change of lightness, contrast is what a straight line through the object's own lightness explains,
    without the line's mean; light is the rest. Together the three parts are the whole change. The limit holds
    for what strength has made of it.
    Args:
        composite: sRGB (B, 3, H, W), values 0..1; answer: like it, what the harmonizer would write where the
            mask is 1; mask (B, 1, H, W), values 0..1.
        strength: of the whole change, 0..2.
    Returns: (B, 3, H, W) in the composite's dtype; outside the mask the composite's bits.
    Raises: ValueError where strength is not 0..2.
    """
    require_strength(strength)
    result = composite.clone()
    rows = touched_rows(mask)
    if strength == 0 or not len(rows):
        return result
    strips = _strips(int(rows[0]), int(rows[-1]) + 1, composite)
    line = None
    if controls.light != controls.contrast:
        line = _ContrastLine(composite, answer, mask, strips)

    def write(part: slice) -> None:
        old, new = widen(composite[..., part, :]), widen(answer[..., part, :])
        if (controls.light, controls.colour, controls.contrast) != (1.0, 1.0, 1.0) or controls.keep_hue:
            new = _parted(old, new, controls, line)
        weight = widen(mask[..., part, :])
        if strength <= 1 and controls.limit >= UNLIMITED:
            weight = weight * strength  # as `render.apply` does
        else:
            new = _limited(old, (old + strength * (new - old)).clamp(0, 1), controls.limit)
        result[..., part, :] = paste(composite[..., part, :], new, weight)

    in_strips(write, slice(strips[0].start, strips[-1].stop), strips[0].stop - strips[0].start)
    return result


def _strips(top: int, bottom: int, composite: Tensor) -> list[slice]:
    height = max(1, STRIP_PIXELS // (len(composite) * composite.shape[-1]))
    return [slice(start, min(start + height, bottom)) for start in range(top, bottom, height)]


class _ContrastLine:
    """How the change of lightness follows the object's own lightness: a straight line, by least squares."""

    def __init__(self, composite: Tensor, answer: Tensor, mask: Tensor, strips: list[slice]) -> None:
        sums = torch.zeros(5, len(composite), dtype=torch.float64)  # weight, l, change, l * l, l * change
        for part in strips:
            lightness = _lightness(composite[..., part, :])
            change = _lightness(answer[..., part, :]) - lightness
            weight = mask[:, 0, part].to(lightness)
            own, moved = weight * lightness, weight * change
            terms = [weight, own, moved, own * lightness, own * change]
            sums += torch.stack([doubled(term).sum((1, 2)) for term in terms]).cpu()
        amount = sums[0].clamp_min(1e-12)
        mean, moved, square, product = (sums[1:] / amount).unbind(0)
        variance = (square - mean.square()).clamp_min(0)
        self.centre = mean
        # a flat object has no contrast of which a change could be told; near it, less and less
        self.slope = (product - mean * moved) * variance / (variance.square() + _FLAT**2)

    def at(self, lightness: Tensor) -> Tensor:
        """The part of the change that is contrast: (B, rows, W) of lightness 0..100 -> the same."""
        centre, slope = (values[:, None, None].to(lightness) for values in (self.centre, self.slope))
        return slope * (lightness - centre)


def _lightness(image: Tensor) -> Tensor:
    return srgb_to_lab(widen(image))[:, 0]


def _parted(old: Tensor, new: Tensor, controls: Controls, line: _ContrastLine | None) -> Tensor:
    """The answer with light, contrast and colour changed apart; sRGB, in 0..1."""
    before, after = srgb_to_lab(old), srgb_to_lab(new)
    change = after - before
    lightness = controls.light * change[:, 0]
    if line is not None:
        lightness = lightness + (controls.contrast - controls.light) * line.at(before[:, 0])
    colour = controls.colour * change[:, 1:]
    if controls.keep_hue:
        colour = _along_hue(before[:, 1:], colour)
    moved = torch.cat(((before[:, 0] + lightness)[:, None], before[:, 1:] + colour), 1)
    return lab_to_srgb(moved).clamp(0, 1)


def _along_hue(colour: Tensor, change: Tensor) -> Tensor:
    """The change (B, 2, rows, W) of a and b along their own direction: from grey to twice as colourful.

    The bound keeps the grain of greys, which have no hue, from becoming colours.
    """
    chroma = colour.square().sum(1, keepdim=True).sqrt()
    way = (change * colour).sum(1, keepdim=True) / chroma.clamp_min(1e-6)
    return colour / chroma.clamp_min(1e-6) * torch.minimum(way.clamp_min(-chroma), chroma)


def _limited(old: Tensor, new: Tensor, limit: float) -> Tensor:
    """The answer, no further than `limit` Lab units from the composite at any pixel."""
    if limit >= UNLIMITED:
        return new
    before = srgb_to_lab(old)
    change = srgb_to_lab(new) - before
    length = change.square().sum(1, keepdim=True).sqrt()
    near = lab_to_srgb(before + change * (limit / length.clamp_min(1e-6))).clamp(0, 1)
    return torch.where(length > limit, near, new)
