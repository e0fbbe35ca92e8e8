"""What a gallery on disk knows about its photos: the lines of its manifest, and what they add up to.

docs/store-format.md describes the lines. Later lines override earlier ones.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..reasons import reason
from ..regular import stays_inside
from . import fields
from .journal import Line


@dataclass(frozen=True, kw_only=True, slots=True)
class Photo:
    """One photo of a gallery."""

    id: str  # posix path relative to the photo folder; unique; ties in a ranking break by it
    path: str  # where the file lies now; "" for a picture that has no file
    size: int  # bytes
    mtime_ns: int
    ctime_ns: int = 0  # when the file last changed in any way (Windows: was made); 0 where no one noted it
    sha256: str  # of the file's bytes; equal for duplicates
    width: int  # pixels, as shown (after EXIF orientation)
    height: int
    group: str = ""  # photos of one group (sequence, camera, source picture) exclude each other; "" = none
    view: str = ""  # difference hash in hex (`shots.view_of`); "" where no one computed it


@dataclass(frozen=True, slots=True)
class Folder:
    """A photo folder. The first one's photos have plain ids, those of a further one "name:path"."""

    name: str  # "" for the first
    path: str  # absolute, posix
    relative: str  # from the store, so that store and photos may move together; "" on another drive
    group_by: str = ""  # "folder" where each subfolder is a group

    def id_of(self, file: str) -> str:
        return f"{self.name}:{file}" if self.name else file

    def holds(self, photo_id: str) -> bool:
        """Whether an id is one of this folder's, and its path stays inside."""
        if self.name and not photo_id.startswith(f"{self.name}:"):
            return False
        return stays_inside(self.file_of(photo_id))

    def file_of(self, photo_id: str) -> str:
        """The path inside the folder that an id of this folder stands for."""
        return photo_id[len(self.name) + 1 :] if self.name else photo_id


@dataclass(frozen=True, slots=True)
class Entry:
    """A photo and where its features lie. Photos with the same content may share a row."""

    photo: Photo  # its path is left empty: it follows from the folder
    folder: int
    shard: str
    row: int


@dataclass(frozen=True, slots=True)
class ShardInfo:
    """What the manifest says about a shard file."""

    rows: int  # at least one photo each, or none any more
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Promise:
    """What was begun in a photo folder and is not ended yet: by a living writer, or by one that died."""

    folder: int
    inside: str = ""  # the subfolder or file that is being added; "" is the whole folder
    adding: bool = False  # by `add`, which drops nothing, rather than by `build`
    photos: int = 0  # the gallery will hold
    todo: int = 0  # photos of these that are still to do
    since: int = field(default=0, compare=False)  # number of the batch that began it

    def is_kept_by(self, end: "Promise") -> bool:
        """Whether the end of `end` does all that this promised."""
        if self.folder != end.folder:
            return False
        if not end.adding:
            return True
        within = self.inside == end.inside or not end.inside or self.inside.startswith(f"{end.inside}/")
        return self.adding and within


@dataclass(slots=True)
class State:
    """What the lines of a manifest add up to."""

    folders: list[Folder] = field(default_factory=list)
    live: dict[str, Entry] = field(default_factory=dict)
    shards: dict[str, ShardInfo] = field(default_factory=dict)
    excluded: set[str] = field(default_factory=set)  # removed on request: `build` leaves them out
    by_content: dict[str, Entry] = field(default_factory=dict)  # SHA-256 -> features, dead ones too
    bad: tuple[tuple[str, str], ...] = ()  # (id, reason) of the last finished build
    promises: list[Promise] = field(default_factory=list)  # begun and not ended, oldest first
    ended: bool = False  # whether it was ever whole
    batches: int = field(default=0, compare=False)
    _named: int = field(default=0, compare=False)  # the folder that the current batch speaks of

    @property
    def finished(self) -> bool:
        """Whether all that was promised is here."""
        return self.ended and not self.promises

    @property
    def expected(self) -> int:
        """Photos there will be once all is done."""
        return max([len(self.live), *(promise.photos for promise in self.promises)])

    def apply(self, batch: Iterable[Line]) -> None:
        """Follow one batch. Raises: ValueError for a line that this version does not know."""
        self._named = 0
        for line in batch:
            try:
                self._apply(line)
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise ValueError(f"not a manifest line: {line!r:.200} ({reason(error)})") from None
        self.batches += 1

    def _apply(self, line: Mapping) -> None:
        kind = line["kind"]
        if kind == "photo":
            self._add(entry_from_line(line, len(self.folders)))
        elif kind == "shard":
            self.shards[fields.shard_field(line, "name")] = shard_from_line(line)
        elif kind == "remove":
            name = fields.text_field(line, "id")
            self.live.pop(name, None)
            if line["why"] == "asked":
                self.excluded.add(name)
        elif kind == "folder":
            self._named = fields.number_field(line, "index", most=len(self.folders))
            known, new = self.folders[self._named : self._named + 1], folder_from_line(line)
            if known and known[0].name != new.name:
                raise ValueError("a folder changes its name, by which its photos are called")
            self.folders[self._named : self._named + 1] = [new]
        elif kind == "begin":
            self._begin(line)
        elif kind == "end":
            self._end(line)
        else:
            raise ValueError("of an unknown kind")

    def _add(self, entry: Entry) -> None:
        if not self.folders[entry.folder].holds(entry.photo.id):
            raise ValueError("the photo is not of its folder")
        self.live[entry.photo.id] = self.by_content[entry.photo.sha256] = entry
        self.excluded.discard(entry.photo.id)
        if self.promises:  # the last one that was begun is the one that is being kept
            latest = self.promises[-1]
            self.promises[-1] = replace(latest, todo=max(0, latest.todo - 1))

    def _begin(self, line: Mapping) -> None:
        new = promise_from_line(line, self._named, self.batches)
        old = [promise for promise in self.promises if promise.is_kept_by(new)]
        since = min([new.since, *(promise.since for promise in old)])
        self.promises = [*(one for one in self.promises if one not in old), replace(new, since=since)]

    def _end(self, line: Mapping) -> None:
        kept = promise_from_line({"photos": 0, "todo": 0, **line}, 0, 0)
        whole = "folder" not in line  # so wrote versions that knew of one promise only
        self.promises = [one for one in self.promises if not (whole or one.is_kept_by(kept))]
        self.ended = True
        self.bad = tuple(
            (fields.text_field(bad, "id"), fields.text_field(bad, "reason")) for bad in line["bad"]
        )


def replay(batches: Sequence[Sequence[Line]]) -> State:
    """The state after these batches. Raises: ValueError for lines of a newer version."""
    state = State()
    for batch in batches:
        state.apply(batch)
    return state


def last_whole(batches: Sequence[Sequence[Line]]) -> State:
    """The state that readers may see: each photo folder as it was before what is under way there began.

    Photos that were removed on request are gone. Nothing was ever whole where it has not `ended`.
    """
    state = replay(batches)
    pending: dict[int, int] = {}
    for promise in state.promises:
        pending[promise.folder] = min(promise.since, pending.get(promise.folder, promise.since))
    if not pending:
        return state
    before = State()
    whole: dict[str, Entry] = {}
    for number, batch in enumerate(batches):
        for folder, since in pending.items():
            if since == number:
                whole |= {name: entry for name, entry in before.live.items() if entry.folder == folder}
        before.apply(batch)
    live = {name: entry for name, entry in state.live.items() if entry.folder not in pending}
    state.live = live | {name: entry for name, entry in whole.items() if name not in state.excluded}
    return state


def folder_of(folders: Sequence[Folder], photo_id: str) -> int:
    """Number of the folder whose ids look like this one."""
    for index, folder in enumerate(folders):
        if folder.name and photo_id.startswith(f"{folder.name}:"):
            return index
    return 0


def photo_line(entry: Entry) -> Line:
    p = entry.photo
    return {
        "kind": "photo",
        "id": p.id,
        "folder": entry.folder,
        "size": p.size,
        "mtime_ns": p.mtime_ns,
        "ctime_ns": p.ctime_ns,
        "sha256": p.sha256,
        "width": p.width,
        "height": p.height,
        "group": p.group,
        "view": p.view,
        "shard": entry.shard,
        "row": entry.row,
    }


def entry_from_line(line: Mapping, folders: int) -> Entry:
    """A photo line of a store that has `folders` photo folders. Raises: ValueError, KeyError, TypeError."""
    photo = Photo(
        id=fields.inner_path_field(line, "id"),
        path="",
        size=fields.number_field(line, "size"),
        mtime_ns=fields.time_field(line, "mtime_ns"),
        ctime_ns=fields.time_field(line, "ctime_ns", 0),
        sha256=fields.digest_field(line, "sha256"),
        width=fields.number_field(line, "width"),
        height=fields.number_field(line, "height"),
        group=fields.text_field(line, "group"),
        view=fields.view_field(line, "view"),
    )
    folder = fields.number_field(line, "folder", most=folders - 1)
    return Entry(photo, folder, fields.shard_field(line, "shard"), fields.number_field(line, "row"))


def folder_line(index: int, folder: Folder) -> Line:
    return {
        "kind": "folder",
        "index": index,
        "name": folder.name,
        "path": folder.path,
        "relative": folder.relative,
        "group_by": folder.group_by,
    }


def folder_from_line(line: Mapping) -> Folder:
    return Folder(
        fields.path_field(line, "name"),
        fields.path_field(line, "path"),
        fields.path_field(line, "relative"),
        fields.text_field(line, "group_by"),
    )


def shard_line(name: str, info: ShardInfo) -> Line:
    return {
        "kind": "shard",
        "name": name,
        "rows": info.rows,
        "bytes": info.bytes,
        "sha256": info.sha256,
    }


def shard_from_line(line: Mapping) -> ShardInfo:
    rows, size = fields.number_field(line, "rows"), fields.number_field(line, "bytes")
    return ShardInfo(rows, size, fields.digest_field(line, "sha256"))


def begin_line(promise: Promise) -> Line:
    return {"kind": "begin", "photos": promise.photos, "todo": promise.todo, **_whose(promise)}


def end_line(bad: Sequence[tuple[str, str]], kept: Promise | None = None) -> Line:
    """The line that closes a run of indexing: the promise `kept` is fulfilled, or every open one if None.

    Args: bad: (id, reason) of each photo that could not be read.
    """
    line: Line = {"kind": "end", "bad": [{"id": name, "reason": why} for name, why in bad]}
    return line if kept is None else {**line, **_whose(kept)}


def _whose(promise: Promise) -> Line:
    return {"folder": promise.folder, "inside": promise.inside, "adding": promise.adding}


def promise_from_line(line: Mapping, folder: int, batch: int) -> Promise:
    """A begin line of batch number `batch`; one of an older version speaks of photo folder `folder`."""
    return Promise(
        folder=fields.number_field(line, "folder", default=folder),
        inside=fields.inner_path_field(line, "inside", ""),
        adding=line.get("adding", False) is True,
        photos=fields.number_field(line, "photos"),
        todo=fields.number_field(line, "todo"),
        since=batch,
    )


def snapshot_lines(state: State) -> list[Line]:
    """The shortest batch that replays to `state` (features of dead photos are forgotten)."""
    lines = [folder_line(index, folder) for index, folder in enumerate(state.folders)]
    lines += [shard_line(name, info) for name, info in sorted(state.shards.items())]
    lines += [{"kind": "remove", "id": name, "why": "asked"} for name in sorted(state.excluded)]
    lines += [photo_line(entry) for _, entry in sorted(state.live.items())]
    if state.finished:
        return [*lines, end_line(state.bad)]
    return [*lines, *(begin_line(promise) for promise in state.promises or [Promise(folder=0)])]
