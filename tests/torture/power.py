"""What a disk keeps when the power fails: what was synced, and of the rest whatever chance decides.

As LevelDB's and SQLite's own tests model it. A file keeps the bytes of its last fsync; a name in a folder
stands as at the folder's last fsync; of anything later all, nothing or a part may have reached the disk.
The model watches the calls of `os` by which the project writes; the real disk sees everything.
"""

import itertools
import os
import random
import stat
from collections.abc import Callable
from pathlib import Path

_CALLS = ("fsync", "replace", "rename", "unlink", "remove", "mkdir", "rmdir", "chmod")
Entries = dict[str, tuple[int, bool]]  # name -> inode, whether it is a folder


def entries_of(folder: Path | int) -> Entries:
    with os.scandir(folder) as found:
        return {entry.name: (entry.inode(), entry.is_dir(follow_symlinks=False)) for entry in found}


class PowerModel:
    """Watches one folder; everything in it at the beginning is on the disk."""

    def __init__(self, root: Path, grave: Path) -> None:
        self.root, self.grave = root, grave
        grave.mkdir(parents=True)
        self.names: dict[int, Entries] = {}  # of folders, as synced
        self.content: dict[int, bytes] = {}  # of files, as synced
        self.calls = 0
        self.due: Callable[[], None] = lambda: None  # called before each call of the system
        self._graves = itertools.count()
        self._real = {name: getattr(os, name) for name in _CALLS}
        for folder, _, files in os.walk(root):
            self.names[os.stat(folder).st_ino] = entries_of(Path(folder))
            for file in files:
                path = Path(folder, file)
                self.content[path.stat().st_ino] = path.read_bytes()

    def watch(self) -> None:
        """From here on every call is seen; there is no way back, so a child must do this."""
        for name in _CALLS:
            setattr(os, name, getattr(self, f"_{name}"))

    def _before(self) -> None:
        self.calls += 1
        self.due()

    def _fsync(self, handle: int) -> None:
        self._before()
        found = os.fstat(handle)
        if stat.S_ISDIR(found.st_mode):
            self.names[found.st_ino] = entries_of(handle)
        else:
            self.content[found.st_ino] = os.pread(handle, found.st_size, 0)

    def _bury(self, path: str | Path, dir_fd: int | None = None) -> None:
        """Keep an inode from being used again, which would make one file of two."""
        try:
            os.link(path, self.grave / str(next(self._graves)), src_dir_fd=dir_fd, follow_symlinks=False)
        except OSError:
            return

    def _replace(self, source: Path, target: Path) -> None:
        self._before()
        self._bury(target)
        self._real["replace"](source, target)

    _rename = _replace

    def _unlink(self, path: Path, *, dir_fd: int | None = None) -> None:
        self._before()
        self._bury(path, dir_fd)
        self._real["unlink"](path, dir_fd=dir_fd)

    _remove = _unlink

    def _mkdir(self, path: Path, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        self._before()
        self._real["mkdir"](path, mode, dir_fd=dir_fd)

    def _rmdir(self, path: Path, *, dir_fd: int | None = None) -> None:
        self._before()
        self._real["rename"](path, self.grave / str(next(self._graves)), src_dir_fd=dir_fd)

    def _chmod(self, path: Path, mode: int) -> None:
        self._before()
        self._real["chmod"](path, mode)

    # ---- after the failure

    def survive(self, place: Path, how: str, rng: random.Random) -> None:
        """Write what the disk holds now into a new folder.

        Args: how: "least" what was synced, "most" all that was done, "mixed" anything between.
        """
        self._rebuild(self.root, os.stat(self.root).st_ino, place, how, rng)

    def _rebuild(self, now: Path | None, inode: int, place: Path, how: str, rng: random.Random) -> None:
        self._real["mkdir"](place)
        synced = self.names.get(inode, {})
        current = entries_of(now) if now is not None else {}
        for name in sorted({*synced, *current}):
            old, new = synced.get(name), current.get(name)
            kept = {"least": old, "most": new, "mixed": rng.choice((old, new))}[how]
            if kept is None:
                continue
            path = now / name if now is not None and kept == new else None
            if kept[1]:
                self._rebuild(path, kept[0], place / name, how, rng)
            else:
                (place / name).write_bytes(self._bytes(path, kept[0], how, rng))

    def _bytes(self, path: Path | None, inode: int, how: str, rng: random.Random) -> bytes:
        synced = self.content.get(inode, b"")
        current = path.read_bytes() if path is not None else synced
        if how == "least" or current == synced:
            return synced
        if how == "most":
            return current
        cut = rng.randrange(len(current) + 1)
        same = next((n for n, (a, b) in enumerate(zip(synced, current, strict=False)) if a != b), len(synced))
        same = min(same, len(current))
        zeros = current[:same] + bytes(len(current) - same)
        return rng.choice((synced, current, current[: max(cut, same)], zeros))
