"""The table of picture formats: what each is called, how it is known, and who reads it. Everything asks here.

Source: docs/inputs.md says the same to users, and a test compares the two.
"""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .bmp import decode_bmp
from .exr import decode_exr
from .gif import decode_gif
from .heif import decode_avif, decode_heic
from .jpeg import decode_jpeg
from .png import PNG_SIGNATURE, decode_png
from .raster import Limits, Raster
from .tiff import decode_tiff
from .webp import decode_webp

_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


@dataclass(frozen=True, kw_only=True, slots=True)
class PictureFormat:
    """One format of picture files."""

    name: str
    endings: tuple[str, ...]
    known_by: Callable[[bytes], bool]  # whether a file's first 64 bytes are of this format
    decode: Callable[[bytes, Path, Limits], Raster]
    needs: str = ""  # the module of an extra, without which it is not read
    install: str = ""  # what to install for it

    @property
    def readable(self) -> bool:
        return not self.needs or importlib.util.find_spec(self.needs) is not None


def _begins(*starts: bytes) -> Callable[[bytes], bool]:
    return lambda data: data.startswith(starts)


def _brands(data: bytes) -> tuple[bytes, ...]:
    """The kinds that a file of ISO boxes says it is compatible with, the main one first."""
    if data[4:8] != b"ftyp":
        return ()
    end = min(int.from_bytes(data[:4], "big"), len(data))
    return (data[8:12], *(data[at : at + 4] for at in range(16, end - 3, 4)))


def _is_avif(data: bytes) -> bool:
    return any(brand in (b"avif", b"avis") for brand in _brands(data))


FORMATS: dict[str, PictureFormat] = {
    form.name: form
    for form in (
        PictureFormat(
            name="PNG",
            endings=(".png", ".apng"),
            known_by=_begins(PNG_SIGNATURE),
            decode=decode_png,
        ),
        PictureFormat(
            name="JPEG",
            endings=(".jpg", ".jpeg", ".jpe", ".jfif"),
            known_by=_begins(b"\xff\xd8\xff"),
            decode=decode_jpeg,
        ),
        PictureFormat(
            name="TIFF",
            endings=(".tif", ".tiff"),
            known_by=_begins(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
            decode=decode_tiff,
        ),
        PictureFormat(
            name="WebP",
            endings=(".webp",),
            known_by=lambda data: data[:4] == b"RIFF" and data[8:12] == b"WEBP",
            decode=decode_webp,
        ),
        PictureFormat(name="BMP", endings=(".bmp",), known_by=_begins(b"BM"), decode=decode_bmp),
        PictureFormat(
            name="GIF", endings=(".gif",), known_by=_begins(b"GIF87a", b"GIF89a"), decode=decode_gif
        ),
        PictureFormat(name="AVIF", endings=(".avif",), known_by=_is_avif, decode=decode_avif),
        PictureFormat(
            name="HEIC",
            endings=(".heic", ".heif"),
            known_by=lambda data: any(brand in _HEIC_BRANDS for brand in _brands(data)),
            decode=decode_heic,
            needs="pillow_heif",
            install="pillow-heif (pip install raiha[heic])",
        ),
        PictureFormat(
            name="EXR",
            endings=(".exr",),
            known_by=_begins(b"\x76\x2f\x31\x01"),
            decode=decode_exr,
            needs="OpenEXR",
            install="OpenEXR (pip install raiha[exr])",
        ),
    )
}


def readable_endings() -> tuple[str, ...]:
    """The endings of all formats that can be read here, extras included where they are installed."""
    return tuple(ending for form in FORMATS.values() if form.readable for ending in form.endings)


def format_of_ending(ending: str) -> PictureFormat | None:
    """The format that an ending (with its dot, any case) belongs to."""
    return next((form for form in FORMATS.values() if ending.lower() in form.endings), None)


def format_of_content(start: bytes) -> PictureFormat | None:
    """The format of a file by its first 64 bytes; endings lie, contents do not."""
    return next((form for form in FORMATS.values() if form.known_by(start)), None)
