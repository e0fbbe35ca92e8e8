"""Soak: one embedded host that runs for ever, with errors, cancels and changed inputs strewn in.

Memory, handles and temporary files stay within 2 percent of what they are once everything is warm; after an
error the next run is right. A trial is a slice of `RUNS` runs; the first ones of a process warm it up.
"""

import gc
import os
import random
import tempfile
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.node_cases import ENCODER, HARMONIZER, PAIR, make_host, node, small_gallery
from workflows.run import pack

from .child import resident
from .part import Part, dice

RUNS = 24
_WARM = 3  # slices before anything is compared
_ALLOWED = 1.02  # of memory
_HANDLES = 2  # that may be open for a moment more
_TOLD = 20  # slices between two lines of what is in use


@dataclass(slots=True)
class Level:
    """What a process had when it was warm: memory, open handles, temporary files."""

    slices: int = 0
    memory: int = 0
    handles: int = 0
    temporary: int = 0

    def grown(self, name: str, pid: int, folders: list[Path]) -> str | None:
        """After a slice of runs: what is no longer where it was, if anything is."""
        self.slices += 1
        memory, place = resident(pid), Path(f"/proc/{pid}/fd")
        handles = len(list(place.iterdir())) if place.is_dir() else 0
        temporary = sum(1 for folder in folders for _ in folder.rglob("*"))
        had = f"{self.memory / 2**20:.0f} MiB, {self.handles} handles, {self.temporary} temporary files"
        have = f"{memory / 2**20:.0f} MiB, {handles} handles, {temporary} temporary files"
        if self.slices <= _WARM:
            self.memory = max(memory, self.memory)
            self.handles, self.temporary = handles, temporary
            return None
        if self.slices % _TOLD == 0:
            print(f"  {name}: {self.slices * RUNS} runs: {have}; {_WARM * RUNS} runs: {had}", flush=True)
        flat = memory <= _ALLOWED * self.memory and temporary <= self.temporary
        if flat and handles <= self.handles + _HANDLES:
            return None
        return f"{self.slices * RUNS} runs: {have}; {_WARM * RUNS} runs: {had}"


@dataclass(slots=True)
class _Soak:
    """The host of a process."""

    host: Any
    base: Path
    right: bytes = b""
    level: Level = field(default_factory=Level)


@cache
def _soak(root: Path) -> _Soak:
    base = root / "soak"
    base.mkdir()
    tempfile.tempdir = str(root / "temporary")
    (root / "temporary").mkdir()
    return _Soak(make_host(base), base)


def soak_prompt(strength: float = 1.0, **changes: Any) -> dict[str, Any]:
    """Load, build, search, harmonize, save."""
    prompt: dict[str, Any] = {
        **{
            key: {**value, "inputs": dict(value["inputs"])}
            for key, value in {**PAIR, **ENCODER, **HARMONIZER}.items()
        },
        "4": small_gallery(),
        "5": node(
            "Raiha_RetrieveReferences",
            **{"gallery": ["4", 0], "composite": ["1", 0], "mask": ["2", 0], "encoder": ["3", 0]},
            **{"by": "content", "top_k": 2},
        ),
        "8": node(
            "Raiha_Harmonize",
            composite=["1", 0],
            mask=["2", 0],
            harmonizer=["7", 0],
            references=["5", 0],
            strength=strength,
        ),
        "9": node("SaveImage", images=["8", 0], filename_prefix="soak"),
    }
    for name, value in changes.items():
        key, entry = name.removeprefix("n").split("_", 1)
        prompt[key]["inputs"][entry] = value
    return prompt


def wrong_prompt(rng: random.Random) -> dict[str, Any]:
    return rng.choice(
        (
            soak_prompt(n1_image="gone.png"),
            soak_prompt(n2_image="composite.png [temp]"),
            soak_prompt(n8_strength=99.0),
            soak_prompt(n7_harmonizer="no such"),
            soak_prompt(n8_composite=["99", 0]),
            soak_prompt(n4_photos="input: nowhere"),
            soak_prompt(n1_image="broken.png"),
        )
    )


def _saved(soak: _Soak) -> bytes:
    """The pixels of the one picture that was saved; it is taken away."""
    paths = sorted(soak.host.folder("output").rglob("*.png"))
    data = np.asarray(Image.open(paths[-1])).tobytes() if paths else b""
    for path in paths:
        path.unlink()
    return data


def _one(soak: _Soak, rng: random.Random) -> str:
    """One run of some kind, and then a plain one, whose picture must be right."""
    refused = pack("workflows.host").PromptError
    kind = rng.choice(("plain", "plain", "wrong", "cancel", "changed"))
    if kind == "wrong":
        try:
            soak.host.run(wrong_prompt(rng))
            return "a wrong prompt was taken"
        except refused:
            pass
    elif kind == "cancel":
        calls = [0]
        after = rng.randrange(1, 12)

        def stop(*_: object) -> None:
            calls[0] += 1
            if calls[0] == after:
                soak.host.interrupt()

        session = soak.host._session
        before, session.on_progress = session.on_progress, stop
        try:
            soak.host.run(soak_prompt())
        except refused as error:
            if "interrupted" not in str(error):
                return f"cancelled: {error}"
        finally:
            session.on_progress = before
    else:
        soak.host.run(soak_prompt(strength=rng.uniform(0, 2) if kind == "changed" else 1.0))
    _saved(soak)
    soak.host.run(soak_prompt())
    data = _saved(soak)
    soak.right = soak.right or data
    return "" if data == soak.right else f"after a run that was {kind} the next one gives another picture"


def runs(seed: int, place: Path) -> str | None:
    """A slice of runs in the host of this process."""
    soak = _soak(place.parent)
    broken = soak.host.folder("input") / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    rng = dice(seed)
    for _ in range(RUNS // 2):
        if fault := _one(soak, rng):
            return fault
    gc.collect()
    folders = [soak.host.folder(name) for name in ("temp", "user")]
    return soak.level.grown("soak-embedded", os.getpid(), [*folders, Path(tempfile.gettempdir())])


PARTS = (Part(name="soak-embedded", trial=runs, full=417, seconds=600, mib=2048, share=3, cases=RUNS),)
