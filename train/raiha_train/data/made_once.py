"""Folders that are made once, by one process, while all others wait; and made further after a kill.

A folder holds rows.json when it is whole. Until then it has the name .NAME.part, and done.json in it says how
far it is. Waiting is for the file, not for a collective call: those have a time limit, packing has none.
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from numpy.lib.format import open_memmap
from numpy.typing import DTypeLike, NDArray

from raiha_core.durable import sync_folder, write_text
from raiha_core.gallery.lock import writer_lock

ROWS, DONE, LOCK = "rows.json", "done.json", "made_once.lock"
_PAUSE = 0.2  # seconds between two looks


def make_once(target: Path, make: Callable[[Path], None], *, mine: bool = True) -> None:
    """Make the folder `target` unless it is whole already.

    Args:
        make: fills the folder it is given, which may hold what an earlier attempt left; writes ROWS last.
        mine: whether this process makes it; the others wait for whoever does.
    Raises: what `make` raises; ValueError and OSError leave nothing behind, a kill what was done so far.
    """
    if is_whole(target):
        return
    if not mine:
        _wait(lambda: is_whole(target), target)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    with _Patient(target):
        if is_whole(target):  # another run made it meanwhile
            return
        part.mkdir(exist_ok=True)
        try:
            make(part)
            (part / DONE).unlink(missing_ok=True)
            sync_folder(part)
            if target.exists():  # a folder without ROWS: an older, broken attempt
                shutil.rmtree(target)
            part.rename(target)
        except (ValueError, OSError):
            shutil.rmtree(part, ignore_errors=True)
            raise
    sync_folder(target.parent)


def is_whole(target: Path) -> bool:
    return (target / ROWS).is_file()


class _Patient:
    """The lock of the folder that `target` lies in, waited for as long as another run holds it."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.held = writer_lock(target.parent / LOCK, "the cache")

    def __enter__(self) -> None:
        def taken() -> bool:
            with suppress(ValueError):  # another process writes
                self.held.__enter__()
                return True
            self.held = writer_lock(self.target.parent / LOCK, "the cache")
            return False

        if not taken():
            _wait(taken, self.target)

    def __exit__(self, *error: object) -> None:
        self.held.__exit__(None, None, None)


def _wait(until: Callable[[], bool], target: Path) -> None:
    if until():
        return
    print(f"waiting for another process to make {target}", file=sys.stderr)
    while not until():
        time.sleep(_PAUSE)


def progress_of(part: Path, key: str) -> dict[str, Any]:
    """What `keep_progress` wrote last in this folder under the same key; {} where there is no such thing."""
    with suppress(OSError, ValueError):
        found = json.loads((part / DONE).read_text(encoding="utf-8"))
        if found.get("key") == key:
            return found
    return {}


def keep_progress(part: Path, key: str, maps: Sequence[NDArray[Any]], **values: Any) -> None:
    """Say how far a folder is, after what was written into its maps reached the disk."""
    for values_map in maps:
        getattr(values_map, "flush", lambda: None)()
    write_text(part / DONE, json.dumps({"key": key, **values}))


def create_map(path: Path, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """A new .npy file of zeros, mapped for writing. Raises: OSError where the disk has no room for it."""
    values = open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    if hasattr(os, "posix_fallocate"):  # else a full disk would end the process on the write that meets it
        with open(path, "rb+") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return values


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
