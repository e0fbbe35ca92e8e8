"""Proving that a gallery is whole: its own files, and the photos that it was made from."""

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from ..features.spec import differences
from ..reasons import reason
from ..regular import file_digest, is_link
from . import journal
from .catalogue import is_catalogue_spoilt
from .index import is_spoilt
from .layout import (
    Layout,
    is_lost,
    locate,
    photo_paths,
    read_calibration,
    read_spec,
    unfinished_work,
)
from .lock import is_being_written
from .manifest import Photo, Promise, ShardInfo, State, last_whole, replay
from .plan import is_untouched
from .protocol import Progress
from .shards import open_shard, read_notes, shard_names

# Kinds of damage that concern the photo folder: the gallery itself is whole all the same.
_OF_PHOTOS = ("photo-folder-missing", "photo-missing", "photo-changed", "photo-unreadable")
# What a killed writer leaves behind; no reader sees it, and the next writer clears it away.
_HARMLESS = ("leftover-file", "unlisted-shard", "manifest-torn")
# Readers see what was whole before.
_PASSED_OVER = "unfinished"


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
    unchecked: tuple[str, ...] = ()  # what was not looked at, one sentence each

    @property
    def sound(self) -> bool:
        """No damage in what was looked at."""
        return not self.damages

    def to_json(self) -> dict[str, object]:
        return asdict(self)


def check(
    store: str | Path,
    *,
    photos: str | Path | None = None,
    with_photos: bool = True,
    fast: bool = False,
    progress: Progress | None = None,
) -> CheckReport:
    """Read every byte of a gallery and compare it with its checksums; changes nothing.

    Args:
        photos: where the photo folder lies now, as for `open_gallery`.
        with_photos: also compare the bytes of each photo file with the checksum that the gallery knows.
        fast: do not read photo files whose size and times are the recorded ones.
        progress: called after each shard and photo with (done, total, name).
    Raises: ValueError where there is no gallery at all; OSError.
    """
    layout = Layout(Path(store))
    if not any(path.exists() for path in (layout.spec, layout.manifest, layout.shards)):
        return _nothing_yet(layout, str(store))
    damages = _check_spec(layout)
    found, more = _read_manifest(layout)
    damages += more
    state, more = _check_manifest(layout, found)
    damages += more
    damages += _check_rows(state)
    damages += _check_leftovers(layout, state)
    total = len(state.shards) + (len(state.live) if with_photos else 0)
    damages += _check_shards(layout, state, total, progress)
    damages += _check_space(layout, state)
    damages += _check_index(layout, state)
    if with_photos:
        damages += _check_photos(layout, state, Path(photos) if photos else None, fast, total, progress)
    passed_over = (*_OF_PHOTOS, *_HARMLESS, *([_PASSED_OVER] if state.ended else []))
    return CheckReport(
        store=str(store),
        photos=len(state.live),
        readable_as_whole=all(damage.kind in passed_over for damage in damages),
        damages=tuple(damages),
        unchecked=_unchecked(len(state.live), with_photos, fast),
    )


def _unchecked(count: int, with_photos: bool, fast: bool) -> tuple[str, ...]:
    if not with_photos:
        return (f"the {count} photo files were not looked at",)
    if fast:
        return ("photo files whose size and times are the recorded ones were not read",)
    return ()


def _nothing_yet(layout: Layout, store: str) -> CheckReport:
    """A build that was killed at its very beginning. Raises: ValueError where there was none at all."""
    if not layout.lock.exists():
        read_spec(layout)  # says what this folder is instead
    work = unfinished_work(layout, [Promise(folder=0)], [])
    damage = Damage("unfinished", layout.spec.name, f"the gallery is unfinished: {work}")
    return CheckReport(store=store, photos=0, readable_as_whole=False, damages=(damage,))


def _check_spec(layout: Layout) -> list[Damage]:
    links = [
        Damage("link", path.name, f"{path.name} is a link: nothing is written to this gallery through it")
        for path in layout.parts
        if is_link(path)
    ]
    if not layout.spec.exists():
        return [*links, Damage("spec-missing", "spec.json", "spec.json is missing")]
    try:
        read_spec(layout)
    except (ValueError, OSError) as error:
        return [*links, Damage("spec-damaged", "spec.json", reason(error))]
    return links


def _read_manifest(layout: Layout) -> tuple[journal.Journal, list[Damage]]:
    try:
        return journal.read(layout.manifest), []
    except (ValueError, OSError) as error:
        damage = Damage("manifest-damaged", layout.manifest.name, reason(error))
        return journal.Journal((), 0, ()), [damage]


def _check_manifest(layout: Layout, found: journal.Journal) -> tuple[State, list[Damage]]:
    name = layout.manifest.name
    damages = []
    lost = is_lost(
        layout, found
    )  # without shards there was nothing to lose: a build was cut at its beginning
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
        last_whole(found.batches)
    except ValueError as error:
        return State(), [*damages, Damage("manifest-damaged", name, reason(error))]
    if not state.finished and not lost:
        what = "is being written" if is_being_written(layout.lock) else "is unfinished"
        for promise in state.promises or [Promise(folder=0)]:
            work = unfinished_work(layout, [promise], state.folders)
            damages.append(Damage("unfinished", name, f"the gallery {what}: {work}"))
    try:
        read_calibration(layout)
    except (ValueError, OSError) as error:
        damages.append(Damage("calibration-damaged", layout.calibration.name, reason(error)))
    return state, damages


def _check_rows(state: State) -> list[Damage]:
    """Photos whose features no shard can hold: no writer of ours leaves any."""
    rows = {name: info.rows for name, info in state.shards.items()}
    return [
        Damage("manifest-damaged", name, f"'{name}' has no features: row {entry.row} of {entry.shard}")
        for name, entry in sorted(state.live.items())
        if entry.row >= rows.get(entry.shard, 0)
    ]


def _check_leftovers(layout: Layout, state: State) -> list[Damage]:
    damages = [
        Damage("leftover-file", path.name, f"{path.name} was left half-written by a killed process")
        for path in layout.half_written
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
        tail = f"; it holds {lost[name]} photos"
        if found := _shard_damage(layout.shard(name), expected, tail):
            damages.append(found)
        if progress is not None:
            progress(done, total, layout.shard(name).name)
    return damages


def _check_space(layout: Layout, state: State) -> list[Damage]:
    """Whether spec.json tells of the space that the first shard was made in."""
    for name in sorted(state.shards):
        try:
            spec, notes = read_spec(layout), read_notes(layout.shard(name))
        except (ValueError, OSError):
            return []  # told already
        if found := differences(spec, notes.spec):
            text = f"spec.json tells of another feature space than the shards: {'; '.join(found)}"
            return [Damage("spec-damaged", layout.spec.name, text)]
        break
    return []


def _check_index(layout: Layout, state: State) -> list[Damage]:
    spoilt = is_catalogue_spoilt(layout, state)
    where, told = "index/catalogue", "the catalogue tells of other photos than the manifest"
    return [
        *([Damage("index-damaged", where, told)] if spoilt else []),
        *(
            Damage("index-damaged", f"index/{name}", f"the index of {name} has changed bytes")
            for name in sorted(state.shards)
            if is_spoilt(layout, name)
        ),
    ]


def _shard_damage(path: Path, expected: ShardInfo, tail: str) -> Damage | None:
    name = path.name
    try:
        if not path.exists():
            return Damage("shard-missing", name, f"{name} is missing{tail}")
        if path.is_file() and (size := path.stat().st_size) != expected.bytes:
            text = f"{name} has {size} bytes instead of {expected.bytes}{tail}"
            return Damage("shard-truncated", name, text)
        if file_digest(path) != expected.sha256:
            return Damage("shard-damaged", name, f"{name} has changed bytes{tail}")
        if len(open_shard(path).content) != expected.rows:
            return Damage("shard-damaged", name, f"{name} has not {expected.rows} rows{tail}")
    except (ValueError, OSError) as error:
        return Damage("shard-damaged", name, f"{name} cannot be read: {reason(error)}{tail}")
    return None


def _check_photos(
    layout: Layout, state: State, photos: Path | None, fast: bool, total: int, progress: Progress | None
) -> list[Damage]:
    roots = photo_paths(layout, state.folders, photos)
    damages = [
        Damage("photo-folder-missing", str(root), f"photo folder {root} is missing; say where it is")
        for root in roots
        if not root.is_dir()
    ]
    for done, (name, entry) in enumerate(sorted(state.live.items()), len(state.shards) + 1):
        if roots[entry.folder].is_dir() and (found := _photo_damage(locate(state, roots, entry), fast)):
            damages.append(found)
        if progress is not None:
            progress(done, total, name)
    return damages


def _photo_damage(photo: Photo, fast: bool) -> Damage | None:
    path = Path(photo.path)
    try:
        if not path.exists():
            return Damage("photo-missing", photo.id, f"photo {path} is gone")
        if fast and is_untouched(path, photo):
            return None
        if file_digest(path) != photo.sha256:
            return Damage("photo-changed", photo.id, f"photo {path} has changed")
    except (ValueError, OSError) as error:
        return Damage("photo-unreadable", photo.id, f"photo {path} cannot be read: {reason(error)}")
    return None
