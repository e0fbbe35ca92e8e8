"""ICC profiles: the samples of a raster to sRGB, at the raster's own depth.

Relative colorimetric with black point compensation, as photo editors do it. Eight bits go through
Pillow's littleCMS; sixteen through imagecodecs' with its optimisation off, because the optimised
path interpolates a coarse table and was measured to be wrong by up to 5032 of 65535 levels.
"""

import io
import warnings
from functools import lru_cache
from pathlib import Path

import imagecodecs
import numpy as np
from PIL import Image, ImageCms

from .raster import Raster

_MODES = {1: "L", 3: "RGB", 4: "CMYK"}
_SPACES = {"GRAY": 1, "RGB": 3, "CMYK": 4}  # samples per pixel
_NAMES = {1: "gray", 3: "rgb", 4: "cmyk"}
_INTENT = ImageCms.Intent.RELATIVE_COLORIMETRIC


@lru_cache(maxsize=1)
def _srgb() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def _convert_8(samples: np.ndarray, profile: bytes) -> np.ndarray:
    transform = ImageCms.buildTransform(
        ImageCms.ImageCmsProfile(io.BytesIO(profile)),
        ImageCms.createProfile("sRGB"),
        _MODES[samples.shape[2]],
        "RGB",
        renderingIntent=_INTENT,
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    image = Image.fromarray(np.ascontiguousarray(samples.squeeze(2) if samples.shape[2] == 1 else samples))
    if samples.shape[2] == 4:
        image = Image.frombytes("CMYK", image.size, np.ascontiguousarray(samples).tobytes())
    return np.asarray(ImageCms.applyTransform(image, transform))


def _convert_16(samples: np.ndarray, profile: bytes) -> np.ndarray:
    flags = imagecodecs.CMS.FLAGS
    return imagecodecs.cms_transform(
        samples.squeeze(2) if samples.shape[2] == 1 else samples,
        profile,
        _srgb(),
        colorspace=_NAMES[samples.shape[2]],
        outcolorspace="rgb",
        outdtype="u2",
        intent=int(_INTENT),
        flags=flags.NOOPTIMIZE | flags.BLACKPOINTCOMPENSATION,
    )


@lru_cache(maxsize=64)  # a camera writes the same profile into all of its photos
def _channels(profile: bytes) -> int:
    """Samples per pixel that a profile is for. Raises: ValueError where it is damaged or for no picture."""
    try:
        space = ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile.xcolor_space.strip()
        channels = _SPACES[space]
        _convert_8(np.zeros((1, 1, channels), np.uint8), profile)
    except (OSError, ImageCms.PyCMSError) as error:
        raise ValueError(f"it is damaged: {error}") from None
    except KeyError:
        raise ValueError(f"it is for the colour space {space}") from None
    return channels


@lru_cache(maxsize=64)
def _is_srgb(profile: bytes) -> bool:
    """Whether a profile moves no colour by more than one 8-bit level: sRGB under any of its names.

    Converting such pictures would only add rounding, and 16-bit codes would not survive a round trip.
    """
    steps = np.linspace(0, 255, 18).round().astype(np.uint8)
    lattice = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(1, -1, 3)
    moved = np.abs(_convert_8(lattice, profile).astype(int) - lattice).max()
    return bool(moved <= 1)


def _ink_to_rgb(ink: np.ndarray, full: int) -> np.ndarray:
    paper: np.ndarray = full - ink.astype(np.uint32)  # holds 65535 squared and a half more
    return ((paper[:, :, :3] * paper[:, :, 3:] + full // 2) // full).astype(ink.dtype)


def to_srgb(raster: Raster, path: Path) -> np.ndarray:
    """The samples as sRGB (H, W, 3), same type; `path` only names the file in warnings.

    Without a profile RGB and grey are sRGB already, and ink is (1 - colour) * (1 - black). A grey
    picture under an RGB profile is r = g = b in it. A profile that is damaged or for other channels
    is not used, with a warning.
    """
    samples, profile = raster.samples, raster.profile
    if profile:
        try:
            channels = _channels(profile)
            if channels == 3 and samples.shape[2] == 1:
                samples = samples.repeat(3, 2)
            if channels != samples.shape[2]:
                raise ValueError(f"it is for {channels} channels and the picture has {samples.shape[2]}")
            if channels == 3 and _is_srgb(profile):
                return samples
            return (_convert_8 if raster.full == 255 else _convert_16)(samples, profile)
        except ValueError as error:
            warnings.warn(f"{path}: its ICC profile is not used, because {error}", stacklevel=2)
            samples = raster.samples
    if samples.shape[2] == 4:
        return _ink_to_rgb(samples, raster.full)
    return samples.repeat(3, 2) if samples.shape[2] == 1 else samples
