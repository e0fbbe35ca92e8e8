"""Planted faults: each part must find its own, in a copy of the project that has it.

The trial that finds it must hold in the project as it is, or else it found something else.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from .child import run_trials
from .part import Part, trial_seed
from .patching import all_faults

ROOT = Path(__file__).resolve().parents[2]
_COPIED = ("raiha_core", "nodes", "train", "workflows", "tests", "assets/scenes", "pyproject.toml")
_SEED = 20  # of the runs that look for them


def copy_project(place: Path) -> Path:
    """The project without what git does not know; large files are linked."""
    copy = place / "copy"
    for name in _COPIED:
        source = ROOT / name
        if source.is_dir():
            ignore = shutil.ignore_patterns("__pycache__", "*.egg-info", "golden")
            shutil.copytree(source, copy / name, ignore=ignore, copy_function=_copied)
        else:
            copy.mkdir(exist_ok=True)
            shutil.copy(source, copy / name)
    shutil.copytree(ROOT / "tests" / "golden", copy / "tests" / "golden", copy_function=_copied)
    return copy


def _copied(source: str, target: str) -> None:
    if source.endswith((".py", ".json")):
        shutil.copy(source, target)
    else:
        os.symlink(source, target)


def find(seed: int, place: Path) -> str | None:
    """The fault of this number is found by its part within its trials. `seed` is turned into a number."""
    faults = all_faults()
    fault = faults[seed % len(faults)]
    copy = copy_project(place)
    fault.apply(copy)
    trials = ",".join(f"{fault.part}:{number}" for number in range(fault.trials))
    call = [sys.executable, "-m", "tests.torture.run", "--only", trials, "--seed", str(_SEED)]
    call += ["--out", str(place / "out"), "--stop-at-failure"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(copy), str(copy / "train")))}
    done = subprocess.run(call, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return f"{fault.name} ({fault.what}) was not found by {fault.part} in {fault.trials} trials"
    first = done.stdout.splitlines()[:1]
    if not first or not first[0].startswith(f"{fault.part}:"):
        return f"{fault.name}: {fault.part} ended otherwise: {(done.stderr or done.stdout)[-300:]!r}"
    number = int(first[0].split()[0].removeprefix(f"{fault.part}:"))
    if trouble := _without(fault.part, number):
        return f"{fault.name}: {fault.part}:{number} fails without the fault too: {trouble}"
    print(f"  planted: {fault.name}: {first[0]:.200}", flush=True)
    return None


def _without(name: str, number: int) -> str:
    """What the trial that found a fault says of the project as it is; "" where it holds."""
    from . import parts  # here: it imports this module

    part = next(part for part in parts.PARTS if part.name == name)
    return next(run_trials(part, [(number, trial_seed(_SEED, name, number))])).failure


PARTS = (
    Part(
        name="planted-faults",
        trial=find,
        full=len(all_faults()),
        seconds=600,
        mib=4096,
        share=8,
        by_number=True,
    ),
)
