"""Readers beside a writer, in processes of their own: each answer is that of a state that was committed.

A second writer gets one sentence, the lock of a dead one is taken over, a disk without locks is named.
"""

import errno
import json
import os
import random
import signal
import time
from functools import cache
from pathlib import Path
from unittest import mock

from raiha_core.gallery.build import add, build
from raiha_core.gallery.lock import is_being_written
from raiha_core.gallery.remove import remove
from raiha_core.gallery.repair import repair
from raiha_core.gallery.store import open_gallery
from tests.gallery_fakes import FakeEncoder, digest

from .galleries import Stage, make_stage, prepare
from .part import Part, dice
from .processes import end_of, note_kill, start

_READERS = 8
_SECONDS = 1.0  # of one trial, while the writer works


@cache
def _stage(root: Path) -> Stage:
    return make_stage(root)


def _read_on(store: Path, ends: Path, report: Path) -> None:
    seen: set[str] = set()
    refused: list[str] = []
    reads = 0
    while not ends.exists():
        try:
            seen.add(digest(open_gallery(store)))
        except Exception as error:
            refused.append(f"{type(error).__name__}: {error}")
        reads += 1
    report.write_text(json.dumps({"seen": sorted(seen), "refused": refused[:3], "reads": reads}))


def _write_on(stage: Stage, store: Path, states: Path, seed: int) -> None:
    """Change the gallery for a while, and tell each state as soon as it is committed."""
    rng = random.Random(seed)
    encoder = FakeEncoder()
    jobs = (
        lambda: add(stage.root / "trip", store, encoder=encoder),
        lambda: remove(store, ["trip:*"]),
        lambda: build(stage.root / rng.choice(("photos", "changed")), store, encoder=encoder, moved=True),
        lambda: repair(store),
    )
    until = time.monotonic() + _SECONDS
    while time.monotonic() < until:
        try:
            rng.choice(jobs)()
        except ValueError as error:
            if "fits" not in str(error):
                raise
        with states.open("a") as file:
            file.write(digest(open_gallery(store)) + "\n")


def beside(seed: int, place: Path) -> str | None:
    """Eight readers and one writer; in some trials the writer is killed and another one takes over."""
    rng = dice(seed)
    stage = _stage(place.parent / "stage")
    store, ends, states = place / "store", place / "ends", place / "states"
    prepare(stage, stage.works[1], store)
    states.write_text(digest(open_gallery(store)) + "\n")
    reports = [place / f"report{number}" for number in range(_READERS)]
    readers = [start(lambda report=report: _read_on(store, ends, report)) for report in reports]
    killed = rng.random() < 0.4
    writer = start(lambda: _write_on(stage, store, states, seed), place / "error")
    if killed:
        time.sleep(rng.uniform(0, _SECONDS))
        os.kill(writer, signal.SIGKILL)
        note_kill(end_of(writer))
        with states.open("a") as file:  # committed, but perhaps not told any more
            file.write(digest(open_gallery(store)) + "\n")
        writer = start(lambda: _write_on(stage, store, states, seed + 1), place / "error")
    code = end_of(writer)
    ends.touch()
    for reader in readers:
        if end_of(reader):
            return "a reader died"
    if code:
        return f"the writer ended with {(place / 'error').read_text()}"
    committed = set(states.read_text().split())
    for report in reports:
        said = json.loads(report.read_text())
        if said["refused"]:
            return f"a reader was refused: {said['refused'][0]}"
        if strange := set(said["seen"]) - committed:
            return f"a reader saw {len(strange)} states that nobody committed"
    return None


def writers(seed: int, place: Path) -> str | None:
    """A second writer, the lock of a dead writer, a disk without locks."""
    rng = dice(seed)
    stage = _stage(place.parent / "stage")
    store = place / "store"
    prepare(stage, stage.works[1], store)
    waiting = place / "at work"

    def freeze(*_: object) -> None:
        waiting.touch()
        time.sleep(60)

    trip, encoder = stage.root / "trip", FakeEncoder()
    writer = start(lambda: add(trip, store, encoder=encoder, progress=freeze))
    while not waiting.exists():
        time.sleep(0.01)
    if not is_being_written(store / "lock"):
        return "nobody seems to write while somebody does"
    second = rng.choice(
        (
            lambda: add(trip, store, encoder=encoder),
            lambda: build(stage.root / "photos", store, encoder=encoder),
            lambda: remove(store, ["day/*"]),
            lambda: repair(store),
        )
    )
    try:
        second()
        return "a second writer was let in"
    except ValueError as error:
        if not str(error).endswith("is being written by another process; try again later"):
            return f"a second writer was told: {error}"
    os.kill(writer, signal.SIGKILL)
    note_kill(end_of(writer))
    if is_being_written(store / "lock"):
        return "a dead writer still holds the lock"
    add(trip, store, encoder=encoder)
    number = rng.choice((errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS))
    with mock.patch("fcntl.flock", side_effect=OSError(number, os.strerror(number))):
        open_gallery(store)
        try:
            second()
            return "a disk without locks was written to"
        except OSError as error:
            return None if "cannot be locked" in str(error) else f"a disk without locks: {error}"


PARTS = (
    Part(name="readers-beside", trial=beside, full=600, seconds=60, share=2),
    Part(name="readers-writers", trial=writers, full=60, seconds=60, share=0.5),
)
