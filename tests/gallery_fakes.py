"""A tiny encoder and tiny photos, so that a gallery of dozens of photos builds in milliseconds."""

import hashlib
from pathlib import Path
from threading import Lock

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from raiha_core.features.patches import PatchFeatures, normalise
from raiha_core.features.spec import FeatureSpec, HistogramSpec
from raiha_core.gallery.store import StoredGallery

GRID, DIM = 3, 8


def fake_spec(**changes: object) -> FeatureSpec:
    values = dict(
        name="fake-3-8",
        encoder="fake",
        layer="none",
        input_size=12,
        grid=GRID,
        dim=DIM,
        weights="0123456789abcdef",
        histogram=HistogramSpec(hue=2, saturation=2, value=2),
        content_threshold=0.7,
        threshold_source="a test",
    )
    return FeatureSpec(**{**values, **changes})


class FakeEncoder:
    """Mean colours of a 3 x 3 grid, turned into 8 numbers. Counts its calls; can be told to give NaN."""

    def __init__(self, spec: FeatureSpec | None = None) -> None:
        self.spec = spec or fake_spec()
        self.calls = 0
        self._counting = Lock()  # builds encode in several threads
        generator = torch.Generator().manual_seed(0)
        self._mix = torch.randn(DIM, 3, generator=generator)

    def encode(self, images: Tensor) -> PatchFeatures:
        with self._counting:
            self.calls += len(images)
        cells = F.adaptive_avg_pool2d(images, GRID)  # (B, 3, g, g)
        if bool((images[:, 0] == 1).all()):  # a purely red-saturated picture stands for a broken network
            cells = cells * torch.nan
        content = normalise(torch.einsum("dc,bchw->bdhw", self._mix, cells - 0.5), 1)
        return PatchFeatures(content, torch.cat([cells, 1 - cells], 1), self.spec)


def write_photo(path: Path, seed: int, size: tuple[int, int] = (9, 7)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 250, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def write_photos(folder: Path, count: int = 11, first_seed: int = 0) -> Path:
    """`count` small photos of different sizes, some in subfolders, the last two equal."""
    for n in range(count):
        place = folder / ("day" if n % 3 == 0 else "night/deep" if n % 3 == 1 else "")
        kind = min(n, count - 2)
        write_photo(place / f"{n:03d}.png", seed=first_seed + kind, size=(6 + kind % 4, 7))
    return folder


def digest(gallery: StoredGallery) -> str:
    """SHA-256 of everything that a reader can see, apart from where the files lie."""
    found = hashlib.sha256(gallery.fingerprint.encode())
    for photo in gallery.photos:
        found.update(f"{photo.id} {photo.size} {photo.sha256} {photo.width} {photo.height}".encode())
    for block in gallery.blocks(3):
        found.update(block.content.numpy().tobytes() + block.histogram.numpy().tobytes())
    return found.hexdigest()


def tree(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file below a folder: its bytes and time."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns) for path in files
    }
