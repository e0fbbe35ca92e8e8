"""What a gallery on disk knows about its photos: the lines of its manifest, and what they add up to.

docs/store-format.md describes the lines. Later lines override earlier ones.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from .journal import Line


@dataclass(frozen=True, kw_only=True, slots=True)
class Photo:
    """One photo of a gallery."""

    id: str  # posix path relative to the photo folder; unique; ties in a ranking break by it
    path: str  # where the file lies now; "" for a picture that has no file
    size: int  # bytes
    mtime_ns: int
    sha256: str  # of the file's bytes; equal for duplicates
    width: int  # pixels, as shown (after EXIF orientation)
    height: int
    group: str = ""  # photos of one group (sequence, camera, source picture) exclude each other; "" = none


@dataclass(frozen=True, slots=True)
class Folder:
    """A photo folder. The first one's photos have plain ids, those of a further one "name:path"."""

    name: str  # "" for the first
    path: str  # absolute, posix
    relative: str  # from the store, so that store and photos may move together; "" on another drive
    group_by: str = ""  # "folder" where each subfolder is a group

    def id_of(self, file: str) -> str:
        return f"{self.name}:{file}" if self.name else file

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


@dataclass(slots=True)
class State:
    """What the lines of a manifest add up to."""

    folders: list[Folder] = field(default_factory=list)
    live: dict[str, Entry] = field(default_factory=dict)
    shards: dict[str, ShardInfo] = field(default_factory=dict)
    excluded: set[str] = field(default_factory=set)  # removed on request: `build` leaves them out
    by_content: dict[str, Entry] = field(default_factory=dict)  # SHA-256 -> features, dead ones too
    bad: tuple[tuple[str, str], ...] = ()  # (id, reason) of the last finished build
    expected: int | None = 0  # photos there will be while a build is unfinished; None once it has ended
    todo: int = 0  # of these, photos still to do

    def apply(self, batch: Iterable[Line]) -> None:
        """Follow one batch. Raises: ValueError for a line that this version does not know."""
        for line in batch:
            try:
                self._apply(line)
            except (KeyError, TypeError) as error:
                raise ValueError(f"not a manifest line: {line} ({error})") from None

    def _apply(self, line: Mapping) -> None:
        kind = line["kind"]
        if kind == "photo":
            entry = entry_from_line(line)
            self.live[entry.photo.id] = self.by_content[entry.photo.sha256] = entry
            self.excluded.discard(entry.photo.id)
            self.todo = max(0, self.todo - 1)
        elif kind == "shard":
            self.shards[line["name"]] = ShardInfo(line["rows"], line["bytes"], line["sha256"])
        elif kind == "remove":
            self.live.pop(line["id"], None)
            if line["why"] == "asked":
                self.excluded.add(line["id"])
        elif kind == "folder":
            folder = Folder(line["name"], line["path"], line["relative"], line["group_by"])
            self.folders[line["index"] :] = [folder, *self.folders[line["index"] + 1 :]]
        elif kind == "begin":
            self.expected, self.todo = line["photos"], line["todo"]
        elif kind == "end":
            self.expected, self.todo = None, 0
            self.bad = tuple((bad["id"], bad["reason"]) for bad in line["bad"])
        else:
            raise ValueError(f"not a manifest line: {line}")


def replay(batches: Sequence[Sequence[Line]]) -> State:
    """The state after these batches. Raises: ValueError for lines of a newer version."""
    state = State()
    for batch in batches:
        state.apply(batch)
    return state


def finished_part(batches: Sequence[Sequence[Line]]) -> int:
    """How many leading batches end with no build under way: the last state that was whole."""
    whole, under_way = 0, True
    for number, batch in enumerate(batches, 1):
        for line in batch:
            if line["kind"] in ("begin", "end"):
                under_way = line["kind"] == "begin"
        if not under_way:
            whole = number
    return whole


def folder_of(folders: Sequence[Folder], photo_id: str) -> int:
    """Number of the folder whose ids look like this one."""
    for index, folder in enumerate(folders):
        if folder.name and photo_id.startswith(f"{folder.name}:"):
            return index
    return 0


def progress_of(state: State) -> str:
    """How far an unfinished build has come, for a message."""
    if not state.expected:
        return "0 photos"
    return f"{state.expected - state.todo} of {state.expected} photos"


def photo_line(entry: Entry) -> Line:
    p = entry.photo
    return {
        "kind": "photo",
        "id": p.id,
        "folder": entry.folder,
        "size": p.size,
        "mtime_ns": p.mtime_ns,
        "sha256": p.sha256,
        "width": p.width,
        "height": p.height,
        "group": p.group,
        "shard": entry.shard,
        "row": entry.row,
    }


def entry_from_line(line: Mapping) -> Entry:
    photo = Photo(
        id=line["id"],
        path="",
        size=line["size"],
        mtime_ns=line["mtime_ns"],
        sha256=line["sha256"],
        width=line["width"],
        height=line["height"],
        group=line["group"],
    )
    return Entry(photo, line["folder"], line["shard"], line["row"])


def folder_line(index: int, folder: Folder) -> Line:
    return {
        "kind": "folder",
        "index": index,
        "name": folder.name,
        "path": folder.path,
        "relative": folder.relative,
        "group_by": folder.group_by,
    }


def shard_line(name: str, info: ShardInfo) -> Line:
    return {
        "kind": "shard",
        "name": name,
        "rows": info.rows,
        "bytes": info.bytes,
        "sha256": info.sha256,
    }


def snapshot_lines(state: State) -> list[Line]:
    """The shortest batch that replays to `state` (features of dead photos are forgotten)."""
    lines = [folder_line(index, folder) for index, folder in enumerate(state.folders)]
    lines += [shard_line(name, info) for name, info in sorted(state.shards.items())]
    lines += [{"kind": "remove", "id": name, "why": "asked"} for name in sorted(state.excluded)]
    lines += [photo_line(entry) for _, entry in sorted(state.live.items())]
    if state.expected is not None:
        lines.append({"kind": "begin", "photos": state.expected, "todo": state.todo})
    else:
        lines.append({"kind": "end", "bad": [{"id": name, "reason": why} for name, why in state.bad]})
    return lines
