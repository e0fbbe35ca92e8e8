"""Mask files: which of a file's samples are the mask, and their values.

Shapes: one mask is (1, 1, H, W). How files are decoded is in `decoding.py`.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import Tensor

from .decoding import decode
from .icc import to_srgb
from .raster import MAX_PIXELS, Raster, to_tensor, upright

_NOT_GREY = 16 / 255  # channels of a grey mask may differ this much, through lossy compression


def _grey_values(raster: Raster, path: Path) -> Tensor:
    # Without the profile: a mask's codes are shares of cover, not colours.
    codes = to_srgb(replace(raster, profile=None), path)
    if (codes.max(2) - codes.min(2)).max() > _NOT_GREY * raster.full:
        raise ValueError(f"{path} is a colour picture without alpha; a mask must be grey or have an alpha")
    # the mean as one division of whole numbers, so that equal channels give code / full to the bit
    return to_tensor(codes.sum(2, dtype=np.uint32, keepdims=True), 3 * raster.full)


def read_mask(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> Tensor:
    """Read a mask (1, 1, H, W) float32, 0..1: the alpha where it varies, else the grey values.

    Soft edges and 16 bits are kept, EXIF orientation is applied, ICC profiles are not: code / full
    scale is the value.
    Raises: as `read_picture`; ValueError for a colour picture whose alpha does not vary.
    """
    path = Path(path)
    raster = upright(decode(path, max_pixels))
    if raster.alpha is not None and raster.alpha.min() != raster.alpha.max():
        return to_tensor(raster.alpha[:, :, None], raster.full)
    return _grey_values(raster, path)
