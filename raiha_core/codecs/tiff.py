"""TIFF files to rasters: 1 to 16 bits and floats; grey, RGB, CMYK and palette, with alpha; compressed or not.

Through tifffile, because Pillow reads 16-bit colour as 8 bits or not at all. One picture per file:
previews and other reduced pages are passed over, a second full page is refused. Floats without a
profile are scene-linear light with the primaries of sRGB, in which 1 is the display's white.
"""

import io
import logging
import math
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from .colorspace import adobe_rgb, linear_rgb
from .exif import declares_adobe_rgb, read_orientation
from .inner_size import inner_size
from .raster import FileMetadata, Limits, PictureError, Raster

if TYPE_CHECKING:
    import tifffile

_RGB, _PALETTE, _CMYK, _YCBCR = 2, 3, 5, 6
_WHITE_IS_ZERO = 0
_BIG = (b"+\0", b"\0+")  # the version of BigTIFF
_JPEG = (6, 7)
_FLOAT = 3
_MOST_PAGES = 1000  # previews of a camera's file are a handful
# Unpacked to no more bytes than the page says: none, fax, LZW, deflate, PackBits, LZMA, Zstandard
_BOUNDED = (1, 2, 3, 4, 5, 8, 32773, 32946, 34925, 50000)
_PICTURES = (
    *_JPEG,
    33003,
    33005,
    34712,
    50001,
)  # JPEG, JPEG 2000 and WebP: pictures with a size of their own
_DESCRIPTIONS = (269, 270, 271, 272, 305, 306, 315, 33432)  # EXIF tags of text in the first directory
_EXIF, _GPS, _XMP = 34665, 34853, 700
_INTEROPERABILITY = 0xA005  # a position in this very file
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


def _require_chain(data: bytes, path: Path) -> None:
    """Follow the pages once, before a library does that trusts them.

    Raises: PictureError where a page was met before, lies outside the file, or has too many before it.
    """
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in _BIG
    count, entry, link = ("Q", 20, "Q") if big else ("H", 12, "I")
    (offset,) = struct.unpack_from(order + link, data, 8 if big else 4)
    met: set[int] = set()
    while offset:
        if offset in met:
            raise PictureError(f"{path} is damaged: its TIFF pages lead in a circle")
        if len(met) >= _MOST_PAGES:
            raise PictureError(f"{path} holds more than {_MOST_PAGES} pages; export the one that is meant")
        met.add(offset)
        try:
            (tags,) = struct.unpack_from(order + count, data, offset)
            (offset,) = struct.unpack_from(
                order + link, data, offset + struct.calcsize(order + count) + entry * tags
            )
        except struct.error:
            raise PictureError(f"{path} is truncated: a TIFF page is cut off") from None


def _only_page(file: "tifffile.TiffFile", path: Path) -> "tifffile.TiffPage":
    pages = [page.aspage() for page in file.pages]
    full = [page for page in pages if not page.subfiletype & 1]  # bit 0: a reduced version of another page
    if not full:
        raise PictureError(f"{path} holds only a preview (a camera's raw file?); develop it to TIFF or JPEG")
    if len(full) > 1:
        raise PictureError(f"{path} holds {len(full)} pages; export the one that is meant to its own file")
    return full[0]


def _declared_tags(page: "tifffile.TiffPage", data: bytes) -> set[int]:
    order, big = page.parent.byteorder, page.parent.is_bigtiff
    (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, page.offset)
    first, step = (page.offset + 8, 20) if big else (page.offset + 2, 12)
    return {struct.unpack_from(order + "H", data, first + i * step)[0] for i in range(count)}


def _require_whole(page: "tifffile.TiffPage", data: bytes, path: Path, limits: Limits) -> str:
    # tifffile passes over tags that it cannot read, and then takes the picture for one of another kind
    if lost := (_declared_tags(page, data) & _NEEDED) - {tag.code for tag in page.tags}:
        raise PictureError(f"{path} is truncated or damaged: TIFF tag {min(lost)} cannot be read")
    ends = [offset + count for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False)]
    missing = len(ends) < math.prod(page.chunked) or 0 in page.dataoffsets or 0 in page.databytecounts
    if missing or max(ends) > len(data):
        return limits.damage(path, "is truncated: part of its pixel data is missing")
    return ""


def _require_bounded(page: "tifffile.TiffPage", data: bytes, path: Path, limits: Limits) -> None:
    """Raises: PictureError where a strip or tile could take more memory than the page's size says."""
    if page.compression not in (*_BOUNDED, *_PICTURES):
        raise PictureError(
            f"{path} is compressed in a way Raiha does not read (TIFF compression {int(page.compression)}); "
            "save it with LZW or ZIP"
        )
    width, height = page.imagewidth, min(page.rowsperstrip, page.imagelength)
    if page.is_tiled:
        width, height = page.tilewidth, page.tilelength
        limits.require(path, width, height, page.samplesperpixel)
    if page.compression not in _PICTURES:
        return
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False):
        inner = inner_size(data[offset : offset + count])
        if inner is not None and (inner[0] > width or inner[1] > height):
            raise PictureError(
                f"{path} is damaged: a {inner[0]}x{inner[1]} picture fills a part of {width}x{height}"
            )


def _require_kind(page: "tifffile.TiffPage", path: Path) -> int:
    """How many samples of a pixel are colour."""
    photometric, bits = int(page.photometric), page.bitspersample
    floats = page.sampleformat == _FLOAT and bits in (16, 32, 64)
    if not floats and (page.sampleformat != 1 or not isinstance(bits, int) or not 1 <= bits <= 16):
        raise PictureError(
            f"{path} has samples of {bits} bits in TIFF sample format {page.sampleformat}; "
            "save it with 8 or 16 bits per channel, unsigned, or 32-bit floats"
        )
    colours = {_WHITE_IS_ZERO: 1, 1: 1, _RGB: 3, _PALETTE: 1, _CMYK: 4}
    if floats:
        colours = {1: 1, _RGB: 3}
    if page.compression in _JPEG:
        colours[_YCBCR] = 3  # the JPEG decoder gives RGB
    known = photometric in colours and page.imagedepth == 1 and page.tags.valueof(332, 1) == 1  # InkSet: CMYK
    if not known or page.samplesperpixel < colours[photometric]:
        raise PictureError(
            f"{path} stores its colours in a way Raiha does not read "
            f"(TIFF photometric {photometric}, {page.samplesperpixel} samples); save it as RGB"
        )
    return colours[photometric]


def _read_what_is_left(page: "tifffile.TiffPage", data: bytes) -> np.ndarray:
    """The page with its broken strips or tiles left black."""
    whole = np.zeros(page.shaped, page.dtype)
    tables = (
        {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader} if page.compression in _JPEG else {}
    )
    for index, (offset, count) in enumerate(zip(page.dataoffsets, page.databytecounts, strict=False)):
        try:
            part, place, _ = page.decode(data[offset : offset + count], index, **tables)
        except Exception:  # on damaged data decoders raise nearly anything
            continue
        if part is not None and place[0] < len(whole):
            room = whole[place[0], place[1] :, place[2] :, place[3] :]
            depth, rows, columns, _ = (min(a, b) for a, b in zip(part.shape, room.shape, strict=True))
            room[:depth, :rows, :columns] = part[:depth, :rows, :columns]
    return whole.reshape(page.shape)


def _read_samples(
    page: "tifffile.TiffPage", data: bytes, path: Path, limits: Limits
) -> tuple[np.ndarray, str]:
    """(H, W, C), and the damage that was passed over."""
    damage = _require_whole(page, data, path, limits)
    samples = None
    if not damage:
        try:
            samples = page.asarray()
        except MemoryError:
            raise
        except Exception:  # on damaged data decoders raise nearly anything
            damage = limits.damage(path, "is truncated or damaged: its pixel data cannot be unpacked")
    if samples is None:
        samples = _read_what_is_left(page, data)
    if samples.ndim == 2:
        samples = samples[:, :, None]
    elif page.axes == "SYX":
        samples = samples.transpose(1, 2, 0)
    if samples.dtype.kind == "f":
        samples = samples.astype(np.float32)
        if not np.isfinite(samples).all():
            raise PictureError(f"{path} holds NaN or infinite values")
    return samples, damage


def _exif(data: bytes) -> bytes:
    """What describes the picture, as an EXIF block: the file's other tags speak of its own pixels."""
    if data[2:4] in _BIG:  # EXIF blocks have no 64-bit form
        return b""
    try:
        own, kept = Image.Exif(), Image.Exif()
        own.load(data)
        for tag in _DESCRIPTIONS:
            if tag in own:
                kept[tag] = own[tag]
        for tag in (_EXIF, _GPS):
            if tag in own and (inner := own.get_ifd(tag)):
                kept[tag] = {key: value for key, value in inner.items() if key != _INTEROPERABILITY}
        return kept.tobytes().removeprefix(b"Exif\0\0") if len(kept) else b""
    except Exception:  # damaged tags raise whatever the bytes lead to; the pixels are sound
        return b""


def _metadata(page: "tifffile.TiffPage", data: bytes) -> FileMetadata:
    unit = {2: 1.0, 3: 2.54}.get(page.tags.valueof(296, 2))
    dpi = None
    if unit is not None and 282 in page.tags and 283 in page.tags:
        (x, over_x), (y, over_y) = page.tags.valueof(282), page.tags.valueof(283)
        dpi = (unit * x / over_x, unit * y / over_y) if x and y and over_x and over_y else None
    xmp = page.tags.valueof(_XMP, b"")
    return FileMetadata(exif=_exif(data), xmp=bytes(xmp) if isinstance(xmp, bytes) else b"", dpi=dpi)


def _to_full_scale(samples: np.ndarray, bits: int) -> np.ndarray:
    """Stretch samples of 1..16 bits over uint8 (up to 8 bits) or uint16."""
    if samples.dtype.kind == "f":
        return samples
    kind, full, top = (np.uint8, 255, 2**bits - 1) if bits <= 8 else (np.uint16, 65535, 2**bits - 1)
    if top == full:
        return samples.astype(kind, copy=False)
    return ((samples.astype(np.uint32) * full + top // 2) // top).astype(kind)


def _apply_palette(indices: np.ndarray, colours: np.ndarray) -> np.ndarray:
    # The map holds 16 bits, written as 257 or 256 times the 8-bit colour: the high byte serves both.
    return (colours >> 8).astype(np.uint8).T[indices[:, :, 0]]


def unmultiply(samples: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Colours (H, W, C) without the alpha (H, W) that was multiplied in; where it is 0, as stored."""
    if samples.dtype.kind == "f":
        cover = np.where(alpha > 0, alpha, 1)[:, :, None]
        return (samples / cover).astype(np.float32)
    full = np.iinfo(samples.dtype).max
    cover = np.maximum(alpha, 1)[:, :, None].astype(np.uint32)
    straight = (samples.astype(np.uint32) * full + cover // 2) // cover
    return np.where(alpha[:, :, None] > 0, np.minimum(straight, full), samples).astype(samples.dtype)


def decode_tiff(data: bytes, path: Path, limits: Limits) -> Raster:
    """The one full picture of a TIFF file; `path` only names it in errors.

    An extra sample of unspecified meaning counts as alpha, and as not multiplied in.
    Raises: PictureError in one sentence; other errors from tifffile on damaged files.
    """
    import tifffile  # here, because it loads slowly and few pictures are TIFF

    _require_chain(data, path)
    with _without_log(), tifffile.TiffFile(io.BytesIO(data)) as file:
        page = _only_page(file, path)
        limits.require(path, page.imagewidth, page.imagelength, page.samplesperpixel)
        colours = _require_kind(page, path)
        _require_bounded(page, data, path, limits)
        stored, damage = _read_samples(page, data, path, limits)
        extra = [int(kind) for kind in page.extrasamples][: stored.shape[2] - colours]
        metadata = _metadata(page, data)
        profile = page.tags.valueof(34675)
        orientation = page.tags.valueof(274)
        colormap = page.colormap if int(page.photometric) == _PALETTE else None
        white_is_zero = int(page.photometric) == _WHITE_IS_ZERO
        bits = page.bitspersample
    alpha = None
    if extra:
        chosen = next((i for i, kind in enumerate(extra) if kind in (1, 2)), 0)
        alpha = _to_full_scale(stored[:, :, colours + chosen], bits)
    samples = stored[:, :, :colours]
    samples = _to_full_scale(samples, bits) if colormap is None else _apply_palette(samples, colormap)
    if white_is_zero:
        samples = np.iinfo(samples.dtype).max - samples
    if alpha is not None and extra[chosen] == _ASSOCIATED:
        samples = unmultiply(samples, alpha)
    if not profile and samples.dtype.kind == "f":
        profile = linear_rgb()
    elif not profile and samples.shape[2] == 3 and data[2:4] not in _BIG and declares_adobe_rgb(data):
        profile = adobe_rgb()
    return Raster(
        samples=samples,
        alpha=alpha,
        profile=profile,
        orientation=orientation if orientation in range(1, 9) else read_orientation(None, path, metadata.xmp),
        bits=bits,
        indices=None if colormap is None or bits > 8 else stored[:, :, 0].astype(np.uint8, copy=False),
        palette=None if colormap is None else (colormap >> 8).astype(np.uint8).T,
        damage=damage,
        metadata=metadata,
    )
