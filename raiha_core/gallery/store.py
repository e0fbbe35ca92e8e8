"""A gallery on disk: where its files lie, and reading it.

Readers take the manifest once and map the shards at once: they see one consistent gallery, whatever a
writer does later. docs/store-format.md states the format and its invariants.

Shapes: n photos in a block, P patches per photo, D content numbers, K histogram bins.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .. import durable
from ..features.spec import FeatureSpec, from_json
from ..images import read_picture
from . import journal
from .lock import is_being_written
from .manifest import Entry, Folder, Photo, ShardInfo, State, finished_part, progress_of, replay
from .protocol import Block, content_fingerprint
from .shards import Shard, file_digest, open_shard, shard_names, shard_path

FORMAT = 1
_THRESHOLDS = ("content_threshold", "appearance_threshold")


class OtherFormatError(ValueError):
    """The store was written by another version of this software: not damaged, not ours to touch."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the parts of a store lie."""

    root: Path

    @property
    def spec(self) -> Path:
        return self.root / "spec.json"

    @property
    def manifest(self) -> Path:
        return self.root / "manifest.jsonl"

    @property
    def shards(self) -> Path:
        return self.root / "shards"

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    @property
    def calibration(self) -> Path:
        return self.root / "calibration.json"

    def shard(self, name: str) -> Path:
        return shard_path(self.shards, name)


def write_spec(layout: Layout, spec: FeatureSpec) -> None:
    text = json.dumps({"format": FORMAT, "spec": spec.to_json()}, indent=2)
    durable.write_text(layout.spec, text + "\n")


def read_spec(layout: Layout) -> FeatureSpec:
    """The feature space of a store. Raises: ValueError naming the store where it has none."""
    if not layout.root.is_dir():
        raise ValueError(f"gallery {layout.root} does not exist; make it with `raiha gallery build`")
    try:
        data = json.loads(layout.spec.read_bytes())
    except FileNotFoundError:
        if layout.manifest.exists() or shard_names(layout.shards):
            raise ValueError(
                f"gallery {layout.root} is damaged: spec.json is missing; {_cure(layout)}"
            ) from None
        if layout.lock.exists():
            raise ValueError(
                f"gallery {layout.root} is unfinished: 0 photos; run `raiha gallery build` again"
            ) from None
        raise ValueError(f"{layout.root} is not a gallery: it has no spec.json") from None
    except ValueError as error:
        raise ValueError(f"gallery {layout.root} is damaged: spec.json: {error}; {_cure(layout)}") from None
    try:
        if data["format"] != FORMAT:
            raise OtherFormatError(
                f"gallery {layout.root} has format {data['format']}, and this version reads {FORMAT}"
            )
        return from_json(data["spec"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"gallery {layout.root} is damaged: spec.json: {error}; {_cure(layout)}") from None


def read_calibration(layout: Layout) -> dict[str, object]:
    """What `raiha calibrate` left, {} where it has not run. Raises: ValueError where it is unreadable."""
    try:
        found = json.loads(layout.calibration.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ValueError(f"{layout.calibration} is damaged: {error}; run `raiha calibrate` again") from None
    if not isinstance(found, dict):
        raise ValueError(f"{layout.calibration} is damaged: not an object; run `raiha calibrate` again")
    return found


def read_journal(layout: Layout) -> journal.Journal:
    """The manifest, torn tail aside. Raises: ValueError naming the store where lines are broken or lost."""
    found = journal.read(layout.manifest)
    if is_lost(layout, found):
        raise ValueError(
            f"gallery {layout.root} is damaged: {layout.manifest.name} is missing or empty; {_cure(layout)}"
        )
    if found.damaged:
        raise ValueError(
            f"gallery {layout.root} is damaged: line {found.damaged[0]} of manifest.jsonl; {_cure(layout)}"
        )
    return found


def is_lost(layout: Layout, found: journal.Journal) -> bool:
    """Whether the manifest says nothing although there are shards: lines are written before any shard."""
    return not found.batches and bool(shard_names(layout.shards))


def folder_root(layout: Layout, folder: Folder) -> Path:
    """Where a photo folder lies now: where it was, or beside the store if both moved together."""
    recorded = Path(folder.path)
    if folder.relative and not recorded.is_dir():
        beside = (layout.root / folder.relative).resolve()
        if beside.is_dir():
            return beside
    return recorded


def photo_paths(layout: Layout, state: State, photos: Path | None) -> list[Path]:
    """The root of each photo folder; `photos` takes the place of the first."""
    roots = [folder_root(layout, folder) for folder in state.folders]
    if photos is not None:
        if not photos.is_dir():
            raise ValueError(f"photo folder {photos} does not exist")
        roots[:1] = [photos.resolve()]
    return roots


def locate(state: State, roots: Sequence[Path], entry: Entry) -> Photo:
    """The photo of an entry, with its path filled in."""
    photo = entry.photo
    return Photo(  # `replace` would take half the time of opening a large gallery
        id=photo.id,
        path=f"{roots[entry.folder]}/{state.folders[entry.folder].file_of(photo.id)}",
        size=photo.size,
        mtime_ns=photo.mtime_ns,
        sha256=photo.sha256,
        width=photo.width,
        height=photo.height,
        group=photo.group,
    )


def open_gallery(
    path: str | Path, *, photos: str | Path | None = None, allow_partial: bool = False
) -> "StoredGallery":
    """Open a gallery for reading.

    Args:
        photos: where its photo folder lies now, if neither where it was nor beside the store.
        allow_partial: open the finished part of an interrupted build.
    Raises: ValueError naming the store where it is none, unfinished, damaged, or of another version.
    """
    layout = Layout(Path(path))
    spec = read_spec(layout)
    for attempt in range(3):  # `repair` may replace the shards between our two looks
        found = read_journal(layout)
        state = _readable_state(layout, found, allow_partial)
        try:
            shards = {name: _open(layout, spec, name, state.shards[name]) for name in _used_shards(state)}
        except ValueError:
            if attempt == 2 or journal.read(layout.manifest) == found:
                raise
            continue
        break
    calibration = read_calibration(layout)
    if all(name in calibration for name in _THRESHOLDS):
        spec = _with_thresholds(layout, spec, calibration)
    roots = photo_paths(layout, state, Path(photos) if photos is not None else None)
    return StoredGallery(layout, spec, state, roots, shards)


def _readable_state(layout: Layout, found: journal.Journal, allow_partial: bool) -> State:
    """The state that a reader may see."""
    state = replay(found.batches)
    if state.expected is None or allow_partial:
        return state
    written = is_being_written(layout.lock)
    whole = finished_part(found.batches)
    if written and whole:  # what was whole before the writer began
        return replay(found.batches[:whole])
    done = progress_of(state)
    if written:
        raise ValueError(f"gallery {layout.root} is being built by another process: {done} so far")
    raise ValueError(f"gallery {layout.root} is unfinished: {done}; run `raiha gallery build` again")


def _used_shards(state: State) -> list[str]:
    return sorted({entry.shard for entry in state.live.values()})


def _open(layout: Layout, spec: FeatureSpec, name: str, expected: ShardInfo) -> Shard:
    """Map a shard whose size is what the manifest says. Its numbers are proved by `check`, not here."""
    path = layout.shard(name)
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise ValueError(
            f"gallery {layout.root} is damaged: {path.name} is missing; {_cure(layout)}"
        ) from None
    if size != expected.bytes:
        raise ValueError(
            f"gallery {layout.root} is damaged: {path.name} has {size} bytes instead of {expected.bytes}; "
            f"{_cure(layout)}"
        )
    shard = open_shard(path)
    if shard.content.shape != (expected.rows, spec.patches, spec.dim):
        raise ValueError(
            f"gallery {layout.root} is damaged: {path.name} is not of {spec.name}; {_cure(layout)}"
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
        raise ValueError(f"{layout.calibration} is damaged: {error}; run `raiha calibrate` again") from None


def _cure(layout: Layout) -> str:
    return f"run `raiha gallery check {layout.root}`, then `raiha gallery repair {layout.root}`"


class StoredGallery:
    """An open gallery. Its features are mapped, not read; a later writer does not change it."""

    def __init__(
        self, layout: Layout, spec: FeatureSpec, state: State, roots: Sequence[Path], shards: dict[str, Shard]
    ) -> None:
        self.layout = layout
        self.spec = spec
        self.name = layout.root.name or str(layout.root)
        self.unfinished = state.expected is not None  # only where it was opened with allow_partial
        entries = [entry for _, entry in sorted(state.live.items())]
        self.photos = tuple(locate(state, roots, entry) for entry in entries)
        names = sorted(shards)
        number = {name: n for n, name in enumerate(names)}
        self._shards = [shards[name] for name in names]
        self._shard_of = np.array([number[entry.shard] for entry in entries], dtype=np.int64)
        self._row_in = np.array([entry.row for entry in entries], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.photos)

    @cached_property
    def fingerprint(self) -> str:
        return content_fingerprint(self.spec, self.photos)

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

    def load(self, row: int) -> Tensor:
        """The photo's pixels, (1, 3, H, W) float32 sRGB 0..1, full size.

        Raises: ValueError naming the photo where it is gone, changed, or unreadable.
        """
        photo = self.photos[row]
        path = Path(photo.path)
        advice = "run `raiha gallery build` again, or say where the photos are now (`--photos FOLDER`)"
        try:
            found = path.stat()
            same = (found.st_size, found.st_mtime_ns) == (photo.size, photo.mtime_ns)
            same = same or (found.st_size == photo.size and file_digest(path) == photo.sha256)
        except FileNotFoundError:
            raise ValueError(f"photo {path} of gallery {self.name} is gone; {advice}") from None
        if not same:
            raise ValueError(f"photo {path} has changed since gallery {self.name} was built; {advice}")
        return read_picture(path).pixels

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
