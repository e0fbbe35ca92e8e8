"""A very large photo harmonized in its stored codes, so that no copy of it in floats is ever made.

The ordinary road (`pipeline`) holds photo and result in floats: eight times what the codes take. Here the
codes are turned into floats strip by strip, once to be made small for the network and once to be rendered,
and are changed where they lie. It differs from the ordinary road by the rounding of
sums alone: by a level, in few pixels. What it does not do (`is_simple`), the ordinary road does.
Shapes: codes (H, W, 3); a mask is kept as the box around its object.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .codecs.decoding import decode
from .codecs.encoding import Carried
from .codecs.icc import settle
from .codecs.png import png_size
from .codecs.png_strips import write_png_strips
from .codecs.raster import upright
from .controls import BY_HARMONIZER, Controls
from .durable import durable_path
from .enlargement import Window
from .harmonizer import Harmonizer, NetworkHarmonizer
from .render import STRIP_PIXELS, PartByPart
from .resizing import bilinear
from .strips import in_strips

LARGE_PIXELS = 1 << 26  # from here on memory counts for more than the last bit
_ROWS = 64  # made small together


@dataclass(frozen=True, slots=True)
class _BoxedMask:
    """A mask as codes of 8 bits in the box around its object; 0 elsewhere."""

    codes: np.ndarray
    window: Window
    size: tuple[int, int]  # of the photo


def is_simple(harmonizer: Harmonizer, strength: float, controls: Controls) -> bool:
    """Whether a photo shall only get what a network says at its own size, no more than once."""
    if not isinstance(harmonizer, NetworkHarmonizer) or strength > 1 or controls.change_pixels:
        return False
    whole = controls.context == 0 or (controls.context == BY_HARMONIZER and harmonizer.least_share == 0)
    shaped = controls.grow != 0 or controls.feather != 0 or controls.local_light != 0
    return whole and not shaped and not harmonizer.needs.own_size and not harmonizer.needs.content


@torch.inference_mode()
def harmonize_stored(
    picture: Path,
    mask: Path,
    output: Path,
    harmonizer: Harmonizer,
    *,
    strength: float,
    max_pixels: int,
    device: torch.device | str = "cpu",
) -> bool:
    """Harmonize a large PNG by a plain mask of its size into a PNG, in the memory of its codes.

    Returns: False, with nothing written, where one of the files is of another kind, or the mask is one that
        has to be understood (labels, nearly black, inverted, empty): the ordinary road does or says it.
    Raises: as `decode`; OSError.
    """
    assert isinstance(harmonizer, NetworkHarmonizer)
    size = png_size(picture)
    if size is None or size[0] * size[1] < LARGE_PIXELS or png_size(mask) != size:
        return False
    boxed = _plain_mask(mask, max_pixels)
    if boxed is None or boxed.size != size:
        return False
    raster = upright(decode(picture, max_pixels))
    if raster.alpha is not None or raster.samples.shape[2] != 3 or raster.foreign_colours or raster.notes:
        return False
    settled = settle(raster, picture)
    if not settled.same or raster.samples.shape[:2] != size:
        return False
    codes, full = raster.samples if raster.samples.flags.writeable else raster.samples.copy(), raster.full
    needs = harmonizer.needs

    def mask_at(small: tuple[int, int]) -> Tensor:
        return _made_small(_mask_strips(boxed), size, small, antialias=True)

    seen = (needs.size, needs.size)
    photo = _made_small(_strips(codes, full), size, seen, antialias=needs.antialias)
    inside = _made_small(_mask_strips(boxed), size, seen, antialias=needs.antialias)
    prediction = harmonizer.predict(photo.to(device), inside.to(device), [()])
    if prediction.step is not None or prediction.dense is not None:
        return False
    rendered = PartByPart(prediction, mask_at).of(size)
    rows, columns = boxed.window

    def change(part: slice) -> None:
        inner = boxed.codes[part.start - rows.start : part.stop - rows.start]
        weight = torch.from_numpy(inner)[None, None].to(device).float() / 255 * strength
        old = _floats(codes[part, columns], full).to(device)
        new = rendered(old, weight, Window(part, columns))
        changed = (new * full).round_().clamp_(0, full)[0].permute(1, 2, 0).cpu().numpy()
        np.copyto(codes[part, columns], changed.astype(codes.dtype), where=(inner > 0)[:, :, None])

    in_strips(change, rows, max(1, STRIP_PIXELS // (columns.stop - columns.start)))
    with durable_path(output) as temporary:
        write_png_strips(temporary, codes, Carried(profile=settled.profile, metadata=raster.metadata))
    return True


def _plain_mask(path: Path, max_pixels: int) -> _BoxedMask | None:
    """The mask of a grey PNG of 8 bits that means what it says; None for others."""
    raster = decode(path, max_pixels)
    codes = raster.samples
    plain = codes.dtype == np.uint8 and codes.shape[2] == 1 and raster.alpha is None
    if not plain or raster.indices is not None or raster.orientation != 1 or raster.notes:
        return None
    codes = codes[:, :, 0]
    counts = np.zeros(256, np.int64)
    for top in range(0, len(codes), 1024):
        counts += np.bincount(codes[top : top + 1024].reshape(-1), minlength=256)
    # no label, no nearly black, nothing that looks inverted: see `mask_meaning`
    if counts[0] == 0 or counts[1:21].any() or counts[128:].sum() * 2 > codes.size or not counts[21:].any():
        return None
    touched = [np.flatnonzero(codes.any(axis)) for axis in (1, 0)]
    rows, columns = (slice(int(one[0]), int(one[-1]) + 1) for one in touched)
    return _BoxedMask(codes[rows, columns].copy(), Window(rows, columns), codes.shape)


def _floats(codes: np.ndarray, full: int) -> Tensor:
    """(n, m, C) codes -> (1, C, n, m) float32."""
    values = codes.transpose(2, 0, 1).astype(np.float32, order="C")
    values /= full
    return torch.from_numpy(values)[None]


def _strips(codes: np.ndarray, full: int) -> Iterator[tuple[int, Tensor]]:
    for top in range(0, len(codes), _ROWS):
        yield top, _floats(codes[top : top + _ROWS], full)


def _mask_strips(mask: _BoxedMask) -> Iterator[tuple[int, Tensor]]:
    """The strips that the object touches, at the photo's width."""
    rows, columns = mask.window
    for top in range(rows.start, rows.stop, _ROWS):
        part = mask.codes[top - rows.start : top - rows.start + _ROWS]
        strip = torch.zeros(1, 1, len(part), mask.size[1])
        strip[..., columns] = _floats(part[:, :, None], 255)
        yield top, strip


def _made_small(
    strips: Iterator[tuple[int, Tensor]], size: tuple[int, int], small: tuple[int, int], *, antialias: bool
) -> Tensor:
    """`enlargement.shrink` of a picture (height, width) that comes in strips; what is missing is 0.

    The filter works on columns and rows one after the other: columns of each strip, then each strip's
    share in the rows of the result, which is the filter's answer to the strip's rows set to 1 one by one.
    """
    total: Tensor | None = None
    for top, strip in strips:
        height = strip.shape[-2]
        narrow = bilinear(strip, (height, small[1]), antialias=antialias)[0]
        single = torch.zeros(1, 1, size[0], height)
        single[0, 0, top : top + height] = torch.eye(height)
        share = bilinear(single, (small[0], height), antialias=antialias)[0, 0] @ narrow
        total = share if total is None else total + share
    assert total is not None
    return total[None].clamp(0, 1)
