"""What a listing of photos asks of a gallery: what to read, what to keep, what to drop."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from .layout import Layout, folder_root
from .listing import Listing, folder_group, is_inside
from .manifest import Entry, Folder, Photo, State


@dataclass(frozen=True, slots=True)
class BadFile:
    """A file that could not become a photo of the gallery."""

    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class PhotoFile:
    """A file to read."""

    id: str
    path: Path
    group: str
    entry: Entry | None  # what the gallery has under this id


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do, each list sorted by id."""

    work: list[PhotoFile] = field(default_factory=list)
    regroup: list[Entry] = field(default_factory=list)  # unchanged, but in another group now
    vanished: list[str] = field(default_factory=list)
    bad: list[BadFile] = field(default_factory=list)
    excluded: list[str] = field(default_factory=list)  # in the folder, but removed on request
    unchanged: list[str] = field(default_factory=list)
    taken: list[str] = field(default_factory=list)  # damaged files of which the rest was read, in sentences


def make_plan(
    state: State,
    index: int,
    folder: Folder,
    listing: Listing,
    groups: Mapping[str, str] | None,
    *,
    sync: bool,
) -> Plan:
    """Compare a listing of a photo folder, number `index` of the gallery's, with the gallery.

    With `sync`, photos that are not listed are dropped and removed ones stay out. A photo under a
    subfolder that cannot be read is kept: nobody knows that it is gone.
    Raises: ValueError where `groups` names none of the photos.
    """
    closed = [(folder.id_of(where), why) for where, why in listing.closed]
    plan = Plan(bad=[BadFile(*pair) for pair in closed])
    ids = {folder.id_of(file): file for file in listing.files}
    if groups is not None and not any(name in groups for name in ids):
        raise ValueError(f"none of the {len(groups)} grouped names is a photo, such as '{min(ids)}'")
    for name, file in sorted(ids.items()):
        entry = state.live.get(name)
        if entry is not None and entry.folder != index:
            plan.bad.append(BadFile(name, "a photo of another folder has this id"))
        elif sync and name in state.excluded:
            plan.excluded.append(name)
        else:
            group = _group(folder, file, name, entry, groups)
            _place(plan, PhotoFile(name, listing.files[file], group, entry))
    if sync:
        mine = (name for name, entry in state.live.items() if entry.folder == index)
        plan.vanished.extend(sorted(name for name in mine if name not in ids and not is_inside(name, closed)))
    return plan


def _group(
    folder: Folder, file: str, name: str, entry: Entry | None, groups: Mapping[str, str] | None
) -> str:
    if groups is not None and name in groups:
        return groups[name]
    if folder.group_by == "folder":
        return folder_group(file)
    return entry.photo.group if entry is not None else ""


def _place(plan: Plan, item: PhotoFile) -> None:
    known = item.entry is not None and is_untouched(item.path, item.entry.photo)
    if item.entry is None or not known or not item.entry.photo.view:
        plan.work.append(item)
    elif item.entry.photo.group != item.group:
        photo = replace(item.entry.photo, group=item.group)
        plan.regroup.append(replace(item.entry, photo=photo))
    else:
        plan.unchanged.append(item.id)


def is_untouched(path: Path, photo: Photo) -> bool:
    """Whether a file has the size and both times that the gallery knows. Raises nothing."""
    try:
        found = path.stat()
    except OSError:
        return False
    return bool(photo.ctime_ns) and found.st_size == photo.size and has_times(found, photo)


def has_times(found: os.stat_result, photo: Photo) -> bool:
    """Whether a file was neither written nor changed in any other way since it was indexed.

    The time of change cannot be set by a program that keeps the time of writing, as `touch -r` does; on
    Windows it is the time of making. Galleries of older versions do not know it.
    """
    written = found.st_mtime_ns == photo.mtime_ns
    return written and photo.ctime_ns in (0, found.st_ctime_ns)


def choose_folder(
    layout: Layout, folders: list[Folder], path: Path, *, sync: bool, moved: bool
) -> tuple[int, Folder, str]:
    """Which of the store's photo folders `path` is: its number, its record, and the way down to `path`.

    Raises: ValueError where `build` would silently replace the photos of one folder by another's.
    """
    here = Folder("", path.as_posix(), _relative(path, layout.root))
    for index, known in enumerate(folders):
        root = folder_root(layout, known).resolve()
        if root == path:
            return index, replace(here, name=known.name, group_by=known.group_by), ""
        if not sync and root in path.parents:
            return index, known, path.relative_to(root).as_posix()
    if not folders:
        return 0, here, ""
    if not sync:
        return len(folders), replace(here, name=_free_name(path.name, folders)), ""
    if moved or not folder_root(layout, folders[0]).is_dir():
        return 0, replace(here, group_by=folders[0].group_by), ""
    raise ValueError(
        f"gallery {layout.root} was built from {folders[0].path}; to add the photos of {path} run "
        f"`raiha gallery add`; if they are the same photos in a new place, say that they `moved`"
    )


def _free_name(wanted: str, folders: list[Folder]) -> str:
    used = {folder.name for folder in folders}
    names = (wanted if n == 1 else f"{wanted}-{n}" for n in range(1, len(folders) + 2))
    return next(name for name in names if name not in used)


def _relative(path: Path, store: Path) -> str:
    try:
        return Path(os.path.relpath(path, store.resolve())).as_posix()
    except ValueError:  # another drive of Windows
        return ""


def refuse_place(photos: Path, store: Path) -> None:
    """Raises: ValueError where the store would lie in the photo folder, or among foreign files."""
    place = store.resolve()
    if place == photos or photos in place.parents:
        raise ValueError(f"gallery {store} would lie inside the photo folder {photos}; choose another place")
    if store.exists() and not store.is_dir():
        raise ValueError(f"gallery {store} cannot be made: a file has this name")
    layout = Layout(store)
    if not store.is_dir() or layout.spec.exists() or layout.manifest.exists():
        return
    ours = (layout.lock.name, layout.shards.name)
    foreign = [path for path in store.iterdir() if path.name not in ours and ".part" not in path.name]
    if foreign:
        raise ValueError(
            f"{store} holds other files ({foreign[0].name}); a gallery needs a folder of its own"
        )
