"""kill -9 at random moments: gallery work, in children that are forked after the imports.

After each kill the gallery opens as it was before the work or after it, `check` names nothing but what a
killed writer leaves, and doing the work again gives what undisturbed work gives.
"""

import os
import random
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

from raiha_core.gallery.build import build
from raiha_core.gallery.repair import repair
from tests.gallery_fakes import FakeEncoder, tree, write_photo

from .galleries import Stage, Work, make_stage, prepare, trouble_after_cut, trouble_after_end, view
from .part import Part, dice
from .processes import duration, kill_within, note_kill

_LONGER = 1.15  # than an undisturbed run: some kills come too late, as in life


@cache
def _stage(root: Path) -> Stage:
    return make_stage(root)


@cache
def _seconds(stage_root: Path, name: str) -> float:
    stage = _stage(stage_root)
    work = next(work for work in stage.works if work.name == name)
    store = stage_root / f"timing-{name}"
    prepare(stage, work, store)
    return duration(lambda: work.do(store))


def gallery(seed: int, place: Path) -> str | None:
    """Kill one kind of work, perhaps several times, with other work in between."""
    rng = dice(seed)
    root = place.parent / "stage"
    stage = _stage(root)
    work = rng.choice(stage.works)
    store = place / "store"
    prepare(stage, work, store)
    photos = tree(root / "photos")
    kills = rng.choice((1, 1, 1, 2, 3))
    for _ in range(kills):
        kill_within(lambda: work.do(store), _LONGER * _seconds(root, work.name), rng)
        if trouble := trouble_after_cut(work, store):
            return trouble
    if trouble := _in_between(rng, stage, work, store):
        return trouble
    work.do(store)
    if trouble := trouble_after_end(work, store):
        return trouble
    return None if tree(root / "photos") == photos else "a photo was changed"


def _in_between(rng: random.Random, stage: Stage, work: Work, store: Path) -> str:
    """What one might do after a kill instead of the work itself; nothing of it may lose anything."""
    other = rng.choice(("nothing", "repair", "build the first folder"))
    if other == "repair" and store.exists() and view(store) == work.before != work.after and work.base:
        repair(store)
        return trouble_after_cut(work, store)
    if other == "build the first folder" and work.name == "add":
        seen = view(store)
        begun = b'"adding":true' in (store / "manifest.jsonl").read_bytes()
        report = build(stage.root / "photos", store, encoder=FakeEncoder())
        if view(store) != seen:
            return "add: building the first folder changed what a reader sees of the second"
        if seen == work.before and begun and not any("gallery add" in line for line in report.unfinished):
            return "add: after building the first folder nobody says that an add was killed"
    return ""


def command(seed: int, place: Path) -> str | None:
    """The same through `raiha gallery build`, with the embedded encoder."""
    rng = dice(seed)
    stage = place.parent / "command"
    if not stage.exists():
        for number in range(30):
            write_photo(stage / "photos" / f"{number:02d}.png", number, size=(40 + number, 50))
    if not (stage / "whole").exists():
        begun = time.monotonic()
        _call("build", stage / "photos", stage / "whole")
        (stage / "seconds").write_text(str(time.monotonic() - begun))
    seconds = float((stage / "seconds").read_text())
    process = _start("build", stage / "photos", place / "store")
    time.sleep(rng.uniform(0.3 * seconds, 1.05 * seconds))  # before that Python is still importing
    process.send_signal(signal.SIGKILL)
    note_kill(process.wait())
    whole = view(stage / "whole")
    work = Work("build", "", lambda store: _call("build", stage / "photos", store), "nothing yet", whole)
    if trouble := trouble_after_cut(work, place / "store"):
        return trouble
    work.do(place / "store")
    return trouble_after_end(work, place / "store") or None


def _start(*words: object) -> subprocess.Popen:
    line = [
        sys.executable,
        "-m",
        "raiha_core",
        "gallery",
        *map(str, words),
        "--encoder",
        "lite0-fast",
        "--quiet",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment)


def _call(*words: object) -> None:
    process = _start(*words)
    _, errors = process.communicate()
    assert process.returncode == 0, errors.decode()


PARTS = (
    Part(name="kills-gallery", trial=gallery, full=1000, seconds=60, share=3),
    Part(name="kills-command", trial=command, full=50, seconds=240, share=2),
)
