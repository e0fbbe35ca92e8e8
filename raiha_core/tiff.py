"""TIFF files to rasters: 1 to 16 bits, grey, RGB, CMYK and palette, with alpha, any common compression.

Through tifffile, because Pillow reads 16-bit colour as 8 bits or not at all. One picture per file:
previews and other reduced pages are passed over, a second full page is refused.
"""

import io
import logging
import math
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import tifffile

from .raster import PictureError, Raster, require_size

_RGB, _PALETTE, _CMYK, _YCBCR = 2, 3, 5, 6
_WHITE_IS_ZERO = 0
_JPEG = 7
_ASSOCIATED = 1  # an alpha that is multiplied into the colours
# Size, bits, compression, colour kind, samples, strips or tiles, predictor, palette, extra samples
_NEEDED = {256, 257, 258, 259, 262, 273, 277, 278, 279, 284, 317, 320, 322, 323, 324, 325, 338, 339}


@contextmanager
def _without_log() -> Iterator[None]:
    """Keep tifffile's remarks on damaged files off the terminal: what matters becomes an error here."""
    thread, logger = threading.get_ident(), logging.getLogger("tifffile")

    def others(record: logging.LogRecord) -> bool:
        return record.thread != thread

    logger.addFilter(others)
    try:
        yield
    finally:
        logger.removeFilter(others)


def _only_page(file: tifffile.TiffFile, path: Path) -> tifffile.TiffPage:
    pages = [page.aspage() for page in file.pages]
    full = [page for page in pages if not page.subfiletype & 1]  # bit 0: a reduced version of another page
    if not full:
        raise PictureError(f"{path} holds only a preview (a camera's raw file?); develop it to TIFF or JPEG")
    if len(full) > 1:
        raise PictureError(f"{path} holds {len(full)} pages; export the one that is meant to its own file")
    return full[0]


def _declared_tags(page: tifffile.TiffPage, data: bytes) -> set[int]:
    order, big = page.parent.byteorder, page.parent.is_bigtiff
    (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, page.offset)
    first, step = (page.offset + 8, 20) if big else (page.offset + 2, 12)
    return {struct.unpack_from(order + "H", data, first + i * step)[0] for i in range(count)}


def _require_whole(page: tifffile.TiffPage, data: bytes, path: Path) -> None:
    # tifffile passes over tags that it cannot read, and then takes the picture for one of another kind
    if lost := (_declared_tags(page, data) & _NEEDED) - {tag.code for tag in page.tags}:
        raise PictureError(f"{path} is truncated or damaged: TIFF tag {min(lost)} cannot be read")
    ends = [offset + count for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False)]
    missing = len(ends) < math.prod(page.chunked) or 0 in page.dataoffsets or 0 in page.databytecounts
    if missing or max(ends) > len(data):
        raise PictureError(f"{path} is truncated: part of its pixel data is missing")


def _require_kind(page: tifffile.TiffPage, path: Path) -> int:
    """How many samples of a pixel are colour."""
    photometric, bits = int(page.photometric), page.bitspersample
    if page.sampleformat != 1 or not isinstance(bits, int) or not 1 <= bits <= 16:
        raise PictureError(
            f"{path} has samples of {bits} bits in TIFF sample format {page.sampleformat}; "
            "save it with 8 or 16 bits per channel, unsigned"
        )
    colours = {_WHITE_IS_ZERO: 1, 1: 1, _RGB: 3, _PALETTE: 1, _CMYK: 4}
    if page.compression == _JPEG:
        colours[_YCBCR] = 3  # the JPEG decoder gives RGB
    known = photometric in colours and page.imagedepth == 1 and page.tags.valueof(332, 1) == 1  # InkSet: CMYK
    if not known or page.samplesperpixel < colours[photometric]:
        raise PictureError(
            f"{path} stores its colours in a way Raiha does not read "
            f"(TIFF photometric {photometric}, {page.samplesperpixel} samples); save it as RGB"
        )
    return colours[photometric]


def _to_full_scale(samples: np.ndarray, bits: int) -> np.ndarray:
    """Stretch samples of 1..16 bits over uint8 (up to 8 bits) or uint16."""
    kind, full, top = (np.uint8, 255, 2**bits - 1) if bits <= 8 else (np.uint16, 65535, 2**bits - 1)
    if top == full:
        return samples.astype(kind, copy=False)
    return ((samples.astype(np.uint32) * full + top // 2) // top).astype(kind)


def _apply_palette(indices: np.ndarray, colours: np.ndarray) -> np.ndarray:
    # The map holds 16 bits, written as 257 or 256 times the 8-bit colour: the high byte serves both.
    return (colours >> 8).astype(np.uint8).T[indices[:, :, 0]]


def _unmultiply(samples: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    full = np.iinfo(samples.dtype).max
    cover = np.maximum(alpha, 1)[:, :, None].astype(np.uint32)
    straight = (samples.astype(np.uint32) * full + cover // 2) // cover
    return np.where(alpha[:, :, None] > 0, np.minimum(straight, full), samples).astype(samples.dtype)


def decode_tiff(data: bytes, path: Path, max_pixels: int) -> Raster:
    """The one full picture of a TIFF file; `path` only names it in errors.

    An extra sample of unspecified meaning counts as alpha, and as not multiplied in.
    Raises: PictureError in one sentence; other errors from tifffile on damaged files.
    """
    with _without_log(), tifffile.TiffFile(io.BytesIO(data)) as file:
        page = _only_page(file, path)
        require_size(path, page.imagewidth, page.imagelength, max_pixels)
        _require_whole(page, data, path)
        colours = _require_kind(page, path)
        samples = page.asarray()
        if samples.ndim == 2:
            samples = samples[:, :, None]
        elif page.axes == "SYX":
            samples = samples.transpose(1, 2, 0)
        extra = [int(kind) for kind in page.extrasamples][: samples.shape[2] - colours]
        profile = page.tags.valueof(34675)
        orientation = page.tags.valueof(274, 1)
        palette = page.colormap if int(page.photometric) == _PALETTE else None
        white_is_zero = int(page.photometric) == _WHITE_IS_ZERO
        bits = page.bitspersample
    alpha = None
    if extra:
        chosen = next((i for i, kind in enumerate(extra) if kind in (1, 2)), 0)
        alpha = _to_full_scale(samples[:, :, colours + chosen], bits)
    samples = samples[:, :, :colours]
    samples = _to_full_scale(samples, bits) if palette is None else _apply_palette(samples, palette)
    if white_is_zero:
        samples = np.iinfo(samples.dtype).max - samples
    if alpha is not None and extra[chosen] == _ASSOCIATED:
        samples = _unmultiply(samples, alpha)
    return Raster(samples=samples, alpha=alpha, profile=profile, orientation=int(orientation))
