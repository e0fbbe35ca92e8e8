"""Damage to picture files: cut at every part, bits flipped in every part, parts lost, doubled, and lying."""

import random
import struct
import zlib
from collections.abc import Callable
from functools import cache
from itertools import pairwise

import numpy as np

from tests.png_files import GREY, chunk, make_png

Cuts = list[int]  # where the parts of a file begin, the end of the file last


def _png_parts(data: bytes) -> Cuts:
    cuts, position = [0, 8], 8
    while position + 12 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        cuts += [position + 4, position + 8, position + 8 + length, position + 12 + length]
        position += 12 + length
    return cuts


def _jpeg_parts(data: bytes) -> Cuts:
    cuts, position = [0, 2], 2
    while position + 4 <= len(data) and data[position] == 0xFF and data[position + 1] != 0xDA:
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        cuts += [position + 2, position + 4, position + 2 + length]
        position += 2 + length
    return [*cuts, position + 2, position + 14, len(data) - 2]


def _tiff_parts(data: bytes) -> Cuts:
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    start = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)[0]
    if start + 8 > len(data):
        return [0, 4, 8]
    count = struct.unpack_from(order + ("Q" if big else "H"), data, start)[0]
    head, step = (8, 20) if big else (2, 12)
    entries = range(start + head, start + head + step * min(count, 40) + 1, step)
    return [0, 4, 8, start, *entries, *(entry + 4 for entry in entries), *(entry + 8 for entry in entries)]


def _riff_parts(data: bytes) -> Cuts:
    cuts, position = [0, 4, 8, 12], 12
    while position + 8 <= len(data):
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        cuts += [position + 4, position + 8, position + 8 + length]
        position += 8 + length + length % 2
    return cuts


def _box_parts(data: bytes) -> Cuts:
    """Boxes at every depth: their lengths stand before their names."""
    names = (
        b"ftyp",
        b"meta",
        b"hdlr",
        b"pitm",
        b"iloc",
        b"iinf",
        b"iprp",
        b"ipco",
        b"ispe",
        b"pixi",
        b"av1C",
        b"colr",
        b"ipma",
        b"mdat",
        b"infe",
        b"auxC",
        b"iref",
    )
    found = [data.find(name) for name in names]
    return [0, *(at - 4 for at in found if at >= 4), *(at + 4 for at in found if at >= 0)]


def _exr_parts(data: bytes) -> Cuts:
    """Each attribute of the header, the table of offsets, and each block of pixels."""
    cuts, position = [0, 4, 8], 8
    while 0 < position < len(data) and data[position]:  # name, 0, kind, 0, length, value
        kind = data.find(b"\0", position) + 1
        length = data.find(b"\0", kind) + 1
        if not 0 < kind < length or length + 4 > len(data):
            return cuts
        cuts += [position, kind, length, length + 4]
        position = length + 4 + int.from_bytes(data[length : length + 4], "little")
    blocks = exr_blocks(data)
    return [
        *cuts,
        position,
        position + 1,
        *blocks,
        *(block + 4 for block in blocks),
        *(block + 8 for block in blocks),
    ]


def exr_blocks(data: bytes) -> Cuts:
    """Where the blocks of pixels begin by the table behind the header of an EXR file, 200 at most."""
    table = data.rfind(b"\0scanlineimage\0")
    table = table + 15 if table >= 0 else data.rfind(b"\0tiledimage\0") + 12
    first = int.from_bytes(data[table : table + 8], "little")
    places = range(table, min(first, len(data) - 7, table + 1600), 8)
    return [int.from_bytes(data[at : at + 8], "little") for at in places]


def _head_parts(data: bytes) -> Cuts:
    return [*range(0, min(60, len(data)), 2), *range(60, len(data), max(1, len(data) // 20))]


_PARTS: dict[str, Callable[[bytes], Cuts]] = {
    "png": _png_parts,
    "jpeg": _jpeg_parts,
    "tiff": _tiff_parts,
    "webp": _riff_parts,
    "gif": _head_parts,
    "bmp": _head_parts,
    "avif": _box_parts,
    "heic": _box_parts,
    "exr": _exr_parts,
    "other": _head_parts,
}


def parts_of(kind: str, data: bytes) -> Cuts:
    """Where the parts of a file begin, sorted, with its end."""
    return sorted({0, len(data), *(cut for cut in _PARTS[kind](data) if 0 <= cut <= len(data))})


def _cut(kind: str, data: bytes, rng: random.Random) -> bytes:
    at = rng.choice(parts_of(kind, data)) + rng.choice((-1, 0, 0, 1, 2))
    return data[: max(0, at)]


def _flip(kind: str, data: bytes, rng: random.Random) -> bytes:
    cuts = parts_of(kind, data)
    spans = list(pairwise(cuts)) or [(0, 0)]
    # as often in the part that holds the pixels as in all others together
    first, last = max(spans, key=lambda span: span[1] - span[0]) if rng.random() < 0.5 else rng.choice(spans)
    if first == last:
        return data
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 4, 40))):
        changed[rng.randrange(first, last)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _lie(kind: str, data: bytes, rng: random.Random) -> bytes:
    """A number at the beginning of a part says something else."""
    at = rng.choice(parts_of(kind, data))
    width = rng.choice((1, 2, 4, 4, 8))
    value = rng.choice((0, 1, 2, 65535, 65536, 0x7FFFFFFF, 0xFFFFFFFF, rng.randrange(1 << 32), at, len(data)))
    order = rng.choice(("big", "little"))
    changed = bytearray(data)
    changed[at : at + width] = (value % (1 << 8 * width)).to_bytes(width, order)
    return bytes(changed[: len(data)])


def _shuffle(kind: str, data: bytes, rng: random.Random) -> bytes:
    """A part is lost, doubled, told many times over, or stands elsewhere."""
    cuts = parts_of(kind, data)
    pieces = [data[first:last] for first, last in pairwise(cuts)]
    if len(pieces) < 2:
        return data
    at = rng.randrange(len(pieces))
    how = rng.choice(("lost", "doubled", "many", "moved"))
    piece = pieces.pop(at)
    if how != "lost":
        times = {"doubled": 2, "many": rng.choice((50, 3000)), "moved": 1}[how]
        place = at if how != "moved" else rng.randrange(len(pieces) + 1)
        pieces[place:place] = [piece] * (times if len(piece) * times < 3_000_000 else 2)
    return b"".join(pieces)


def _zeros(kind: str, data: bytes, rng: random.Random) -> bytes:
    first = rng.randrange(len(data) + 1)
    length = rng.randrange(1, 200)
    return (
        data[:first]
        + bytes([rng.choice((0, 255, 85))]) * min(length, len(data) - first)
        + data[first + length :]
    )


def _behind(kind: str, data: bytes, rng: random.Random) -> bytes:
    return data + bytes(rng.randrange(256) for _ in range(rng.choice((1, 30, 5000))))


@cache
def _big() -> bytes:
    """Forty megabytes, packed."""
    return zlib.compress(bytes(40_000_000), 1)


def _bomb(kind: str, data: bytes, rng: random.Random) -> bytes:
    """Much from little: pixels, text and profiles that unpack to forty megabytes."""
    if kind != "png" or len(data) < 40:
        return _lie(kind, data, rng)
    which = rng.choice(("pixels", "profile", "text", "size", "large"))
    if which == "large":  # and nothing wrong with it
        return make_png(np.zeros((1500, 3000), np.uint8), GREY, 8)
    big = _big()
    if which == "pixels":
        at = data.index(b"IDAT") - 4 if b"IDAT" in data else 33
        return data[:at] + chunk(b"IDAT", big) + chunk(b"IEND", b"")
    if which == "size":
        head = data[16:29]
        sides = struct.pack(
            ">II", *rng.choice(((65535, 65535), (2**31 - 1, 1), (1, 2**31 - 1), (0, 5), (5, 0)))
        )
        return data[:8] + chunk(b"IHDR", sides + head[8:]) + data[33:]
    named = {"profile": (b"iCCP", b"x\0\0"), "text": (b"zTXt", b"Title\0\0")}[which]
    return data[:33] + chunk(named[0], named[1] + big) + data[33:]


_WAYS = (_cut, _cut, _flip, _flip, _flip, _lie, _lie, _shuffle, _zeros, _behind, _bomb)


def damaged(kind: str, data: bytes, rng: random.Random) -> bytes:
    """The bytes of a file, damaged in one way, now and then in two or in none."""
    for _ in range(rng.choice((0, 1, 1, 1, 1, 1, 1, 1, 2))):
        data = rng.choice(_WAYS)(kind, data, rng)
    return data
