"""What a picture's file was (codes, colour space, alpha, metadata), so that a result can be written as it.

A pixel that was not changed gets its stored code back. One that was is converted back from sRGB; where
the stored colour lay beyond sRGB, what sRGB could not hold is kept in full for a change that tends to 0
and not at all from `_FAR` on, so that the edge of a soft mask shows no seam.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .icc import from_srgb
from .raster import NO_METADATA, FileMetadata

_FAR = 0.1  # a change, in sRGB 0..1, that leaves nothing of a colour beyond sRGB


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PictureSource:
    """A picture file as it was read, upright. `Picture.source` and *Load Picture* give one."""

    path: Path
    codes: np.ndarray  # (H, W, 3) uint8, uint16 or float32, in the file's own colour space
    srgb: np.ndarray  # (H, W, 3), same type: the colours as sRGB; `codes` itself where that is the space
    alpha: np.ndarray | None  # (H, W), same type
    profile: bytes | None  # ICC profile of the codes
    is_srgb: bool  # the codes are sRGB codes, whatever the profile is called
    metadata: FileMetadata = NO_METADATA

    @property
    def bit_depth(self) -> int:
        """8, 16, or 32 for floats."""
        return self.codes.dtype.itemsize * 8

    def fits(self, height: int, width: int) -> bool:
        """Whether a result has this picture's size, without which no pixel is the same one."""
        return self.codes.shape[:2] == (height, width)


def scaled(codes: np.ndarray, bit_depth: int) -> np.ndarray:
    """Codes at another depth (8 or 16 bits, 32 for floats), rounded to the nearest."""
    if codes.dtype.itemsize * 8 == bit_depth:
        return codes
    full = 1 if codes.dtype.kind == "f" else np.iinfo(codes.dtype).max
    if bit_depth == 32:
        return (codes / full).astype(np.float32)
    top = 2**bit_depth - 1
    values = codes.astype(np.float64).clip(0, full) * (top / full)
    return (values + 0.5).astype(np.uint8 if bit_depth == 8 else np.uint16)


def _shares(codes: np.ndarray) -> np.ndarray:
    return scaled(codes, 32)


def in_own_space(source: PictureSource, pixels: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """A result in the source's own colour space.

    Args:
        pixels: (H, W, 3) floats, sRGB 0..1.
        codes: the same, rounded to the depth that is written (uint8, uint16), or float32.
    Returns: (H, W, 3) of the type of `codes`; stored codes where `codes` did not change.
    """
    if source.is_srgb:
        return codes
    assert source.profile is not None
    depth = codes.dtype.itemsize * 8
    if not source.fits(*codes.shape[:2]):
        own = from_srgb(np.ascontiguousarray(pixels, np.float32).reshape(-1, 3), source.profile)
        return scaled(own.reshape(codes.shape), depth)
    differs = codes != scaled(source.srgb, depth)
    changed = differs[:, :, 0] | differs[:, :, 1] | differs[:, :, 2]  # four times as fast as any(2)
    result = scaled(source.codes, depth).copy()
    if changed.any():
        new = np.ascontiguousarray(pixels[changed], np.float32)
        old = _shares(source.srgb[changed])
        beyond = _shares(source.codes[changed]) - from_srgb(old, source.profile)
        kept = (1 - np.abs(new - old).max(1, keepdims=True) / _FAR).clip(0, 1)
        own = from_srgb(new, source.profile) + kept * beyond
        result[changed] = scaled(own if depth == 32 else own.clip(0, 1), depth)
    return result
