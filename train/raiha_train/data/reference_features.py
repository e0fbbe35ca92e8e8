"""Patch features of reference photos, computed once per encoder and kept in a memory-mapped file.

Layout: FOLDER/features-KEY/ holds content.npy (N, D, g, g) float16 and rows.json (which photo is where). The
folder appears whole or not at all (see made_once.py). Shapes: N photos, D numbers per patch, g patches
per side.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raiha_core.durable import write_text
from raiha_core.features.encoders import Encoder
from raiha_core.resizing import area_means

from .cache import PhotoCache, Photos
from .made_once import ROWS, create_map, keep_progress, make_once, progress_of

BATCH = 16
NOTE = 16  # batches between two notes of how far the work is


@dataclass(frozen=True, slots=True)
class StoredFeatures:
    """Features by row of the photo cache."""

    place: dict[int, int]
    content: NDArray[np.float16]

    def __getitem__(self, row: int) -> Tensor:
        """(D, g, g) float16."""
        return torch.from_numpy(np.array(self.content[self.place[row]]))


def open_features(
    cache: PhotoCache,
    rows: Sequence[int],
    encoder: Encoder,
    folder: Path,
    size: int,
    *,
    progress: Callable[[int, int], object] | None = None,
    mine: bool = True,
) -> StoredFeatures:
    """The features of some photos of a cache, made on first use.

    Args:
        size: the side at which the network sees references; features are of the same pixels.
        mine: whether this process computes them; the others wait until it is done.
    Raises: OSError where the disk is full, with nothing half made left behind. A kill leaves what is done.
    """
    target = feature_folder(cache, rows, encoder, folder, size)
    make_once(target, lambda part: _make(cache, rows, encoder, part, size, progress), mine=mine)
    content = np.load(target / "content.npy", mmap_mode="r")
    return StoredFeatures({row: i for i, row in enumerate(rows)}, content)


def feature_folder(cache: Photos, rows: Sequence[int], encoder: Encoder, folder: Path, size: int) -> Path:
    """Where the features of some photos of a cache are kept."""
    spec = encoder.spec
    key = "\0".join(
        (cache.fingerprint, str(cache.size), str(size), json.dumps(spec.to_json(), sort_keys=True))
    )
    digest = hashlib.sha256(f"{key}\0{json.dumps(list(rows))}".encode()).hexdigest()[:16]
    return folder / f"features-{digest}"


def feature_bytes(count: int, encoder: Encoder) -> int:
    """Bytes on disk of the features of so many photos."""
    return count * encoder.spec.dim * encoder.spec.grid**2 * 2


def _make(
    cache: PhotoCache,
    rows: Sequence[int],
    encoder: Encoder,
    part: Path,
    size: int,
    progress: Callable[[int, int], object] | None,
) -> None:
    spec = encoder.spec
    shape = (len(rows), spec.dim, spec.grid, spec.grid)
    said = progress_of(part, str(shape))
    path = part / "content.npy"
    content = np.load(path, mmap_mode="r+") if said else create_map(path, shape, np.float16)
    for start in range(said.get("done", 0), len(rows), BATCH):
        chosen = list(rows[start : start + BATCH])
        pictures = cache.gather(chosen)[0].float() / 255
        small = area_means(pictures, (size, size))
        content[start : start + len(chosen)] = encoder.encode(small).content.half().cpu().numpy()
        done = start + len(chosen)
        if progress is not None:
            progress(done, len(rows))
        if done < len(rows) and (start // BATCH) % NOTE == NOTE - 1:
            keep_progress(part, str(shape), (content,), done=done)
    content.flush()
    del content
    about = {"spec": spec.to_json(), "rows": [cache.rows[row].id for row in rows]}
    write_text(part / ROWS, json.dumps(about))
