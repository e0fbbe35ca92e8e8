"""OpenEXR files to rasters: scene-linear light, through OpenEXR where that is installed.

The rule: the channels R, G, B (or Y) are light, with the primaries that `chromaticities` names or else
those of sRGB; 1 is the display's white, and what is brighter is white for Raiha.
"""

import io
from pathlib import Path

import numpy as np

from .colorspace import linear_rgb
from .raster import Limits, PictureError, Raster
from .tiff import unmultiply


def decode_exr(data: bytes, path: Path, limits: Limits) -> Raster:
    """The first part of an EXR file, over its data window; its alpha is multiplied in, and taken out here.

    Raises: PictureError in one sentence, also where OpenEXR is not installed.
    """
    try:
        import Imath
        import OpenEXR  # an extra: most users have no such files
    except ImportError:
        raise PictureError(
            f"{path} is an OpenEXR picture; install OpenEXR (pip install raiha[exr])"
        ) from None
    file = OpenEXR.InputFile(io.BytesIO(data))
    header = file.header()
    window = header["dataWindow"]
    width, height = window.max.x - window.min.x + 1, window.max.y - window.min.y + 1
    channels = header["channels"]
    limits.require(path, width, height, len(channels))
    names = [name for name in ("R", "G", "B") if name in channels]
    if len(names) != 3:
        names = ["Y"] if "Y" in channels else []
    if not names:
        raise PictureError(f"{path} holds no channels R, G, B or Y, but {', '.join(sorted(channels)[:8])}")
    real = Imath.PixelType(Imath.PixelType.FLOAT)
    wanted = [*names, "A"] if "A" in channels else names
    planes = [np.frombuffer(file.channel(name, real), np.float32).reshape(height, width) for name in wanted]
    samples = np.stack(planes[: len(names)], -1)
    if not np.isfinite(samples).all():
        raise PictureError(f"{path} holds NaN or infinite values")
    alpha = planes[-1].clip(0, 1) if "A" in channels else None
    if alpha is not None:
        samples = unmultiply(samples, alpha)
    light = header.get("chromaticities")
    profile = linear_rgb()
    if light is not None:
        white, red, green, blue = (
            (point.x, point.y) for point in (light.white, light.red, light.green, light.blue)
        )
        profile = linear_rgb((white, red, green, blue))
    return Raster(samples=samples, alpha=alpha, profile=profile)
