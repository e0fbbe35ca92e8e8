"""The size that a coded picture says it has, read from its first bytes: what a decoder will allocate."""

import re
import struct

_FRAME = re.compile(rb"\xff[\xc0-\xc3\xc5-\xc7\xc9-\xcb\xcd-\xcf]")


def webp_frame_size(kind: bytes, content: bytes) -> tuple[int, int] | None:
    """Width and height of a WebP's chunk of pixels, VP8 or VP8L; None for another chunk."""
    if kind == b"VP8L":
        bits = int.from_bytes(content[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = content[6:8], content[8:10]
        return int.from_bytes(width, "little") & 0x3FFF, int.from_bytes(height, "little") & 0x3FFF
    return None


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        if _FRAME.match(data, position) and len(data) >= position + 9:
            height, width = struct.unpack_from(">HH", data, position + 5)
            return width, height
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return None


def inner_size(data: bytes) -> tuple[int, int] | None:
    """Width and height of a JPEG, JPEG 2000 or WebP picture; None where the bytes do not say."""
    if data[:2] == b"\xff\xd8":
        return _jpeg_size(data)
    if data[:4] == b"RIFF":
        extended = data[12:16] == b"VP8X"
        whole = (
            [int.from_bytes(data[start : start + 3], "little") + 1 for start in (24, 27)] if extended else []
        )
        sizes = [
            webp_frame_size(data[at : at + 4], data[at + 8 : at + 18])
            for at in (12, data.find(b"VP8L"), data.find(b"VP8 "))
            if at >= 0
        ]
        found = [size for size in sizes if size is not None]
        if whole:
            found.append((whole[0], whole[1]))
        return max(found, key=lambda size: size[0] * size[1], default=None)
    start = data.find(b"\xff\x4f\xff\x51")  # JPEG 2000: start and size markers, in a box or without one
    if start >= 0 and len(data) >= start + 24:
        right, bottom, left, top = struct.unpack_from(">4I", data, start + 8)
        return right - left, bottom - top
    return None
