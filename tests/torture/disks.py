"""Bad disks: calls that fail, disks that fill up, and power that ends with nothing kept but what was synced.

After each the gallery (checkpoint, picture, state of a training) is the one before or the one after, what
was told as done is there, and doing the work again gives what an undisturbed disk gives.
"""

import os
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import torch

from raiha_core import checkpoint, durable
from raiha_core.images import read_picture, write_picture
from raiha_core.models.presets import PRESETS
from raiha_train.experiment import Experiment
from raiha_train.loop.optimizer import make_optimizer
from raiha_train.loop.state import LoopState, load_state, save_state, whole_states

from .faulty import Faults
from .galleries import Stage, make_stage, prepare, trouble_after_cut, trouble_after_end, view
from .part import Part, dice
from .power import PowerModel
from .processes import end_of, start

_CUT = 9  # exit code of a child whose power failed


@cache
def _stage(root: Path) -> Stage:
    return make_stage(root)


def _one_sentence(error: BaseException) -> str:
    """ "" for an error that a user may see, else what is wrong with it."""
    if not isinstance(error, OSError | ValueError):
        return f"{type(error).__name__} instead of a sentence: {error}"
    text = str(error)
    return "" if text and "\n" not in text else f"no sentence: {text!r}"


# ---- calls that fail


@cache
def _calls(root: Path, name: str) -> tuple[int, int]:
    """How many calls some work makes, and how many of them are writes."""
    stage = _stage(root)
    work = next(work for work in stage.works if work.name == name)
    store = root / f"counting-{name}" / "store"
    store.parent.mkdir()
    prepare(stage, work, store)
    with Faults(store.parent).everywhere() as faults:
        work.do(store)
    return faults.count, faults.writes


def failing(seed: int, place: Path) -> str | None:
    """One call of the file layer fails, or every call from there on."""
    rng = dice(seed)
    root = place.parent / "stage"
    stage = _stage(root)
    work = rng.choice(stage.works)
    kind = rng.choice(("EIO", "ENOSPC", "short"))
    at = rng.randint(1, _calls(root, work.name)[kind == "short"])
    store = place / "disk" / "store"
    store.parent.mkdir()
    prepare(stage, work, store)
    failed: BaseException | None = None
    with Faults(store.parent, at, kind, rng.random() < 0.5 and kind != "short").everywhere():
        try:
            work.do(store)
        except Exception as error:
            failed = error
    where = f"{work.name}, {kind} at call {at}"
    if failed is None and view(store) != work.after:
        return f"{where}: told as done, and is not"
    if failed is not None and kind == "short":
        return f"{where}: a short write is no failure, and ended in {failed}"
    if failed is not None and (wrong := _one_sentence(failed)):
        return f"{where}: {wrong}"
    if trouble := trouble_after_cut(work, store):
        return f"{where}: {trouble}"
    work.do(store)
    trouble = trouble_after_end(work, store)
    return f"{where}: {trouble}" if trouble else None


# ---- power


def _cut(place: Path, job: Callable[[Path], object], at: int, how: str, rng: random.Random) -> int:
    """Run `job` on place/disk in a child whose power fails before call `at` (0: after the end).

    What survives is in place/survived. Returns: how many calls there were up to then.
    """

    def child() -> None:
        model = PowerModel(place / "disk", place / "grave")

        def end() -> None:
            model.survive(place / "survived", how, rng)
            (place / "calls").write_text(str(model.calls))
            os._exit(_CUT)

        def due() -> None:
            if model.calls == at:
                end()

        model.due = due
        model.watch()
        job(place / "disk")
        model.calls = 0  # told as done
        end()

    code = end_of(start(child, place / "errors"))
    assert code == _CUT, (place / "errors").read_text() if (place / "errors").exists() else code
    return int((place / "calls").read_text())


def power(seed: int, place: Path) -> str | None:
    """The power fails at a random call of work on a gallery, or right after its end."""
    rng = dice(seed)
    root = place.parent / "stage"
    stage = _stage(root)
    work = rng.choice(stage.works)
    how = rng.choice(("least", "mixed", "mixed", "most"))
    at = rng.choice((0, rng.randint(1, _calls(root, work.name)[0])))
    (place / "disk").mkdir()
    prepare(stage, work, place / "disk" / "store")
    done = _cut(place, lambda disk: work.do(disk / "store"), at, how, rng) == 0
    store = place / "survived" / "store"
    where = f"{work.name}, {how} survives, power failed {'after the end' if done else f'at call {at}'}"
    if done and view(store) != work.after:
        return f"{where}: told as done, and is lost"
    if trouble := trouble_after_cut(work, store):
        return f"{where}: {trouble}"
    work.do(store)
    trouble = trouble_after_end(work, store)
    return f"{where}: {trouble}" if trouble else None


def _picture(level: float) -> torch.Tensor:
    return torch.full((1, 3, 20, 30), level)


def _network() -> checkpoint.Network:
    torch.manual_seed(1)
    from raiha_core.models.hdnet import UNetConfig

    return PRESETS["hdnet"].build(config=UNetConfig(width=2, size=32))


def files(seed: int, place: Path) -> str | None:
    """The same for a picture, a checkpoint, a list and a training's state that take an older one's place."""
    rng = dice(seed)
    kind = rng.choice(("picture", "checkpoint", "text", "training"))
    (place / "disk").mkdir()
    how = rng.choice(("least", "mixed", "mixed", "most"))
    write, read = _KINDS[kind]
    write(place / "disk", 0.25)
    at = rng.choice((0, rng.randint(1, 60 if kind == "training" else 6)))
    done = _cut(place, lambda disk: write(disk, 0.75), at, how, rng) == 0
    where = f"{kind}, {how} survives, power failed {'after the end' if done else f'at call {at}'}"
    try:
        found = read(place / "survived")
    except (OSError, ValueError, StopIteration) as error:
        return f"{where}: nothing readable is left: {error}"
    if done and found != 0.75:
        return f"{where}: told as done, and is lost"
    return None if found in (0.25, 0.75) else f"{where}: neither the old nor the new one"


def _write_network(path: Path, level: float) -> None:
    network = _network()
    for parameter in network.parameters():
        parameter.data.fill_(level)
    checkpoint.save(path / "net.safetensors", network, checkpoint.describe(network, "hdnet"))


def _read_network(path: Path) -> float:
    loaded = checkpoint.load(path / "net.safetensors")
    return float(next(loaded.network.parameters()).detach().flatten()[0])


def _experiment() -> Experiment:
    from raiha_core.models.hdnet import UNetConfig

    return Experiment(
        name="x", preset="hdnet", network=UNetConfig(width=2, size=32), source="synthesis", size=32
    )


def _write_state(path: Path, level: float) -> None:
    network, experiment = _network(), _experiment()
    for parameter in network.parameters():
        parameter.data.fill_(level)
    optimizer = make_optimizer(network, experiment)
    for step in (1, 2):  # two are kept
        state = LoopState(step=round(level * 100) + step, experiment=experiment.to_json())
        save_state(path / "run" / "states", state, network, None, optimizer, experiment.keep)


def _read_state(path: Path) -> float:
    newest = whole_states(path / "run" / "states")[-1:]
    if not newest:
        raise ValueError("no state is whole")
    network = _network()
    load_state(newest[0], network, None, make_optimizer(network, _experiment()))
    return float(next(network.parameters()).detach().flatten()[0])


_KINDS: dict[str, tuple[Callable[[Path, float], object], Callable[[Path], float]]] = {
    "picture": (
        lambda path, level: write_picture(path / "p.png", _picture(level), bit_depth=16),
        lambda path: float(np.round(float(read_picture(path / "p.png").pixels.mean()), 2)),
    ),
    "checkpoint": (_write_network, _read_network),
    "text": (
        lambda path, level: durable.write_text(path / "list.txt", f"{level}\n" * 900),
        lambda path: float({*(path / "list.txt").read_text().split()}.pop()),
    ),
    "training": (_write_state, _read_state),
}


def tiny(seed: int, place: Path) -> str | None:
    """The kernel refuses what makes a file larger than a limit, as a full disk does."""
    rng = dice(seed)
    root = place.parent / "stage"
    stage = _stage(root)
    work = rng.choice([work for work in stage.works if work.name in ("build", "update", "add")])
    store = place / "store"
    prepare(stage, work, store)
    limit = rng.randint(200, 9000)

    def child() -> None:
        import resource
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        try:
            work.do(store)
        except (OSError, ValueError):
            os._exit(_CUT)

    code = end_of(start(child))
    if code not in (0, _CUT):
        return f"{work.name}, files of at most {limit} bytes: code {code}"
    if trouble := trouble_after_cut(work, store):
        return f"{work.name}, files of at most {limit} bytes: {trouble}"
    work.do(store)
    return trouble_after_end(work, store) or None


PARTS = (
    Part(name="disks-failing", trial=failing, full=1500, seconds=60, share=2),
    Part(name="disks-power", trial=power, full=1500, seconds=60, share=2),
    Part(name="disks-files", trial=files, full=600, seconds=60, share=1),
    Part(name="disks-full", trial=tiny, full=300, seconds=60, share=0.5),
)
