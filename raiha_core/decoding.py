"""Picture files to rasters: which format a file is, whether it is whole, and its samples.

The content decides the format, not the ending. A file counts as whole only when its own structure
ends properly: decoders fill what is missing in a truncated file with grey, or may be told to by a
setting that other programs in the process share.
"""

import io
import re
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
from PIL import BmpImagePlugin, JpegImagePlugin

from .exif import read_orientation
from .png import PNG_SIGNATURE, decode_png
from .raster import PictureError, Raster, require_size, split_alpha
from .tiff import decode_tiff

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # classic and BigTIFF, both byte orders
_NEXT_JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # in a scan, FF 00 and restarts are data


def _require_whole_jpeg(data: bytes, path: Path) -> None:
    position = 2
    while found := _NEXT_JPEG_MARKER.search(data, position):
        if found[0] == b"\xff\xd9":  # end of image
            return
        position = found.end() + int.from_bytes(data[found.end() : found.end() + 2], "big")
    raise PictureError(f"{path} is truncated: its JPEG data have no end")


def _decode_jpeg(data: bytes, path: Path, max_pixels: int) -> Raster:
    image = JpegImagePlugin.JpegImageFile(io.BytesIO(data))
    require_size(path, *image.size, max_pixels)
    _require_whole_jpeg(data, path)
    image.load()  # the photo itself; further pictures (previews, gain maps) in the file are passed over
    if image.mode not in ("L", "RGB", "CMYK"):
        raise PictureError(f"{path} is a JPEG of an unknown kind ({image.mode})")
    samples = np.asarray(image)
    return Raster(
        samples=samples[:, :, None] if samples.ndim == 2 else samples,
        profile=image.info.get("icc_profile"),
        orientation=read_orientation(image.info.get("exif"), path),
    )


def _webp_chunks(data: bytes, path: Path) -> dict[bytes, bytes]:
    """First chunk of each kind. Raises: PictureError where the file is cut off."""
    end = 8 + int.from_bytes(data[4:8], "little")
    chunks: dict[bytes, bytes] = {}
    position = 12
    while position < end:
        start = position + 8
        length = int.from_bytes(data[position + 4 : start], "little")
        if end > len(data) or start + length > end:
            raise PictureError(f"{path} is truncated: its WebP data are cut off")
        chunks.setdefault(data[position : position + 4], data[start : start + length])
        position = start + length + length % 2
    return chunks


def _webp_size(chunks: dict[bytes, bytes]) -> tuple[int, int]:
    if extended := chunks.get(b"VP8X"):
        return int.from_bytes(extended[4:7], "little") + 1, int.from_bytes(extended[7:10], "little") + 1
    if lossless := chunks.get(b"VP8L"):
        bits = int.from_bytes(lossless[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    lossy = chunks.get(b"VP8 ", b"")
    return int.from_bytes(lossy[6:8], "little") & 0x3FFF, int.from_bytes(lossy[8:10], "little") & 0x3FFF


def _decode_webp(data: bytes, path: Path, max_pixels: int) -> Raster:
    chunks = _webp_chunks(data, path)
    require_size(path, *_webp_size(chunks), max_pixels)
    if chunks.get(b"VP8X", b"\0")[0] & 2:
        raise PictureError(f"{path} is animated; Raiha reads still pictures only, so export one frame")
    samples, alpha = split_alpha(imagecodecs.webp_decode(data))
    return Raster(
        samples=samples,
        alpha=alpha,
        profile=chunks.get(b"ICCP"),
        orientation=read_orientation(chunks.get(b"EXIF"), path),
    )


def _decode_bmp(data: bytes, path: Path, max_pixels: int) -> Raster:
    image = BmpImagePlugin.BmpImageFile(io.BytesIO(data))
    require_size(path, *image.size, max_pixels)
    if (size := int.from_bytes(data[2:6], "little")) > len(data):
        raise PictureError(f"{path} is truncated: it has {len(data)} of {size} bytes")
    image.load()
    mode = "L" if image.mode in ("1", "L") else "RGBA" if "A" in image.mode else "RGB"
    samples, alpha = split_alpha(np.asarray(image.convert(mode)))
    return Raster(samples=samples, alpha=alpha)


def _decoder(start: bytes) -> Callable[[bytes, Path, int], Raster] | None:
    if start.startswith(PNG_SIGNATURE):
        return decode_png
    if start.startswith(b"\xff\xd8\xff"):
        return _decode_jpeg
    if start.startswith(_TIFF):
        return decode_tiff
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return _decode_webp
    return _decode_bmp if start.startswith(b"BM") else None


def _read_bytes(path: Path) -> tuple[Callable[[bytes, Path, int], Raster], bytes]:
    """The decoder for a file and its bytes; only the first few are read where no decoder fits."""
    try:
        if path.is_dir():
            raise PictureError(f"{path} is a folder, not a picture")
        if path.exists() and not path.is_file():  # reading a pipe would wait for ever
            raise PictureError(f"{path} is not a regular file")
        with open(path, "rb") as file:
            start = file.read(16)
            if not start:
                raise PictureError(f"{path} is empty (0 bytes)")
            if (decoder := _decoder(start)) is None:
                raise PictureError(f"{path} is not a PNG, JPEG, TIFF, WebP or BMP picture")
            return decoder, start + file.read()
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} does not exist") from None
    except PermissionError:
        raise PermissionError(f"{path} cannot be read: permission denied") from None


def decode(path: Path, max_pixels: int) -> Raster:
    """Read one still picture as its file holds it (PNG, JPEG, TIFF, WebP, BMP), decided by content.

    Of a JPEG with several pictures the first counts. Animated PNG and WebP, and TIFF with several
    full pages, are refused.
    Raises: PictureError (a ValueError) or OSError, one sentence naming the file: missing, no
        permission, a folder, empty, no picture, more than `max_pixels` (found before any pixel is
        decoded), truncated, damaged.
    """
    decoder, data = _read_bytes(path)
    try:
        return decoder(data, path, max_pixels)
    except (PictureError, MemoryError):
        raise
    except Exception as error:  # on damaged data decoders raise nearly anything
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise PictureError(f"{path} cannot be decoded ({reason})") from error
