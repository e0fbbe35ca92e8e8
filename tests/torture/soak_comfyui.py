"""Soak inside ComfyUI: the same prompts, errors, cancels and changed inputs, over its interface.

Only where `COMFYUI_PATH` names a checkout (`COMFYUI_PYTHON` its interpreter). A picture that was right once
must come again, whatever ran before it.
"""

import os
import random
import shutil
import tempfile
import time
import uuid
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from tests.node_cases import make_host
from workflows.run import ROOT, pack

from . import soak
from .part import Part, dice
from .soak import Level, soak_prompt, wrong_prompt

_STRENGTHS = (0.5, 1.0, 1.5)
_PICTURES = ("composite.png", "second.png")


@dataclass(slots=True)
class _Served:
    """The ComfyUI of a process, and what it answered first."""

    server: Any
    base: Path
    right: dict[tuple[str, float], bytes] = field(default_factory=dict)
    level: Level = field(default_factory=Level)


@cache
def _served(root: Path) -> _Served:
    base = root / "comfyui"
    base.mkdir()
    (root / "temporary").mkdir()
    tempfile.tempdir = os.environ["TMPDIR"] = str(root / "temporary")
    folder = make_host(base).folder("input")
    ImageOps.invert(Image.open(folder / "composite.png")).save(folder / "second.png")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    checkout = pack("workflows.host_checkout").Checkout
    server = checkout(Path(os.environ["COMFYUI_PATH"]), pack_root=ROOT, base=base, python=None)
    server.__enter__()  # it dies with this process and its group
    return _Served(server, base)


def _cancelled(served: _Served, rng: random.Random) -> str:
    prompt = soak_prompt(n8_strength=rng.uniform(0, 2), n1_image=rng.choice(_PICTURES))
    said = served.server._json("POST", "prompt", {"prompt": prompt, "client_id": uuid.uuid4().hex})
    time.sleep(rng.uniform(0, 0.3))
    served.server._json("POST", "interrupt", {})
    try:
        served.server._wait(said["prompt_id"])
    except ValueError as error:
        return "" if "was interrupted" in str(error) else f"cancelled: {error}"
    return ""


def _one(served: _Served, rng: random.Random) -> str:
    """One run of some kind, and then a plain one, whose picture must be right."""
    kind = rng.choice(("plain", "plain", "wrong", "cancel", "changed"))
    if kind == "wrong":
        try:
            served.server.run(wrong_prompt(rng))
            return "a wrong prompt was taken"
        except ValueError:
            pass
    elif kind == "cancel":
        if fault := _cancelled(served, rng):
            return fault
    else:
        strength = rng.uniform(0, 2) if kind == "changed" else 0.9
        served.server.run(soak_prompt(strength=strength, n1_image=rng.choice(_PICTURES)))
    name, strength = rng.choice(_PICTURES), rng.choice(_STRENGTHS)
    # another prefix, or the host answers from its memory of the prompt before
    prefix = f"soak-{rng.randrange(1 << 30):x}"
    outputs = served.server.run(soak_prompt(strength=strength, n1_image=name, n9_filename_prefix=prefix))
    entry = outputs["9"]["images"][0]
    path = served.base / "output" / entry["subfolder"] / entry["filename"]
    data = Image.open(path).convert("RGB").tobytes()
    right = served.right.setdefault((name, strength), data)
    return "" if data == right else f"after a run that was {kind} {name} at {strength} gives another picture"


def runs(seed: int, place: Path) -> str | None:
    """A slice of runs in the ComfyUI of this process."""
    served = _served(place.parent)
    rng = dice(seed)
    for _ in range(soak.RUNS // 2):
        if fault := _one(served, rng):
            return fault
    served.server._json("POST", "history", {"clear": True})  # ComfyUI keeps every prompt that it was given
    shutil.rmtree(served.base / "output")
    (served.base / "output").mkdir()
    folders = [served.base / "temp", served.base / "user", Path(tempfile.gettempdir())]
    return served.level.grown("soak-comfyui", served.server._process.pid, folders)


_PRESENT = (Path(os.environ.get("COMFYUI_PATH") or os.devnull) / "main.py").is_file()
_PART = Part(name="soak-comfyui", trial=runs, full=21, seconds=600, mib=2048, share=2, cases=soak.RUNS)
PARTS = (_PART,) if _PRESENT else ()
