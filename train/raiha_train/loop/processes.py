"""The processes that share a run, and what they share it by."""

import os
from pathlib import Path

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import DistributedDataParallelKwargs, ProjectConfiguration, parse_flag_from_env

from ..experiment import Experiment


def make_accelerator(experiment: Experiment, output: Path, tracker: str | None) -> Accelerator:
    """Raises: ValueError where the processes cannot share a step evenly."""
    per_step = experiment.batch // experiment.micro_batch
    # Accelerate takes processes without a GPU for CPU processes only when it is told so.
    told = parse_flag_from_env("ACCELERATE_USE_CPU")
    on_cpu = told or ("LOCAL_RANK" in os.environ and not torch.cuda.is_available())
    processes = PartialState(cpu=on_cpu).num_processes
    if per_step % processes:
        raise ValueError(
            f"'{experiment.name}' has {per_step} micro-batches a step, which {processes} processes "
            "cannot share evenly"
        )
    # What reads references is idle in a micro-batch without any.
    idle = experiment.references.any
    return Accelerator(
        cpu=on_cpu,
        mixed_precision=experiment.precision,
        gradient_accumulation_steps=per_step // processes,
        log_with=tracker,
        project_config=ProjectConfiguration(project_dir=str(output), logging_dir=str(output / "logs")),
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=idle)],
    )
