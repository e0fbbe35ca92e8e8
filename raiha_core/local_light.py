"""Light across an object: a ramp of brightness that the two sides of its border suggest.

A harmonizer's transfer is one for the whole object, so a front lit from the left stays so where the scene is
lit from the right. Here the brightness just outside the border is compared with that just inside, place by
place; how the difference rises across the object is a ramp, which the object follows part of the way. It is a
gain of linear light, so hues stay. What differs all along the border alike is left to the harmonizer.
Source: this project; measured by `train/bench/local_light.py`.
Shapes: B pictures of H x W, h x w a working copy.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .color import linear_to_srgb, srgb_to_linear
from .masked_statistics import weighted_mean
from .precision import doubled, widen
from .regions import rim, ring
from .render import STRIP_PIXELS
from .resizing import area_means, moving_means
from .strips import in_strips, touched_rows

# of the ramp, for an amount of 1: less upwards, where scenes are brighter of themselves. Chosen on 43 photos
FOLLOWED = (0.5, 0.35)
_WORKING = 128  # side of the working copy
_BAND = 0.03  # width of the two bands, of the sides
_WINDOW = 7  # cells: side of the window in which the two sides of the border are compared
_FAINT = 0.02  # of a window: with less of a band in it nothing is compared
_FLOOR = 0.01  # of linear light: noise in the dark is no ramp
_EXTENT = 1.8  # deviations of an object's cells from its centre that are its half length; a disc has 2
_STEEPEST = 2.0  # stops from the centre to the edge
_BEYOND = 1.6  # half lengths from the centre at which a ramp ends
_LUMINANCE = (0.2126, 0.7152, 0.0722)


@dataclass(frozen=True, kw_only=True, slots=True)
class LightRamp:
    """Stops that an object gains from left to right and from top to bottom, none in the middle."""

    rise: Tensor  # (B, 2) stops per half length of the object, to the right and downwards
    centre: Tensor  # (B, 2) of the object, in shares of the picture's sides
    extent: Tensor  # (B, 2) half lengths, in shares of the sides

    def stops(self, size: tuple[int, int], rows: slice) -> Tensor:
        """The ramp in some rows of a picture of `size`: (B, 1, rows, W)."""
        height, width = size
        like = self.rise
        y = (torch.arange(rows.start, rows.stop, device=like.device, dtype=like.dtype) + 0.5) / height
        x = (torch.arange(width, device=like.device, dtype=like.dtype) + 0.5) / width
        across = ((x - self.centre[:, :1]) / self.extent[:, :1]).clamp(-_BEYOND, _BEYOND) * self.rise[:, :1]
        down = ((y - self.centre[:, 1:]) / self.extent[:, 1:]).clamp(-_BEYOND, _BEYOND) * self.rise[:, 1:]
        return down[:, None, :, None] + across[:, None, None, :]


@torch.no_grad()
def border_ramp(image: Tensor, mask: Tensor) -> LightRamp:
    """How the difference of brightness between the border's two sides rises across the object.

    Args: image sRGB (B, 3, H, W), values 0..1; mask (B, 1, H, W), values 0..1.
    Returns: the whole ramp, at most two stops per half length; zeros where no border can be compared.
    """
    stops, inside = _in_stops(image, mask)
    own, beside = rim(inside, _BAND).to(stops), ring(inside, _BAND).to(stops)
    within, without = moving_means(own, _WINDOW), moving_means(beside, _WINDOW)
    difference = moving_means(stops * beside, _WINDOW) / without.clamp_min(1e-4)
    difference = difference - moving_means(stops * own, _WINDOW) / within.clamp_min(1e-4)
    known = ((within > _FAINT) & (without > _FAINT)).to(stops) * (own + beside)
    centre, extent = object_place(inside)
    rise = _plane(difference, known, centre, extent)
    return LightRamp(rise=rise.clamp(-_STEEPEST, _STEEPEST), centre=centre, extent=extent)


@torch.no_grad()
def object_ramp(image: Tensor, mask: Tensor) -> LightRamp:
    """How the object's own brightness rises across it; arguments and result as of `border_ramp`."""
    stops, inside = _in_stops(image, mask)
    centre, extent = object_place(inside)
    return LightRamp(rise=_plane(stops, inside, centre, extent), centre=centre, extent=extent)


def _in_stops(image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Luminance of a working copy, to base 2, and its cells that are the object's: (B, 1, h, w) each."""
    size = (min(_WORKING, image.shape[-2]), min(_WORKING, image.shape[-1]))
    small, inside = area_means(widen(image), size), area_means(widen(mask), size) > 0.5
    light = srgb_to_linear(small.clamp(0, 1)) * small.new_tensor(_LUMINANCE).view(1, 3, 1, 1)
    return (light.sum(1, keepdim=True) + _FLOOR).log2(), inside.to(small)


def _places(like: Tensor) -> tuple[Tensor, Tensor]:
    """Middles of the cells, in shares of the sides: x (1, 1, 1, w) and y (1, 1, h, 1)."""
    height, width = like.shape[-2:]
    x = (torch.arange(width, device=like.device, dtype=like.dtype) + 0.5) / width
    y = (torch.arange(height, device=like.device, dtype=like.dtype) + 0.5) / height
    return x.view(1, 1, 1, -1), y.view(1, 1, -1, 1)


def object_place(inside: Tensor) -> tuple[Tensor, Tensor]:
    """Centre and half lengths of objects, in shares of the sides: (B, 1, h, w) -> (B, 2) each, x before y."""
    centres, extents = [], []
    for place in _places(inside):
        centre = weighted_mean(place.expand_as(inside), inside)
        variance = weighted_mean((place - centre).square(), inside)
        least = 2.0 / min(inside.shape[-2:])
        centres.append(centre.flatten(1))
        extents.append(_EXTENT * variance.sqrt().clamp_min(least).flatten(1))
    return torch.cat(centres, 1), torch.cat(extents, 1)


def _plane(values: Tensor, weight: Tensor, centre: Tensor, extent: Tensor) -> Tensor:
    """The slopes (B, 2) of the plane through values (B, 1, h, w) that fits best, per half length."""
    across, down = (
        ((place - centre[:, i, None, None, None]) / extent[:, i, None, None, None]).clamp(-_BEYOND, _BEYOND)
        for i, place in enumerate(_places(values))
    )
    terms = torch.cat([term.expand_as(values) for term in (torch.ones_like(values), across, down)], 1)
    terms, share = terms.flatten(2), (weight / weight.sum((2, 3), keepdim=True).clamp_min(1e-6)).flatten(2)
    # in double: a border that is nearly a line leaves the system nearly singular
    square = doubled((terms * share) @ terms.mT)
    square = square + 1e-3 * torch.eye(3).to(square)
    right = doubled((terms * share) @ values.flatten(2).mT)
    return torch.linalg.solve(square, right)[:, 1:, 0].to(values)


def light_across(answer: Tensor, mask: Tensor, ramp: LightRamp, amount: float) -> Tensor:
    """A harmonizer's answer with a share of the ramp as a gain of linear light.

    Args:
        answer: sRGB (B, 3, H, W), values 0..1, what would be written where the mask is 1; it is overwritten.
        mask (B, 1, H, W), values 0..1. amount: 0..2, of `FOLLOWED`.
    Returns: the same tensor; over the object the ramp's mean is 0 stops, so its brightness stays.
    """
    rows = touched_rows(mask)
    if amount == 0 or not len(rows):
        return answer
    share = ramp.rise.new_tensor(FOLLOWED) * amount
    followed = LightRamp(rise=ramp.rise * share, centre=ramp.centre, extent=ramp.extent)
    size = (answer.shape[-2], answer.shape[-1])
    small = area_means(widen(mask), (min(_WORKING, size[0]), min(_WORKING, size[1])))
    whole = followed.stops((small.shape[-2], small.shape[-1]), slice(0, small.shape[-2]))
    middle = weighted_mean(whole.to(small), small)

    def write(part: slice) -> None:
        gain = torch.exp2(followed.stops(size, part).to(middle) - middle)
        # written in one step at the end, so that a strip that ran out of memory can be done again
        lit = linear_to_srgb((srgb_to_linear(widen(answer[..., part, :])) * gain).clamp(0, 1))
        answer[..., part, :] = torch.where(mask[..., part, :] > 0, lit.to(answer), answer[..., part, :])

    in_strips(write, slice(int(rows[0]), int(rows[-1]) + 1), max(1, STRIP_PIXELS // answer[:, 0, 0].numel()))
    return answer
