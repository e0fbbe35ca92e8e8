"""Pictures looked at strip by strip, so that a question about 268 megapixels needs no second picture.

Shapes: pictures and masks (B, C, H, W).
"""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

STRIP_NUMBERS = 1 << 20  # looked at together: what a comparison makes of them stays in the processor's cache

_TOGETHER = 32  # numbers that the processor's widest routines take at once


def row_strips(picture: Tensor) -> Iterator[Tensor]:
    """The picture (B, C, H, W) in strips of whole rows, as views, top to bottom; at least one."""
    row = max(1, picture.numel() // max(1, picture.shape[-2]))
    # on a GPU each answer waits for all work before it, so there are few, large strips
    numbers = STRIP_NUMBERS if picture.device.type == "cpu" else 64 * STRIP_NUMBERS
    height = max(1, numbers // row)
    for top in range(0, max(1, picture.shape[-2]), height):
        yield picture[..., top : top + height, :]


def any_pixel(picture: Tensor, holds: Callable[[Tensor], Tensor]) -> bool:
    """Whether `holds` is true somewhere; it gets one strip after the other and returns bools."""
    return any(bool(holds(strip).any()) for strip in row_strips(picture))


def count_pixels(picture: Tensor, holds: Callable[[Tensor], Tensor]) -> int:
    """How many numbers `holds` is true for."""
    return sum(int(holds(strip).sum()) for strip in row_strips(picture))


def with_objects(mask: Tensor) -> Tensor:
    """(B,) bool on the CPU: which masks of the batch (B, 1, H, W), without NaN, are above 0 somewhere."""
    found = torch.zeros(len(mask), dtype=torch.bool)
    for strip in row_strips(mask):
        found |= (strip.amax((1, 2, 3)) > 0).cpu()  # many times as fast as a comparison of all
    return found


def touched_rows(mask: Tensor) -> Tensor:
    """Indices of the rows in which a mask of the batch (B, 1, H, W), without NaN, is above 0."""
    return torch.cat([strip.amax((0, 1, 3)) > 0 for strip in row_strips(mask)]).nonzero().flatten()


def touched_columns(mask: Tensor) -> Tensor:
    """Indices of the columns likewise."""
    most = torch.stack([strip.amax((0, 1, 2)) for strip in row_strips(mask)])
    return (most.amax(0) > 0).nonzero().flatten()


def _runs(picture: Tensor) -> Iterator[Tensor]:
    """All values, some at a time and in any order: as they lie in memory, where they lie densely."""
    for lying in (picture, picture.movedim(1, -1) if picture.ndim == 4 else picture):
        if lying.is_contiguous():
            numbers = STRIP_NUMBERS if picture.device.type == "cpu" else 64 * STRIP_NUMBERS
            return iter(lying.reshape(-1).split(numbers))
    return row_strips(picture)


def value_range(picture: Tensor) -> tuple[float, float]:
    """The least and the largest value; not finite where one of the values is not (NaN for NaN)."""
    lows, highs = zip(*((run.amin(), run.amax()) for run in _runs(picture)), strict=True)
    return torch.stack(lows).amin().item(), torch.stack(highs).amax().item()


def all_finite(picture: Tensor) -> bool:
    """Whether no value is NaN or infinite: `isfinite` makes three copies of the picture, this none."""
    return all(math.isfinite(value) for value in value_range(picture))


def in_strips(work: Callable[[slice], None], rows: slice, height: int) -> None:
    """Do `work` for `rows`, `height` of them at a time, top to bottom; fewer where memory is short.

    What runs out of memory is done again with strips half as high, so `work` must give the same whatever
    the height and be fit to be repeated. Heights are multiples of 32 rows, where they are that high: the
    last few powers of a run are computed by another routine than the others, and may differ by a bit.
    Raises: torch.OutOfMemoryError where a single row is too much.
    """
    top, height = rows.start, _even(height)
    while top < rows.stop:
        part = slice(top, min(top + height, rows.stop))
        try:
            work(part)
        except torch.cuda.OutOfMemoryError:
            if part.stop - part.start == 1:
                raise
        else:
            top = part.stop
            continue
        # here and not in the handler: the error holds on to what the failed strip had made
        height = _even((part.stop - part.start) // 2)
        torch.cuda.empty_cache()  # does nothing where no GPU was used


def _even(height: int) -> int:
    """The largest multiple of 32 rows up to `height`; itself where there is none."""
    return height if height < _TOGETHER else height - height % _TOGETHER
