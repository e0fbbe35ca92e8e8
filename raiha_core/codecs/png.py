"""PNG files to rasters: all colour types and depths, interlaced or not, with every bit kept.

Through libpng (imagecodecs): Pillow cuts 16-bit colour to 8 bits, and misreads transparency at 2 and
4 bits. libpng sees only the chunks that make the pixels, and never an interlaced file, because about
the others it prints remarks on the terminal. A palette file is decoded as grey, which gives its indices.
Source: W3C PNG specification, third edition.
"""

import re
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import numpy as np

from .colorspace import from_code_points, from_gamma
from .exif import bare, read_orientation
from .raster import FileMetadata, Limits, PictureError, Raster, split_alpha

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_LARGEST_PROFILE = 1 << 24  # bytes; the largest printing profiles have a few million
_LARGEST_TEXT = 1 << 22
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # colour type -> samples per pixel
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}  # colour type -> bits
_GREY, _PALETTE = 0, 3
# Adam7: first row, first column, rows apart, columns apart of each pass
_PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
_CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_INCHES = 39.370079  # per metre
# What describes a picture, of the standard's own words; programs keep other things in texts too
_DESCRIPTIONS = (
    b"Title",
    b"Author",
    b"Description",
    b"Copyright",
    b"Creation Time",
    b"Disclaimer",
    b"Source",
)
_XMP = b"XML:com.adobe.xmp"
_RAW_EXIF = (b"Raw profile type exif", b"Raw profile type APP1")  # ImageMagick's and older ExifTool's


def png_size(path: Path) -> tuple[int, int] | None:
    """Height and width by a file's header alone; None where it is no PNG, or cannot be opened."""
    try:
        with open(path, "rb") as file:
            start = file.read(24)
    except OSError:
        return None
    if len(start) < 24 or not start.startswith(PNG_SIGNATURE):
        return None
    width, height = struct.unpack(">II", start[16:])
    return height, width


@dataclass(frozen=True, slots=True)
class _Header:
    width: int
    height: int
    depth: int
    colour: int
    interlaced: bool


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk with its length and check sum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@dataclass(frozen=True, slots=True)
class _Chunks:
    first: dict[bytes, bytes]  # the first of each kind but IDAT and texts
    packed: list[memoryview]  # the data of all IDAT chunks, where they lie in the file
    texts: list[tuple[bytes, bytes]]
    damage: str


def _read_chunks(data: bytes, path: Path, limits: Limits) -> _Chunks:
    """Chunks up to IEND. One that a decoder may pass over is passed over where its check sum is wrong.

    Raises: DamagedPictureError where the file is cut off or a critical chunk has a wrong check sum.
    """
    first: dict[bytes, bytes] = {}
    packed: list[memoryview] = []
    view = memoryview(data)
    texts: list[tuple[bytes, bytes]] = []
    damage, position = "", len(PNG_SIGNATURE)
    while b"IEND" not in first:
        length = int.from_bytes(data[position : position + 4], "big")
        end = position + 12 + length
        kind, content = data[position + 4 : position + 8], view[position + 8 : end - 4]
        if end > len(data):
            damage = limits.damage(path, "is truncated: a PNG chunk is cut off")
            if kind == b"IDAT":
                packed.append(view[position + 8 :])
            break
        sound = zlib.crc32(content, zlib.crc32(kind)) == int.from_bytes(data[end - 4 : end], "big")
        if not sound and kind in _CRITICAL:
            damage = limits.damage(path, "is damaged: the check sum of a PNG chunk is wrong")
        if kind == b"IDAT":
            packed.append(content)
        elif sound and kind in (b"tEXt", b"zTXt", b"iTXt"):
            texts.append((kind, bytes(content)))
        elif sound or kind in _CRITICAL:
            first.setdefault(kind, bytes(content))
        position = end
    return _Chunks(first, packed, texts, damage)


def _decode_pixels(header: _Header, colours: bytes, packed: Sequence[bytes | memoryview]) -> np.ndarray:
    """(H, W) or (H, W, C) of a file that is not interlaced; `colours` are its PLTE and tRNS chunks."""
    parts = (header.width, header.height, header.depth, header.colour, 0, 0, 0)
    body: list[bytes | memoryview] = [
        PNG_SIGNATURE,
        png_chunk(b"IHDR", struct.pack(">IIBBBBB", *parts)),
        colours,
    ]
    for part in packed:
        check = zlib.crc32(part, zlib.crc32(b"IDAT"))
        body += [struct.pack(">I", len(part)), b"IDAT", part, struct.pack(">I", check)]
    return imagecodecs.png_decode(b"".join([*body, png_chunk(b"IEND", b"")]))


def _decode_interlaced(header: _Header, colours: bytes, raw: bytes) -> np.ndarray:
    """Each pass is a small picture of its own, so it is decoded as one and spread over the whole."""
    whole: np.ndarray | None = None
    start = 0
    for place, (rows, columns), length in zip(_PASSES, _passes(header), _lengths(header), strict=True):
        top, left, down, right = place
        if length <= 0:
            continue
        part = _Header(columns, rows, header.depth, header.colour, False)
        pixels = _decode_pixels(part, colours, [zlib.compress(raw[start : start + length], 1)])
        start += length
        if whole is None:
            whole = np.empty((header.height, header.width, *pixels.shape[2:]), pixels.dtype)
        whole[top::down, left::right] = pixels
    assert whole is not None  # the first pass holds the first pixel
    return whole


def _passes(header: _Header) -> list[tuple[int, int]]:
    """Rows and columns of each pass; one pass where the file is not interlaced."""
    if not header.interlaced:
        return [(header.height, header.width)]
    return [
        (-(-(header.height - top) // down), -(-(header.width - left) // right))
        for top, left, down, right in _PASSES
    ]


def _lengths(header: _Header) -> list[int]:
    bits = _SAMPLES[header.colour] * header.depth
    return [rows * (1 + (columns * bits + 7) // 8) if columns > 0 else 0 for rows, columns in _passes(header)]


def _inflate(packed: bytes, length: int) -> bytes:
    """What can be unpacked of `length` bytes. Never more, whatever the data say."""
    machine, parts = zlib.decompressobj(), []
    try:
        # in blocks, so that what lies before a fault is kept
        for start in range(0, len(packed), 1 << 12):
            parts.append(machine.decompress(packed[start : start + (1 << 12)], length))
            length -= len(parts[-1])
            if length <= 0:
                break
    except zlib.error:
        pass
    return b"".join(parts)


def _pixels(
    header: _Header, colours: bytes, chunks: _Chunks, path: Path, limits: Limits
) -> tuple[np.ndarray, str]:
    """(H, W) or (H, W, C), and the damage that was passed over."""
    damage = chunks.damage
    packed: Sequence[bytes | memoryview] = chunks.packed
    if header.interlaced or damage:
        expected = sum(_lengths(header))
        raw = _inflate(b"".join(packed), expected)
        if len(raw) < expected:
            damage = limits.damage(path, "is truncated or damaged: part of its pixel data is missing")
            raw += bytes(expected - len(raw))
        if header.interlaced:
            return _decode_interlaced(header, colours, raw), damage
        packed = [zlib.compress(raw, 1)]
    try:
        return _decode_pixels(header, colours, packed), damage
    except Exception:  # libpng gives one type for all that is wrong with the data
        damage = limits.damage(path, "is truncated or damaged: its pixel data cannot be unpacked")
        raw = _inflate(b"".join(packed), sum(_lengths(header)))
        raw += bytes(sum(_lengths(header)) - len(raw))
        return _decode_pixels(header, colours, [zlib.compress(_plain_filters(header, raw), 1)]), damage


def _plain_filters(header: _Header, raw: bytes) -> bytes:
    """Rows whose filter does not exist are taken as unfiltered."""
    rows = np.frombuffer(bytearray(raw), np.uint8).reshape(header.height, -1)
    rows[:, 0] = np.where(rows[:, 0] > 4, 0, rows[:, 0])
    return rows.tobytes()


def _look_up(
    indices: np.ndarray, chunks: dict[bytes, bytes]
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Palette (N, 3), colours (H, W, 3) and alpha of (H, W) indices; those beyond the palette are black."""
    listed = np.frombuffer(chunks[b"PLTE"][:768], np.uint8)
    listed = listed[: len(listed) // 3 * 3].reshape(-1, 3)
    palette: np.ndarray = np.zeros((256, 3), np.uint8)
    palette[: len(listed)] = listed
    alpha = None
    if b"tRNS" in chunks:
        covers: np.ndarray = np.full(256, 255, np.uint8)
        given = np.frombuffer(chunks[b"tRNS"][:256], np.uint8)
        covers[: len(given)] = given
        alpha = covers[indices]
    return palette[: len(listed)], palette[indices], alpha


def _declared_colours(chunks: dict[bytes, bytes]) -> tuple[bytes | None, str]:
    """ICC profile (None: sRGB) and why the colours cannot be used, in the standard's order of precedence."""
    cicp = chunks.get(b"cICP", b"")
    if len(cicp) == 4 and (cicp[0] != 2 or cicp[1] != 2):
        return from_code_points(cicp[0], cicp[1], full_range=cicp[3] != 0)
    if b"iCCP" in chunks:  # name, 0, method 0, then compressed
        compressed = chunks[b"iCCP"].partition(b"\0")[2][1:]
        try:
            return zlib.decompressobj().decompress(compressed, _LARGEST_PROFILE), ""
        except zlib.error:  # not `None`, which would be sRGB in silence
            return b"cannot be unpacked", ""
    if b"sRGB" in chunks:
        return None, ""
    gamma, light = chunks.get(b"gAMA", b""), chunks.get(b"cHRM", b"")
    return from_gamma(
        int.from_bytes(gamma, "big") if len(gamma) == 4 else None,
        struct.unpack(">8I", light) if len(light) == 32 else None,
    ), ""


def _text(kind: bytes, content: bytes) -> tuple[bytes, bytes]:
    """Keyword and text of a text chunk, unpacked."""
    keyword, _, rest = content.partition(b"\0")
    packed = kind == b"zTXt" or (kind == b"iTXt" and rest[:1] == b"\1")
    if kind == b"iTXt":  # flag, method, then language and translated keyword, each up to a 0
        rest = rest[2:].split(b"\0", 2)[-1]
    elif packed:
        rest = rest[1:]
    if packed:
        try:
            rest = zlib.decompressobj().decompress(rest, _LARGEST_TEXT)
        except zlib.error:
            rest = b""
    return keyword, rest


def _metadata(chunks: _Chunks) -> FileMetadata:
    exif, xmp, kept = chunks.first.get(b"eXIf", b""), b"", []
    for kind, content in chunks.texts:
        keyword = content.partition(b"\0")[0]
        if keyword in _DESCRIPTIONS:
            kept.append((kind, content))
        elif keyword == _XMP:
            xmp = xmp or _text(kind, content)[1]
        elif keyword in _RAW_EXIF and not exif:  # a name, the length, then hexadecimal digits
            digits = re.sub(rb"[^0-9a-fA-F]", b"", b"".join(_text(kind, content)[1].split(b"\n")[3:]))
            exif = bytes.fromhex(digits[: len(digits) // 2 * 2].decode())
    size = chunks.first.get(b"pHYs", b"")
    dpi = None
    if len(size) == 9 and size[8] == 1 and any(size[:8]):
        x, y = struct.unpack(">II", size[:8])
        dpi = (x / _INCHES, y / _INCHES)
    colours = [
        (kind, chunks.first[kind]) for kind in (b"cICP", b"gAMA", b"cHRM", b"sRGB") if kind in chunks.first
    ]
    return FileMetadata(exif=bare(exif), xmp=xmp, dpi=dpi, png_texts=tuple(kept), png_colours=tuple(colours))


def decode_png(data: bytes, path: Path, limits: Limits) -> Raster:
    """A PNG file; of an animated one the picture that still viewers show. `path` only names it in errors.

    Samples are 8 or 16 bits at full scale; a mask's reader finds the stored ones of a palette in `indices`.
    Raises: PictureError in one sentence; other errors from libpng and zlib on damaged files.
    """
    chunks = _read_chunks(data, path, limits)
    first = chunks.first
    if len(first.get(b"IHDR", b"")) != 13:
        raise PictureError(f"{path} is damaged: it has no PNG header")
    fields = struct.unpack(">IIBBBBB", first[b"IHDR"])
    width, height, depth, colour, compression, filtering, interlaced = fields
    if depth not in _DEPTHS.get(colour, ()) or compression or filtering or interlaced > 1:
        limits.require(path, width, height)
        raise PictureError(f"{path} is damaged: its PNG header is of no known kind")
    limits.require(path, width, height, channels=4 if b"tRNS" in first else _SAMPLES[colour])
    palette = indices = None
    if colour == _PALETTE:
        if b"PLTE" not in first:
            raise PictureError(f"{path} is damaged: its palette is missing")
        header = _Header(width, height, depth, _GREY, bool(interlaced))
        stretched, damage = _pixels(header, b"", chunks, path, limits)
        indices = stretched // np.uint8(255 // (2**depth - 1))
        palette, samples, alpha = _look_up(indices, first)
    else:
        header = _Header(width, height, depth, colour, bool(interlaced))
        transparent = png_chunk(b"tRNS", first[b"tRNS"]) if b"tRNS" in first else b""
        pixels, damage = _pixels(header, transparent, chunks, path, limits)
        samples, alpha = split_alpha(pixels)
    profile, foreign = _declared_colours(first)
    metadata = _metadata(chunks)
    return Raster(
        samples=samples,
        alpha=alpha,
        profile=profile,
        foreign_colours=foreign,
        orientation=read_orientation(metadata.exif, path, metadata.xmp),
        bits=depth,
        indices=indices,
        palette=palette,
        damage=damage,
        notes=("it is animated: the first frame was taken",) if b"acTL" in first else (),
        metadata=metadata,
    )
