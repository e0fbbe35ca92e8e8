"""What the training benches share: a config opened on given photos, and a clock."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from ..data.training_data import TrainingData, open_training_data
from ..experiment import Experiment, load_experiment

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


class Alone:
    """The only process there is."""

    is_local_main_process = True


def benched(name: str, size: int, batch: int) -> Experiment:
    """A config at another size, made from photos without measured lights, references or weights to fetch."""
    experiment = load_experiment(CONFIGS / f"{name}.py")
    return replace(
        experiment,
        network=replace(experiment.network, size=size),
        size=size,
        packed=size,
        batch=batch,
        micro_batch=batch,
        source="synthesis",
        true_background=False,
        synthesis=replace(experiment.synthesis, illuminant=0.0),
        references=replace(experiment.references, none=1.0, retrieved=0.0, augmented=0.0),
        encoder="",
        validation_share=0.2,
        precision="no",
    )


def opened(experiment: Experiment, data: Path | None, cache: Path, device: str) -> TrainingData:
    """Both feeds of an experiment on the photos of `data`, or on the shipped ones."""
    return open_training_data(
        experiment,
        data=data,
        illuminants=None,
        lists=None,
        cache=cache,
        device=torch.device(device),
        first=Alone(),
    )


def rate(call: Callable[[int], object], pictures: int, repeats: int, device: str) -> float:
    """Pictures per second of `call(k)`, after one that warms up."""
    call(0)
    _wait(device)
    begun = time.perf_counter()
    for k in range(1, repeats + 1):
        call(k)
    _wait(device)
    return repeats * pictures / (time.perf_counter() - begun)


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
