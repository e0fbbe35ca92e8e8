"""What a gallery is, for a person: readable also while a build is unfinished."""

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from .layout import Layout, photo_paths, read_calibration, read_journal, read_spec, unfinished_work
from .lock import is_being_written
from .manifest import replay
from .plan import BadFile


@dataclass(frozen=True, kw_only=True, slots=True)
class GalleryInfo:
    """A summary of a store."""

    store: str
    finished: bool
    being_written: bool  # by a living process
    photos: int
    expected: int  # photos there will be when the build under way is finished
    groups: int  # different groups
    grouped: int  # photos in a group
    duplicates: int
    excluded: int  # removed on request
    shards: int
    bytes: int  # of the shards
    in_use: float  # share of the stored rows that photos use; `repair` reclaims the rest
    unfinished: tuple[str, ...]  # what was begun and not ended, and the commands that end it
    folders: tuple[str, ...]  # where the photos lie now
    bad: tuple[BadFile, ...]  # files that the last finished build could not use
    spec: dict[str, object]
    calibration: dict[str, object]

    def to_json(self) -> dict[str, object]:
        return asdict(self)


def info(store: str | Path, *, photos: str | Path | None = None) -> GalleryInfo:
    """Summarise a store without opening its shards.

    Raises: ValueError naming the store where it is none, or damaged.
    """
    layout = Layout(Path(store))
    spec = read_spec(layout)
    found = read_journal(layout)
    state = replay(found.batches)
    live = [entry for _, entry in sorted(state.live.items())]
    groups = Counter(entry.photo.group for entry in live if entry.photo.group)
    rows = sum(shard.rows for shard in state.shards.values())
    return GalleryInfo(
        store=str(store),
        finished=state.finished,
        being_written=is_being_written(layout.lock),
        photos=len(live),
        expected=state.expected,
        groups=len(groups),
        grouped=sum(groups.values()),
        duplicates=len(live) - len({entry.photo.sha256 for entry in live}),
        excluded=len(state.excluded),
        shards=len(state.shards),
        bytes=sum(shard.bytes for shard in state.shards.values()),
        in_use=len({(entry.shard, entry.row) for entry in live}) / rows if rows else 1.0,
        unfinished=tuple(unfinished_work(layout, [one], state.folders) for one in state.promises),
        folders=tuple(
            str(root) for root in photo_paths(layout, state.folders, Path(photos) if photos else None)
        ),
        bad=tuple(BadFile(name, reason) for name, reason in state.bad),
        spec=spec.to_json(),
        calibration=read_calibration(layout),
    )
