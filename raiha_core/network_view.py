"""What a harmonizer gets to see of a composite: a part of it around the object, only some of the background.

Shapes: one composite (1, 3, H, W) and its mask (1, 1, H, W).
"""

import math

import torch
from torch import Tensor

from .colour_fill import filled
from .enlargement import Window
from .precision import has_double, widen

LEAST_MARGIN = 16  # pixels: with less around it an object has no surroundings


def window_around(mask: Tensor, context: float) -> Window:
    """The part of a picture that holds the object and some of what surrounds it.

    Args: mask: not empty; context: the margin on each side, in lengths of the object's longer side; 0 is
        the whole picture.
    """
    height, width = mask.shape[-2:]
    if context <= 0:
        return Window(slice(0, height), slice(0, width))
    inside = (mask > 0).any(0)[0]
    rows, columns = inside.any(1).nonzero().flatten().tolist(), inside.any(0).nonzero().flatten().tolist()
    longest = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1
    return _grown(rows, columns, max(LEAST_MARGIN, math.ceil(context * longest)), (height, width))


def window_by_share(mask: Tensor, least: float) -> Window:
    """The largest part of a picture around the object of which the object is at least the share `least`.

    The margin is the same on each side, where the picture has as much, and at least `LEAST_MARGIN`; so it
    grows steadily with the object's share, up to the whole picture.
    Args: mask: not empty; least: 0 is the whole picture.
    """
    height, width = mask.shape[-2:]
    if least <= 0:
        return Window(slice(0, height), slice(0, width))
    exact = mask if has_double(mask.device) else mask.cpu()
    amount = float(exact.sum(dtype=torch.float64))
    if amount >= least * height * width:
        return Window(slice(0, height), slice(0, width))
    inside = (mask > 0).any(0)[0]
    rows, columns = inside.any(1).nonzero().flatten().tolist(), inside.any(0).nonzero().flatten().tolist()
    low, high = LEAST_MARGIN, max(height, width)
    while low < high:  # the widest margin that leaves the object its share
        middle = (low + high + 1) // 2
        seen = _grown(rows, columns, middle, (height, width))
        area = (seen.rows.stop - seen.rows.start) * (seen.columns.stop - seen.columns.start)
        low, high = (middle, high) if amount >= least * area else (low, middle - 1)
    return _grown(rows, columns, low, (height, width))


def _grown(rows: list[int], columns: list[int], margin: int, size: tuple[int, int]) -> Window:
    """The box of these rows and columns with a margin, within a picture of height and width."""
    return Window(
        slice(max(0, rows[0] - margin), min(size[0], rows[-1] + 1 + margin)),
        slice(max(0, columns[0] - margin), min(size[1], columns[-1] + 1 + margin)),
    )


def painted_over(composite: Tensor, mask: Tensor, background: Tensor) -> Tensor:
    """The composite whose surroundings hold the colours of the chosen background alone.

    What is neither object nor background is filled with the background's colours from near by, smoothly;
    so networks that know no second mask see nothing else there.
    Args: background (1, 1, H, W), values 0..1: what may be looked at.
    Raises: ValueError where nothing of it lies outside the object.
    """
    shown = ((background > 0.5) & (mask == 0)).to(widen(composite).dtype)
    if not shown.any():
        raise ValueError("the background mask leaves no background: nothing of it lies outside the object")
    colour = filled(widen(composite), shown)
    kept = (shown > 0) | (mask > 0)
    return torch.where(kept, composite, colour.to(composite.dtype))
