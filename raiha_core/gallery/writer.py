"""Changing a gallery: one writer at a time, and an order of writes that any kill may cut.

Order: spec, then "begin", then per shard the file before its lines, then "end". What a reader may see
is decided by the manifest alone.
"""

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import torch

from ..durable import make_folder
from ..features.patches import StoredPatches
from ..features.spec import FeatureSpec, require_same_space
from . import journal
from .catalogue import write_catalogue
from .index import build_index
from .journal import Line
from .layout import Layout, read_journal, read_spec, refuse_links, write_spec
from .lock import writer_lock
from .manifest import (
    Entry,
    Folder,
    Promise,
    State,
    begin_line,
    end_line,
    folder_line,
    photo_line,
    replay,
    shard_line,
)
from .shards import capacity, encode_shard, next_name, shard_names, write_shard

_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


class Writer:
    """Holds the lock of a store and adds to it. Use as a context manager.

    Raises on entry: ValueError where another process writes the store, where it is damaged, or where it
    is of another feature space than `spec`.
    """

    def __init__(self, path: Path, spec: FeatureSpec | None) -> None:
        self.layout = Layout(path)
        self.state = State()
        self._wanted = spec  # None: the store must be there already
        self._stack = ExitStack()
        self._work = Promise(folder=0)  # what this writer does
        self._folder: list[Line] = []
        self._entries: list[Entry] = []  # waiting for the next shard, in order
        self._patches: list[StoredPatches] = []  # the rows of the next shard
        self._placed: dict[str, Entry] = {}  # SHA-256 -> the photo that a row of it was made for
        self._shard = ""

    def __enter__(self) -> "Writer":
        with ExitStack() as stack:
            if self._wanted is not None:
                with disk_trouble(self.layout.root):
                    make_folder(self.layout.root)
            elif not self.layout.manifest.exists():
                read_spec(self.layout)  # says what this folder is, before a lock is put there
            refuse_links(self.layout)
            stack.enter_context(writer_lock(self.layout.lock))
            remove_leftovers(self.layout)
            self._open()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _open(self) -> None:
        with disk_trouble(self.layout.root):
            new = not self.layout.manifest.exists() and not shard_names(self.layout.shards)
            new = new and not self.layout.spec.exists()
            if new and self._wanted is not None:
                write_spec(self.layout, self._wanted)
            self.spec = read_spec(self.layout)
            if self._wanted is not None:
                require_same_space(self.spec, self._wanted, f"gallery {self.layout.root}", "the encoder")
            make_folder(self.layout.shards)
            found = read_journal(self.layout)
            if found.torn:  # a kill cut the last batch: what follows must not be glued to it
                journal.rewrite(self.layout.manifest, found.batches)
        self.state = replay(found.batches)
        self._shard = next_name(list(self.state.shards))

    @property
    def capacity(self) -> int:
        return capacity(self.spec)

    def remove(self, ids: Sequence[str]) -> None:
        """Take photos out for good, all or none."""
        self._append([{"kind": "remove", "id": name, "why": "asked"} for name in ids])
        with disk_trouble(self.layout.root):
            write_catalogue(self.layout, self.state)

    def _append(self, lines: Sequence[Line]) -> None:
        lines = [*self._folder, *lines]
        self._folder = []
        with disk_trouble(self.layout.root):
            journal.append(self.layout.manifest, lines)
        self.state.apply(lines)

    def set_work(self, index: int, folder: Folder, inside: str, *, adding: bool) -> None:
        """Say in which photo folder the work is, and which part of it; written with the next batch."""
        self._work = Promise(folder=index, inside=inside, adding=adding)
        if index == len(self.state.folders) or self.state.folders[index] != folder:
            self._folder = [folder_line(index, folder)]

    def begin(self, photos: int, todo: int) -> None:
        """From here to `end` this work is unfinished: the gallery will hold `photos`, `todo` are to do."""
        self._append([begin_line(replace(self._work, photos=photos, todo=todo))])

    @property
    def owes(self) -> bool:
        """Whether this work, begun now or by a writer that died, is still to be ended."""
        return not self.state.ended or any(one.is_kept_by(self._work) for one in self.state.promises)

    def add(self, entry: Entry, patches: StoredPatches | None) -> None:
        """Queue a photo; one without `patches` keeps the shard and row that its entry names.

        Equal files share a row, so that a store has the same rows however often its build was cut.
        """
        content = entry.photo.sha256
        same = self._placed.get(content) or self.state.by_content.get(content)
        if patches is not None and same is not None:
            entry = replace(entry, shard=same.shard, row=same.row)
        elif patches is not None:
            entry = replace(entry, shard=self._shard, row=len(self._patches))
            self._patches.append(patches)
            self._placed[content] = entry
        self._entries.append(entry)
        if len(self._patches) >= self.capacity or len(self._entries) >= 8 * self.capacity:
            self.flush()

    def flush(self) -> None:
        """Make what is queued durable: the shard, then the lines that make it visible."""
        if not self._entries:
            return
        if not any(one.is_kept_by(self._work) for one in self.state.promises):
            self.begin(len(self.state.live), len(self._entries))
        lines: list[Line] = []
        if self._patches:
            content = torch.cat([patches.content for patches in self._patches])
            histogram = torch.cat([patches.histogram for patches in self._patches])
            data = encode_shard(self.spec, self.state.folders, self._entries, content, histogram)
            with disk_trouble(self.layout.root):
                info = write_shard(self.layout.shard(self._shard), len(content), data)
            lines.append(shard_line(self._shard, info))
        lines += [photo_line(entry) for entry in self._entries]
        self._append(lines)
        self._entries, self._patches, self._placed = [], [], {}
        self._shard = next_name(list(self.state.shards))

    def end(self, removed: Sequence[Line], bad: Sequence[tuple[str, str]]) -> None:
        """Flush, forget the removed photos, and declare the work done, in one batch."""
        self.flush()
        if self.owes or self._folder or removed or tuple(bad) != self.state.bad:
            self._append([*removed, end_line(bad, self._work)])
        with disk_trouble(self.layout.root):
            build_index(self.layout, self.state)
            write_catalogue(self.layout, self.state)


def remove_leftovers(layout: Layout) -> list[Path]:
    """Delete the half-written files of killed writers; the lock says that no one is writing them."""
    found = layout.half_written
    for path in found:
        with suppress(OSError):
            path.unlink()
    return found


@contextmanager
def disk_trouble(store: Path) -> Iterator[None]:
    """Turn a full disk or a forbidden folder into one sentence that names the store."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise _like(error, f"the disk is full; gallery {store} keeps what was finished") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise _like(error, f"gallery {store} cannot be written: {os.strerror(error.errno)}") from error
        raise


def is_disk_full(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in _FULL


def _like(error: OSError, sentence: str) -> OSError:
    told = OSError(sentence)  # a number given here would be printed in front
    told.errno = error.errno
    return told
