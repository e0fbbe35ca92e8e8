"""One writer per gallery, by a lock of the operating system: it falls with the process that holds it."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Seconds. A reader that asks whether someone writes holds the lock for an instant: longer than that is a
# writer. Readers wait less, since on Windows alone they can disturb each other.
_ONLY_OURS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)  # neither a link nor a pipe
_WRITER_PATIENCE, _READER_PATIENCE = 1.0, 0.1


if sys.platform == "win32":
    import msvcrt

    def _try_lock(handle: int, shared: bool) -> bool:  # shared locks do not exist here
        os.lseek(handle, 0, os.SEEK_SET)
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _unlock(handle: int) -> None:
        os.lseek(handle, 0, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _try_lock(handle: int, shared: bool) -> bool:
        try:
            fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_UN)


def _acquire(handle: int, shared: bool) -> bool:
    deadline = time.monotonic() + (_READER_PATIENCE if shared else _WRITER_PATIENCE)
    while not _try_lock(handle, shared):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@contextmanager
def writer_lock(path: Path, what: str = "gallery") -> Iterator[None]:
    """Hold the lock file `path` of the folder that it lies in.

    Args: what: the folder holds, for errors.
    Raises: ValueError naming the folder where another process (or thread) writes it; OSError naming it where
    it cannot be written, or its disk has no working locks.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | _ONLY_OURS, 0o666)
    except OSError as error:
        raise OSError(f"{what} {path.parent} cannot be written: {error.strerror}") from error
    try:
        try:
            free = _acquire(handle, shared=False)
        except OSError as error:  # network disks may have none
            raise OSError(
                f"{what} {path.parent} cannot be locked ({error.strerror}): two writers at once would spoil "
                "it, so it must lie on a disk whose locks work"
            ) from error
        if not free:
            raise ValueError(f"{what} {path.parent} is being written by another process; try again later")
        try:
            yield
        finally:
            _unlock(handle)
    finally:
        os.close(handle)  # never deleted: a second writer could hold the lock of the deleted file


def is_being_written(path: Path) -> bool:
    """Whether a living process holds the lock file `path`; nobody does where the disk has no locks."""
    try:
        handle = os.open(path, os.O_RDONLY | _ONLY_OURS)
    except OSError:  # never written here, or not ours to open: then nobody can be asked
        return False
    try:
        if not _acquire(handle, shared=True):
            return True
        _unlock(handle)
        return False
    except OSError:  # a disk without locks, to which nobody writes
        return False
    finally:
        os.close(handle)
