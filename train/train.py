"""Train one experiment.

    accelerate launch train/train.py train/configs/smoke.py
    accelerate launch train/train.py train/configs/plus_small_data.py --data photos --illuminants ccharmony
    accelerate launch train/train.py train/configs/raiha.py --data iHarmony4 --lists RAHarmony4_train.jsonl

The command line says where things lie; all that changes the result stands in the config. A run that was
stopped, by whatever, goes on when the same command is given again with --resume.
"""

import argparse
import csv
import json
import platform
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import ProjectConfiguration
from curves import draw_curves
from experiment import Experiment, differences, load_experiment
from feeding import generator, prefetch
from loop_state import LoopState, load_state, save_state, weights_hash, whole_states
from overview import dry_run, write_samples
from schedule import Average, rate_factor
from sources import Sources, open_sources
from torch import Tensor, nn
from tqdm import tqdm
from validate import Validation, harmonize_batch, validate

from raiha_core import __version__, checkpoint
from raiha_core.durable import append_lines, write_text
from raiha_core.losses import total
from raiha_core.models.presets import PRESETS

HISTORY = "history.csv"
COLUMNS = ("step", "loss", "learning_rate")


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Train one experiment; every setting that changes the result stands in its config.",
        epilog="example: accelerate launch train/train.py train/configs/smoke.py --output runs/smoke",
    )
    parser.add_argument("config", type=Path, help="a file of train/configs")
    parser.add_argument(
        "--data", type=Path, help="iHarmony4 root, or a folder of photos (default: assets/scenes)"
    )
    parser.add_argument(
        "--illuminants", type=Path, help="CCHarmony folder: measured matrices and train_list.txt"
    )
    parser.add_argument("--lists", type=Path, help="reference lists (JSON lines: input, refs)")
    parser.add_argument("--output", type=Path, help="where the run lives (default: runs/NAME)")
    parser.add_argument("--cache", type=Path, help="where decoded photos are kept (default: OUTPUT/../cache)")
    parser.add_argument("--resume", action="store_true", help="go on from the newest whole state")
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be done, and draw the first batch"
    )
    parser.add_argument("--tracker", default="tensorboard", help="of Accelerate, or 'none'")
    parser.add_argument("--stop-after", type=int, default=0, help=argparse.SUPPRESS)  # for tests of resuming
    return parser.parse_args(argv)


def make_optimizer(network: nn.Module, experiment: Experiment) -> torch.optim.Optimizer:
    """Adam or AdamW; pretrained weights, where there are any, in a group of their own."""
    settings = experiment.optimisation
    named = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
    groups = [
        {"params": [p for name, p in named if not name.startswith("backbone.")], "factor": 1.0},
        {
            "params": [p for name, p in named if name.startswith("backbone.")],
            "factor": settings.backbone_factor,
        },
    ]
    kind = torch.optim.Adam if settings.optimizer == "adam" else torch.optim.AdamW
    return kind([g for g in groups if g["params"]], lr=settings.rate, weight_decay=settings.weight_decay)


def set_rate(optimizer: torch.optim.Optimizer, step: int, steps: int, experiment: Experiment) -> float:
    rate = experiment.optimisation.rate * rate_factor(step, steps, experiment.optimisation)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]
    return rate


def step_count(experiment: Experiment, pictures: int) -> int:
    return experiment.steps or max(1, round(experiment.epochs * pictures / experiment.batch))


def truncate_history(path: Path, step: int) -> None:
    """Drop the rows of steps that a resumed run will do again."""
    if path.is_file():
        with path.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.reader(file) if row and row[0] != "step" and int(row[0]) <= step]
    else:
        rows = []
    write_text(path, "\n".join(",".join(row) for row in [list(COLUMNS), *rows]) + "\n")


def provenance(experiment: Experiment, sources: Sources, state: LoopState) -> dict[str, str]:
    """What a weight file must say about how it was made."""
    return {
        "experiment": json.dumps(experiment.to_json(), sort_keys=True),
        "step": str(state.step),
        "pictures_seen": str(state.step * experiment.batch),
        "data_fingerprint": sources.fingerprint,
        "versions": f"raiha {__version__}, torch {torch.__version__}, python {platform.python_version()}",
        "revision": git_revision(),
    }


def git_revision() -> str:
    """The commit that the code is at, read without git; "" outside a checkout."""
    folder = Path(__file__).resolve().parents[1] / ".git"
    head = folder / "HEAD"
    if not head.is_file():
        return ""
    text = head.read_text(encoding="utf-8").strip()
    reference = folder / text.removeprefix("ref: ")
    return (
        reference.read_text(encoding="utf-8").strip() if reference.is_file() else text.removeprefix("ref: ")
    )


def write_weights(
    path: Path,
    network: nn.Module,
    experiment: Experiment,
    sources: Sources,
    state: LoopState,
    found: Validation,
) -> None:
    scores = {f"validation {name}": float(value) for name, value in asdict(found).items()}
    about = checkpoint.describe(
        network,
        experiment.preset,
        spec=None if sources.encoder is None else sources.encoder.spec,
        data=sources.about,
        scores=scores,
        licence=sources.licence,
        notes=provenance(experiment, sources, state),
    )
    checkpoint.save(path, network, about)


def check_resume(found: list[Path], experiment: Experiment, arguments: argparse.Namespace) -> None:
    """Raises: ValueError where a run is already there and --resume was not given, or it is another run."""
    if not arguments.resume:
        raise ValueError(
            f"{found[-1].parent} holds a run already: give --resume to go on, or another --output"
        )
    stored = json.loads((found[-1] / "state.json").read_text(encoding="utf-8"))["experiment"]
    if other := differences(stored, experiment.to_json()):
        raise ValueError(f"{found[-1].parent} was begun with another config: {'; '.join(other)}")


def main(argv: list[str] | None = None) -> int:
    # ---- settings
    arguments = parse(argv)
    experiment = load_experiment(arguments.config)
    output = arguments.output or Path("runs") / experiment.name
    tracker = None if arguments.tracker == "none" or arguments.dry_run else arguments.tracker
    per_step = experiment.batch // experiment.micro_batch
    probe = Accelerator()  # how many processes there are decides how much each accumulates
    if per_step % probe.num_processes:
        raise ValueError(
            f"{experiment.name} has {per_step} micro-batches a step, which {probe.num_processes} processes "
            "cannot share evenly"
        )
    accumulation = per_step // probe.num_processes
    accelerator = Accelerator(
        mixed_precision=experiment.precision,
        gradient_accumulation_steps=accumulation,
        log_with=tracker,
        project_config=ProjectConfiguration(project_dir=str(output), logging_dir=str(output / "logs")),
    )
    torch.manual_seed(experiment.seed)

    # ---- data
    sources = open_sources(
        experiment,
        data=arguments.data,
        illuminants=arguments.illuminants,
        lists=arguments.lists,
        cache=arguments.cache or output.parent / "cache",
        device=accelerator.device,
        first=accelerator,
    )
    feed, held_out = sources.training, sources.validation
    steps = step_count(experiment, len(feed))

    # ---- model
    network = PRESETS[experiment.preset].build(config=experiment.network)
    if arguments.dry_run:
        return dry_run(experiment, network, sources, steps, output) if accelerator.is_main_process else 0
    optimizer = make_optimizer(network, experiment)
    settings = experiment.optimisation
    average = None

    # ---- resume
    states = whole_states(output / "states")
    state = LoopState(experiment=experiment.to_json())
    network.to(accelerator.device)
    if settings.ema:
        average = Average(network, settings.ema)
    if states:
        check_resume(states, experiment, arguments)
        kept = None if average is None else average.state
        state = load_state(states[-1], network, kept, optimizer)
    history = output / HISTORY
    if accelerator.is_main_process:
        output.mkdir(parents=True, exist_ok=True)
        truncate_history(history, state.step)
        write_text(output / "config.json", json.dumps(experiment.to_json(), indent=1) + "\n")
    if tracker is not None:
        accelerator.init_trackers("tensorboard" if tracker == "tensorboard" else experiment.name)
    model, optimizer = accelerator.prepare(network, optimizer)
    if experiment.compile:
        model = torch.compile(model)

    # ---- loop
    numbers = [
        step * per_step + turn * accelerator.num_processes + accelerator.process_index
        for step in range(state.step, steps)
        for turn in range(accumulation)
    ]
    begun, first_step = time.perf_counter(), state.step
    bar = tqdm(
        total=steps * experiment.batch,
        initial=state.step * experiment.batch,
        unit="img",
        disable=not (accelerator.is_main_process and sys.stderr.isatty()),
    )
    losses: list[Tensor] = []
    rows: list[str] = []
    found: Validation | None = None
    model.train()
    for k, raw in prefetch(feed, numbers):
        batch = feed.finish(raw, k)
        torch.manual_seed(generator("network", experiment.seed, k).initial_seed() % 2**63)  # dropout
        rate = set_rate(optimizer, state.step, steps, experiment)
        with accelerator.accumulate(model):
            with accelerator.autocast():
                new = harmonize_batch(model, batch, sources.encoder)
            loss, _ = total(new.float(), batch.target, batch.mask, experiment.loss, composite=batch.composite)
            if not torch.isfinite(loss):
                raise ValueError(
                    f"the loss is {loss.item()} at step {state.step}, pictures {', '.join(batch.ids[:8])}; "
                    f"the last good state is kept in {output / 'states'}"
                )
            accelerator.backward(loss)
            losses.append(loss.detach())
            if accelerator.sync_gradients and settings.clip:
                accelerator.clip_grad_norm_(model.parameters(), settings.clip)
            optimizer.step()
            optimizer.zero_grad()
        if not accelerator.sync_gradients:
            continue
        state = replace(state, step=state.step + 1)
        if average is not None:
            average.update(accelerator.unwrap_model(model), state.step)
        value = float(accelerator.gather(torch.stack(losses).mean()[None]).mean())
        losses.clear()
        rows.append(f"{state.step},{value!r},{rate!r}")
        bar.update(experiment.batch)
        bar.set_postfix(loss=f"{value:.4f}")
        if tracker is not None:
            accelerator.log({"loss": value, "learning_rate": rate}, step=state.step)
        last = state.step == steps
        stop = arguments.stop_after and state.step - first_step >= arguments.stop_after
        if not accelerator.is_main_process:
            accelerator.wait_for_everyone()
            if stop:
                break
            continue
        network = accelerator.unwrap_model(model)
        if last or state.step % experiment.validate_every == 0:
            if average is not None:
                average.exchange(network)
            found = validate(network, held_out, experiment.validation_limit, sources.encoder)
            tqdm.write(f"step {state.step}: {found}")
            if tracker is not None:
                accelerator.log({f"validation/{k}": v for k, v in asdict(found).items()}, step=state.step)
            append_lines(output / "validation.jsonl", [json.dumps({"step": state.step, **asdict(found)})])
            if found.fmse < state.best_score:
                state = replace(state, best_score=found.fmse, best_step=state.step)
                write_weights(output / "best.safetensors", network, experiment, sources, state, found)
            if last:
                write_weights(output / "last.safetensors", network, experiment, sources, state, found)
            if last or state.step % experiment.sample_every == 0:
                write_samples(network, held_out, sources.encoder, output / f"samples_{state.step:08d}.png")
            if average is not None:
                average.exchange(network)
        if last or stop or state.step % experiment.save_every == 0:
            append_lines(history, rows)
            rows.clear()
            kept = None if average is None else average.state
            inner = getattr(optimizer, "optimizer", optimizer)
            save_state(output / "states", state, network, kept, inner, experiment.keep)
        accelerator.wait_for_everyone()
        if stop:
            break
    bar.close()

    # ---- the end
    if accelerator.is_main_process:
        draw_curves(output)
        seconds = time.perf_counter() - begun
        seen = (state.step - first_step) * experiment.batch
        print(
            f"\n{experiment.name}: {state.step} of {steps} steps, {seen} pictures in {seconds:.0f} s "
            f"({seen / max(seconds, 1e-9):.1f} img/s)"
        )
        if found is not None:
            print(f"validation: {found}; best at step {state.best_step}")
        print(f"weights hash: {weights_hash(accelerator.unwrap_model(model))}\nin {output}")
    accelerator.end_training()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (ValueError, OSError) as error:
        print(f"train: {error}", file=sys.stderr)
        sys.exit(1)
