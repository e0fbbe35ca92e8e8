"""Perceptual hashes of many photos, kept on disk, and the near-duplicates they show.

Shapes: N photos, K gradient signs.
"""

import base64
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from raiha_core.data.iharmony4 import camera, number
from raiha_core.data.raharmony4 import seeded_generator
from raiha_core.durable import append_lines
from raiha_core.nearduplicates import BITS, Threshold, agreement, calibrate_threshold, difference_hash

from .siblings import SERIES, photo_of

Hashes = dict[str, NDArray[np.int8]]
CHUNK = 256  # photos hashed between two writes
UNRELATED = 200_000  # pairs drawn to calibrate on


def _pack(signs: NDArray[np.int8]) -> str:
    return base64.b64encode(np.packbits(signs > 0).tobytes()).decode()


def _unpack(text: str) -> NDArray[np.int8]:
    bits = np.unpackbits(np.frombuffer(base64.b64decode(text), dtype=np.uint8))[:BITS]
    return (bits.astype(np.int8) * 2 - 1).astype(np.int8)


def hash_file(path: Path) -> NDArray[np.int8]:
    """The hash of a photo. Large JPEGs are decoded at a fraction of their size: cells are larger still.

    Raises: ValueError naming the file.
    """
    try:
        with Image.open(path) as image:
            image.draft("RGB", (256, 256))
            return difference_hash(np.asarray(image.convert("RGB")))
    except (OSError, SyntaxError) as error:
        raise ValueError(f"'{path}' cannot be read as a picture: {error}") from None


def _read(file: Path) -> Hashes:
    if not file.exists():
        return {}
    lines = file.read_text(encoding="utf-8").split("\n")[:-1]
    rows = [json.loads(line) for line in lines]
    return {row["photo"]: _unpack(row["hash"]) for row in rows}


def hash_photos(
    root: Path, photos: Sequence[str], file: Path, workers: int, progress: Callable[[int, int], object]
) -> Hashes:
    """Hashes of photos relative to `root`; those in `file` already are not read again."""
    known = _read(file)
    todo = [photo for photo in photos if photo not in known]
    with ThreadPoolExecutor(max_workers=workers) as pool:
        for start in range(0, len(todo), CHUNK):
            part = todo[start : start + CHUNK]
            found = dict(zip(part, pool.map(lambda photo: hash_file(root / photo), part), strict=True))
            append_lines(file, [json.dumps({"photo": p, "hash": _pack(h)}) for p, h in found.items()])
            known |= found
            progress(start + len(part), len(todo))
    return {photo: known[photo] for photo in photos}


def _known_siblings(photos: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of a pool that ids say are one scene: HFlickr's series and Hday2night's cameras.

    HAdobe5k's neighbours are often other scenes, so they calibrate nothing.
    """
    pairs = []
    flickr = {number(i): p for p in photos for s, i in [photo_of(p)] if s == "HFlickr"}
    for n, photo in sorted(flickr.items()):
        pairs += [(photo, flickr[n + d]) for d in range(1, SERIES["HFlickr"] + 1) if n + d in flickr]
    cameras: dict[str, list[str]] = {}
    for photo in photos:
        subset, image = photo_of(photo)
        if subset == "Hday2night":
            cameras.setdefault(camera(image), []).append(photo)
    for group in cameras.values():
        pairs += [(a, b) for n, a in enumerate(group) for b in group[n + 1 :]]
    return pairs


def calibrate_pool(hashes: Hashes, photos: Sequence[str]) -> Threshold:
    """The threshold at which one unrelated pair in 100,000 would count as one view, or the default."""
    everywhere = np.ones(BITS, dtype=bool)

    def alike(a: str, b: str) -> float:
        return float(agreement(hashes[a], everywhere, hashes[b][None])[0])

    siblings = _known_siblings(photos)
    related = {frozenset(pair) for pair in siblings}
    generator = seeded_generator(0, "unrelated pairs")
    count = min(UNRELATED, len(photos) * (len(photos) - 1) // 2)
    drawn = generator.integers(len(photos), size=(count, 2))
    pairs = [(photos[a], photos[b]) for a, b in drawn if a != b]
    unrelated = [alike(*pair) for pair in pairs if frozenset(pair) not in related]
    return calibrate_threshold([alike(a, b) for a, b in siblings], unrelated)
