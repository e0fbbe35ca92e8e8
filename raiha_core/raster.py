"""A decoded picture as its file holds it, before colours are converted: the form all decoders share.

Shapes: H x W pixels, C samples per pixel: 1 grey, 3 RGB, 4 CMYK (ink: 0 is paper).
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

MAX_PIXELS = 200_000_000  # 200 megapixels: above any camera, below what a decompression bomb needs


class PictureError(ValueError):
    """A file that cannot be used as a picture; the message is one sentence that names it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Raster:
    """Samples at the file's own depth; full scale is the largest value of their type."""

    samples: np.ndarray  # (H, W, C) uint8 or uint16
    alpha: np.ndarray | None = None  # (H, W), same type, not multiplied into the samples
    profile: bytes | None = None  # ICC profile of the samples
    orientation: int = 1  # EXIF, 1..8

    @property
    def full(self) -> int:
        return int(np.iinfo(self.samples.dtype).max)


def to_tensor(samples: np.ndarray, full: int) -> Tensor:
    """(H, W, C) integers -> (1, C, H, W) float32; divided once, so code / full is rounded only once."""
    values = samples.transpose(2, 0, 1)[None].astype(np.float32, order="C")
    values /= full
    return torch.from_numpy(values)


def require_size(path: Path, width: int, height: int, max_pixels: int) -> None:
    """Raises: PictureError naming file and size where a picture has more than `max_pixels`, or none."""
    if width < 1 or height < 1:
        raise PictureError(f"{path} has no pixels ({width}x{height})")
    if width * height > max_pixels:
        raise PictureError(
            f"{path} is {width}x{height}, {width * height / 1e6:.0f} megapixels; "
            f"the limit is {max_pixels / 1e6:.0f} megapixels"
        )


def split_alpha(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """(H, W) or (H, W, 1..4) of grey, grey+alpha, RGB or RGBA -> samples (H, W, 1 or 3), alpha or None."""
    if samples.ndim == 2:
        return samples[:, :, None], None
    if samples.shape[2] in (2, 4):
        return samples[:, :, :-1], samples[:, :, -1]
    return samples, None


def _turn(array: np.ndarray, orientation: int) -> np.ndarray:
    """Undo an EXIF orientation; the names say what is done to the stored rows and columns."""
    flipped = {
        2: array[:, ::-1],
        4: array[::-1],
        5: array.swapaxes(0, 1),
        7: array[::-1, ::-1].swapaxes(0, 1),
    }
    turns = {3: 2, 6: 3, 8: 1}  # quarter turns against the clock
    return np.rot90(array, turns[orientation]) if orientation in turns else flipped.get(orientation, array)


def upright(raster: Raster) -> Raster:
    """The raster as it is meant to be seen, with orientation 1."""
    alpha = None if raster.alpha is None else _turn(raster.alpha, raster.orientation)
    return replace(raster, samples=_turn(raster.samples, raster.orientation), alpha=alpha, orientation=1)
