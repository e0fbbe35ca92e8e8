"""JPEG files to rasters: the pixels of libjpeg-turbo, and an error where the scan is broken.

Pillow reads a scan with wrong data in silence and fills it with grey. simplejpeg gives the same pixels
(the same library, its exact DCT and smooth upsampling) and reports what the library remarks. It sees only
the segments that make the pixels, so that a fault in any other stops no photo.
"""

import io
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import JpegImagePlugin

from .colorspace import adobe_rgb
from .exif import bare, declares_adobe_rgb, read_orientation
from .raster import FileMetadata, Limits, PictureError, Raster

_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # in a scan, FF 00 and restarts are data
_MOST_SCANS = 500  # a progressive photo has about ten; each costs the time of a whole picture
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_SPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}
_PADDING = re.compile(r"(\d+) extraneous bytes before marker 0xd9")


@dataclass(frozen=True, slots=True)
class _Parts:
    """A JPEG file taken apart."""

    pixels: bytes  # a file of only what makes the pixels
    iptc: bytes
    xmp: bytes
    whole: bool  # it has an end


def _needed(marker: int, content: bytes) -> bool:
    """Whether a segment makes pixels: tables and frames; of the rest only what says how colours are coded."""
    if marker == 0xE0:
        return content.startswith(b"JFIF\0")
    if marker == 0xEE:
        return content.startswith(b"Adobe")
    return not (0xE1 <= marker <= 0xEF or marker == 0xFE)


def _known_kind(marker: int, content: bytes) -> bytes:
    # the library remarks on versions and colour codes that it does not know, and reads on like this
    if marker == 0xE0 and len(content) > 5:
        return content[:5] + b"\1" + content[6:]
    if marker == 0xEE and len(content) >= 12 and content[11] > 2:
        return content[:11] + b"\1" + content[12:]
    return content


def _take_apart(data: bytes, path: Path) -> _Parts:
    """Raises: PictureError for a file of so many scans that reading it takes minutes."""
    kept, iptc, xmp, scans, position = [b"\xff\xd8"], b"", b"", 0, 2
    in_tables = False
    while found := _NEXT_MARKER.search(data, position):
        marker, start = found[0][1], found.end()
        if scans or in_tables:  # beside a table: perhaps another table, whose marker was lost
            kept.append(data[position : found.start()])
        if marker == 0xD9:
            return _Parts(b"".join((*kept, b"\xff\xd9")), iptc, xmp, True)
        end = start + int.from_bytes(data[start : start + 2], "big")
        content = data[start + 2 : end]
        scans += marker == 0xDA
        if scans > _MOST_SCANS:
            raise PictureError(f"{path} has more than {_MOST_SCANS} scans; save it again as an ordinary JPEG")
        if marker == 0xED:
            iptc += data[found.start() : end]
        elif marker == 0xE1 and content.startswith(_XMP):
            xmp = xmp or content[len(_XMP) :]
        in_tables = _needed(marker, content)
        if in_tables:
            kept.append(found[0] + data[start : start + 2] + _known_kind(marker, content))
        position = max(end, start)
    kept.append(data[position:])
    return _Parts(b"".join(kept), iptc, xmp, False)


def _strict(data: bytes, space: str) -> np.ndarray:
    return simplejpeg.decode_jpeg(data, space, fastdct=False, fastupsample=False, strict=True)


def _decode_strictly(data: bytes, space: str) -> np.ndarray:
    """Raises: ValueError in the library's words where the scan is broken."""
    try:
        return _strict(data, space)
    except ValueError as error:
        found = _PADDING.search(str(error))
        padding = data[-2 - int(found[1]) : -2] if found else b""
        if not padding or (padding.strip(b"\0") and padding.strip(b"\xff")):
            raise
        return _strict(data[: -2 - len(padding)] + b"\xff\xd9", space)  # some cameras fill up with zeros


def decode_jpeg(data: bytes, path: Path, limits: Limits) -> Raster:
    """The photo of a JPEG file; further pictures (previews, gain maps) in it are passed over.

    Raises: PictureError in one sentence; other errors from the decoders on damaged files.
    """
    image = JpegImagePlugin.JpegImageFile(io.BytesIO(data))
    if image.mode not in _SPACES:
        raise PictureError(f"{path} is a JPEG of an unknown kind ({image.mode})")
    limits.require(path, *image.size, channels=len(image.getbands()))
    parts = _take_apart(data, path)
    damage = "" if parts.whole else limits.damage(path, "is truncated: its JPEG data have no end")
    space = _SPACES[image.mode]
    samples = None
    if not damage:
        try:
            samples = _decode_strictly(parts.pixels, space)
        except ValueError:
            damage = limits.damage(path, "is damaged: the data inside its JPEG scan are wrong")
    if samples is None:
        samples = simplejpeg.decode_jpeg(parts.pixels, space, fastdct=False, fastupsample=False, strict=False)
    if space == "CMYK":  # the check is done; only Pillow knows which inks are stored inverted
        samples = np.asarray(image)
    exif = bare(image.info.get("exif"))
    xmp = parts.xmp
    profile = image.info.get("icc_profile")
    if not profile and space == "RGB" and declares_adobe_rgb(exif):
        profile = adobe_rgb()
    return Raster(
        samples=samples[:, :, None] if samples.ndim == 2 else samples,
        profile=profile,
        orientation=read_orientation(exif, path, xmp),
        damage=damage,
        metadata=FileMetadata(
            exif=exif,
            xmp=xmp,
            iptc=parts.iptc,
            dpi=image.info.get("dpi"),
            comment=image.info.get("comment", b""),
        ),
    )
