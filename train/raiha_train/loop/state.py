"""What a resume needs, in one folder per kept step, written so that a kill leaves the last one whole.

A folder step_00001000/ holds network.safetensors, average.safetensors, optimizer.safetensors and
state.json. state.json is written last; a folder without it does not count. Random states are not
stored: every draw is seeded by its number (see data/feed.py), so the step is the whole of them.
"network" is all that is trained: the harmonizer, and the heads of the contrastive loss where it has a weight.
"""

import hashlib
import json
import shutil
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from raiha_core import checkpoint
from raiha_core.durable import durable_path, make_folder, write_text
from raiha_core.models import former_names

from ..experiment import Experiment, setting_differences, up_to_date


@dataclass(kw_only=True, slots=True)
class LoopState:
    """Where a run stands: `step` optimizer steps are done."""

    step: int = 0
    best_score: float = float("inf")  # validation fMSE, lower is better
    best_step: int = -1
    experiment: dict[str, Any] = field(default_factory=dict)
    data: str = ""  # fingerprint of what it is trained on
    start: str = ""  # the weights that it began with, in words
    processes: int = 1  # how many made it; the sums of more or fewer round differently
    scaler: dict[str, Any] = field(default_factory=dict)  # of fp16's gradients


def tensors_of(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimizer's state as flat tensors: 'index.name'."""
    flat = {}
    for index, values in optimizer.state_dict()["state"].items():
        for name, value in values.items():
            flat[f"{index}.{name}"] = value if isinstance(value, Tensor) else torch.tensor(value)
    return flat


def restore_optimizer(optimizer: torch.optim.Optimizer, flat: dict[str, Tensor]) -> None:
    """The reverse of `tensors_of`; groups and rates are those of the optimizer as it was built."""
    whole = optimizer.state_dict()
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in flat.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": whole["param_groups"]})


def weights_hash(network: nn.Module, gate: nn.Module | None = None) -> str:
    """SHA-256 over the names and bytes of a network's state, and of the gate of references beside it."""
    digest = hashlib.sha256()
    state = network.state_dict()
    if gate is not None:
        state |= {f"{checkpoint.GATE}{name}": value for name, value in gate.state_dict().items()}
    known = {former_names.former_tensor_name(name): value for name, value in state.items()}
    for name, value in sorted(known.items()):  # so that runs of before the renaming find their beginning
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    kept = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
    # As bytes: safetensors' own writer hides a full disk in an error of its own.
    content = save(kept)
    with durable_path(path) as temporary:
        temporary.write_bytes(content)


def save_state(
    folder: Path,
    state: LoopState,
    network: nn.Module,
    average: dict[str, Tensor] | None,
    optimizer: torch.optim.Optimizer,
    keep: int,
) -> Path:
    """Write the state of a step, then drop all but the newest `keep`.

    Raises: ValueError where a weight is not finite, OSError where the disk is full; older states are whole
        then, and nothing is left of the new one.
    """
    if bad := [name for name, value in network.state_dict().items() if not torch.isfinite(value).all()]:
        raise ValueError(
            f"{bad[0]} and {len(bad) - 1} more weights are not finite after step {state.step}; "
            f"the last good state is kept in {folder}"
        )
    target = folder / f"step_{state.step:08d}"
    make_folder(target)
    try:
        _write_tensors(target / "network.safetensors", network.state_dict())
        if average is not None:
            _write_tensors(target / "average.safetensors", average)
        _write_tensors(target / "optimizer.safetensors", tensors_of(optimizer))
        write_text(target / "state.json", json.dumps(asdict(state), indent=1) + "\n")
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise
    for old in whole_states(folder)[:-keep]:
        (old / "state.json").unlink()  # first: a half removed folder must not count
        shutil.rmtree(old, ignore_errors=True)
    return target


def whole_states(folder: Path) -> list[Path]:
    """Folders of complete states, oldest first."""
    return sorted(path.parent for path in folder.glob("step_*/state.json"))


def load_state(
    path: Path, network: nn.Module, average: dict[str, Tensor] | None, optimizer: torch.optim.Optimizer
) -> LoopState:
    """Fill network, average and optimizer from a state's folder.

    Raises: ValueError naming the file that is damaged.
    """
    try:
        state = LoopState(**json.loads((path / "state.json").read_text(encoding="utf-8")))
        network.load_state_dict(former_names.tensors(load_file(path / "network.safetensors")))
        if average is not None:
            stored = former_names.tensors(load_file(path / "average.safetensors"))
            for name, value in average.items():
                value.copy_(stored[name])
        restore_optimizer(optimizer, load_file(path / "optimizer.safetensors"))
    except (OSError, SafetensorError) as error:
        raise ValueError(f"the state in {path} cannot be read: {error}") from None
    except (KeyError, TypeError, RuntimeError, ValueError) as error:
        raise ValueError(f"the state in {path} does not fit this run: {error}") from None
    return state


def check_resume(
    found: list[Path], experiment: Experiment, fingerprint: str, *, processes: int, allowed: bool
) -> None:
    """Whether a run may go on from the newest of the states that were found; says it where sums will differ.

    Args: fingerprint: of the data; allowed: whether --resume was given.
    Raises: ValueError where it was not, or the states are of another run.
    """
    if not allowed:
        raise ValueError(
            f"{found[-1].parent} holds a run already: give --resume to go on, or another --output"
        )
    stored = json.loads((found[-1] / "state.json").read_text(encoding="utf-8"))
    if other := setting_differences(up_to_date(stored["experiment"]), experiment.to_json()):
        raise ValueError(f"{found[-1].parent} was begun with another config: {'; '.join(other)}")
    if stored["data"] != fingerprint:
        raise ValueError(f"{found[-1].parent} was begun on other data: {stored['data']} != {fingerprint}")
    if stored["processes"] != processes:
        print(
            f"train: begun with {stored['processes']} processes, now {processes}: "
            "the same pictures, but sums round differently",
            file=sys.stderr,
        )
