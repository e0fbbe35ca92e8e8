"""Six filters of a photo editor in a row, each with one argument: how Harmonizer changes a picture.

Temperature reads the mean of each channel of the whole photo, contrast the mean of what came out before
it, so a photo is looked at twice before its first strip is rendered.
Source: arXiv:2207.01322 (filters and their order), formulae of the public code.
Shapes: B images of H x W.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..enlargement import Window
from ..precision import has_double, widen
from ..render import STRIP_PIXELS, Renderer

FILTERS = ("temperature", "brightness", "contrast", "saturation", "highlight", "shadow")
TINY = 1e-6
TINY_POWER = 1e-9  # keeps the slope of a power finite at black


@dataclass(frozen=True, kw_only=True, slots=True)
class PhotoFilters:
    """The filters with their arguments, as a step of a prediction."""

    arguments: Tensor  # (B, 6) in -1..1, in the order of FILTERS; 0 leaves the picture as it is

    halo = 0
    blends = False

    @property
    def count(self) -> int:
        return len(self.arguments)

    def start(self, composite: Tensor, mask: Tensor, *, exact: bool) -> Renderer:
        amounts = self.arguments.to(widen(composite[:, :, :1])).unbind(1)
        warmth, light, spread, colour, high, low = (a[:, None, None, None] for a in amounts)
        gains = temperature_gains(whole_mean(composite, lambda x: x), warmth)

        def until_contrast(image: Tensor) -> Tensor:
            return (brightness_gain(light) * (gains * image).clamp(0, 1)).clamp(0, 1)

        grey = whole_mean(composite, until_contrast).mean(1, keepdim=True)

        def render(image: Tensor, window: Window) -> Tensor:
            x = contrast(until_contrast(image), spread, grey)
            return shadow(highlight(saturation(x, colour), high), low)

        return render


def whole_mean(composite: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """The mean of each channel of the changed photo, (B, 3, 1, 1), taken strip by strip, added up in float64
    where the device has it.
    """
    height, width = composite.shape[-2:]
    step = max(1, STRIP_PIXELS // (len(composite) * width))
    exact = torch.float64 if has_double(composite.device) else torch.float32
    total = composite.new_zeros(len(composite), 3, 1, 1, dtype=exact)
    for top in range(0, height, step):
        strip = change(widen(composite[..., top : top + step, :]))
        total = total + strip.sum((2, 3), keepdim=True, dtype=exact)
    return (total / (height * width)).to(widen(composite[:, :, :1]).dtype)


def temperature_gains(mean: Tensor, amount: Tensor) -> Tensor:
    """A gain per channel, (B, 3, 1, 1): warmer than 0 adds to blue's mean before all are made one grey.

    Args: mean (B, 3, 1, 1) of the whole photo; amount (B, 1, 1, 1), -1..1.
    """
    grey = mean.mean(1, keepdim=True)
    share = torch.cat(((amount < 0).to(mean), torch.full_like(amount, 0.5), (amount > 0).to(mean)), 1)
    moved = mean + amount.abs() * share
    return moved.mean(1, keepdim=True) / (moved + TINY) + 1 - grey / (mean + TINY)


def brightness_gain(amount: Tensor) -> Tensor:
    """The gain on HSV's value, which is one on red, green and blue: 1 + x below 0, 1 / (1 - x) above."""
    return torch.where(amount >= 0, 1 / (1 - amount.clamp_min(0) + TINY), 1 + amount)


def contrast(image: Tensor, amount: Tensor, grey: Tensor) -> Tensor:
    """Away from the mean grey of the whole photo, (B, 1, 1, 1), or towards it; in steps of 8 bits."""
    stretched = 255 / (256 - torch.floor(amount.clamp_min(0) * 255)) - 1
    amount = torch.where(amount > 0, stretched, amount)
    return (image + (image - grey) * amount).clamp(0, 1)


def saturation(image: Tensor, amount: Tensor) -> Tensor:
    """Away from each pixel's own grey, the middle of HSL, or towards it."""
    high, low = image.amax(1, keepdim=True), image.amin(1, keepdim=True)
    span, total = high - low, high + low
    middle = total / 2
    own = span / (torch.where(middle < 0.5, total, 2 - total) + TINY)
    room = torch.where(amount + own > 1, own, 1 - amount)
    more = image + (image - middle) * (1 / (room + TINY) - 1)
    less = middle + (image - middle) * (1 + amount)
    return torch.where(amount >= 0, more, less).clamp(0, 1)


def highlight(image: Tensor, amount: Tensor) -> Tensor:
    """A power of what is missing to white."""
    return (1 - (1 - image + TINY_POWER).pow(1 + amount).clamp(0, 1)).clamp(0, 1)


def shadow(image: Tensor, amount: Tensor) -> Tensor:
    """A power of the picture."""
    return (image + TINY_POWER).pow(1 - amount).clamp(0, 1)
