"""Patch features of reference photos, computed once per encoder and kept in a memory-mapped file.

Layout: FOLDER/features-KEY/ holds content.npy (N, D, g, g) float16 and rows.json (which photo is where). The
folder appears whole or not at all. Shapes: N photos, D numbers per patch, g patches per side.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raiha_core.durable import sync_folder, write_text
from raiha_core.features.encoders import Encoder
from raiha_core.resizing import area_means

from .cache import PhotoCache, create_map

BATCH = 16


@dataclass(frozen=True, slots=True)
class StoredFeatures:
    """Features by row of the photo cache."""

    place: dict[int, int]
    content: NDArray[np.float16]

    def __getitem__(self, row: int) -> Tensor:
        """(D, g, g) float16."""
        return torch.from_numpy(np.array(self.content[self.place[row]]))


def open_features(
    cache: PhotoCache, rows: Sequence[int], encoder: Encoder, folder: Path, size: int
) -> StoredFeatures:
    """The features of some photos of a cache, made on first use.

    Args: size: the side at which the network sees references; features are of the same pixels.
    Raises: OSError where the disk is full, with nothing half made left behind.
    """
    spec = encoder.spec
    key = "\0".join(
        (cache.fingerprint, str(cache.size), str(size), json.dumps(spec.to_json(), sort_keys=True))
    )
    digest = hashlib.sha256(f"{key}\0{json.dumps(list(rows))}".encode()).hexdigest()[:16]
    target = folder / f"features-{digest}"
    if not (target / "rows.json").is_file():
        _make(cache, rows, encoder, target, size)
    content = np.load(target / "content.npy", mmap_mode="r")
    return StoredFeatures({row: i for i, row in enumerate(rows)}, content)


def _make(cache: PhotoCache, rows: Sequence[int], encoder: Encoder, target: Path, size: int) -> None:
    spec = encoder.spec
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    part.mkdir(parents=True)
    try:
        shape = (len(rows), spec.dim, spec.grid, spec.grid)
        content = create_map(part / "content.npy", shape, np.float16)
        for start in range(0, len(rows), BATCH):
            chosen = list(rows[start : start + BATCH])
            pictures = cache.gather(chosen)[0].float() / 255
            small = area_means(pictures, (size, size))
            content[start : start + len(chosen)] = encoder.encode(small).content.half().cpu().numpy()
        content.flush()
        del content
        about = {"spec": spec.to_json(), "rows": [cache.rows[row].id for row in rows]}
        write_text(part / "rows.json", json.dumps(about))
        sync_folder(part)
        if target.exists():  # without rows.json: an older, broken attempt
            shutil.rmtree(target)
        part.rename(target)
        sync_folder(target.parent)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
