"""OpenEXR files to rasters: scene-linear light, through OpenEXR where that is installed.

The rule: the channels R, G, B (or Y) are light, with the primaries that `chromaticities` names or else
those of sRGB; 1 is the display's white, and what is brighter is white for Raiha.
"""

import io
import struct
from pathlib import Path

import numpy as np

from .colorspace import linear_rgb
from .raster import Limits, PictureError, Raster
from .tiff import unmultiply

# What every header holds, and the bytes of it (0: any number). The library is not asked where one of these
# is missing or of another kind: it dereferences what it does not find.
_NEEDED = {
    "channels": ("chlist", 0),
    "compression": ("compression", 1),
    "dataWindow": ("box2i", 16),
    "displayWindow": ("box2i", 16),
    "lineOrder": ("lineOrder", 1),
    "pixelAspectRatio": ("float", 4),
    "screenWindowCenter": ("v2f", 8),
    "screenWindowWidth": ("float", 4),
}
_TILED, _DEEP = 0x200, 0x800  # flags of the version
_MOST_ATTRIBUTES = 1000


def _word(data: bytes, at: int) -> tuple[str, int]:
    """A text that ends with a zero byte, and where the next thing begins."""
    end = data.index(b"\0", at)
    return data[at:end].decode("latin-1"), end + 1


def _read_header(data: bytes, path: Path) -> dict[str, bytes]:
    """The attributes of the first part by their names.

    Raises: PictureError where it is cut short, or lacks what every header holds.
    """
    found: dict[str, tuple[str, bytes]] = {}
    at = 8
    try:
        while data[at] and len(found) < _MOST_ATTRIBUTES:
            name, at = _word(data, at)
            kind, at = _word(data, at)
            (length,) = struct.unpack_from("<I", data, at)
            found[name] = kind, data[at + 4 : at + 4 + length]
            at += 4 + length
    except (ValueError, IndexError, struct.error):
        raise PictureError(f"{path} is truncated or damaged: its header does not end") from None
    needed = _NEEDED | ({"tiles": ("tiledesc", 9)} if int.from_bytes(data[4:8], "little") & _TILED else {})
    for name, (kind, length) in needed.items():
        kind_found, content = found.get(name, ("", b""))
        if kind_found != kind or (length and len(content) != length):
            raise PictureError(f"{path} is truncated or damaged: its header has no sound '{name}'")
    return {name: content for name, (_, content) in found.items()}


def _full_channels(chlist: bytes) -> list[str]:
    """The names of the channels that have a sample for every pixel. Raises: as `_word`."""
    names, at = [], 0
    while chlist[at]:
        name, at = _word(chlist, at)
        if struct.unpack_from("<2I", chlist, at + 8) == (1, 1):
            names.append(name)
        at += 16
    return names


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
    said = _read_header(data, path)
    if int.from_bytes(data[4:8], "little") & _DEEP:
        raise PictureError(f"{path} holds deep pixels, which are not read")
    left, top, right, bottom = struct.unpack("<4i", said["dataWindow"])
    width, height = right - left + 1, bottom - top + 1
    try:
        channels = _full_channels(said["channels"])
    except (ValueError, IndexError, struct.error):
        raise PictureError(f"{path} is truncated or damaged: its list of channels does not end") from None
    limits.require(path, width, height, len(channels))
    names: list[str] = [name for name in ("R", "G", "B") if name in channels]
    if len(names) != 3:
        names = ["Y"] if "Y" in channels else []
    if not names:
        raise PictureError(
            f"{path} holds no channels R, G, B or Y, but {', '.join(map(repr, sorted(channels)[:8]))}"
        )
    file = OpenEXR.InputFile(io.BytesIO(data))
    header = file.header()
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
