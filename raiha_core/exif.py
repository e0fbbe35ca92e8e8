"""The one thing Raiha reads from EXIF data: which way up a photo is."""

import warnings
from pathlib import Path

from PIL import Image

_ORIENTATION = 0x0112


def read_orientation(exif: bytes | None, path: Path) -> int:
    """The orientation (1..8) in a block of EXIF data, 1 where there is none; `path` names it in warnings."""
    tags = Image.Exif()
    try:
        tags.load(exif or b"")
        value = tags.get(_ORIENTATION, 1)
    except Exception as error:  # damaged EXIF raises whatever the bytes lead to; the pixels are sound
        warnings.warn(f"{path}: its EXIF data are damaged ({error}) and not used", stacklevel=2)
        return 1
    return value if value in range(1, 9) else 1
