"""Where the parts of a gallery on disk lie, and reading the small ones."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from .. import durable
from ..features.spec import FeatureSpec, spec_from_json
from ..reasons import reason
from ..regular import is_link, read_regular
from . import fields, journal
from .manifest import Entry, Folder, Photo, Promise, State
from .shards import SUFFIX, shard_names, shard_path

_FORMAT = 1
_LARGEST = 1 << 20  # bytes of spec.json and calibration.json


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

    @property
    def index(self) -> Path:
        return self.root / "index"

    @property
    def rotation(self) -> Path:
        return self.index / f"rotation{SUFFIX}"

    @property
    def catalogue(self) -> Path:
        return self.index / f"catalogue{SUFFIX}"

    @property
    def parts(self) -> tuple[Path, ...]:
        """All that a store consists of."""
        return (self.spec, self.manifest, self.shards, self.index, self.lock, self.calibration)

    @property
    def half_written(self) -> list[Path]:
        """What killed writers left."""
        folders = (self.root, self.shards, self.index)
        return sorted(path for folder in folders for path in folder.glob(".*.part*"))

    def shard(self, name: str) -> Path:
        return shard_path(self.shards, name)

    def index_of(self, name: str) -> Path:
        return shard_path(self.index, name)


def refuse_links(layout: Layout) -> None:
    """Raises: ValueError where a part of the store is a link: writes would go elsewhere."""
    for path in layout.parts:
        if is_link(path):
            raise ValueError(f"{path} is a link; nothing is written to a gallery through links")
    for folder in (layout.shards, layout.index):
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"gallery {layout.root} is damaged: {folder} is not a folder")


def write_spec(layout: Layout, spec: FeatureSpec) -> None:
    text = json.dumps({"format": _FORMAT, "spec": spec.to_json()}, indent=2)
    durable.write_text(layout.spec, text + "\n")


def read_spec(layout: Layout) -> FeatureSpec:
    """The feature space of a store. Raises: ValueError naming the store where it has none."""
    if not layout.root.is_dir():
        raise ValueError(f"gallery {layout.root} does not exist; make it with `raiha gallery build`")
    try:
        data = json.loads(read_regular(layout.spec, _LARGEST))
    except FileNotFoundError:
        if layout.manifest.exists() or shard_names(layout.shards):
            raise ValueError(
                f"gallery {layout.root} is damaged: spec.json is missing; {cure(layout)}"
            ) from None
        if layout.lock.exists():
            raise ValueError(
                f"gallery {layout.root} is unfinished: {unfinished_work(layout, [Promise(folder=0)], [])}"
            ) from None
        raise ValueError(f"{layout.root} is not a gallery: it has no spec.json") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"gallery {layout.root} is damaged: spec.json: {reason(error)}; {cure(layout)}"
        ) from None
    try:
        if data["format"] != _FORMAT:
            raise OtherFormatError(
                f"gallery {layout.root} has format {data['format']}, and this version reads {_FORMAT}"
                f"{_needed(data)}"
            )
        return _bounded(spec_from_json(data["spec"]))
    except OtherFormatError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"gallery {layout.root} is damaged: spec.json: {reason(error)}; {cure(layout)}"
        ) from None


def _needed(data: dict) -> str:
    """Which version reads another format, where its file says so."""
    version = data.get("needs")
    return f"; it needs Raiha {version:.40} or newer" if isinstance(version, str) else ""


def _bounded(spec: FeatureSpec) -> FeatureSpec:
    """The spec, if its fields are of their types and small. Raises: ValueError."""
    whole = {"input_size": 1 << 16, "grid": 1 << 10, "dim": 1 << 16, "version": 1 << 16}
    bins = {name: 1 << 12 for name in ("hue", "saturation", "value", "pixels", "version")}
    texts = ("name", "encoder", "layer", "weights", "centring", "threshold_source")
    for part, limits in ((spec, whole), (spec.histogram, bins)):
        for name, most in limits.items():
            fields.number_field(part.to_json() if part is spec else asdict(spec.histogram), name, 1, most)
    for name in texts:
        fields.text_field(spec.to_json(), name, most=1 << 12)
    return spec


def read_calibration(layout: Layout) -> dict[str, object]:
    """What `raiha calibrate` wrote beside the gallery; {} where it has not run.

    Raises: ValueError where it is too large, no regular file or no JSON object; OSError where it cannot be
        opened.
    """
    try:
        found = json.loads(read_regular(layout.calibration, _LARGEST))
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{layout.calibration} is damaged: {reason(error)}; run `raiha calibrate` again"
        ) from None
    if not isinstance(found, dict):
        raise ValueError(f"{layout.calibration} is damaged: not an object; run `raiha calibrate` again")
    return found


def read_journal(layout: Layout) -> journal.Journal:
    """The manifest, torn tail aside. Raises: ValueError naming the store where lines are broken or lost."""
    return whole_journal(layout, journal.read(layout.manifest))


def whole_journal(layout: Layout, found: journal.Journal) -> journal.Journal:
    """The same, of a manifest that was read. Raises: ValueError as `read_journal`."""
    if is_lost(layout, found):
        raise ValueError(
            f"gallery {layout.root} is damaged: {layout.manifest.name} is missing or empty; {cure(layout)}"
        )
    if found.damaged:
        raise ValueError(
            f"gallery {layout.root} is damaged: line {found.damaged[0]} of manifest.jsonl; {cure(layout)}"
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


def photo_paths(layout: Layout, folders: Sequence[Folder], photos: Path | None) -> list[Path]:
    """The root of each photo folder; `photos` takes the place of the first."""
    roots = [folder_root(layout, folder) for folder in folders]
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
        ctime_ns=photo.ctime_ns,
        sha256=photo.sha256,
        width=photo.width,
        height=photo.height,
        group=photo.group,
        view=photo.view,
    )


def cure(layout: Layout) -> str:
    return f"run `raiha gallery check {layout.root}`, then `raiha gallery repair {layout.root}`"


def unfinished_work(layout: Layout, promises: Sequence[Promise], folders: Sequence[Folder]) -> str:
    """What was begun in which photo folder and not ended, and the commands that end it; "" for nothing."""
    return "; ".join(_unfinished(layout, promise, folders) for promise in promises)


def _unfinished(layout: Layout, promise: Promise, folders: Sequence[Folder]) -> str:
    place = "PHOTOS"
    if promise.folder < len(folders):
        place = shlex.quote(str(folder_root(layout, folders[promise.folder]) / promise.inside))
    command = "add" if promise.adding else "build"
    done = f"{promise.photos - promise.todo} of {promise.photos} photos" if promise.photos else "0 photos"
    return f"{done}; run `raiha gallery {command} {place} {shlex.quote(str(layout.root))}` again"
