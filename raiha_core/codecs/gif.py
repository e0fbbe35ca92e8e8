"""GIF files to rasters: the first frame on its canvas, with its palette indices.

Through giflib (imagecodecs), which sees a file of that one frame and reports it where data are missing.
Source: GIF89a specification, CompuServe 1990.
"""

import struct
from pathlib import Path

import imagecodecs
import numpy as np

from .raster import FileMetadata, Limits, PictureError, Raster

_EXTENSION, _IMAGE, _END = 0x21, 0x2C, 0x3B
_CONTROL, _COMMENT = 0xF9, 0xFE
_LARGEST_COMMENT = 1 << 16


def _blocks_end(data: bytes, position: int, path: Path) -> int:
    """The position after a chain of blocks. Raises: PictureError where it has no end."""
    while position < len(data):
        length = data[position]
        position += 1 + length
        if length == 0:
            return position
    raise PictureError(f"{path} is truncated: its GIF data are cut off")


def _palette(data: bytes, flags: int, position: int) -> bytes:
    return data[position : position + 3 * (2 << (flags & 7))] if flags & 0x80 else b""


def decode_gif(data: bytes, path: Path, limits: Limits) -> Raster:
    """The first frame of a GIF file; what it does not cover of the canvas has alpha 0.

    Raises: PictureError in one sentence; other errors from giflib on damaged files.
    """
    if len(data) < 13:
        raise PictureError(f"{path} is truncated: its GIF header is cut off")
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    colours = _palette(data, flags, 13)
    position, key, comment = 13 + len(colours), None, b""
    while position + 10 < len(data) and data[position] == _EXTENSION:
        end = _blocks_end(data, position + 2, path)
        if data[position + 1] == _CONTROL and data[position + 3] & 1:
            key = data[position + 6]
        elif data[position + 1] == _COMMENT:
            comment = data[position + 3 : position + 3 + data[position + 2]]
        position = end
    if position + 10 >= len(data) or data[position] != _IMAGE:
        raise PictureError(f"{path} is truncated or damaged: it holds no GIF picture")
    left, top, columns, rows, own = struct.unpack_from("<4HB", data, position + 1)
    colours = _palette(data, own, position + 10) or colours
    width, height = max(width, left + columns), max(height, top + rows)
    limits.require(path, width, height, channels=4)
    if not columns or not rows or not colours:
        raise PictureError(f"{path} is damaged: its first GIF picture has no pixels or no palette")
    start = position + 10 + len(_palette(data, own, position + 10))
    end = _blocks_end(data, start + 1, path)
    indices = _decode_frame(data[start:end], columns, rows, own, colours)
    table: np.ndarray = np.zeros((256, 3), np.uint8)
    listed = np.frombuffer(colours, np.uint8)
    listed = listed[: len(listed) // 3 * 3].reshape(-1, 3)
    table[: len(listed)] = listed
    cover = np.where(indices == (-1 if key is None else key), 0, 255).astype(np.uint8)
    samples, alpha = table[indices], None if key is None else cover
    if (columns, rows) != (width, height):
        place = slice(top, top + rows), slice(left, left + columns)
        whole, alpha = np.zeros((height, width), np.uint8), np.zeros((height, width), np.uint8)
        whole[place], alpha[place] = indices, cover
        indices, samples = whole, table[whole]
    several = data[end : end + 1] not in (b"", bytes((_END,)))
    return Raster(
        samples=samples,
        alpha=alpha,
        bits=8,
        indices=indices,
        palette=table[: len(listed)],
        notes=("it may hold several frames: the first was taken",) if several else (),
        metadata=FileMetadata(comment=comment),
    )


def _decode_frame(packed: bytes, columns: int, rows: int, flags: int, colours: bytes) -> np.ndarray:
    """Indices (rows, columns) of a file of one frame; `packed` is its code size and blocks."""
    size = (flags & 0x40) | 0x80 | max(0, (len(colours) // 3 - 1).bit_length() - 1)
    colours = colours.ljust(3 * (2 << (size & 7)), b"\0")
    file = b"GIF89a" + struct.pack("<HHBBB", columns, rows, 0, 0, 0)
    file += (
        bytes((_IMAGE,)) + struct.pack("<4HB", 0, 0, columns, rows, size) + colours + packed + bytes((_END,))
    )
    return imagecodecs.gif_decode(file, index=0, asrgb=False).reshape(rows, columns)
