"""BMP files to rasters, with the profile that version 5 may embed."""

import io
import struct
from pathlib import Path

import numpy as np
from PIL import BmpImagePlugin

from .raster import FileMetadata, Limits, Raster, split_alpha

_EMBEDDED = b"DEBM"  # "MBED", little-endian


def _profile(data: bytes) -> bytes | None:
    """The ICC profile that a version 5 header points at, from the header's start."""
    if len(data) < 14 + 124 or struct.unpack_from("<I", data, 14)[0] != 124 or data[70:74] != _EMBEDDED:
        return None
    start, length = struct.unpack_from("<II", data, 14 + 112)
    return data[14 + start : 14 + start + length] or None


def decode_bmp(data: bytes, path: Path, limits: Limits) -> Raster:
    """A BMP file; `path` only names it in errors.

    Raises: PictureError in one sentence; other errors from Pillow on damaged files.
    """
    image = BmpImagePlugin.BmpImageFile(io.BytesIO(data))
    limits.require(path, *image.size, channels=4 if "A" in image.mode else 3)
    damage = ""
    if (size := int.from_bytes(data[2:6], "little")) > len(data):
        damage = limits.damage(path, f"is truncated: it has {len(data)} of {size} bytes")
        size = min(
            size, len(data) + 4 * image.size[0] * image.size[1]
        )  # no more than pixels, whatever it says
        image = BmpImagePlugin.BmpImageFile(io.BytesIO(data + bytes(size - len(data))))
    image.load()
    mode = "L" if image.mode in ("1", "L") else "RGBA" if "A" in image.mode else "RGB"
    samples, alpha = split_alpha(np.asarray(image.convert(mode)))
    return Raster(
        samples=samples,
        alpha=alpha,
        profile=_profile(data),
        bits={"1": 1}.get(image.mode, 8),
        indices=np.asarray(image) if image.mode == "P" else None,
        palette=np.asarray(image.getpalette(), np.uint8).reshape(-1, 3) if image.mode == "P" else None,
        damage=damage,
        metadata=FileMetadata(dpi=image.info.get("dpi")),
    )
