"""kill -9 at random moments: runs over folders, headless batches, trainings.

After each, what has a result's name is a whole result; the same call again ends with what an undisturbed run
gives, byte for byte.
"""

import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from raiha_core.cli import main
from raiha_train.loop import train
from tests.training_cases import arguments, final_weights, write_config
from tests.training_cases import write_photos as write_training_photos
from workflows.run import ROOT
from workflows.run import main as run_workflow

from .part import Part, dice
from .processes import duration, end_of, kill_within, start

_PICTURES = 6


def _pairs(folder: Path) -> Path:
    """Composites in 1.image, their masks in 2.image."""
    rng = np.random.default_rng(2)
    for name in ("1.image", "2.image"):
        (folder / name).mkdir(parents=True)
    for number in range(_PICTURES):
        pixels = rng.integers(0, 256, (60 + number, 70, 3), dtype=np.uint8)
        mask = np.zeros(pixels.shape[:2], np.uint8)
        mask[8:40, 10:50] = 255
        Image.fromarray(pixels).save(folder / "1.image" / f"p{number}.png")
        Image.fromarray(mask).save(folder / "2.image" / f"p{number}.png")
    return folder


def _results(out: Path) -> dict[str, bytes]:
    """Every file that has the name of a result."""
    found = sorted(path for path in out.rglob("*.png") if not path.name.startswith("."))
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in found}


def _harmonize(inputs: Path) -> Callable[[Path], None]:
    def run(out: Path) -> None:
        call = [
            "harmonize",
            str(inputs / "1.image"),
            "--mask",
            str(inputs / "2.image"),
            "--model",
            "statistics",
        ]
        assert main([*call, "-o", str(out)]) == 0

    return run


def _batch(inputs: Path) -> Callable[[Path], None]:
    def run(out: Path) -> None:
        file = ROOT / "workflows" / "api" / "harmonize.json"
        quick = ("--set", "3.harmonizer=statistics")
        assert run_workflow([str(file), "--inputs", str(inputs), "--out", str(out), *quick]) == 0

    return run


@cache
def _whole(root: Path, name: str) -> tuple[dict[str, bytes], float]:
    """The results of an undisturbed run, and its seconds."""
    inputs = root / "inputs"
    if not inputs.exists():
        _pairs(inputs)
    run = _RUNS[name](inputs)
    seconds = duration(lambda: run(root / name))
    found = _results(root / name)
    assert len(found) == _PICTURES, sorted(found)
    return found, seconds


def _killed(name: str, seed: int, place: Path) -> str | None:
    rng = dice(seed)
    root = place.parent / "runs"
    whole, seconds = _whole(root, name)
    run, out = _RUNS[name](root / "inputs"), place / "out"
    for _ in range(rng.choice((1, 1, 2))):
        kill_within(lambda: run(out), 1.1 * seconds, rng)
        for file, data in _results(out).items():
            if whole.get(file) != data:
                return f"{name}: after a kill {file} is no result"
    if end_of(start(lambda: run(out), place / "error")):
        return f"{name}: the same call again fails: {(place / 'error').read_text()[:200]}"
    return None if _results(out) == whole else f"{name}: the same call again gives other results"


_RUNS = {"folder": _harmonize, "batch": _batch}


def folder(seed: int, place: Path) -> str | None:
    """`raiha harmonize` over a folder."""
    return _killed("folder", seed, place)


def batch(seed: int, place: Path) -> str | None:
    """`run.py --inputs`, embedded."""
    return _killed("batch", seed, place)


# ---- training


def _train(root: Path, output: Path, *more: str) -> None:
    torch.set_num_threads(1)
    assert train.main(arguments(root / "killed.py", root / "photos", output, *more)) == 0


@cache
def _trained(root: Path) -> tuple[dict[str, bytes], float]:
    root.mkdir()
    write_training_photos(root / "photos")
    write_config(root, "killed", steps=30, save_every=3, validate_every=10)
    duration(lambda: _train(root, root / "warm"))  # makes the cache of photos
    seconds = duration(lambda: _train(root, root / "whole"))
    return _weights(root / "whole"), seconds


def _weights(output: Path) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in final_weights(output).items()}


def training(seed: int, place: Path) -> str | None:
    """A training that is killed and resumed until it ends has the weights of one that was not disturbed."""
    rng = dice(seed)
    root = place.parent / "training"
    whole, seconds = _trained(root)
    output = place / "run"
    for _ in range(rng.choice((1, 2, 3))):
        begun = any((output / "states").glob("step_*/state.json")) if output.exists() else False
        more = ("--resume",) if begun else ()
        kill_within(lambda more=more: _train(root, output, *more), 0.9 * seconds, rng)
    begun = any((output / "states").glob("step_*/state.json"))
    more = ("--resume",) if begun else ()
    if end_of(start(lambda: _train(root, output, *more), place / "error")):
        told = (place / "error").read_text() if (place / "error").exists() else "it ended with 1"
        return f"the training cannot go on: {told[:200]}"
    return None if _weights(output) == whole else "resumed, the training ends with other weights"


def two_trainings(seed: int, place: Path) -> str | None:
    """A second training in one folder gets one sentence, and the first goes on."""
    root = place.parent / "training"
    _trained(root)
    output = place / "run"
    first = start(lambda: _train(root, output))
    while not (output / "states").exists():
        pass
    told = place / "told"

    def second() -> None:
        sys.stderr = told.open("w")
        code = train.main(arguments(root / "killed.py", root / "photos", output, "--resume"))
        sys.stderr.flush()
        os._exit(code)

    code = end_of(start(second))
    ended = end_of(first)
    if ended:
        return f"the first training ended with {ended}"
    if code == 0:
        return "a second training started in the same folder"
    return None if "is being written by another process" in told.read_text() else told.read_text()[:200]


PARTS = (
    Part(name="kills-folder", trial=folder, full=200, seconds=120),
    Part(name="kills-batch", trial=batch, full=100, seconds=240, share=2),
    Part(name="kills-training", trial=training, full=30, seconds=600, mib=2048, share=3),
    Part(name="kills-two-trainings", trial=two_trainings, full=5, seconds=300, mib=2048, share=1),
)
