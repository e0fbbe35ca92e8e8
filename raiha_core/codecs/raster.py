"""A decoded picture as its file holds it, before colours are converted: the form all decoders share.

Shapes: H x W pixels, C samples per pixel: 1 grey, 3 RGB, 4 CMYK (ink: 0 is paper).
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

MAX_PIXELS = 300_000_000  # 300 megapixels: above any camera, below what a decompression bomb needs
_CHANNELS = 4  # per pixel, by which a limit of pixels is one of samples


class PictureError(ValueError):
    """A file that cannot be used as a picture; the message is one sentence that names it."""


class DamagedPictureError(PictureError):
    """A file that is cut off or has wrong data inside, and of which the rest can be read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FileMetadata:
    """What a file carries beside pixels and colours, in the bytes of the file."""

    exif: bytes = b""  # the TIFF structure of an EXIF block
    xmp: bytes = b""
    iptc: bytes = b""  # a JPEG's APP13 segments, as Photoshop writes them
    dpi: tuple[float, float] | None = None  # horizontal, vertical
    comment: bytes = b""  # of a JPEG or GIF
    png_texts: tuple[tuple[bytes, bytes], ...] = ()  # chunks: kind, content
    png_colours: tuple[tuple[bytes, bytes], ...] = ()  # cICP, gAMA, cHRM and sRGB chunks


NO_METADATA = FileMetadata()


def _amount(pixels: int) -> str:
    return f"{pixels / 1e6:.0f} megapixels" if pixels >= 10**7 else f"{pixels} pixels"


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What a decoder may do: asked before pixels are decoded."""

    pixels: int = MAX_PIXELS  # per picture; all that is decoded together may have four times as many samples
    damaged: bool = False  # read what is left of a damaged file

    def require(self, path: Path, width: int, height: int, channels: int = 3, pictures: int = 1) -> None:
        """Raises: PictureError naming file and size where a picture has too many pixels, or none.

        Grey counts as three channels, which it becomes; `pictures` are all that decoding makes.
        """
        if width < 1 or height < 1:
            raise PictureError(f"{path} has no pixels ({width}x{height})")
        samples = width * height * max(3, channels) * max(1, pictures)
        if width * height <= self.pixels and samples <= self.pixels * _CHANNELS:
            return
        more = f", {pictures} times" if pictures > 1 else ""
        raise PictureError(
            f"{path} is {width}x{height} with {channels} channels{more}, {_amount(width * height)}; "
            f"the limit is {_amount(self.pixels)} of {_CHANNELS} channels"
        )

    def damage(self, path: Path, what: str) -> str:
        """The fault as a note where damaged files may be read. Raises: DamagedPictureError elsewhere."""
        if not self.damaged:
            raise DamagedPictureError(f"{path} {what}")
        return what


@dataclass(frozen=True, kw_only=True, slots=True)
class Raster:
    """Samples at the file's own depth; full scale is the largest value of their type, 1 for floats."""

    samples: np.ndarray  # (H, W, C) uint8, uint16 or float32
    alpha: np.ndarray | None = None  # (H, W), same type, not multiplied into the samples
    profile: bytes | None = None  # ICC profile of the samples
    orientation: int = 1  # EXIF, 1..8
    bits: int = 0  # per sample in the file, before stretching to full scale; 0: as the type says
    indices: np.ndarray | None = None  # (H, W) uint8 of a palette file: the codes behind `samples`
    palette: np.ndarray | None = None  # (N, 3) uint8, the colours of the indices
    foreign_colours: str = ""  # why the samples cannot become sRGB (PQ and HLG); "" where they can
    damage: str = ""  # what is wrong with a damaged file that was read all the same
    notes: tuple[str, ...] = ()  # what a user should know: that it is the first frame of several
    metadata: FileMetadata = NO_METADATA

    @property
    def full(self) -> int:
        return 1 if self.samples.dtype.kind == "f" else int(np.iinfo(self.samples.dtype).max)

    @property
    def depth(self) -> int:
        """8, 16 or 32 (floats) bits per sample."""
        return self.samples.dtype.itemsize * 8


def to_tensor(samples: np.ndarray, full: int) -> Tensor:
    """(H, W, C) numbers -> (1, C, H, W) float32; divided once, so code / full is rounded only once."""
    if samples.dtype == np.uint8 and samples.flags.writeable and min(samples.strides) > 0:
        planes = torch.from_numpy(samples).permute(2, 0, 1)  # a quarter of numpy's time, the same numbers
        return torch.empty(planes.shape, dtype=torch.float32).copy_(planes).div_(full)[None]
    values = samples.transpose(2, 0, 1)[None].astype(np.float32, order="C")
    values /= full
    return torch.from_numpy(values)


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
    indices = None if raster.indices is None else _turn(raster.indices, raster.orientation)
    samples = _turn(raster.samples, raster.orientation)
    return replace(raster, samples=samples, alpha=alpha, indices=indices, orientation=1)
