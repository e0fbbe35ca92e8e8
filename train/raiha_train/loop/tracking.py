"""What trackers are told of a run beside its figures: its config, the machine, its sample pictures."""

import os
import platform
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.tracking import get_available_trackers
from PIL import Image

from raiha_core import __version__

from ..experiment import Experiment
from .provenance import git_revision

_NONE = "none"


def check_tracker(name: str) -> None:
    """Raises: ValueError where a tracker is not installed; Accelerate would leave it out without a word."""
    known = [str(getattr(tracker, "value", tracker)) for tracker in get_available_trackers()]
    if name not in (_NONE, "all", *known):
        raise ValueError(
            f"the tracker '{name}' is not installed; here: {', '.join(known) or 'no tracker'}; "
            f"'--tracker {_NONE}' goes without"
        )


def facts(experiment: Experiment, accelerator: Accelerator, fingerprint: str) -> dict[str, Any]:
    """The config, each field by its dotted path, and the machine, as plain values."""
    device = accelerator.device
    on_gpu = device.type == "cuda" and torch.cuda.is_available()
    machine = {
        "device": torch.cuda.get_device_name(device) if on_gpu else platform.processor() or "cpu",
        "cores": os.cpu_count() or 0,
        "processes": accelerator.num_processes,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "raiha": __version__,
        "revision": git_revision(),
        "host": platform.node(),
        "data": fingerprint,
    }
    return flat(experiment.to_json()) | {f"machine.{name}": value for name, value in machine.items()}


def flat(values: dict[str, Any], where: str = "") -> dict[str, Any]:
    """Nested tables as one, with dotted names; lists as text, since trackers take plain values only."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found |= flat(value, f"{where}{name}.")
        else:
            plain = isinstance(value, bool | int | float | str)
            found[f"{where}{name}"] = value if plain else str(value)
    return found


def log_picture(accelerator: Accelerator, name: str, path: Path, step: int) -> None:
    """Show a picture file to those trackers that take pictures."""
    for tracker in accelerator.trackers:
        if hasattr(tracker, "log_images"):
            with Image.open(path) as picture:
                pixels = np.asarray(picture.convert("RGB"))[None]  # (1, H, W, 3)
            # TensorBoard must be told the order of the axes; others know no other
            more = {"dataformats": "NHWC"} if tracker.name == "tensorboard" else {}
            tracker.log_images({name: pixels}, step=step, **more)
