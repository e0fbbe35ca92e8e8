"""Picture files of strangers: each is read rightly, or refused in one sentence that names it.

Oracles for what is damaged: chunks' own check sums and zlib (PNG, TIFF), libjpeg's warnings (JPEG).
"""

import io
import re
import struct
import time
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import simplejpeg
import tifffile
import torch

from raiha_core.codecs import exr
from raiha_core.images import open_picture, read_mask
from tests.png_files import SIGNATURE

from .damage import damaged, exr_blocks
from .grammar import too_long
from .part import Part, dice
from .pictures import EXTENSIONS, MAKERS

_MOST = 4_000_000  # pixels: what is decoded stays small beside the 1 GiB that a trial may take
# bytes between the data and the end, and segments that make no pixels
_HARMLESS = re.compile(r"extraneous bytes before marker 0xd9|adobe|jfif|colou?r", re.IGNORECASE)


def _png_is_broken(data: bytes) -> bool:
    """Whether a critical check sum or zlib disagrees, or the file ends too early."""
    if not data.startswith(SIGNATURE):
        return False
    position, packed, head = 8, b"", b""
    while True:
        length = int.from_bytes(data[position : position + 4], "big")
        kind, content = data[position + 4 : position + 8], data[position + 8 : position + 8 + length]
        end = position + 12 + length
        if end > len(data) or len(kind) < 4:
            return True
        sound = zlib.crc32(kind + content) == int.from_bytes(data[end - 4 : end], "big")
        if not sound and kind in (b"IHDR", b"PLTE", b"IDAT", b"IEND"):
            return True
        head = content if kind == b"IHDR" and not head else head
        packed += content if kind == b"IDAT" else b""
        if kind == b"IEND":
            break
        position = end
    try:
        unpacker = zlib.decompressobj()
        unpacker.decompress(packed, 200_000_000)
        return not unpacker.eof and not unpacker.unconsumed_tail
    except zlib.error:
        return True


def _jpeg_is_broken(data: bytes) -> bool:
    """Whether libjpeg warns, of anything but bytes between the data and the end."""
    try:
        simplejpeg.decode_jpeg(data, "GRAY", strict=True)
        return False
    except ValueError as error:
        return not _HARMLESS.search(str(error))


def _tiff_is_broken(data: bytes) -> bool:
    """Whether zlib disagrees with a strip or tile of the first page."""
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page = file.pages[0]
            if page.compression not in (8, 32946) or page.imagewidth * page.imagelength > _MOST:
                return False
            spans = list(zip(page.dataoffsets, page.databytecounts, strict=True))
            if len(spans) > 100 or len(page.dataoffsets) != int(np.prod(page.chunked)):
                return False
    except Exception:
        return False
    for first, length in spans:
        if length == 0:
            continue
        unpacker = zlib.decompressobj()
        try:
            unpacker.decompress(data[first : first + length], 10_000_000)
        except zlib.error:
            return True
        if not unpacker.eof and not unpacker.unconsumed_tail:
            return True
    return False


def _exr_is_broken(data: bytes) -> bool:
    """Whether zlib disagrees with a packed block of scanlines; one as long as its pixels is not packed."""
    try:
        said = exr._read_header(data, Path("oracle.exr"))
        names = exr._full_channels(said["channels"])
    except (ValueError, IndexError, struct.error):
        return False
    rows = {2: 1, 3: 16}.get(said["compression"][0])
    if rows is None or data[4:8] != b"\2\0\0\0" or len(said["channels"]) != 1 + 18 * len(names):
        return False
    left, top, right, bottom = struct.unpack("<4i", said["dataWindow"])
    samples = sum(2 if said["channels"][18 * n + 2] == 1 else 4 for n in range(len(names)))
    for number, block in enumerate(exr_blocks(data)):
        full = min(rows, bottom - top + 1 - number * rows) * (right - left + 1) * samples
        length = int.from_bytes(data[block + 4 : block + 8], "little")
        try:
            if length < full and len(zlib.decompress(data[block + 8 : block + 8 + length])) != full:
                return True
        except zlib.error:
            return True
    return False


_ORACLES: dict[str, Callable[[bytes], bool]] = {
    "png": _png_is_broken,
    "jpeg": _jpeg_is_broken,
    "tiff": _tiff_is_broken,
    "exr": _exr_is_broken,
}


def _sentence_fault(error: BaseException, path: Path) -> str:
    if not isinstance(error, ValueError | OSError):
        return f"{type(error).__name__} instead of a sentence: {error}"
    text = str(error)
    if "\n" in text or path.name not in text:
        return f"no sentence that names the file: {text[:160]!r}"
    return ""


def judge(kind: str, path: Path, whole: bytes) -> str:
    """What is wrong with how a file is read, "" for nothing. `whole` is the file before it was damaged."""
    data = path.read_bytes()
    silent = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        begun = time.process_time()
        try:
            picture = open_picture(path, max_pixels=_MOST)
            silent = not picture.damage
            pixels = picture.pixels
            if pixels.ndim != 4 or 0 in pixels.shape or pixels.shape[2] * pixels.shape[3] > _MOST:
                return f"pixels of shape {tuple(pixels.shape)}"
        except Exception as error:
            if fault := _sentence_fault(error, path):
                return fault
        if slow := too_long(begun):
            return slow
        if silent and kind in _ORACLES and _ORACLES[kind](data):
            path.write_bytes(whole)  # damage that changes no pixel may be passed over
            if not torch.equal(pixels, open_picture(path).pixels):
                return "damage was taken in silence"
            path.write_bytes(data)
        for read in (
            lambda: open_picture(path, max_pixels=_MOST, allow_damaged=True),
            lambda: read_mask(path, max_pixels=_MOST),
        ):
            begun = time.process_time()
            try:
                read()
            except Exception as error:
                if fault := _sentence_fault(error, path):
                    return fault
            if slow := too_long(begun):
                return slow
    return ""


def _trial_of(kind: str) -> Callable[[int, Path], str | None]:
    def trial(seed: int, place: Path) -> str | None:
        rng = dice(seed)
        path = place / f"stranger.{EXTENSIONS.get(kind, kind)}"
        whole = MAKERS[kind](rng)
        data = damaged(kind, whole, rng)
        path.write_bytes(data)
        if not (fault := judge(kind, path, whole)):
            return None
        kept = Path("torture_output") / f"{kind}-{seed}{path.suffix}"  # to look at
        kept.parent.mkdir(exist_ok=True)
        kept.write_bytes(data)
        return f"{kept.name}: {fault}"

    return trial


_FULL = {"png": 3000, "jpeg": 2000, "tiff": 3000, "other": 1000}
PARTS = tuple(
    Part(name=f"files-{kind}", trial=_trial_of(kind), full=_FULL.get(kind, 600), seconds=6, share=0.7)
    for kind in MAKERS
)
