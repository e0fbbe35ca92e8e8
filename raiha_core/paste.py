"""A cut-out pasted into a background: placed, scaled and turned below the pixel, without a fringe.

Colours and alpha are resampled apart; as the object's colours go on beyond its edge (`foreground`), nothing
of what was behind it can come in, as with premultiplied colours, and a cubic filter cannot ring there.
Shapes: one background (1, 3, H, W), one cut-out (1, 3, h, w) with alpha (1, 1, h, w).
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .foreground import own_colours
from .mask_shape import LARGEST, shaped
from .resizing import at_places, bilinear

ANCHORS = {  # part of the width, part of the height
    "centre": (0.5, 0.5),
    "top left": (0.0, 0.0),
    "top": (0.5, 0.0),
    "top right": (1.0, 0.0),
    "left": (0.0, 0.5),
    "right": (1.0, 0.5),
    "bottom left": (0.0, 1.0),
    "bottom": (0.5, 1.0),
    "bottom right": (1.0, 1.0),
}
FLIPS = ("none", "horizontal", "vertical", "both")
LARGEST_SCALE = 64.0
_FAINT = 1 / 510  # alpha below half a code of 8 bits is none
_NOISE = 2.01 / 255  # as `mask_meaning`: codes 1 and 2 are no object; they would widen its box


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """Where and how the object stands. Its box is what its alpha covers, not the file's frame."""

    x: float = 0.0  # pixels from the background's anchor to the object's, to the right
    y: float = 0.0  # the same downwards
    scale: float = 1.0  # 1: the cut-out's own pixels
    rotation: float = 0.0  # degrees clockwise, about the middle of the object's box
    flip: str = "none"
    anchor: str = "centre"  # the point of background and object that x and y are between
    feather: int = 0  # pixels over which the object fades inwards from its edge

    def __post_init__(self) -> None:
        for name in ("x", "y", "rotation"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name} must be a finite number, got {getattr(self, name)}")
        if not 0 < self.scale <= LARGEST_SCALE:
            raise ValueError(f"scale must be above 0 and at most {LARGEST_SCALE:g}, got {self.scale}")
        if self.flip not in FLIPS:
            raise ValueError(f"flip must be one of {', '.join(FLIPS)}, got '{self.flip}'")
        if self.anchor not in ANCHORS:
            raise ValueError(f"anchor must be one of {', '.join(ANCHORS)}, got '{self.anchor}'")
        if not 0 <= self.feather <= LARGEST:
            raise ValueError(f"feather must lie in 0..{LARGEST} pixels, got {self.feather}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Pasted:
    composite: Tensor  # (1, 3, H, W); where the mask is 0, the background's bits
    mask: Tensor  # (1, 1, H, W), 0..1


def trimmed(image: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
    """Object and alpha, cut to the smallest box that holds every alpha above 2/255; lower alpha becomes 0.

    Args: image: (1, C, H, W). alpha: (1, 1, H, W), 0..1.
    Raises: ValueError where no alpha is above that.
    """
    inside = alpha[0, 0] > _NOISE
    if not inside.any():
        raise ValueError("the object is empty: its alpha is 0 everywhere")
    rows, columns = (inside.any(axis).nonzero().flatten() for axis in (1, 0))
    part = (..., slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1))
    return image[part], torch.where(inside, alpha, 0.0)[part]


def paste_object(
    background: Tensor,
    image: Tensor,
    alpha: Tensor,
    placement: Placement | None = None,
    *,
    clean: bool = True,
) -> Pasted:
    """The composite and the object's mask in it.

    Args:
        background: sRGB (1, 3, H, W), values 0..1; image (1, 3, h, w), like it; alpha (1, 1, h, w), 0..1.
        clean: take the old background's colour out of soft edges.
    Raises: ValueError where shapes disagree, nothing of the object is opaque, or it lies outside the picture.
    """
    placement = placement or Placement()
    if alpha.shape[-2:] != image.shape[-2:]:
        sizes = [f"{part.shape[-1]}x{part.shape[-2]}" for part in (image, alpha)]
        raise ValueError(f"the object is {sizes[0]} and its mask {sizes[1]}: they must have the same size")
    for name, part, channels in (("background", background, 3), ("object", image, 3), ("alpha", alpha, 1)):
        if part.ndim != 4 or part.shape[:2] != (1, channels):
            raise ValueError(f"the {name} must be (1, {channels}, H, W), got {tuple(part.shape)}")
    image, alpha = trimmed(image.float(), alpha.float().clamp(0, 1))
    colours = own_colours(image, alpha) if clean else image
    for axis, names in ((-1, ("horizontal", "both")), (-2, ("vertical", "both"))):
        if placement.flip in names:
            colours, alpha = colours.flip(axis), alpha.flip(axis)
    height, width = background.shape[-2:]
    centre = object_centre(placement, (width, height), (image.shape[-1], image.shape[-2]))
    window = _window(centre, (image.shape[-1], image.shape[-2]), placement, (width, height))
    colours, weight = _resampled(colours, alpha, centre, placement, window)
    if placement.feather:
        weight = shaped(weight, -math.ceil(placement.feather / 2), placement.feather)
    weight = torch.where(weight < _FAINT, 0.0, weight)
    composite, mask = background.clone(), background.new_zeros(1, 1, height, width)
    place = (..., slice(window[1], window[3]), slice(window[0], window[2]))
    old = composite[place]
    new = torch.where(weight >= 1, colours, torch.lerp(old.float(), colours, weight)).to(old.dtype)
    composite[place] = torch.where(weight > 0, new, old)
    mask[place] = weight.to(mask.dtype)
    return Pasted(composite=composite, mask=mask)


def object_centre(placement: Placement, canvas: tuple[int, int], box: tuple[int, int]) -> tuple[float, float]:
    """Where the middle of the object's box lies on the canvas, in pixels; sizes are (width, height)."""
    right, down = ANCHORS[placement.anchor]
    return (
        right * canvas[0] + placement.x + (0.5 - right) * box[0] * placement.scale,
        down * canvas[1] + placement.y + (0.5 - down) * box[1] * placement.scale,
    )


def _window(
    centre: tuple[float, float], box: tuple[int, int], placement: Placement, canvas: tuple[int, int]
) -> tuple[int, int, int, int]:
    """The part of the canvas that the turned object may touch: left, top, right, bottom."""
    turn = math.radians(placement.rotation)
    cosine, sine = abs(math.cos(turn)), abs(math.sin(turn))
    half = [placement.scale * side / 2 for side in box]
    reach = (half[0] * cosine + half[1] * sine + 2, half[0] * sine + half[1] * cosine + 2)
    left, top = (max(0, math.floor(c - r)) for c, r in zip(centre, reach, strict=True))
    right, bottom = (min(side, math.ceil(c + r)) for c, r, side in zip(centre, reach, canvas, strict=True))
    if left >= right or top >= bottom:
        raise ValueError(
            f"the object lies outside the picture: its middle is at {centre[0]:.0f}, {centre[1]:.0f} "
            f"of {canvas[0]}x{canvas[1]}"
        )
    return left, top, right, bottom


def _resampled(
    colours: Tensor,
    alpha: Tensor,
    centre: tuple[float, float],
    placement: Placement,
    window: tuple[int, int, int, int],
) -> tuple[Tensor, Tensor]:
    """Colours and alpha at the canvas' pixels in the window; alpha is 0 outside the object's box."""
    full = colours.shape[-1], colours.shape[-2]
    if placement.scale < 1:  # averaged first, because the cubic filter sees four pixels only
        size = (max(1, round(full[1] * placement.scale)), max(1, round(full[0] * placement.scale)))
        colours, alpha = (bilinear(part, size, antialias=True) for part in (colours, alpha))
    left, top, right, bottom = window
    turn = math.radians(placement.rotation)
    cosine, sine = math.cos(turn), math.sin(turn)
    away_x = torch.arange(left, right, dtype=torch.float64) + 0.5 - centre[0]
    away_y = torch.arange(top, bottom, dtype=torch.float64)[:, None] + 0.5 - centre[1]
    # back into the object, in its own pixels after the averaging, from its middle
    ratio = [part / (side * placement.scale) for part, side in zip(colours.shape[:1:-1], full, strict=True)]
    across = (cosine * away_x + sine * away_y) * ratio[0]
    down = (cosine * away_y - sine * away_x) * ratio[1]
    width, height = colours.shape[-1], colours.shape[-2]
    edge = 4  # a frame of clear pixels, so that the object fades where its box ends
    grid = torch.stack((2 * across / (width + 2 * edge), 2 * down / (height + 2 * edge)), -1)[None]
    framed = torch.cat((F.pad(colours, [edge] * 4, mode="replicate"), F.pad(alpha, [edge] * 4)), 1)
    exact = _whole(across + width / 2 - 0.5) and _whole(down + height / 2 - 0.5)
    found = at_places(framed, grid.to(framed), "nearest" if exact else "bicubic").clamp(0, 1)
    return found[:, :3], found[:, 3:]


def _whole(places: Tensor) -> bool:
    """Whether every place is a pixel's own middle: then nothing is resampled."""
    return bool((places - places.round()).abs().max() < 1e-6)
