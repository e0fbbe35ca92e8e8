"""PNG files to rasters: all colour types and depths, interlaced or not, with every bit kept.

Through libpng (imagecodecs): Pillow cuts 16-bit colour to 8 bits, and misreads transparency at 2 and
4 bits. libpng sees only the chunks that make the pixels, and never an interlaced file, because about
the others it prints remarks on the terminal. Source: W3C PNG specification, third edition.
"""

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import numpy as np

from .exif import read_orientation
from .raster import PictureError, Raster, require_size, split_alpha

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_LARGEST_PROFILE = 1 << 24  # bytes; the largest printing profiles have a few million
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # colour type -> samples per pixel
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}  # colour type -> bits
# Adam7: first row, first column, rows apart, columns apart of each pass
_PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


@dataclass(frozen=True, slots=True)
class _Header:
    width: int
    height: int
    depth: int
    colour: int
    interlaced: bool


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _read_chunks(data: bytes, path: Path) -> tuple[dict[bytes, bytes], list[bytes]]:
    """First chunk of each kind, and the data of all IDAT chunks.

    Raises: PictureError where a chunk is cut off or its check sum is wrong.
    """
    chunks: dict[bytes, bytes] = {}
    packed: list[bytes] = []
    position = len(PNG_SIGNATURE)
    while b"IEND" not in chunks:
        length = int.from_bytes(data[position : position + 4], "big")
        end = position + 12 + length
        if end > len(data):
            raise PictureError(f"{path} is truncated: a PNG chunk is cut off")
        kind, content = data[position + 4 : position + 8], data[position + 8 : end - 4]
        if zlib.crc32(content, zlib.crc32(kind)) != int.from_bytes(data[end - 4 : end], "big"):
            raise PictureError(f"{path} is damaged: the check sum of a PNG chunk is wrong")
        if kind == b"IDAT":
            packed.append(content)
        else:
            chunks.setdefault(kind, content)
        position = end
    return chunks, packed


def _decode_pixels(header: _Header, colours: bytes, packed: list[bytes]) -> np.ndarray:
    """(H, W) or (H, W, C) of a file that is not interlaced; `colours` are its PLTE and tRNS chunks."""
    parts = (header.width, header.height, header.depth, header.colour, 0, 0, 0)
    body = b"".join(_chunk(b"IDAT", part) for part in packed)
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", *parts))
    return imagecodecs.png_decode(PNG_SIGNATURE + head + colours + body + _chunk(b"IEND", b""))


def _decode_interlaced(header: _Header, colours: bytes, packed: list[bytes], path: Path) -> np.ndarray:
    """Each pass is a small picture of its own, so it is decoded as one and spread over the whole."""
    bits = _SAMPLES[header.colour] * header.depth
    sizes = [
        (-(-(header.height - top) // down), -(-(header.width - left) // right))
        for top, left, down, right in _PASSES
    ]
    lengths = [rows * (1 + (columns * bits + 7) // 8) if columns > 0 else 0 for rows, columns in sizes]
    raw = zlib.decompressobj().decompress(b"".join(packed), sum(lengths))
    if len(raw) < sum(lengths):
        raise PictureError(f"{path} is truncated: part of its pixel data is missing")
    whole: np.ndarray | None = None
    start = 0
    for (top, left, down, right), (rows, columns), length in zip(_PASSES, sizes, lengths, strict=True):
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


def decode_png(data: bytes, path: Path, max_pixels: int) -> Raster:
    """A still PNG file; `path` only names it in errors.

    Raises: PictureError in one sentence; other errors from libpng and zlib on damaged files.
    """
    chunks, packed = _read_chunks(data, path)
    fields = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    width, height, depth, colour, compression, filtering, interlaced = fields
    require_size(path, width, height, max_pixels)
    if depth not in _DEPTHS.get(colour, ()) or compression or filtering or interlaced > 1:
        raise PictureError(f"{path} is damaged: its PNG header is of no known kind")
    if b"acTL" in chunks:
        raise PictureError(f"{path} is animated; Raiha reads still pictures only, so export one frame")
    header = _Header(width, height, depth, colour, bool(interlaced))
    colours = b"".join(_chunk(kind, chunks[kind]) for kind in (b"PLTE", b"tRNS") if kind in chunks)
    if header.interlaced:
        samples, alpha = split_alpha(_decode_interlaced(header, colours, packed, path))
    else:
        samples, alpha = split_alpha(_decode_pixels(header, colours, packed))
    profile = None
    if b"iCCP" in chunks:  # name, 0, method 0, then compressed
        compressed = chunks[b"iCCP"].partition(b"\0")[2][1:]
        profile = zlib.decompressobj().decompress(compressed, _LARGEST_PROFILE)
    orientation = read_orientation(chunks.get(b"eXIf"), path)
    return Raster(samples=samples, alpha=alpha, profile=profile, orientation=orientation)
