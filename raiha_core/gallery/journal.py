"""The manifest's outer form: batches of JSON lines, each closed by a line that proves it whole.

A batch without its closing line does not exist: that is what a kill, or a full disk, leaves at the end
of the file. Broken lines before a whole batch are damage, and are never passed over in silence.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import durable
from ..regular import read_regular

Line = dict[str, object]
_LONGEST = 1 << 33  # bytes of a manifest: some twenty million photos
_CLOSING = b'{"kind":"commit"'


@dataclass(frozen=True, slots=True)
class Journal:
    """What a manifest file holds, whole batches only."""

    batches: tuple[tuple[Line, ...], ...]
    torn: int  # bytes after the last whole batch
    damaged: tuple[int, ...]  # numbers (from 1) of broken lines before the last whole batch


def _encode(line: Line) -> str:
    return json.dumps(line, separators=(",", ":"))  # ASCII only, so that any file name round-trips


def seal(lines: Sequence[Line]) -> list[str]:
    """A batch as text lines, closed by their number and SHA-256."""
    texts = [_encode(line) for line in lines]
    digest = _digest([text.encode() for text in texts])
    return [*texts, _encode({"kind": "commit", "lines": len(texts), "sha256": digest})]


def append(path: Path, lines: Sequence[Line]) -> None:
    """Add one batch, in one write, flushed to the disk."""
    durable.append_lines(path, seal(lines))


def rewrite(path: Path, batches: Sequence[Sequence[Line]]) -> None:
    """Replace the whole manifest by these batches."""
    durable.write_text(path, "".join(f"{text}\n" for batch in batches for text in seal(batch)))


def read(path: Path) -> Journal:
    """The whole batches of a manifest; an absent file has none. Raises: OSError; ValueError."""
    return parse(read_raw(path))


def read_raw(path: Path) -> bytes:
    """The bytes of a manifest; none where there is no file. Raises: as `read`."""
    try:
        return read_regular(path, _LONGEST)
    except FileNotFoundError:
        return b""


def parse(raw: bytes) -> Journal:
    """The whole batches among the bytes of a manifest."""
    *lines, rest = raw.split(b"\n")  # a whole file ends in a newline, so `rest` is empty or torn
    batches: list[tuple[Line, ...]] = []
    pending: list[bytes] = []
    damaged: list[int] = []
    for number, line in enumerate(lines, 1):
        pending.append(line)
        if not line.startswith(_CLOSING):
            continue
        batch = _closed(pending)
        if batch is None:
            continue  # broken here or above: the next whole batch, if one comes, shows how far
        first = number - len(pending) + 1
        damaged += range(first, number - len(batch))
        try:
            batches.append(tuple(json.loads(b"[" + b",".join(batch) + b"]")))
        except (ValueError, RecursionError):  # sealed, and yet no JSON: not written by us
            damaged += range(number - len(batch), number + 1)
        pending = []
    return Journal(tuple(batches), sum(len(line) + 1 for line in pending) + len(rest), tuple(damaged))


def _closed(pending: list[bytes]) -> list[bytes] | None:
    """The lines that the last one of `pending` closes, or None where they are not what it says."""
    try:
        closing = json.loads(pending[-1])
        count, digest = int(closing["lines"]), closing["sha256"]
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return None
    if not 0 <= count < len(pending):
        return None
    batch = pending[len(pending) - 1 - count : -1]
    return batch if _digest(batch) == digest else None


def _digest(lines: Sequence[bytes]) -> str:
    return hashlib.sha256(b"\n".join(lines)).hexdigest()
