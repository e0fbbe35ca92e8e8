"""Between a network's size and the photo's: pictures made small, what a network says made large.

Two ways to enlarge. `Enlarged` is ours: bilinear, and only cells inside the object count, because
what a network says outside is junk that would bleed into the rim. `Bicubic` is what the authors of
published networks do: all cells count, and values overshoot.
Shapes: B images; h x w is the network's size, H x W the photo's.
"""

from collections.abc import Callable
from math import ceil, floor, gcd
from typing import NamedTuple

import torch
from torch import Tensor

from .precision import widen
from .resizing import bicubic, bilinear

Kernel = Callable[[Tensor, tuple[int, int]], Tensor]


class Window(NamedTuple):
    """A part of the photo, in its own pixels; both slices have a start and a stop."""

    rows: slice
    columns: slice


def shrink(image: Tensor, size: tuple[int, int], *, antialias: bool = True) -> Tensor:
    """The picture or mask at a network's size; at its own size, itself.

    Args:
        image: (B, C, H, W), values 0..1; size: (height, width), which may also be larger.
        antialias: False samples as OpenCV's linear resize does, for networks that were trained so.
    Returns: (B, C, *size) float32 (float64 stays), values 0..1.
    """
    image = widen(image)
    if image.shape[-2:] == size:
        return image
    # the filter's weights sum to 1 up to rounding
    return bilinear(image, size, antialias=antialias).clamp(0, 1)


def enlarge(parameters: Tensor, inside: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear enlargement in which only cells inside the object count: up(P w) / up(w).

    Args: parameters (B, C, h, w), any values; inside (B, 1, h, w) bool; size (height, width).
    Returns: (B, C, *size); 0 where no cell inside is near. What stands in cells outside, even NaN,
        never shows.
    """
    return Enlarged(parameters, inside, size).part(Window(slice(0, size[0]), slice(0, size[1])))


class Enlarged:
    """`enlarge`, a part at a time: an enlarged map of 12 parameters is four times the photo."""

    def __init__(self, parameters: Tensor, inside: Tensor, size: tuple[int, int]) -> None:
        self.size = size
        self.constant = parameters.shape[-2:] == (1, 1)
        kept = torch.where(inside, parameters, torch.zeros((), dtype=parameters.dtype, device=inside.device))
        self.weighted = torch.cat((kept, inside.to(parameters.dtype)), 1)  # (B, C + 1, h, w)
        self.parameters = parameters

    def part(self, window: Window) -> Tensor:
        """(B, C, rows, columns), or (B, C, 1, 1) where the parameters are the same everywhere."""
        if self.constant:
            return self.parameters
        height = self.weighted.shape[-2]
        device = self.weighted.device
        # places in float64 on the CPU: not every device has it
        source = _source(window.rows, height, self.size[0], torch.device("cpu")).clamp(0, height - 1)
        whole = source.floor()
        share = (source - whole)[:, None].to(self.weighted.dtype).to(device)
        above = whole.long().to(device)
        below = (above + 1).clamp_max(height - 1)
        upper, lower = self.weighted[..., above, :], self.weighted[..., below, :]
        wide = _widen(upper + share * (lower - upper), window.columns, self.size[1], bilinear)
        weight = wide[:, -1:]
        return torch.where(weight > 0, wide[:, :-1] / weight.clamp_min(1e-12), torch.zeros_like(weight))


class Bicubic:
    """`resizing.bicubic` without antialiasing, a part at a time."""

    def __init__(self, parameters: Tensor, size: tuple[int, int]) -> None:
        self.size = size
        self.parameters = parameters  # (B, C, h, w)

    def part(self, window: Window) -> Tensor:
        """(B, C, rows, columns)."""
        height = self.parameters.shape[-2]
        # in float32, as `resizing.bicubic` has it
        source = _source(window.rows, height, self.size[0], self.parameters.device, torch.float32)
        first = source.floor()
        lines: Tensor | None = None
        for tap in range(-1, 3):
            weight = _cubic((source - first - tap).abs())[:, None].to(self.parameters)
            row = (first.long() + tap).clamp(0, height - 1)
            term = weight * self.parameters[..., row, :]
            lines = term if lines is None else lines + term
        assert lines is not None
        return _widen(lines, window.columns, self.size[1], bicubic)


def _source(
    rows: slice, height: int, full: int, device: torch.device, dtype: torch.dtype = torch.float64
) -> Tensor:
    """Where the centres of rows of the photo lie in rows of the small map."""
    row = torch.arange(rows.start, rows.stop, device=device, dtype=dtype)
    return (row + 0.5) * (height / full) - 0.5


def _cubic(distance: Tensor) -> Tensor:
    """Keys' kernel with a = -0.75, for distances 0..2."""
    a = -0.75
    near = ((a + 2) * distance - (a + 3)) * distance * distance + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return torch.where(distance <= 1, near, far)


def _widen(lines: Tensor, columns: slice, full: int, kernel: Kernel) -> Tensor:
    """Columns of the enlarged lines: (B, C, rows, w) -> (B, C, rows, columns); only what is near is done.

    Both grids meet again after every w / gcd(w, W) cells, so the lines are cut there and no weight changes.
    """
    cells = lines.shape[-1]
    unit = cells // gcd(cells, full)
    ratio = cells / full
    first = max(0, floor(columns.start * ratio) - 3) // unit * unit
    last = min(cells, ceil((ceil(columns.stop * ratio) + 3) / unit) * unit)
    offset, width = first * full // cells, (last - first) * full // cells
    wide = kernel(lines[..., first:last], (lines.shape[-2], width))
    return wide[..., columns.start - offset : columns.stop - offset]
