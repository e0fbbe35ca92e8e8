"""PNG files written strip by strip: of a very large picture no second copy is made, packed or not.

Each row takes the filter (left, above, Paeth's) whose differences are smallest in sum, as libpng does.
Source: W3C PNG specification, third edition.
"""

import struct
import zlib
from pathlib import Path

import numpy as np

from .encoding import Carried, png_chunks
from .png import PNG_SIGNATURE, png_chunk

_ROWS = 16  # filtered together
_LEVEL = 4
_SUB, _UP, _PAETH = 1, 2, 4  # the specification's numbers
_COLOURS = {1: 0, 3: 2, 4: 6}  # channels -> colour type


def write_png_strips(path: Path, codes: np.ndarray, carried: Carried) -> None:
    """Write (H, W, 1, 3 or 4) uint8 or uint16 codes; the file is what any reader of PNG reads."""
    height, width, channels = codes.shape
    bits = codes.dtype.itemsize * 8
    head = struct.pack(">IIBBBBB", width, height, bits, _COLOURS[channels], 0, 0, 0)
    packer = zlib.compressobj(_LEVEL)
    pixel = channels * codes.dtype.itemsize
    above: np.ndarray = np.zeros(width * pixel, np.uint8)
    with open(path, "wb") as file:
        file.write(PNG_SIGNATURE + png_chunk(b"IHDR", head) + png_chunks(carried))
        for top in range(0, height, _ROWS):
            strip = codes[top : top + _ROWS]
            rows = strip.astype(strip.dtype.newbyteorder(">")).reshape(len(strip), -1).view(np.uint8)
            if packed := packer.compress(_filtered(rows, above, pixel).tobytes()):
                file.write(png_chunk(b"IDAT", packed))
            above = rows[-1]
        file.write(png_chunk(b"IDAT", packer.flush()) + png_chunk(b"IEND", b""))


def _filtered(rows: np.ndarray, above: np.ndarray, pixel: int) -> np.ndarray:
    """(n, 1 + bytes): each row behind the number of its filter. Args: above: the row before the first."""
    up = np.concatenate((above[None], rows[:-1]))
    left, corner = np.zeros_like(rows), np.zeros_like(rows)
    left[:, pixel:], corner[:, pixel:] = rows[:, :-pixel], up[:, :-pixel]
    a, b, c = (part.astype(np.int16) for part in (left, up, corner))
    to_a, to_b, to_c = np.abs(b - c), np.abs(a - c), np.abs(a + b - 2 * c)
    nearest = np.where((to_a <= to_b) & (to_a <= to_c), left, np.where(to_b <= to_c, up, corner))
    tried = [rows - left, rows - up, rows - nearest]
    sums = [np.abs(one.view(np.int8).astype(np.int16)).sum(1, dtype=np.int64) for one in tried]
    best = np.argmin(sums, 0)
    result = np.empty((len(rows), 1 + rows.shape[1]), np.uint8)
    result[:, 0] = np.array((_SUB, _UP, _PAETH))[best]
    result[:, 1:] = np.choose(best[:, None], tried)
    return result
