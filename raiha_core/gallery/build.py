"""Building a gallery from a folder of photos: incremental, parallel, and safe to kill.

The photo folder is only read. docs/store-format.md states what is on the disk at any moment.
"""

import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ..codecs.raster import MAX_PIXELS, Limits
from .journal import Line
from .layout import unfinished_work
from .listing import Listing, list_folder
from .manifest import Entry, State, folder_of
from .parallel import map_in_order
from .plan import BadFile, PhotoFile, Plan, choose_folder, make_plan, refuse_place
from .protocol import PatchEncoder, Progress
from .reading import PhotoOutcome, read_photo
from .writer import Writer, is_disk_full

Interrupted = Callable[[], object]  # raises whatever should end the build; what was done stays


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildReport:
    """What a build did."""

    store: str
    photos: int  # in the gallery now
    added: int
    changed: int  # encoded again, because their bytes changed
    renewed: int  # known by their content: touched, renamed, regrouped, or copies
    unchanged: int
    removed: int  # gone from the folder, or no longer readable
    unfinished: tuple[str, ...]  # what others had begun in the gallery, and the command that ends it
    excluded: int  # in the folder, but removed on request earlier
    duplicates: int  # photos whose bytes another photo of the gallery has too
    bad: tuple[BadFile, ...]
    notes: tuple[str, ...]  # what was passed over, and which damaged photos were taken, in sentences
    seconds: float

    def to_json(self) -> dict[str, object]:
        return asdict(self)


def build(
    photos_folder: str | Path,
    store: str | Path,
    *,
    encoder: PatchEncoder,
    workers: int = 2,
    group_by: str = "",
    groups: Mapping[str, str] | None = None,
    moved: bool = False,
    max_pixels: int = MAX_PIXELS,
    allow_damaged: bool = False,
    progress: Progress | None = None,
    interrupted: Interrupted | None = None,
) -> BuildReport:
    """Make the store hold exactly the photos of a folder.

    Unchanged files (size and time, else content) are not encoded again; vanished ones are dropped; an
    interrupted build goes on where it stopped. The result depends on the files alone, not on `workers`.

    Args:
        workers: threads, each reading and encoding one photo at a time.
        group_by: "folder" makes each subfolder a group; remembered for later builds.
        groups: {id: group} for some or all photos; takes precedence.
        moved: the photos now lie in this folder although the recorded one still exists.
        max_pixels, allow_damaged: as for `read_picture`; `notes` name the damaged photos that were taken.
        progress: called after each photo with (done, total, id).
        interrupted: called often; what it raises ends the build and is raised.
    Raises: ValueError or OSError with one sentence for anything but a bad photo; those are in the report.
    """
    folder = Path(photos_folder)
    listing = list_folder(folder)
    limits = Limits(pixels=max_pixels, damaged=allow_damaged)
    update = _Update(Path(store), encoder, workers, group_by, groups, limits, progress, interrupted)
    return update.run(folder.resolve(), listing, sync=True, moved=moved)


def add(
    photos: str | Path,
    store: str | Path,
    *,
    encoder: PatchEncoder,
    workers: int = 2,
    group_by: str = "",
    groups: Mapping[str, str] | None = None,
    max_pixels: int = MAX_PIXELS,
    allow_damaged: bool = False,
    progress: Progress | None = None,
    interrupted: Interrupted | None = None,
) -> BuildReport:
    """Add a photo or a folder of photos; nothing is dropped. Arguments and errors as for `build`.

    Photos inside a known folder get the ids they would get by `build`; another folder's photos get ids
    "FOLDER:path". Photos that were removed on request come back.
    """
    given = Path(photos)
    folder = given.parent if given.is_file() else given
    listing = Listing({given.name: given}, ()) if given.is_file() else list_folder(folder)
    limits = Limits(pixels=max_pixels, damaged=allow_damaged)
    update = _Update(Path(store), encoder, workers, group_by, groups, limits, progress, interrupted)
    only = given.name if given.is_file() else ""
    return update.run(folder.resolve(), listing, sync=False, moved=False, only=only)


@dataclass(slots=True)
class _Update:
    """One run of `build` (sync) or `add`."""

    store: Path
    encoder: PatchEncoder
    workers: int
    group_by: str
    groups: Mapping[str, str] | None
    limits: Limits
    progress: Progress | None
    interrupted: Interrupted | None

    def __post_init__(self) -> None:
        if self.group_by not in ("", "folder"):
            raise ValueError(f"photos are grouped by 'folder' or not at all, got '{self.group_by}'")
        if self.workers < 1:
            raise ValueError(f"at least 1 worker is needed, got {self.workers}")

    def run(self, folder: Path, listing: Listing, *, sync: bool, moved: bool, only: str = "") -> BuildReport:
        """Carry out the plan; `only` is the file that is added, where it is a single one."""
        started = time.monotonic()
        if not listing.files:
            found = "".join(f" ({note})" for note in listing.notes)
            raise ValueError(f"photo folder {folder} holds no photos{found}; nothing was changed")
        refuse_place(folder, self.store)
        with Writer(self.store, self.encoder.spec) as writer:
            state = writer.state
            index, record, inside = choose_folder(
                writer.layout, state.folders, folder, sync=sync, moved=moved
            )
            record = replace(record, group_by=self.group_by or record.group_by)
            part = "/".join(name for name in (inside, only) if name)
            writer.set_work(index, record, part, adding=not sync)
            listing = listing.under(inside)
            plan = make_plan(state, index, record, listing, self.groups, sync=sync)
            old_bad = _other_bad(state, index, {record.id_of(file) for file in listing.files}, sync)
            self._begin(writer, plan)
            counts, lost = self._carry_out(writer, index, plan)
            bad = tuple(sorted(plan.bad, key=lambda file: file.id))
            gone: list[Line] = [{"kind": "remove", "id": name, "why": "gone"} for name in plan.vanished]
            writer.end([*gone, *lost], [*old_bad, *((file.id, file.reason) for file in bad)])
        if not state.live and bad:
            raise ValueError(f"none of the {len(bad)} files can be used; {bad[0].id}: {bad[0].reason}")
        return BuildReport(
            store=str(self.store),
            photos=len(state.live),
            removed=len(gone) + len(lost),
            unchanged=len(plan.unchanged),
            excluded=len(plan.excluded),
            unfinished=tuple(unfinished_work(writer.layout, [one], state.folders) for one in state.promises),
            duplicates=_count_duplicates(state),
            bad=bad,
            notes=(*listing.notes, *plan.taken),
            seconds=time.monotonic() - started,
            **counts,
        )

    def _begin(self, writer: Writer, plan: Plan) -> None:
        """Declare the gallery unfinished, unless there is nothing to do but to try bad files again."""
        state = writer.state
        failed_before = {name for name, _ in state.bad}
        fresh = any(item.id not in failed_before for item in plan.work)
        if fresh or plan.regroup or plan.vanished or writer.owes:
            new = sum(item.entry is None for item in plan.work)
            photos = len(state.live) - len(plan.vanished) + new
            writer.begin(photos, len(plan.work) + len(plan.regroup))

    def _carry_out(self, writer: Writer, index: int, plan: Plan) -> tuple[dict[str, int], list[Line]]:
        """Read what has to be read. Returns: counts for the report, and lines that drop spoilt photos."""
        counts = {"added": 0, "changed": 0, "renewed": len(plan.regroup)}
        lost: list[Line] = []
        try:
            for entry in plan.regroup:
                writer.add(entry, None)
            with closing(self._readings(index, plan, writer.state)) as readings:
                for done, result in enumerate(readings, 1):
                    if result.entry is not None:
                        counts[_verb(result)] += 1
                        if result.damage:
                            plan.taken.append(
                                f"{result.item.id} {result.damage}; what is left of it was read"
                            )
                        writer.add(result.entry, result.patches)
                    else:
                        plan.bad.append(BadFile(result.item.id, result.reason))
                        if result.item.entry is not None:
                            lost.append({"kind": "remove", "id": result.item.id, "why": "unreadable"})
                    if self.progress is not None:
                        self.progress(done, len(plan.work), result.item.id)
        except BaseException as error:  # Ctrl-C and the host's interruption too: what was done stays
            if not is_disk_full(error):
                with suppress(OSError):  # the first trouble is the one to tell
                    writer.flush()
            raise
        return counts, lost

    def _readings(self, index: int, plan: Plan, state: State) -> Generator[PhotoOutcome, None, None]:
        known: dict[str, Entry] = dict(state.by_content)  # a copy: timing must not decide what is known

        def work(item: PhotoFile) -> PhotoOutcome:
            return read_photo(item, index, known, self.encoder, self.limits)

        return map_in_order(work, plan.work, workers=self.workers, interrupted=self.interrupted)


def _other_bad(state: State, index: int, seen: set[str], sync: bool) -> list[tuple[str, str]]:
    """Bad files known from earlier runs that this one does not speak about."""
    return [
        (name, why)
        for name, why in state.bad
        if name not in seen and not (sync and folder_of(state.folders, name) == index)
    ]


def _verb(result: PhotoOutcome) -> str:
    if result.patches is None:
        return "renewed"
    return "added" if result.item.entry is None else "changed"


def _count_duplicates(state: State) -> int:
    return len(state.live) - len({entry.photo.sha256 for entry in state.live.values()})
