"""Mending a gallery: keep what is proved whole, say what was dropped, reclaim dead space.

The manifest is replaced as a whole, after the shards it names are on the disk and before the ones it
no longer names are deleted: a kill anywhere leaves a gallery that can be repaired again.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch

from ..features.spec import FeatureSpec, differences
from ..reasons import reason
from ..regular import file_digest
from . import journal
from .catalogue import is_catalogue_spoilt, write_catalogue
from .index import is_spoilt
from .layout import Layout, OtherFormatError, read_calibration, read_spec, refuse_links, write_spec
from .lock import writer_lock
from .manifest import Entry, Promise, ShardInfo, State, last_whole, replay
from .manifest import snapshot_lines as snapshot
from .plan import BadFile
from .shards import (
    ShardNotes,
    capacity,
    encode_shard,
    next_name,
    open_shard,
    read_notes,
    shard_names,
    write_shard,
)
from .writer import disk_trouble, remove_leftovers


@dataclass(frozen=True, kw_only=True, slots=True)
class RepairReport:
    """What a repair did."""

    store: str
    photos: int  # in the gallery now
    recovered: tuple[str, ...]  # ids that the manifest had lost, found again in their shards
    dropped: tuple[BadFile, ...]  # photos whose features are gone; `build` encodes them again
    actions: tuple[str, ...]  # one sentence each; empty where there was nothing to do

    def to_json(self) -> dict[str, object]:
        return asdict(self)


@dataclass(slots=True)
class _Salvage:
    """What is whole among the shard files."""

    listed: dict[str, ShardInfo] = field(default_factory=dict)
    orphans: dict[str, tuple[ShardInfo, ShardNotes]] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)  # name -> what is wrong


def repair(store: str | Path) -> RepairReport:
    """Bring a gallery back to a state that `check` accepts, losing as little as possible.

    Photos whose shard is damaged are dropped (the next `build` encodes them again); photos that only the
    manifest had lost come back from their shards. An unfinished build stays unfinished. Shards that are
    mostly dead, and small ones, are merged.
    Raises: ValueError where there is no gallery, nothing whole to start from, or another writer.
    """
    layout = Layout(Path(store))
    if not any(path.exists() for path in (layout.spec, layout.manifest, layout.shards)):
        read_spec(layout)
    refuse_links(layout)
    with writer_lock(layout.lock), disk_trouble(layout.root):
        actions = [f"deleted the half-written {path.name}" for path in remove_leftovers(layout)]
        found = journal.read(layout.manifest)
        state, seen = _replayed(layout, found)
        salvage = _sift(layout, state)
        spec = _mend_spec(layout, salvage, actions)
        if found.damaged or found.torn:
            broken = f"{len(found.damaged)} broken lines and {found.torn} unfinished bytes"
            actions.append(f"dropped {broken} of {layout.manifest.name}")
        if not layout.manifest.exists():
            actions.append(f"wrote {layout.manifest.name} anew")
        dropped = _drop(state, salvage)
        _drop(seen, salvage)
        recovered = _recover(state, spec, salvage)
        if not found.batches:  # nobody knows whether the build was finished: `build` will
            state.promises = [Promise(folder=0, photos=len(state.live))]
        if dropped:
            actions.append(f"dropped {len(dropped)} photos with their damaged shards")
        if recovered:
            actions.append(f"took {len(recovered)} photos back from their shards")
        actions += _compact(layout, spec, state, seen)
        actions += _mend_calibration(layout)
        rewrite = bool(actions or dropped or recovered)
        actions += _drop_spoilt_indexes(layout, state)
        unnamed = [name for name in shard_names(layout.shards) if name not in state.shards]
        if rewrite or unnamed:
            journal.rewrite(layout.manifest, _batches(state, seen))
        write_catalogue(layout, state)
        for name in unnamed:
            with suppress(PermissionError):  # Windows does not delete what a reader has mapped
                layout.shard(name).unlink()
            why = salvage.broken.get(name, "nothing in it is in use")
            actions.append(f"deleted {layout.shard(name).name}: {why}")
    return RepairReport(
        store=str(store),
        photos=len(state.live),
        recovered=recovered,
        dropped=tuple(dropped),
        actions=tuple(actions),
    )


def _drop_spoilt_indexes(layout: Layout, state: State) -> list[str]:
    """They are derived: the next writer makes them again. Returns: what was done."""
    spoilt = [name for name in sorted(state.shards) if is_spoilt(layout, name)]
    for name in spoilt:
        layout.index_of(name).unlink()
    done = [f"deleted the damaged index of {name}" for name in spoilt]
    if is_catalogue_spoilt(layout, state):
        layout.catalogue.unlink()
        done.append("deleted the catalogue, which told of other photos")
    return done


def _replayed(layout: Layout, found: journal.Journal) -> tuple[State, State]:
    """What the manifest says: all of it, and what readers see of it."""
    try:
        return replay(found.batches), last_whole(found.batches)
    except ValueError as error:
        raise ValueError(
            f"gallery {layout.root} cannot be repaired: {reason(error)}; delete it and build it again"
        ) from None


def _batches(state: State, seen: State) -> list[list[journal.Line]]:
    """A manifest that replays to `state`, and shows `seen` to readers while work is under way."""
    if not state.promises or not seen.ended:
        return [snapshot(state)]
    gone = sorted(seen.live.keys() - state.live.keys() - state.excluded)
    removed: list[journal.Line] = [{"kind": "remove", "id": name, "why": "gone"} for name in gone]
    whole = replace(seen, shards=state.shards, promises=[])
    return [snapshot(whole), [*removed, *snapshot(state)]]


def _sift(layout: Layout, state: State) -> _Salvage:
    """Prove each shard file, by the manifest where it is listed there, else by its own checksum."""
    salvage = _Salvage()
    present = shard_names(layout.shards)
    for name in present:
        path, expected = layout.shard(name), state.shards.get(name)
        digest, size = file_digest(path), path.stat().st_size
        if expected is not None:
            if (size, digest) == (expected.bytes, expected.sha256):
                salvage.listed[name] = expected
            else:
                salvage.broken[name] = "its bytes are not what the manifest says"
            continue
        try:
            notes = read_notes(path)
        except ValueError:
            salvage.broken[name] = "not in the manifest, and not whole"
        else:
            salvage.orphans[name] = (ShardInfo(notes.rows, size, digest), notes)
    salvage.broken |= {name: "missing" for name in state.shards if name not in present}
    return salvage


def _mend_spec(layout: Layout, salvage: _Salvage, actions: list[str]) -> FeatureSpec:
    """The store's feature space, from a whole shard where spec.json is lost or tells of another one."""
    stated: FeatureSpec | None = None
    try:
        stated = read_spec(layout)
    except OtherFormatError:
        raise
    except ValueError:
        pass
    for name in salvage.listed:
        spec = read_notes(layout.shard(name)).spec
        if stated is not None and not differences(stated, spec):
            return stated
        break
    else:
        if stated is not None:
            return stated
        if not salvage.orphans:
            raise ValueError(
                f"gallery {layout.root} cannot be repaired: neither spec.json nor any shard is whole; "
                "delete it and build it again"
            )
        spec = next(iter(salvage.orphans.values()))[1].spec
    write_spec(layout, spec)
    actions.append("restored spec.json from a shard")
    return spec


def _drop(state: State, salvage: _Salvage) -> list[BadFile]:
    """Forget the photos whose features are not whole."""
    rows = {name: info.rows for name, info in salvage.listed.items()}
    rows |= {name: info.rows for name, (info, _) in salvage.orphans.items()}
    dropped = []
    for name, entry in sorted(state.live.items()):
        if entry.row >= rows.get(entry.shard, 0):
            why = salvage.broken.get(entry.shard, "not in the manifest")
            dropped.append(BadFile(name, f"its features were in shard {entry.shard}: {why}"))
            del state.live[name]
    state.shards = dict(salvage.listed)
    return dropped


def _recover(state: State, spec: FeatureSpec, salvage: _Salvage) -> tuple[str, ...]:
    """Take back what shards know and the manifest lost. Later shards know better."""
    back: dict[str, Entry] = {}
    places = {sha: entry for sha, entry in state.by_content.items() if entry.shard in state.shards}
    for name, (info, notes) in sorted(salvage.orphans.items()):
        if differences(spec, notes.spec):
            continue
        for index, folder in enumerate(notes.folders):
            if index >= len(state.folders):
                state.folders.append(folder)
        state.shards[name] = info
        places |= {entry.photo.sha256: entry for entry in notes.entries if entry.shard == name}
        for entry in notes.entries:
            key, place = entry.photo.id, places.get(entry.photo.sha256)
            known = key in state.live or key in state.excluded
            if place is not None and not known and state.folders[entry.folder].holds(key):
                back[key] = replace(entry, shard=place.shard, row=place.row)
    state.live |= back
    in_use = {entry.shard for entry in state.live.values()}
    for name in salvage.orphans:
        if name not in in_use:
            state.shards.pop(name, None)
    return tuple(sorted(back))


def _compact(layout: Layout, spec: FeatureSpec, state: State, seen: State) -> list[str]:
    """Merge shards that are more than half dead, or less than half full. Returns: what was done."""
    both = [*state.live.values(), *seen.live.values()]
    alive: dict[str, set[int]] = {name: set() for name in state.shards}
    for entry in both:
        alive[entry.shard].add(entry.row)
    most = capacity(spec)
    dead = [name for name, rows in alive.items() if 2 * len(rows) < state.shards[name].rows]
    small = [name for name, rows in alive.items() if 2 * len(rows) < most and name not in dead]
    victims = sorted([*dead, *(small if len(small) > 1 or dead else [])])
    if not victims:
        return []
    moving = sorted({entry for entry in both if entry.shard in victims}, key=_place)
    rows: dict[tuple[str, int], None] = dict.fromkeys((entry.shard, entry.row) for entry in moving)
    places: dict[tuple[str, int], tuple[str, int]] = {}
    used = [*state.shards, *shard_names(layout.shards)]
    for start in range(0, len(rows), most):
        name = next_name(used)
        used.append(name)
        part = list(rows)[start : start + most]
        places |= {old: (name, row) for row, old in enumerate(part)}
        state.shards[name] = _rewrite(layout, spec, state, name, part, moving)
    for some in (state, seen):
        for key, entry in some.live.items():
            name, row = places.get((entry.shard, entry.row), (entry.shard, entry.row))
            some.live[key] = replace(entry, shard=name, row=row)
    for name in victims:
        del state.shards[name]
    return [f"merged {len(victims)} shards with {len(rows)} photos in use"]


def _place(entry: Entry) -> tuple[str, str, int]:
    return entry.photo.id, entry.shard, entry.row


def _rewrite(
    layout: Layout,
    spec: FeatureSpec,
    state: State,
    name: str,
    rows: list[tuple[str, int]],
    moving: Iterable[Entry],
) -> ShardInfo:
    """Write one new shard from rows of old ones."""
    new = {old: row for row, old in enumerate(rows)}
    mine = (entry for entry in moving if (entry.shard, entry.row) in new)
    entries = [replace(entry, shard=name, row=new[entry.shard, entry.row]) for entry in mine]
    shards = {shard: open_shard(layout.shard(shard)) for shard, _ in rows}
    content = torch.stack([shards[shard].content[row] for shard, row in rows])
    histogram = torch.stack([shards[shard].histogram[row] for shard, row in rows])
    data = encode_shard(spec, state.folders, entries, content, histogram)
    return write_shard(layout.shard(name), len(rows), data)


def _mend_calibration(layout: Layout) -> list[str]:
    try:
        read_calibration(layout)
    except ValueError:
        layout.calibration.unlink()
        return [f"deleted the damaged {layout.calibration.name}; run `raiha calibrate` again"]
    return []
