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

RUNS = 25
_WARM = 3  # slices before anything is compared
_ALLOWED = 1.02  # of memory
_HANDLES = 2  # that may be open for a moment more


@dataclass(slots=True)
class _Soak:
    """The host of a process, and what it had when it was warm."""

    host: Any
    base: Path
    slices: int = 0
    right: bytes = b""
    memory: list[int] = field(default_factory=list)
    handles: int = 0
    temporary: int = 0


@cache
def _soak(root: Path) -> _Soak:
    base = root / "soak"
    base.mkdir()
    tempfile.tempdir = str(root / "temporary")
    (root / "temporary").mkdir()
    return _Soak(make_host(base), base)


def _prompt(strength: float = 1.0, **changes: Any) -> dict[str, Any]:
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


def _wrong(rng: random.Random) -> dict[str, Any]:
    return rng.choice(
        (
            _prompt(n1_image="gone.png"),
            _prompt(n2_image="composite.png [temp]"),
            _prompt(n8_strength=99.0),
            _prompt(n7_harmonizer="no such"),
            _prompt(n8_composite=["99", 0]),
            _prompt(n4_photos="input: nowhere"),
            _prompt(n1_image="broken.png"),
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
            soak.host.run(_wrong(rng))
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
            soak.host.run(_prompt())
        except refused as error:
            if "interrupted" not in str(error):
                return f"cancelled: {error}"
        finally:
            session.on_progress = before
    elif kind == "changed":
        soak.host.run(_prompt(strength=rng.uniform(0, 2)))
    _saved(soak)
    soak.host.run(_prompt())
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
    soak.slices += 1
    memory = resident(os.getpid())
    handles = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    temporary = sum(1 for folder in ("temp", "user") for _ in soak.host.folder(folder).rglob("*"))
    temporary += sum(1 for _ in Path(tempfile.gettempdir()).rglob("*"))
    if soak.slices <= _WARM:
        soak.memory.append(memory)
        soak.handles, soak.temporary = handles, temporary
        return None
    if memory > _ALLOWED * max(soak.memory):
        return f"memory grew from {max(soak.memory) >> 20} to {memory >> 20} MiB in {soak.slices * RUNS} runs"
    if handles > soak.handles + _HANDLES:
        return f"{handles} handles are open, {soak.handles} were"
    return f"{temporary} temporary files, {soak.temporary} were" if temporary > soak.temporary else None


PARTS = (Part(name="soak-embedded", trial=runs, full=400, seconds=600, mib=2048, share=3, cases=RUNS),)
