"""A gallery of galleries: built by parts, perhaps on many machines, and searched as one. Nothing is copied.

Its folder holds one file, united.json, that names the parts and where their stores lie. A photo is called
PART/ID, so that a folder whose subfolders were built one by one has the ids it has when built in one go.
"""

import json
import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .. import durable
from ..codecs.raster import MAX_PIXELS
from ..features.spec import FeatureSpec, require_same_space
from ..reasons import reason
from ..regular import read_regular
from .fields import path_field, text_field
from .layout import Layout, read_spec
from .manifest import Photo
from .protocol import Block, content_fingerprint
from .store import StoredGallery, open_gallery

UNITED = "united.json"
_FORMAT = 1
_LARGEST = 1 << 26  # bytes of united.json


@dataclass(frozen=True, slots=True)
class GalleryPart:
    """One gallery of a united one."""

    name: str  # comes before the ids of its photos
    gallery: StoredGallery
    rows: NDArray[np.int64]  # of the united gallery, by row of this one; they ascend


class _UnitedPhotos(Sequence[Photo]):
    """The photos of all parts in the order of their ids, each made when it is looked at."""

    def __init__(
        self, parts: Sequence[GalleryPart], part_of: NDArray[np.int64], row_in: NDArray[np.int64]
    ) -> None:
        self._parts, self._part_of, self._row_in = parts, part_of, row_in

    def __len__(self) -> int:
        return len(self._part_of)

    @overload
    def __getitem__(self, row: int) -> Photo: ...
    @overload
    def __getitem__(self, row: slice) -> tuple[Photo, ...]: ...
    def __getitem__(self, row: int | slice) -> Photo | tuple[Photo, ...]:
        if isinstance(row, slice):
            return tuple(self[one] for one in range(len(self))[row])
        part = self._parts[self._part_of[row]]
        photo = part.gallery.photos[int(self._row_in[row])]
        return replace(photo, id=f"{part.name}/{photo.id}")


class UnitedGallery:
    """Galleries of one feature space, with the face of one (`Gallery`)."""

    index = None  # a search goes through the parts, each by its own (`retrieval.parted_search`)

    def __init__(self, name: str, galleries: Sequence[tuple[str, StoredGallery]]) -> None:
        """Raises: ValueError where there is no part, a name is not one of a folder, or the spaces differ."""
        _check_names([part for part, _ in galleries])
        self.name = name
        self.spec, said = _one_spec(galleries)
        self.notes = (*said, *(note for _, gallery in galleries for note in gallery.notes))
        ids = [f"{part}/{photo.id}" for part, gallery in galleries for photo in gallery.photos]
        counts = [len(gallery) for _, gallery in galleries]
        order = np.array(sorted(range(len(ids)), key=ids.__getitem__), dtype=np.int64)
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        rows = np.split(place, np.cumsum(counts)[:-1])
        self.parts = tuple(GalleryPart(*pair, own) for pair, own in zip(galleries, rows, strict=True))
        self._part_of = np.repeat(np.arange(len(counts)), counts)[order]
        self._row_in = np.concatenate([np.arange(count) for count in counts])[order]
        self.photos: Sequence[Photo] = _UnitedPhotos(self.parts, self._part_of, self._row_in)

    def __len__(self) -> int:
        return len(self._part_of)

    @cached_property
    def fingerprint(self) -> str:
        return content_fingerprint(self.spec, self.photos)

    def blocks(self, size: int) -> Iterator[Block]:
        """All photos in order, at most `size` at a time."""
        if size < 1:
            raise ValueError(f"a block needs at least 1 photo, got {size}")
        for start in range(0, len(self), size):
            yield self.gather(range(start, min(start + size, len(self))))

    def gather(self, rows: Sequence[int]) -> Block:
        """The photos at `rows`, in that order. Raises: IndexError for a row that is not there."""
        index = np.asarray(rows, dtype=np.int64).reshape(-1)
        if len(index) and (index.min() < 0 or index.max() >= len(self)):
            raise IndexError(f"rows {index.tolist()} are not all in 0..{len(self) - 1}")
        n, patches = len(index), self.spec.patches
        content = torch.empty(n, patches, self.spec.dim, dtype=torch.float16)
        histogram = torch.empty(n, patches, self.spec.histogram.bins, dtype=torch.uint8)
        for number in np.unique(self._part_of[index]):
            here = np.flatnonzero(self._part_of[index] == number)
            stored = self.parts[number].gallery.gather(self._row_in[index[here]].tolist())
            content[here], histogram[here] = stored.content, stored.histogram
        return Block(torch.from_numpy(index), content, histogram)

    def rows_of(self, kind: str, names: Collection[str]) -> dict[str, list[int]]:
        """Rows of the photos whose `kind` ("sha256", "group" or "id") is one of `names`, by name."""
        found: dict[str, list[int]] = {}
        for part in self.parts:
            lead = f"{part.name}/" if kind == "id" else ""
            asked = [name.removeprefix(lead) for name in names if name.startswith(lead)]
            for name, rows in part.gallery.rows_of(kind, asked).items():
                found.setdefault(lead + name, []).extend(part.rows[rows].tolist())
        return {name: sorted(rows) for name, rows in found.items()}

    def trouble(self, row: int, *, quick: bool = False) -> str:
        """Why the photo cannot be loaded, in one sentence; "" where it can. `quick` reads no file."""
        return self.parts[self._part_of[row]].gallery.trouble(int(self._row_in[row]), quick=quick)

    def load(self, row: int) -> Tensor:
        """The photo's pixels, (1, 3, H, W) float32 sRGB 0..1. Raises: as `StoredGallery.load`."""
        return self.parts[self._part_of[row]].gallery.load(int(self._row_in[row]))


def _check_names(names: Sequence[str]) -> None:
    if not names:
        raise ValueError("a united gallery needs at least one part")
    for name in names:
        if not name or "/" in name or "\0" in name:
            raise ValueError(f"a part is called by one word without '/', not '{name}'")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"two parts are called '{twice}'")


def _one_spec(galleries: Sequence[tuple[str, StoredGallery]]) -> tuple[FeatureSpec, tuple[str, ...]]:
    """The space of all, with thresholds that hold for each, and a note where no calibration does."""
    (first_name, first), *others = galleries
    for name, gallery in others:
        require_same_space(gallery.spec, first.spec, f"the part '{name}'", f"the part '{first_name}'")
    thresholds = {
        (gallery.spec.content_threshold, gallery.spec.appearance_threshold) for _, gallery in galleries
    }
    if len(thresholds) == 1:
        return first.spec, ()
    note = "its parts were calibrated apart: the feature space's own thresholds hold"
    return read_spec(first.layout), (note,)


def unite(path: str | Path, stores: Sequence[tuple[str, str | Path]]) -> UnitedGallery:
    """Write down that some galleries are one; they stay where they are, and nothing is encoded.

    Args: path: the folder of the united gallery; made, or its list of parts replaced.
        stores: name and folder of each part.
    Raises: ValueError where a part is no whole gallery, the spaces differ, or `path` is a gallery itself.
    """
    folder = Path(path)
    if Layout(folder).spec.exists():
        raise ValueError(f"{folder} is a gallery of its own; unite its parts in another folder")
    found = UnitedGallery(folder.name, [(name, open_gallery(store)) for name, store in stores])
    durable.make_folder(folder)
    parts = [{"name": name, "store": _seen_from(folder, Path(store))} for name, store in stores]
    durable.write_text(folder / UNITED, json.dumps({"format": _FORMAT, "parts": parts}, indent=1) + "\n")
    return found


def _seen_from(folder: Path, store: Path) -> str:
    """Relative for a store inside the folder, so that both may move; absolute for others."""
    inside, here = store.resolve(), folder.resolve()
    return inside.relative_to(here).as_posix() if here in inside.parents else inside.as_posix()


def is_united(path: str | Path) -> bool:
    """Whether a folder is a gallery of galleries."""
    return (Path(path) / UNITED).is_file()


def listed_parts(path: str | Path) -> list[tuple[str, Path]]:
    """Names and folders of the parts of a united gallery. Raises: ValueError where the list is damaged."""
    folder = Path(path)
    try:
        data = json.loads(read_regular(folder / UNITED, _LARGEST))
        if data["format"] != _FORMAT:
            raise ValueError(f"format {data['format']!r:.80} is not {_FORMAT}")
        stores = [(text_field(line, "name"), folder / path_field(line, "store")) for line in data["parts"]]
        _check_names([name for name, _ in stores])
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"gallery {folder} is damaged: {UNITED}: {reason(error)}") from None
    return stores


def open_united(
    path: str | Path, *, photos: str | Path | None = None, max_pixels: int = MAX_PIXELS
) -> UnitedGallery | StoredGallery:
    """Open a gallery for reading, be it one or many.

    Args: photos, max_pixels: as `open_gallery`; photos of a united gallery move with each part's own.
    Raises: ValueError naming the store or the part that is damaged, missing or unfinished.
    """
    folder = Path(path)
    if not is_united(folder):
        return open_gallery(folder, photos=photos, max_pixels=max_pixels)
    if photos is not None:
        raise ValueError(f"{folder} is a gallery of galleries: say where photos lie now of one of its parts")
    stores = listed_parts(folder)
    name = folder.name or os.fspath(folder)
    return UnitedGallery(name, [(part, open_gallery(at, max_pixels=max_pixels)) for part, at in stores])
