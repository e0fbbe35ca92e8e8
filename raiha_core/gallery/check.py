"""Proving that a gallery is whole: its own files, and the photos that it was made from."""

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from . import journal
from .lock import is_being_written
from .manifest import State, progress_of, replay
from .plan import is_untouched
from .shards import file_digest, shard_names
from .store import Layout, is_lost, locate, photo_paths, read_calibration, read_spec

Progress = Callable[[int, int, str], object]

# Kinds of damage that concern the photo folder: the gallery itself is whole all the same.
_OF_PHOTOS = ("photo-folder-missing", "photo-missing", "photo-changed")
# What a killed writer leaves behind; no reader sees it, and the next writer clears it away.
_HARMLESS = ("leftover-file", "unlisted-shard", "manifest-torn")


@dataclass(frozen=True, slots=True)
class Damage:
    """One thing that is not as it should be."""

    kind: str  # a fixed word; docs/store-format.md lists them
    where: str  # the file, or the photo's id
    message: str  # one sentence


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckReport:
    """What a check found."""

    store: str
    photos: int  # that the manifest knows
    readable_as_whole: bool  # `open_gallery` may be trusted: finished, and every feature proved
    damages: tuple[Damage, ...]

    @property
    def sound(self) -> bool:
        """Nothing at all to say."""
        return not self.damages

    def to_json(self) -> dict[str, object]:
        return asdict(self)


def check(
    store: str | Path,
    *,
    photos: str | Path | None = None,
    with_photos: bool = True,
    progress: Progress | None = None,
) -> CheckReport:
    """Read every byte of a gallery and compare it with its checksums; changes nothing.

    Args:
        photos: where the photo folder lies now, as for `open_gallery`.
        with_photos: also compare each photo file with what the gallery knows (size and time, else content).
        progress: called after each shard and photo with (done, total, name).
    Raises: ValueError where there is no gallery at all; OSError.
    """
    layout = Layout(Path(store))
    if not any(path.exists() for path in (layout.spec, layout.manifest, layout.shards)):
        return _nothing_yet(layout, str(store))
    damages = _check_spec(layout)
    found = journal.read(layout.manifest)
    state, more = _check_manifest(layout, found)
    damages += more
    damages += _check_leftovers(layout, state)
    total = len(state.shards) + (len(state.live) if with_photos else 0)
    damages += _check_shards(layout, state, total, progress)
    if with_photos:
        damages += _check_photos(layout, state, Path(photos) if photos else None, total, progress)
    whole = all(damage.kind in _OF_PHOTOS + _HARMLESS for damage in damages)
    return CheckReport(
        store=str(store), photos=len(state.live), readable_as_whole=whole, damages=tuple(damages)
    )


def _nothing_yet(layout: Layout, store: str) -> CheckReport:
    """A build that was killed at its very beginning. Raises: ValueError where there was none at all."""
    if not layout.lock.exists():
        read_spec(layout)  # says what this folder is instead
    damage = Damage("unfinished", layout.spec.name, "the gallery is unfinished: 0 photos")
    return CheckReport(store=store, photos=0, readable_as_whole=False, damages=(damage,))


def _check_spec(layout: Layout) -> list[Damage]:
    if not layout.spec.exists():
        return [Damage("spec-missing", "spec.json", "spec.json is missing")]
    try:
        read_spec(layout)
    except ValueError as error:
        return [Damage("spec-damaged", "spec.json", str(error))]
    return []


def _check_manifest(layout: Layout, found: journal.Journal) -> tuple[State, list[Damage]]:
    name = layout.manifest.name
    damages = []
    lost = is_lost(layout, found) or not layout.manifest.exists()
    if lost:
        damages.append(Damage("manifest-missing", name, f"{name} is missing or empty"))
    damages += [
        Damage("manifest-damaged", name, f"line {line} of {name} is broken") for line in found.damaged
    ]
    if found.torn:
        text = f"the last {found.torn} bytes of {name} were never finished"
        damages.append(Damage("manifest-torn", name, text))
    try:
        state = replay(found.batches)
    except ValueError as error:
        return State(), [*damages, Damage("manifest-damaged", name, str(error))]
    if state.expected is not None and not lost:
        what = "is being written" if is_being_written(layout.lock) else "is unfinished"
        damages.append(Damage("unfinished", name, f"the gallery {what}: {progress_of(state)}"))
    try:
        read_calibration(layout)
    except ValueError as error:
        damages.append(Damage("calibration-damaged", layout.calibration.name, str(error)))
    return state, damages


def _check_leftovers(layout: Layout, state: State) -> list[Damage]:
    parts = [path for folder in (layout.root, layout.shards) for path in folder.glob(".*.part*")]
    damages = [
        Damage("leftover-file", path.name, f"{path.name} was left half-written by a killed process")
        for path in sorted(parts)
    ]
    for name in shard_names(layout.shards):
        if name not in state.shards:
            text = f"{layout.shard(name).name} is not in the manifest"
            damages.append(Damage("unlisted-shard", layout.shard(name).name, text))
    return damages


def _check_shards(layout: Layout, state: State, total: int, progress: Progress | None) -> list[Damage]:
    damages = []
    lost = Counter(entry.shard for entry in state.live.values())
    for done, (name, expected) in enumerate(sorted(state.shards.items()), 1):
        path = layout.shard(name)
        tail = f"; it holds {lost[name]} photos"
        if not path.exists():
            damages.append(Damage("shard-missing", path.name, f"{path.name} is missing{tail}"))
        elif (size := path.stat().st_size) != expected.bytes:
            text = f"{path.name} has {size} bytes instead of {expected.bytes}{tail}"
            damages.append(Damage("shard-truncated", path.name, text))
        elif file_digest(path) != expected.sha256:
            damages.append(Damage("shard-damaged", path.name, f"{path.name} has changed bytes{tail}"))
        if progress is not None:
            progress(done, total, path.name)
    return damages


def _check_photos(
    layout: Layout, state: State, photos: Path | None, total: int, progress: Progress | None
) -> list[Damage]:
    roots = photo_paths(layout, state, photos)
    damages = [
        Damage("photo-folder-missing", str(root), f"photo folder {root} is missing; say where it is")
        for root in roots
        if not root.is_dir()
    ]
    for done, (name, entry) in enumerate(sorted(state.live.items()), len(state.shards) + 1):
        if roots[entry.folder].is_dir():
            path = Path(locate(state, roots, entry).path)
            if not path.is_file():
                damages.append(Damage("photo-missing", name, f"photo {path} is gone"))
            elif not is_untouched(path, entry) and file_digest(path) != entry.photo.sha256:
                damages.append(Damage("photo-changed", name, f"photo {path} has changed"))
        if progress is not None:
            progress(done, total, name)
    return damages
