"""Writes that survive a kill: after one, a file is the old one or the new one, never a mix.

Everything Raiha leaves on disk (galleries, checkpoints, results, pictures) is written through here.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


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


@contextmanager
def durable_path(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`; when the block ends without error it takes the place of `path`.

    Raises: OSError as the file system gives it; `path` then keeps what it held, and the part file is gone.
    """
    # The real ending stays last, because PIL and others choose the format by it.
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Replace a text file as a whole (UTF-8, newlines as given)."""
    with durable_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def append_lines(path: Path, lines: list[str]) -> None:
    """Append whole lines in one write and flush them; a reader drops a torn last line."""
    with open(path, "ab") as file:
        file.write("".join(f"{line}\n" for line in lines).encode())
        file.flush()
        os.fsync(file.fileno())
