"""How files that people name are opened: paths of any bytes, lists with or without a byte-order mark."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def openable(path: Path) -> Iterator[str]:
    """A name under which a library that knows UTF-8 names only can open the file, inside the block.

    On Linux a path may hold bytes that are no UTF-8; such a file is opened here and named by its handle.
    Raises: OSError naming the file where it is opened here and cannot be read.
    """
    name = os.fspath(path)
    if os.name == "nt" or not any("\udc80" <= c <= "\udcff" for c in name):  # what stands for such a byte
        yield name
        return
    with open(path, "rb") as file:
        yield f"/dev/fd/{file.fileno()}"


def read_list_text(path: Path) -> str:
    """The text of a list or table that people write: UTF-8, a byte-order mark at its start is dropped.

    Raises: ValueError naming the file where it is in another encoding; OSError where it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is no UTF-8 text; save it as UTF-8") from None
