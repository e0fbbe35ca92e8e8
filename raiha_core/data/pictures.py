"""Pictures of a data set as stored: no EXIF orientation, no ICC, as every published script reads them.

What a user opens is read by `raiha_core.images`, which applies both; scores must not depend on them.
"""

from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..mask_meaning import LARGEST_LABEL

Bytes: TypeAlias = NDArray[np.uint8]

PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")


def _open(path: Path) -> Image.Image:
    try:
        image = Image.open(path)
        image.load()
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        if isinstance(error, FileNotFoundError):
            raise ValueError(f"'{path}' does not exist") from None
        raise ValueError(f"'{path}' cannot be read as a picture: {error}") from None
    return image


def decode_rgb(path: Path) -> Bytes:
    """(H, W, 3) uint8; grey and palette pictures become RGB. Raises: ValueError naming the file."""
    image = _open(path)
    # convert() copies even what is RGB already; np.array, because torch warns about read-only memory.
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def decode_mask(path: Path) -> Bytes:
    """(H, W) uint8: the first channel, not thresholded; 1-bit masks become 0 and 255.

    Raises: ValueError naming the file, also for masks of labels, which would be scored and learned as
        next to nothing, and for 16-bit masks, which no known data set has.
    """
    image = _open(path)
    if image.mode in ("1", "L", "LA"):
        return _require_cover(np.array(image.convert("L")), path)
    if image.mode == "P":
        return _require_cover(_shown_by_palette(np.array(image.convert("RGB")), path), path)
    if image.mode in ("RGB", "RGBA"):
        return _require_cover(np.array(image.getchannel(0)), path)
    raise ValueError(f"'{path}' has pixels of kind '{image.mode}', a mask must have 8 bits a channel or 1")


def _require_cover(codes: Bytes, path: Path) -> Bytes:
    if 0 < codes.max() <= LARGEST_LABEL:
        raise ValueError(f"'{path}' is a mask of labels up to {codes.max()}; a data set's mask is 0..255")
    return codes


def _shown_by_palette(shown: Bytes, path: Path) -> Bytes:
    if np.ptp(shown, axis=2).any():
        raise ValueError(f"'{path}' is a palette file of labels; a data set's mask is grey, 0..255")
    return np.ascontiguousarray(shown[:, :, 0])


def picture_size(path: Path) -> tuple[int, int]:
    """(width, height) from the header alone. Raises: ValueError naming the file."""
    try:
        with Image.open(path) as image:
            return image.size
    except FileNotFoundError:
        raise ValueError(f"'{path}' does not exist") from None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"'{path}' cannot be read as a picture: {error}") from None
