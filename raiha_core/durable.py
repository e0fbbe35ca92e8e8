"""Writes that survive a kill: after one, a file is the old one or the new one, never a mix.

Everything Raiha leaves on disk (galleries, checkpoints, results, pictures) is written through here.
"""

import errno
import itertools
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

_BLOCK = 1 << 16
_numbers = itertools.count()  # two threads that write the same file must not share a part file


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries, so that a rename in it reaches the disk. A no-op on Windows."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:  # some network file systems cannot sync a folder; the file itself is synced
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def make_folder(path: Path) -> None:
    """Make a folder and those above it that are missing, so that none of them is lost with the power.

    Raises: OSError as the file system gives it: FileExistsError where a file has the name.
    """
    missing = []
    here = path
    while not here.is_dir() and here != here.parent:
        missing.append(here)
        here = here.parent
    path.mkdir(parents=True, exist_ok=True)
    for made in reversed(missing):
        sync_folder(made.parent)


def _name_file(error: BaseException, path: Path, temporary: Path) -> None:
    """Let an error of the file system name the file that was meant: a full disk names none at all."""
    if not isinstance(error, OSError) or error.errno is None:
        return
    if error.filename is None or os.fspath(error.filename) == str(temporary):
        error.filename = str(path)
        if error.filename2 is not None:
            del error.filename2


def _ordinary_mode(path: Path, temporary: Path) -> int:
    """The permissions of `path`, or those that an ordinary new file gets here."""
    if path.exists():
        return stat.S_IMODE(path.stat().st_mode)
    temporary.touch()  # asking for the umask would change it for other threads
    mode = stat.S_IMODE(temporary.stat().st_mode)
    temporary.unlink()
    return mode


@contextmanager
def durable_path(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`; when the block ends without error it takes the place of `path`.

    Raises: OSError as the file system gives it, naming `path`; `path` then keeps what it held, and
        the part file is gone. A kill leaves the part file: `.NAME.PID-NUMBER.partENDING`.
    """
    # The real ending stays last, because PIL and others choose the format by it; the name is cut, because
    # a long one would pass what the file system allows.
    part = f".{path.stem[:40]}.{os.getpid()}-{next(_numbers)}.part{path.suffix}"
    temporary = path.with_name(part)
    try:
        mode = _ordinary_mode(path, temporary)
        yield temporary
        os.chmod(temporary, mode)  # some writers make files that only their owner can read
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        _name_file(error, path, temporary)
        raise
    sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Replace a text file as a whole (UTF-8, newlines as given)."""
    with durable_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def _end_of_whole_lines(file: IO[bytes]) -> int:
    """Position after the last newline, 0 where there is none."""
    end = file.seek(0, os.SEEK_END)
    while end > 0:
        start = max(0, end - _BLOCK)
        file.seek(start)
        if (found := file.read(end - start).rfind(b"\n")) >= 0:
            return start + found + 1
        end = start
    return 0


def append_lines(path: Path, lines: list[str]) -> None:
    """Append whole lines and flush them; a reader drops a torn last line, and so does the next append.

    Lines hold no newline. Raises: OSError naming the file, which then ends as before.
    """
    text = "".join(f"{line}\n" for line in lines)
    assert text.count("\n") == len(lines), "a line holds a newline"
    fresh = not path.exists()
    try:
        # unbuffered: a buffer that could not be written would be tried again on closing
        with open(path, "a+b", buffering=0) as file:
            whole = _end_of_whole_lines(file)
            file.truncate(whole)  # else the first line would be glued to what a kill left
            try:
                rest = memoryview(text.encode())
                while rest:
                    rest = rest[file.write(rest) :]
                os.fsync(file.fileno())
            except BaseException:
                with suppress(OSError):
                    file.truncate(whole)
                raise
    except OSError as error:
        _name_file(error, path, path)
        raise
    if fresh:
        sync_folder(path.parent)
