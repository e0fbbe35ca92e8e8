"""A file layer that fails: short writes, errors of the disk, a full disk, at one chosen call.

It stands in for `open` and the calls of `os` that write; what it lets through really happens.
"""

import builtins
import errno
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CALLS = ("fsync", "replace", "unlink", "mkdir", "chmod")


class Faults:
    """Counts the writing calls below a folder, and fails at number `at` (from 1; 0 for never)."""

    def __init__(self, root: Path, at: int = 0, kind: str = "EIO", lasting: bool = False) -> None:
        self.root, self.at, self.kind, self.lasting = str(root), at, kind, lasting
        self.count = 0
        self.writes = 0  # of these; only a write can be short

    def due(self, writing: bool = False) -> bool:
        self.writes += writing
        if self.kind == "short":
            return writing and self.writes == self.at
        self.count += 1
        return self.count == self.at or (self.lasting and 0 < self.at < self.count)

    def fail(self, path: object) -> None:
        number = errno.ENOSPC if self.kind == "ENOSPC" else errno.EIO
        raise OSError(number, os.strerror(number), os.fspath(path) if isinstance(path, str | Path) else None)

    def concerns(self, path: object) -> bool:
        return isinstance(path, str | os.PathLike) and os.fspath(path).startswith(self.root)

    @contextmanager
    def everywhere(self) -> Iterator["Faults"]:
        """Inside the block files are opened and changed through this layer."""
        real = {name: getattr(os, name) for name in _CALLS}
        opened = builtins.open
        for name in _CALLS:
            setattr(os, name, self._failing(name, real[name]))
        builtins.open = io.open = self._opening(opened)
        try:
            yield self
        finally:
            builtins.open = io.open = opened
            for name, call in real.items():
                setattr(os, name, call)

    def _failing(self, name: str, call):
        def failing(first, *more, **named):
            if (isinstance(first, int) or self.concerns(first)) and self.due():
                self.fail(first)
            return call(first, *more, **named)

        failing.__name__ = name
        return failing

    def _opening(self, opened):
        def opening(file, mode="r", buffering=-1, *more, **named):
            if not self.concerns(file) or not set(mode) & set("wax+"):
                return opened(file, mode, buffering, *more, **named)
            if self.due():
                self.fail(file)
            raw = _FaultyFile(os.fspath(file), mode.replace("b", "").replace("t", ""), self)
            if buffering == 0:
                return raw
            whole = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
            return whole if "b" in mode else io.TextIOWrapper(whole, *more, **named)

        return opening


class _FaultyFile(io.FileIO):
    def __init__(self, path: str, mode: str, faults: Faults) -> None:
        super().__init__(path, mode)
        self._path, self._faults = path, faults

    def write(self, data) -> int:
        if not self._faults.due(writing=True):
            return super().write(data)
        half = bytes(data)[: len(data) // 2 or 1]
        written = super().write(half)
        if self._faults.kind == "short":
            return written
        self._faults.fail(self._path)
        return 0
