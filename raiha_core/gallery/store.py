"""A gallery on disk: where its files lie, and reading it.

Readers take the manifest once and map the shards at once: they see one consistent gallery, whatever a
writer does later. docs/store-format.md states the format and its invariants.

Shapes: n photos in a block, P patches per photo, D content numbers, K histogram bins.
"""

import stat
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..codecs.raster import MAX_PIXELS
from ..features.spec import FeatureSpec
from ..images import read_picture
from ..reasons import reason
from ..regular import file_digest
from . import journal
from .catalogue import Catalogue, StoredPhotos, catalogue_of, read_catalogue
from .index import PatchIndex, read_index, read_rotation
from .layout import (
    Layout,
    cure,
    photo_paths,
    read_calibration,
    read_spec,
    unfinished_work,
    whole_journal,
)
from .lock import is_being_written
from .manifest import Promise, State, last_whole, replay
from .plan import has_times
from .protocol import Block, content_fingerprint
from .shards import Shard, open_shard

_THRESHOLDS = ("content_threshold", "appearance_threshold")
_LOOKS = 8  # at a manifest that `repair` keeps replacing


def open_gallery(
    path: str | Path,
    *,
    photos: str | Path | None = None,
    allow_partial: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> "StoredGallery":
    """Open a gallery for reading: each of its photo folders as it was when it was last whole.

    What a writer is doing, or had begun when it died, is not seen; `notes` of the gallery name it.

    Args:
        photos: where its photo folder lies now, if neither where it was nor beside the store.
        allow_partial: open also what an interrupted build has finished so far.
        max_pixels: of its photos, as for `read_picture`.
    Raises: ValueError naming the store where it is none, never was whole, is damaged, or of another version.
    """
    layout = Layout(Path(path))
    spec = read_spec(layout)
    known = None
    for look in range(_LOOKS):
        raw = journal.read_raw(layout.manifest)
        known, torn = read_catalogue(layout, raw), 0
        if known is None:
            found = whole_journal(layout, journal.parse(raw))
            known, torn = _readable(layout, found, allow_partial), found.torn
        try:
            shards = {name: _open(layout, spec, name, known) for name in known.used}
        except (ValueError, OSError):
            if look == _LOOKS - 1 or _is_still(layout, raw, torn):
                raise
            continue  # `repair` has replaced the manifest and the shards since we read it
        if _is_still(layout, raw, torn):  # else a shard may bear the name of an older one
            break
    assert known is not None, "the last look raises or ends"
    calibration = read_calibration(layout)
    if all(name in calibration for name in _THRESHOLDS):
        spec = _with_thresholds(layout, spec, calibration)
    roots = photo_paths(layout, known.folders, Path(photos) if photos is not None else None)
    return StoredGallery(layout, spec, known, roots, shards, max_pixels)


def _is_still(layout: Layout, raw: bytes, torn: int) -> bool:
    """Whether the manifest only grew since it was read as `raw`."""
    return journal.read_raw(layout.manifest).startswith(raw[: len(raw) - torn])


def _readable_state(layout: Layout, found: journal.Journal, allow_partial: bool) -> State:
    """The state that a reader may see."""
    try:
        state = replay(found.batches) if allow_partial else last_whole(found.batches)
    except ValueError as error:
        raise ValueError(f"gallery {layout.root} is damaged: {reason(error)}; {cure(layout)}") from None
    if state.ended or allow_partial:
        return state
    if is_being_written(layout.lock):
        done = sum(promise.photos - promise.todo for promise in state.promises)
        raise ValueError(
            f"gallery {layout.root} is being built by another process: "
            f"{done} of {state.expected} photos so far"
        )
    promises = state.promises or [Promise(folder=0)]
    raise ValueError(
        f"gallery {layout.root} is unfinished: {unfinished_work(layout, promises, state.folders)}"
    )


def _readable(layout: Layout, found: journal.Journal, allow_partial: bool) -> Catalogue:
    """What a reader may see, in columns. Raises: ValueError where a photo has no row in its shard."""
    state = _readable_state(layout, found, allow_partial)
    for name, entry in state.live.items():
        expected = state.shards.get(entry.shard)
        if expected is None:
            raise ValueError(
                f"gallery {layout.root} is damaged: no line tells of {layout.shard(entry.shard).name}; "
                f"{cure(layout)}"
            )
        if entry.row >= expected.rows:
            raise ValueError(f"gallery {layout.root} is damaged: '{name}' has no features; {cure(layout)}")
    return catalogue_of(state)


def _open(layout: Layout, spec: FeatureSpec, name: str, known: Catalogue) -> Shard:
    """Map a shard whose size is what the manifest says. Its numbers are proved by `check`, not here."""
    path, expected = layout.shard(name), known.shards[name]
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise ValueError(
            f"gallery {layout.root} is damaged: {path.name} is missing; {cure(layout)}"
        ) from None
    if size != expected.bytes:
        raise ValueError(
            f"gallery {layout.root} is damaged: {path.name} has {size} bytes instead of {expected.bytes}; "
            f"{cure(layout)}"
        )
    shard = open_shard(path, known.places.get(name))
    content = (expected.rows, spec.patches, spec.dim), torch.float16
    histogram = (expected.rows, spec.patches, spec.histogram.bins), torch.uint8
    if (shard.content.shape, shard.content.dtype) != content or (
        (shard.histogram.shape, shard.histogram.dtype) != histogram
    ):
        raise ValueError(
            f"gallery {layout.root} is damaged: {path.name} is not of {spec.name}; {cure(layout)}"
        )
    return shard


def _with_thresholds(layout: Layout, spec: FeatureSpec, calibration: dict) -> FeatureSpec:
    try:
        return replace(
            spec,
            content_threshold=float(calibration["content_threshold"]),
            appearance_threshold=float(calibration["appearance_threshold"]),
            threshold_source=str(calibration.get("threshold_source", layout.calibration.name)),
        )
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{layout.calibration} is damaged: {reason(error)}; run `raiha calibrate` again"
        ) from None


def _notes(layout: Layout, known: Catalogue) -> tuple[str, ...]:
    if not known.promises or is_being_written(layout.lock):
        return ()
    work = unfinished_work(layout, known.promises, known.folders)
    return (f"gallery {layout.root} is seen as it was before an interruption: {work}",)


class StoredGallery:
    """An open gallery. Its features are mapped, not read; a later writer does not change it."""

    def __init__(
        self,
        layout: Layout,
        spec: FeatureSpec,
        known: Catalogue,
        roots: Sequence[Path],
        shards: dict[str, Shard],
        max_pixels: int,
    ) -> None:
        self._max_pixels = max_pixels
        self.layout = layout
        self.spec = spec
        self.name = layout.root.name or str(layout.root)
        self.unfinished = bool(known.promises)  # what is under way is seen with allow_partial only
        self.notes = _notes(layout, known)
        self.photos = StoredPhotos(known, roots)
        names = list(shards)
        number = {name: n for n, name in enumerate(names)}
        place = np.array([number.get(name, -1) for name in known.shards], dtype=np.int64)
        self._shards = [shards[name] for name in names]
        self._shard_of = place[known.numbers["shard"]]
        self._row_in = known.numbers["row"]
        self._digests = [known.shards[name].sha256 for name in names]
        self._names = names

    def __len__(self) -> int:
        return len(self.photos)

    @cached_property
    def fingerprint(self) -> str:
        return content_fingerprint(self.spec, self.photos)

    @cached_property
    def index(self) -> PatchIndex | None:
        """The derived index, as far as it is there; None where there is none or it is of another space."""
        rotation = read_rotation(self.layout)
        if rotation is None or rotation.dim != self.spec.dim:
            return None
        indexes = [
            read_index(self.layout, name, digest, rotation)
            for name, digest in zip(self._names, self._digests, strict=True)
        ]
        indexes = [
            found if found is not None and found.numbers.shape[:2] == shard.content.shape[:2] else None
            for found, shard in zip(indexes, self._shards, strict=True)
        ]
        if not any(indexes):
            return None
        return PatchIndex(rotation, self._shards, indexes, self._shard_of, self._row_in)

    def blocks(self, size: int) -> Iterator[Block]:
        """All photos in order, at most `size` at a time: views where the photos lie side by side."""
        if size < 1:
            raise ValueError(f"a block needs at least 1 photo, got {size}")
        for start in range(0, len(self), size):
            yield self._block(np.arange(start, min(start + size, len(self))))

    def gather(self, rows: Sequence[int]) -> Block:
        """The photos at `rows`, in that order. Raises: IndexError for a row that is not there."""
        index = np.asarray(rows, dtype=np.int64).reshape(-1)
        if len(index) and (index.min() < 0 or index.max() >= len(self)):
            raise IndexError(f"rows {index.tolist()} are not all in 0..{len(self) - 1}")
        return self._block(index)

    def rows_of(self, kind: str, names: Collection[str]) -> dict[str, list[int]]:
        return self.photos.rows_of(kind, names)

    def trouble(self, row: int, *, quick: bool = False) -> str:
        """Why the photo cannot be loaded, in one sentence; "" where it can.

        Size and times are compared; where they differ the bytes are, or with `quick` only the size.
        """
        photo = self.photos[row]
        path = Path(photo.path)
        try:
            found = path.stat()
            if not stat.S_ISREG(found.st_mode):
                return f"{path} is not a regular file"
            same = found.st_size == photo.size
            if same and not has_times(found, photo) and not quick:
                same = file_digest(path) == photo.sha256
        except FileNotFoundError:
            return f"photo {path} of gallery {self.name} is gone"
        except (OSError, ValueError) as error:
            return f"photo {path} of gallery {self.name} cannot be read: {reason(error)}"
        return "" if same else f"photo {path} has changed since gallery {self.name} was built"

    def load(self, row: int) -> Tensor:
        """The photo's pixels, (1, 3, H, W) float32 sRGB 0..1, full size.

        A damaged photo is one that a build was told to take: the file is known to be the same.
        Raises: ValueError naming the photo where it is gone, changed, or unreadable.
        """
        if trouble := self.trouble(row):
            raise ValueError(f"{trouble}; build the gallery again, or say where its `photos` are now")
        path = Path(self.photos[row].path)
        return read_picture(path, max_pixels=self._max_pixels, allow_damaged=True).pixels

    def duplicates(self) -> list[tuple[int, ...]]:
        """Rows of photos whose files are equal byte for byte, two or more each."""
        rows: dict[str, list[int]] = {}
        for row, photo in enumerate(self.photos):
            rows.setdefault(photo.sha256, []).append(row)
        return [tuple(same) for same in rows.values() if len(same) > 1]

    def _block(self, index: np.ndarray) -> Block:
        shard_of, row_in = self._shard_of[index], self._row_in[index]
        rows = torch.from_numpy(index)
        if len(index) and (shard_of == shard_of[0]).all() and (np.diff(row_in) == 1).all():
            shard, part = self._shards[shard_of[0]], slice(row_in[0], row_in[-1] + 1)
            return Block(rows, shard.content[part], shard.histogram[part])
        n, patches = len(index), self.spec.patches
        content = torch.empty(n, patches, self.spec.dim, dtype=torch.float16)
        histogram = torch.empty(n, patches, self.spec.histogram.bins, dtype=torch.uint8)
        for number in np.unique(shard_of):
            here = np.flatnonzero(shard_of == number)
            source = torch.from_numpy(row_in[here])
            content[here] = self._shards[number].content[source]
            histogram[here] = self._shards[number].histogram[source]
        return Block(rows, content, histogram)
