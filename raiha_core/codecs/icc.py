"""ICC profiles: the samples of a raster to sRGB, at the raster's own depth.

Relative colorimetric with black point compensation, as photo editors do it. Eight bits go through
Pillow's littleCMS; sixteen through imagecodecs' with its optimisation off, because the optimised
path interpolates a coarse table and was measured to be wrong by up to 5032 of 65535 levels.
"""

import io
import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import imagecodecs
import numpy as np
from PIL import Image, ImageCms

from .colorspace import gamma_table_rgb
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


def _convert_float(samples: np.ndarray, profile: bytes, to: bytes) -> np.ndarray:
    """(H, W, 1 or 3) floats of one profile as (H, W, 3) floats 0..1 of an RGB one."""
    flags = imagecodecs.CMS.FLAGS
    converted = imagecodecs.cms_transform(
        np.ascontiguousarray(samples.squeeze(2) if samples.shape[2] == 1 else samples, np.float32),
        profile,
        to,
        colorspace=_NAMES[samples.shape[2]],
        outcolorspace="rgb",
        outdtype="f4",
        intent=int(_INTENT),
        flags=flags.NOOPTIMIZE | flags.BLACKPOINTCOMPENSATION,
    )
    return converted.reshape(*samples.shape[:2], 3).clip(0, 1)


@lru_cache(maxsize=64)  # a camera writes the same profile into all of its photos
def _channels(profile: bytes) -> int:
    """Samples per pixel that a profile is for. Raises: ValueError where it is damaged or for no picture."""
    try:
        space = ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile.xcolor_space.strip()
        channels = _SPACES[space]
        _convert_8(np.zeros((1, 1, channels), np.uint8), profile)
    except (OSError, ImageCms.PyCMSError):
        raise ValueError("it is damaged") from None
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


@lru_cache(maxsize=64)
def _as_rgb_profile(profile: bytes) -> bytes:
    """An RGB profile in which r = g = b is what a code is in this grey profile."""
    ramp = np.linspace(0, 65535, 1024).round().astype(np.uint16)[None, :, None]
    encoded = _convert_16(ramp, profile)[0, :, 1] / 65535
    light = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    return gamma_table_rgb(light)


@lru_cache(maxsize=64)
def _leads_back(profile: bytes) -> bool:
    """Whether colours can be converted into a profile; a scanner's may only lead out of it."""
    try:
        return bool(np.isfinite(from_srgb(np.zeros((1, 3), np.float32), profile)).all())
    except Exception:  # littleCMS gives one type for all that is wrong with a profile
        return False


def from_srgb(colours: np.ndarray, profile: bytes) -> np.ndarray:
    """sRGB colours (N, 3), 0..1, as float32 codes 0..1 of an RGB profile.

    Raises: the error of littleCMS where the profile does not lead back.
    """
    return _convert_float(colours[:, None], _srgb(), profile)[:, 0]


@dataclass(frozen=True, kw_only=True, slots=True)
class Settled:
    """A raster's colours as sRGB, and as codes of the space that a result can be written in."""

    srgb: np.ndarray  # (H, W, 3), type of the raster
    codes: np.ndarray  # (H, W, 3), same type: `srgb` itself where no other space is kept
    profile: bytes | None  # ICC profile of the codes
    same: bool  # the codes are sRGB codes, under whatever profile
    notes: tuple[str, ...] = ()


def settle(raster: Raster, path: Path) -> Settled:
    """The samples as sRGB, and as what they were; `path` only names the file in warnings.

    Without a profile RGB and grey are sRGB already, and ink is (1 - colour) * (1 - black). A grey
    picture under an RGB profile is r = g = b in it. A profile that is damaged or for other channels
    is not used, with a warning. Ink, and colours whose profile does not lead back, are kept as sRGB.
    """
    samples, profile = raster.samples, raster.profile
    if profile:
        try:
            channels = _channels(profile)
            if channels == 3 and samples.shape[2] == 1:
                samples = samples.repeat(3, 2)
            if channels != samples.shape[2]:
                raise ValueError(f"it is for {channels} channels and the picture has {samples.shape[2]}")
        except ValueError as error:
            warnings.warn(f"{path}: its ICC profile is not used, because {error}", stacklevel=3)
        else:
            return _settle_under(samples, profile, channels)
    if raster.samples.shape[2] == 4:
        return _as_srgb(_ink_to_rgb(raster.samples, raster.full), "its ink became sRGB")
    samples = raster.samples
    return _as_srgb(samples.repeat(3, 2) if samples.shape[2] == 1 else samples)


def _as_srgb(srgb: np.ndarray, *notes: str) -> Settled:
    return Settled(srgb=srgb, codes=srgb, profile=None, same=True, notes=notes)


def _settle_under(samples: np.ndarray, profile: bytes, channels: int) -> Settled:
    """The same for a profile that fits the samples."""
    if channels == 3 and _is_srgb(profile) and samples.dtype.kind != "f":
        return Settled(srgb=samples, codes=samples, profile=profile, same=True)
    if samples.dtype.kind == "f":
        srgb = _convert_float(samples, profile, _srgb())
    else:
        srgb = (_convert_8 if samples.dtype == np.uint8 else _convert_16)(samples, profile)
    if channels == 4:
        return _as_srgb(srgb, "its ink became sRGB")
    own = profile if channels == 3 else _as_rgb_profile(profile)
    if not _leads_back(own):
        return _as_srgb(srgb, "its colours became sRGB, because its profile does not lead back")
    codes = samples.repeat(3, 2) if samples.shape[2] == 1 else samples
    return Settled(srgb=srgb, codes=codes, profile=own, same=False)


def to_srgb(raster: Raster, path: Path) -> np.ndarray:
    """The samples as sRGB (H, W, 3), in the type that they have; warnings name `path`, as `settle` says."""
    return settle(raster, path).srgb
