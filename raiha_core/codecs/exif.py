"""EXIF and XMP: which way up a photo is, which colours it declares, a copy for a picture turned upright."""

import re
import struct
import warnings
from pathlib import Path
from typing import Any

from PIL import Image

_ORIENTATION, _COLOUR_SPACE = 0x0112, 0xA001
_EXIF, _INTEROPERABILITY = 0x8769, 0xA005
_PREFIX = b"Exif\0\0"
_IN_XMP = re.compile(rb"(tiff:Orientation(?:=[\"']|>)\s*)([1-8])")


def bare(exif: bytes | None) -> bytes:
    """The TIFF structure of an EXIF block, without the prefix that JPEG and some WebP files put before it."""
    return (exif or b"").removeprefix(_PREFIX)


def _tags(exif: bytes | None, path: Path) -> Image.Exif:
    tags = Image.Exif()
    try:
        tags.load(bare(exif))
        tags.get(_ORIENTATION)
    except Exception:  # damaged EXIF raises whatever the bytes lead to; the pixels are sound
        warnings.warn(f"{path}: its EXIF data are damaged and not used", stacklevel=3)
        return Image.Exif()
    return tags


def read_orientation(exif: bytes | None, path: Path, xmp: bytes | None = None) -> int:
    """The orientation (1..8) in a block of EXIF data, else in XMP, else 1; `path` names it in warnings."""
    value: Any = _tags(exif, path).get(_ORIENTATION)
    if value is None and (found := _IN_XMP.search(xmp or b"")):
        value = int(found[2])
    return value if value in range(1, 9) else 1


def declares_adobe_rgb(exif: bytes | None) -> bool:
    """Whether EXIF says Adobe RGB: the colour space 2, or an uncalibrated one with the DCF mark R03."""
    if not exif:
        return False
    try:
        tags = Image.Exif()
        tags.load(bare(exif))
        space = tags.get_ifd(_EXIF).get(_COLOUR_SPACE)
        mark = tags.get_ifd(_INTEROPERABILITY).get(1) if space == 0xFFFF else None
    except Exception:  # `read_orientation` has said that they are damaged
        return False
    return space == 2 or str(mark or "").strip("\0 ") == "R03"


def upright_exif(exif: bytes) -> bytes:
    """A copy whose orientation is 1, and without a preview, which would show the old look.

    Changed in place: the notes of camera makers hold positions that must not move.
    """
    block = bytearray(bare(exif))
    order = {b"II": "<", b"MM": ">"}.get(bytes(block[:2]), "")
    if not order or len(block) < 14:
        return b""
    (start,) = struct.unpack_from(order + "I", block, 4)
    if start + 2 > len(block):
        return b""
    (count,) = struct.unpack_from(order + "H", block, start)
    for entry in range(start + 2, min(start + 2 + 12 * count, len(block) - 11), 12):
        if struct.unpack_from(order + "HHI", block, entry) == (_ORIENTATION, 3, 1):
            struct.pack_into(order + "H", block, entry + 8, 1)
    after = start + 2 + 12 * count
    if after + 4 <= len(block):
        block[after : after + 4] = bytes(4)  # no second directory: that is the preview's
    return bytes(block)


def upright_xmp(xmp: bytes) -> bytes:
    """A copy whose orientation, where it has one, is 1."""
    return _IN_XMP.sub(rb"\g<1>1", xmp)
