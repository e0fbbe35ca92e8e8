"""A gallery's photos in columns: what a reader needs of a manifest, also as a file that opens in no time.

The file `index/catalogue.safetensors` is derived: it counts only where it names the very bytes of the
manifest that lies beside it, and its own, and it may be deleted. docs/store-format.md lists its columns.

Shapes: n photos, sorted by id.
"""

import hashlib
import json
from bisect import bisect_left
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import overload

import numpy as np
import torch
from safetensors.torch import save

from .. import durable
from . import fields, journal
from .layout import Layout
from .manifest import (
    Folder,
    Photo,
    Promise,
    ShardInfo,
    State,
    folder_from_line,
    folder_line,
    shard_from_line,
    shard_line,
)
from .shards import map_tensors, place_of

_NUMBERS = ("size", "mtime_ns", "ctime_ns", "width", "height", "folder", "shard", "row", "group")
_VIEW = 33  # bytes of a difference hash
_BROKEN = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, RuntimeError)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What an open gallery knows of its photos."""

    ids: list[str]
    groups: list[str]  # different ones; the first is "", which is none
    numbers: dict[str, np.ndarray]  # by `_NUMBERS`, (n,) int64; shard and group count into the lists
    sha256: np.ndarray  # (n, 32) uint8
    views: np.ndarray  # (n, 33) uint8
    viewed: np.ndarray  # (n,) bool: whether somebody computed its view
    shards: dict[str, ShardInfo]  # in order
    folders: tuple[Folder, ...]
    promises: tuple[Promise, ...] = ()
    places: dict[str, tuple[dict, int]] = field(default_factory=dict)  # of shards, by `place_of`

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def used(self) -> list[str]:
        """The names of the shards in which photos lie."""
        names = list(self.shards)
        return [names[number] for number in np.unique(self.numbers["shard"])]


class StoredPhotos(Sequence[Photo]):
    """The photos of a catalogue, each made when it is asked for."""

    def __init__(self, catalogue: Catalogue, roots: Sequence[Path]) -> None:
        self._catalogue, self._roots = catalogue, [str(root) for root in roots]
        self._columns = [catalogue.numbers[name] for name in _NUMBERS[:6]]
        self._groups = catalogue.numbers["group"]

    def __len__(self) -> int:
        return len(self._catalogue)

    @overload
    def __getitem__(self, row: int) -> Photo: ...
    @overload
    def __getitem__(self, row: slice) -> tuple[Photo, ...]: ...
    def __getitem__(self, row: int | slice) -> Photo | tuple[Photo, ...]:
        if isinstance(row, slice):
            return tuple(self[each] for each in range(len(self))[row])
        known = self._catalogue
        name = known.ids[row]  # raises IndexError
        size, mtime, ctime, width, height, folder = (int(column[row]) for column in self._columns)
        return Photo(
            id=name,
            path=f"{self._roots[folder]}/{known.folders[folder].file_of(name)}",
            size=size,
            mtime_ns=mtime,
            ctime_ns=ctime,
            sha256=known.sha256[row].tobytes().hex(),
            width=width,
            height=height,
            group=known.groups[self._groups[row]],
            view=known.views[row].tobytes().hex() if known.viewed[row] else "",
        )

    def rows_of(self, kind: str, names: Collection[str]) -> dict[str, list[int]]:
        """Rows of the photos whose `kind` ("sha256", "group" or "id") is one of `names`, by name."""
        found = {name: self._rows(kind, name) for name in names}
        return {name: rows for name, rows in found.items() if rows}

    def _rows(self, kind: str, name: str) -> list[int]:
        known = self._catalogue
        if kind == "id":
            place = bisect_left(known.ids, name)
            return [place] if place < len(known.ids) and known.ids[place] == name else []
        if kind == "group":
            number = known.groups.index(name) if name in known.groups else -1
            return np.flatnonzero(self._groups == number).tolist()
        try:
            digest = np.frombuffer(bytes.fromhex(name), dtype=np.uint8)
        except ValueError:
            return []
        if digest.shape != (32,):
            return []
        near = np.flatnonzero(known.sha256[:, 0] == digest[0])
        return near[(known.sha256[near] == digest).all(1)].tolist()


def catalogue_of(state: State) -> Catalogue:
    """The columns of a manifest that was read. Raises: ValueError where a photo names a shard unknown."""
    entries = [entry for _, entry in sorted(state.live.items())]
    photos = [entry.photo for entry in entries]
    groups = {name: number for number, name in enumerate(dict.fromkeys(["", *(p.group for p in photos)]))}
    shards = dict(sorted(state.shards.items()))
    number = {name: place for place, name in enumerate(shards)}
    for entry in entries:
        if entry.shard not in number:
            raise ValueError(f"no line tells of shard {entry.shard}")
    columns: dict[str, list[int]] = {
        **{name: [getattr(photo, name) for photo in photos] for name in _NUMBERS[:5]},
        "folder": [entry.folder for entry in entries],
        "shard": [number[entry.shard] for entry in entries],
        "row": [entry.row for entry in entries],
        "group": [groups[photo.group] for photo in photos],
    }
    digests = b"".join(bytes.fromhex(photo.sha256) for photo in photos)
    views = b"".join(bytes.fromhex(photo.view or "00" * _VIEW) for photo in photos)
    return Catalogue(
        [photo.id for photo in photos],
        list(groups),
        {name: np.array(columns[name], dtype=np.int64) for name in _NUMBERS},
        np.frombuffer(digests, dtype=np.uint8).reshape(-1, 32),
        np.frombuffer(views, dtype=np.uint8).reshape(-1, _VIEW),
        np.array([bool(photo.view) for photo in photos], dtype=np.bool_),
        shards,
        tuple(state.folders),
        tuple(state.promises),
    )


def write_catalogue(layout: Layout, state: State) -> None:
    """Leave the columns of a whole gallery beside its index; of another one, take them away.

    The caller holds the lock. Raises: OSError.
    """
    if not state.finished:
        layout.catalogue.unlink(missing_ok=True)
        return
    manifest = layout.manifest.read_bytes()
    if read_catalogue(layout, manifest) is not None:
        return
    known = catalogue_of(state)
    tensors = {name: torch.from_numpy(known.numbers[name]) for name in _NUMBERS}
    for name, column in (("sha256", known.sha256), ("views", known.views), ("viewed", known.viewed)):
        tensors[name] = torch.from_numpy(column.astype(np.uint8))
    for name, texts in (("ids", known.ids), ("groups", known.groups)):
        raw = "\0".join(texts).encode("utf-8", "surrogatepass")
        tensors[name] = torch.from_numpy(np.frombuffer(raw, dtype=np.uint8).copy())
    notes = {
        "manifest": hashlib.sha256(manifest).hexdigest(),
        "shards": [shard_line(name, info) for name, info in known.shards.items()],
        "places": {name: place_of(layout.shard(name)) for name in known.used},
        "folders": [folder_line(index, folder) for index, folder in enumerate(known.folders)],
        "sha256": _digest(tensors),
    }
    durable.make_folder(layout.index)
    with durable.durable_path(layout.catalogue) as temporary:
        temporary.write_bytes(save(tensors, {"raiha": json.dumps(notes)}))


def _digest(tensors: dict[str, torch.Tensor]) -> str:
    found = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tuple(tensor.shape)} ".encode())
        found.update(tensor.contiguous().numpy().data)
    return found.hexdigest()


def read_catalogue(layout: Layout, manifest: bytes) -> Catalogue | None:
    """The columns of this manifest; None where there are none, or others, or their bytes have changed."""
    try:
        names = (*_NUMBERS, "sha256", "views", "viewed", "ids", "groups")
        parts, metadata = map_tensors(layout.catalogue, names)
        tensors, notes = dict(zip(names, parts, strict=True)), json.loads(metadata["raiha"])
        if notes["manifest"] != hashlib.sha256(manifest).hexdigest() or notes["sha256"] != _digest(tensors):
            return None
        return _checked(tensors, notes)
    except _BROKEN:
        return None


def _checked(tensors: dict[str, torch.Tensor], notes: dict) -> Catalogue:
    """The columns, if every field is bounded: a store may come from a stranger. Raises: ValueError."""
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    raw = arrays["ids"].tobytes()
    ids = raw.decode("utf-8", "surrogatepass").split("\0") if raw else []
    groups = arrays["groups"].tobytes().decode("utf-8", "surrogatepass").split("\0")
    folders = tuple(folder_from_line(line) for line in notes["folders"])
    shards = {fields.shard_field(line, "name"): shard_from_line(line) for line in notes["shards"]}
    numbers = {name: arrays[name] for name in _NUMBERS}
    n = len(ids)
    shapes = {**{name: (n,) for name in (*_NUMBERS, "viewed")}, "sha256": (n, 32), "views": (n, _VIEW)}
    if any(arrays[name].shape != shape for name, shape in shapes.items()):
        raise ValueError("columns of different lengths")
    rows = np.array([info.rows for info in shards.values()], dtype=np.int64)
    limits = {"folder": len(folders), "shard": len(shards), "group": len(groups)}
    for name in ("size", "width", "height", "row", *limits):
        if n and not 0 <= numbers[name].min() <= numbers[name].max() < limits.get(name, 1 << 63):
            raise ValueError(f"'{name}' out of its bounds")
    if n and (numbers["row"] >= rows[numbers["shard"]]).any():
        raise ValueError("a photo without features")
    if sorted(set(ids)) != ids:
        raise ValueError("ids that are not in order")
    if b".." in raw or raw.startswith(b"/") or b"\0/" in raw:
        for name, number in zip(ids, numbers["folder"].tolist(), strict=True):
            if not folders[number].holds(name):
                raise ValueError(f"'{name:.80}' leads out of its folder")
    return Catalogue(
        ids,
        groups,
        numbers,
        arrays["sha256"],
        arrays["views"],
        arrays["viewed"].astype(np.bool_),
        shards,
        folders,
        places={name: (dict(header), int(start)) for name, (header, start) in notes["places"].items()},
    )


def is_catalogue_spoilt(layout: Layout, state: State) -> bool:
    """Whether a catalogue is there that readers would believe, and that tells of other photos."""
    try:
        known = read_catalogue(layout, journal.read_raw(layout.manifest))
        if known is None:
            return False
        truth = catalogue_of(state)
    except (OSError, ValueError):  # of the manifest, which is told elsewhere
        return False
    same = (known.ids, known.groups, known.shards, known.folders) == (
        (truth.ids, truth.groups, truth.shards, truth.folders)
    )
    arrays = [(known.numbers[name], truth.numbers[name]) for name in _NUMBERS]
    arrays += [(known.sha256, truth.sha256), (known.views, truth.views), (known.viewed, truth.viewed)]
    return not (same and all(np.array_equal(one, other) for one, other in arrays))
