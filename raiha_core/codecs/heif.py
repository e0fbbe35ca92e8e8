"""AVIF and HEIC files to rasters: one container, two decoders; its boxes tell size, colours and turns.

AVIF through libavif (imagecodecs), which keeps 10 and 12 bits; HEIC through pillow-heif, where that is
installed. Source: ISO/IEC 14496-12 (boxes), 23008-12 (image items), 23000-22 (turns).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import numpy as np

from .colorspace import from_code_points
from .exif import bare
from .raster import FileMetadata, Limits, PictureError, Raster, split_alpha

_CONTAINERS = {b"meta": 4, b"iprp": 0, b"ipco": 0}  # box -> bytes before the boxes in it
_MOST_BOXES = 100_000
# Quarter turns against the clock, a flip after it (0: top and bottom, 1: left and right) -> EXIF orientation
_TURNS = {
    (0, None): 1, (1, None): 8, (2, None): 3, (3, None): 6,
    (0, 0): 4, (1, 0): 5, (2, 0): 2, (3, 0): 7,
    (0, 1): 2, (1, 1): 7, (2, 1): 4, (3, 1): 5,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Properties:
    """What the container says of its pictures."""

    sizes: list[tuple[int, int]]
    profile: bytes | None
    code_points: tuple[int, int, bool] | None  # primaries, transfer, full range
    orientation: int


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, first and last position of each box, those in containers after their container."""
    todo, count = [(start, end)], 0
    while todo:
        position, last = todo.pop()
        while position + 8 <= last and count < _MOST_BOXES:
            count += 1
            (length,) = struct.unpack_from(">I", data, position)
            kind, head = data[position + 4 : position + 8], 8
            if length == 1 and position + 16 <= last:
                (length,) = struct.unpack_from(">Q", data, position + 8)
                head = 16
            stop = last if length == 0 else position + length
            if stop > last or stop < position + head:
                break
            yield kind, position + head, stop
            if kind in _CONTAINERS:
                todo.append((position + head + _CONTAINERS[kind], stop))
            position = stop


def _read_properties(data: bytes) -> _Properties:
    sizes, profile, points, turn, flip = [], None, None, 0, None
    for kind, start, end in _boxes(data, 0, len(data)):
        content = data[start:end]
        if kind == b"ispe" and len(content) >= 12:
            sizes.append(struct.unpack(">II", content[4:12]))
        elif kind == b"colr" and content[:4] in (b"prof", b"rICC"):
            profile = profile or content[4:]
        elif kind == b"colr" and content[:4] == b"nclx" and len(content) >= 11:
            primaries, transfer, _ = struct.unpack(">HHH", content[4:10])
            points = points or (primaries, transfer, content[10] >> 7 == 1)
        elif kind == b"irot" and content:
            turn = content[0] & 3
        elif kind == b"imir" and content:
            flip = content[0] & 1
    return _Properties(sizes, profile, points, _TURNS[turn, flip])


def _exif(data: bytes) -> bytes:
    """The EXIF block among the data of the file's items, by the prefix that it has there."""
    found = data.find(b"Exif\0\0II*\0")
    found = data.find(b"Exif\0\0MM\0*") if found < 0 else found
    return bare(data[found : found + (1 << 16)]) if found >= 0 else b""


def _colours(properties: _Properties) -> tuple[bytes | None, str]:
    if properties.profile:
        return properties.profile, ""
    if properties.code_points is None:
        return None, ""
    primaries, transfer, _ = properties.code_points  # the decoder has made full range of video range
    return from_code_points(primaries, transfer)


def _to_full(samples: np.ndarray, bits: int) -> np.ndarray:
    """Samples of 10 or 12 bits in uint16, stretched over 16."""
    if samples.dtype == np.uint8:
        return samples
    top = 2**bits - 1
    return ((samples.astype(np.uint32) * 65535 + top // 2) // top).astype(np.uint16)


def _bits(data: bytes) -> int:
    """Bits per channel of the first picture, by its `pixi` box; 8 where there is none."""
    for kind, start, end in _boxes(data, 0, len(data)):
        if kind == b"pixi" and end - start >= 6:
            return data[start + 5]
    return 8


def decode_avif(data: bytes, path: Path, limits: Limits) -> Raster:
    """The first picture of an AVIF file; `path` only names it in errors.

    Raises: PictureError in one sentence; other errors from libavif on damaged files.
    """
    properties = _read_properties(data)
    if not properties.sizes:
        raise PictureError(f"{path} is truncated or damaged: it does not say its size")
    for width, height in properties.sizes:
        limits.require(path, width, height, channels=4)
    decoded = imagecodecs.avif_decode(data, index=0)
    samples, alpha = split_alpha(_to_full(decoded, _bits(data)))
    profile, foreign = _colours(properties)
    return Raster(
        samples=samples,
        alpha=alpha,
        profile=profile,
        foreign_colours=foreign,
        orientation=properties.orientation,
        notes=("it is animated: the first frame was taken",) if data[8:12] == b"avis" else (),
        metadata=FileMetadata(exif=_exif(data)),
    )


def decode_heic(data: bytes, path: Path, limits: Limits) -> Raster:
    """The main picture of a HEIC file, turned upright by its decoder.

    Raises: PictureError in one sentence, also where pillow-heif is not installed.
    """
    try:
        import pillow_heif  # an extra: most users have no such files
    except ImportError:
        raise PictureError(
            f"{path} is a HEIC picture; install pillow-heif (pip install raiha[heic])"
        ) from None
    properties = _read_properties(data)
    for width, height in properties.sizes:
        limits.require(path, width, height, channels=4)
    file = pillow_heif.open_heif(data, convert_hdr_to_8bit=False, bgr_mode=False)
    width, height = file.size
    limits.require(path, width, height, channels=4)
    samples, alpha = split_alpha(np.asarray(file))
    profile, foreign = _colours(properties)
    return Raster(
        samples=samples,
        alpha=alpha,
        profile=profile,
        foreign_colours=foreign,
        metadata=FileMetadata(exif=bare(file.info.get("exif")), xmp=file.info.get("xmp") or b""),
    )
