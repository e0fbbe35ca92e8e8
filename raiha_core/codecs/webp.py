"""WebP files to rasters: the still picture, or the first frame of an animation."""

from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import numpy as np

from .colorspace import adobe_rgb
from .exif import bare, declares_adobe_rgb, read_orientation
from .inner_size import webp_frame_size
from .raster import FileMetadata, Limits, PictureError, Raster, split_alpha

_ANIMATED = 2  # flag of VP8X


@dataclass(frozen=True, slots=True)
class _Frame:
    """One picture of the file, and where it lies on the canvas."""

    left: int
    top: int
    chunks: list[tuple[bytes, bytes]]  # ALPH, VP8, VP8L: kind, content

    def size(self, path: Path) -> tuple[int, int]:
        """Width and height. Raises: PictureError where no chunk holds pixels."""
        for kind, content in self.chunks:
            if size := webp_frame_size(kind, content):
                return size
        raise PictureError(f"{path} is damaged: its WebP data hold no picture")

    def decode(self, width: int, height: int) -> np.ndarray:
        """(H, W, 3 or 4), from a file of this frame alone."""
        transparent = any(kind == b"ALPH" for kind, _ in self.chunks)
        parts = []
        if transparent:
            size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
            parts.append((b"VP8X", b"\x10\0\0\0" + size))
        body = b"WEBP"
        for kind, content in (*parts, *self.chunks):
            body += kind + len(content).to_bytes(4, "little") + content + bytes(len(content) % 2)
        return imagecodecs.webp_decode(b"RIFF" + len(body).to_bytes(4, "little") + body)


def _read_chunks(data: bytes, position: int, end: int, path: Path) -> list[tuple[bytes, bytes]]:
    """All chunks between two positions. Raises: PictureError where one is cut off."""
    chunks = []
    while position + 8 <= end:
        start = position + 8
        length = int.from_bytes(data[position + 4 : start], "little")
        if start + length > end:
            raise PictureError(f"{path} is truncated: its WebP data are cut off")
        chunks.append((data[position : position + 4], data[start : start + length]))
        position = start + length + length % 2
    return chunks


def _first_frame(chunks: list[tuple[bytes, bytes]], path: Path) -> _Frame:
    pixels = (b"ALPH", b"VP8 ", b"VP8L")
    for kind, content in chunks:
        if kind == b"ANMF":  # position in steps of two, size, time and flags: 16 bytes
            inner = [chunk for chunk in _read_chunks(content, 16, len(content), path) if chunk[0] in pixels]
            left, top = int.from_bytes(content[:3], "little"), int.from_bytes(content[3:6], "little")
            return _Frame(2 * left, 2 * top, inner)
        if kind in pixels:
            break
    return _Frame(0, 0, [chunk for chunk in chunks if chunk[0] in pixels])


def decode_webp(data: bytes, path: Path, limits: Limits) -> Raster:
    """A WebP file; of an animated one the first frame, on a canvas without cover.

    Raises: PictureError in one sentence; other errors from libwebp on damaged files.
    """
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data):
        raise PictureError(f"{path} is truncated: its WebP data are cut off")
    chunks = _read_chunks(data, 12, end, path)
    known = dict(reversed(chunks))  # the first of each kind
    canvas = known.get(b"VP8X", b"")
    frame = _first_frame(chunks, path)
    width, height = whole = frame.size(path)
    if len(canvas) >= 10:
        whole = int.from_bytes(canvas[4:7], "little") + 1, int.from_bytes(canvas[7:10], "little") + 1
    limits.require(path, *whole, channels=4)
    limits.require(path, width, height, channels=4)
    if frame.left + width > whole[0] or frame.top + height > whole[1]:
        raise PictureError(
            f"{path} is damaged: a {width}x{height} frame on a canvas of {whole[0]}x{whole[1]}"
        )
    samples, alpha = split_alpha(frame.decode(width, height))
    if (width, height) != whole:
        covered = np.full(samples.shape[:2], 255, np.uint8) if alpha is None else alpha
        place = slice(frame.top, frame.top + height), slice(frame.left, frame.left + width)
        inner, samples = samples, np.zeros((whole[1], whole[0], 3), np.uint8)
        alpha = np.zeros(samples.shape[:2], np.uint8)
        samples[place], alpha[place] = inner, covered
    exif, xmp = bare(known.get(b"EXIF")), known.get(b"XMP ", b"")
    profile = known.get(b"ICCP")
    if not profile and declares_adobe_rgb(exif):
        profile = adobe_rgb()
    animated = bool(canvas and canvas[0] & _ANIMATED)
    return Raster(
        samples=samples,
        alpha=alpha,
        profile=profile,
        orientation=read_orientation(exif, path, xmp),
        notes=("it is animated: the first frame was taken",) if animated else (),
        metadata=FileMetadata(exif=exif, xmp=xmp),
    )
