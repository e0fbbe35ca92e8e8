"""The training script beside a plain loop over the same network, pictures and steps, in the same run.

Example: python train/bench/loop.py --steps 20
The plain loop is ten lines of torch: no Accelerate, average, history, checkpoints or validation. The
difference is what the harness costs, its fixed part (first and last validation, curves) included: the longer
the run, the smaller. Both make the same pictures from the same numbers.
"""

import re
import time
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import torch

from raiha_core.models.presets import PRESETS
from raiha_train.command import command_parser
from raiha_train.data.feed import prefetch
from raiha_train.experiment import Experiment
from raiha_train.loop.benchmarks import benched, opened
from raiha_train.loop.objective import Objective
from raiha_train.loop.train import main as train_main


def plain(experiment: Experiment, data: Path | None, cache: Path) -> float:
    """Pictures per second of the plain loop."""
    feed = opened(experiment, data, cache, "cpu").training
    torch.manual_seed(experiment.seed)
    objective = Objective(PRESETS[experiment.preset].build(config=experiment.network), experiment).train()
    learnt = [p for p in objective.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learnt, lr=experiment.optimisation.rate)
    begun = time.perf_counter()
    for k, raw in prefetch(feed, range(experiment.steps)):
        loss, _ = objective(feed.finish(raw, k), None, torch.Generator())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learnt, 1.0)
        optimizer.step()
    return experiment.steps * experiment.batch / (time.perf_counter() - begun)


def full(experiment: Experiment, data: Path | None, folder: Path) -> float:
    """Pictures per second that train.py itself reports, validations and states included."""
    call = ["unused.py", "--output", str(folder / "run"), "--cache", str(folder), "--tracker", "none"]
    call += [] if data is None else ["--data", str(data)]
    said = StringIO()
    with mock.patch("raiha_train.loop.train.load_stages", return_value=[experiment]), redirect_stdout(said):
        train_main(call)
    found = re.search(r"\(([\d.]+) img/s\)", said.getvalue())
    assert found is not None
    return float(found.group(1))


def main() -> None:
    parser = command_parser(__doc__)
    parser.add_argument("--config", default="smoke")
    parser.add_argument("--data", type=Path, help="folder of photos (default: assets/scenes)")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=30)
    arguments = parser.parse_args()
    often = arguments.steps
    experiment = replace(
        benched(arguments.config, arguments.size, arguments.batch),
        steps=arguments.steps,
        validation_pictures=arguments.batch,
        validate_every=often,
        save_every=often,
        sample_every=often,
    )
    print("| loop | img/s |\n|---|---|")
    with TemporaryDirectory() as folder:
        plain(replace(experiment, steps=2), arguments.data, Path(folder))  # packs, and warms up
        first = plain(experiment, arguments.data, Path(folder))
        whole = full(experiment, arguments.data, Path(folder))
        second = plain(experiment, arguments.data, Path(folder))
    print(f"| plain, before | {first:.1f} |\n| train.py | {whole:.1f} |\n| plain, after | {second:.1f} |")
    print(f"train.py / plain: {2 * whole / (first + second):.0%}")


if __name__ == "__main__":
    main()
