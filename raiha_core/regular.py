"""Ordinary files, opened and told apart by their digest: a store may come from a stranger, and name anything.

A device or a pipe would hang a reader or fill its memory; a link would lead a writer out of the store.
"""

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_READ = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)  # a pipe must not hang us


@contextmanager
def open_regular(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading. Raises: OSError; ValueError where it is a device, a pipe or a folder."""
    try:
        handle = os.open(path, _READ)
    except OSError as error:
        if path.is_dir():  # Windows refuses before one can ask
            raise ValueError(f"{path} is not a regular file") from None
        raise error
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise ValueError(f"{path} is not a regular file")
        yield file


def read_regular(path: Path, most: int) -> bytes:
    """The bytes of a file. Raises: OSError; ValueError where it is no regular file, or holds more."""
    with open_regular(path) as file:
        raw = file.read(most + 1)
    if len(raw) > most:
        raise ValueError(f"{path} is larger than {most} bytes")
    return raw


def file_digest(path: Path) -> str:
    """SHA-256 of a file, 64 hex digits. Raises: OSError; ValueError where it is no regular file."""
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def separators(sep: str) -> re.Pattern[str]:
    """What parts a path on a system whose separator is `sep`: on Windows both kinds of slash."""
    return re.compile(r"[/\\]" if sep == "\\" else "/")


_SEPARATORS = separators(os.sep)


def stays_inside(path: str) -> bool:
    """Whether a path, as it stands, leads to nothing but what lies below the folder that it is read from."""
    return not path.startswith("/") and ".." not in _SEPARATORS.split(path)


def is_link(path: Path) -> bool:
    """Whether a name is a symbolic link, or on Windows any reparse point, such as a junction.

    False where nothing of that name can be looked at.
    """
    try:
        state = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISLNK(state.st_mode) or bool(getattr(state, "st_reparse_tag", 0))
