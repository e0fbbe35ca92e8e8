"""Train one experiment.

    accelerate launch train/train.py train/configs/smoke.py
    accelerate launch train/train.py train/configs/plus_small_data.py --data photos --illuminants ccharmony
    accelerate launch train/train.py train/configs/raiha.py --data IH4 --lists R.jsonl --encoder-weights DVT

The command line says where things lie; all that changes the result stands in the config, but for --start,
of which the weights say that it was given. A run that was stopped, by whatever, goes on when the same
command is given again with --resume.
"""

import argparse
import csv
import json
import os
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import DistributedDataParallelKwargs, ProjectConfiguration, parse_flag_from_env
from torch import Tensor, nn
from tqdm import tqdm

from raiha_core.durable import append_lines, write_text
from raiha_core.models.presets import PRESETS

from ..data.feed import prefetch
from ..data.training_data import TrainingData, open_training_data
from ..experiment import Experiment, load_stages, setting_differences, up_to_date
from ..seeds import generator
from .curves import draw_curves
from .objective import Objective
from .preview import dry_run, write_samples
from .provenance import begin_with, check_same_start, git_revision, is_trained, write_weights
from .schedule import Average, rate_factor
from .state import LoopState, load_state, save_state, weights_hash, whole_states
from .validation import content_of, validate

HISTORY, VALIDATIONS, LAST = "history.csv", "validation.jsonl", "last.safetensors"
HISTORY_COLUMNS = ("step", "loss", "learning_rate")


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Train one experiment; every setting but --start stands in its config.",
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
    parser.add_argument("--encoder-weights", type=Path, help="file or folder, where the encoder needs one")
    parser.add_argument("--output", type=Path, help="where the run lives (default: runs/NAME)")
    parser.add_argument("--cache", type=Path, help="where decoded photos are kept (default: OUTPUT/../cache)")
    parser.add_argument(
        "--start",
        type=Path,
        help="begin with these weights, whatever they were trained on, and not with an earlier stage's",
    )
    parser.add_argument("--resume", action="store_true", help="go on from the newest whole state")
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be done, and draw the first batch"
    )
    parser.add_argument("--tracker", default="tensorboard", help="of Accelerate, or 'none'")
    return parser.parse_args(argv)


def make_optimizer(objective: nn.Module, experiment: Experiment) -> torch.optim.Optimizer:
    """Adam or AdamW; pretrained weights, where there are any, in a group of their own."""
    settings = experiment.optimisation
    named = [(name, p) for name, p in objective.named_parameters() if p.requires_grad]
    pretrained = "network.backbone."
    groups = [
        {"params": [p for name, p in named if not name.startswith(pretrained)], "factor": 1.0},
        {
            "params": [p for name, p in named if name.startswith(pretrained)],
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


def truncate_history(path: Path, step: int) -> None:
    """Drop the rows of steps that a resumed run will do again."""
    if path.is_file():
        with path.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.reader(file) if row and row[0] != "step" and int(row[0]) <= step]
    else:
        rows = []
    write_text(path, "\n".join(",".join(row) for row in [list(HISTORY_COLUMNS), *rows]) + "\n")


def truncate_validations(path: Path, step: int) -> None:
    """The same for validation.jsonl; a torn last line goes too."""
    if path.is_file():
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
        write_text(path, "".join(f"{line}\n" for line in lines if json.loads(line)["step"] <= step))


def check_resume(
    found: list[Path], experiment: Experiment, sources: TrainingData, arguments: argparse.Namespace
) -> None:
    """Raises: ValueError where a run is already there and --resume was not given, or it is another run."""
    if not arguments.resume:
        raise ValueError(
            f"{found[-1].parent} holds a run already: give --resume to go on, or another --output"
        )
    stored = json.loads((found[-1] / "state.json").read_text(encoding="utf-8"))
    if other := setting_differences(up_to_date(stored["experiment"]), experiment.to_json()):
        raise ValueError(f"{found[-1].parent} was begun with another config: {'; '.join(other)}")
    if stored["data"] != sources.fingerprint:
        raise ValueError(
            f"{found[-1].parent} was begun on other data: {stored['data']} != {sources.fingerprint}"
        )
    if stored["processes"] != PartialState().num_processes:
        print(
            f"train: begun with {stored['processes']} processes, now {PartialState().num_processes}: "
            "the same pictures, but sums round differently",
            file=sys.stderr,
        )


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


def main(argv: list[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    git_revision()  # now: the checkout may move on while the run goes on
    *earlier, last = load_stages(arguments.config)
    if arguments.start is not None and not arguments.start.is_file():
        raise ValueError(f"there are no weights {arguments.start}")
    output = arguments.output or Path("runs") / last.name
    folders = [output.parent / stage.name for stage in earlier]
    if output in folders:
        raise ValueError(
            f"{output} is where an earlier stage of '{last.name}' belongs: give another --output"
        )
    begun = whole_states(output / "states")
    if begun and not (arguments.resume or arguments.dry_run):
        raise ValueError(
            f"{output / 'states'} holds a run already: give --resume to go on, or another --output"
        )
    start: Path | None = arguments.start
    if start is None:
        for stage, folder in zip(earlier, folders, strict=True):
            if not begun and not is_trained(folder / LAST, stage):
                run(stage, folder, start, arguments)
            start = folder / LAST
    # once: it ends what the processes share, too
    run(last, output, start, arguments).end_training()
    return 0


def run(
    experiment: Experiment, output: Path, start: Path | None, arguments: argparse.Namespace
) -> Accelerator:
    """Train one experiment in its folder.

    Args: start: weights to begin with, unless the run has begun; a dry run of what makes them leaves none.
    """
    # ---- settings
    settings = experiment.optimisation
    tracker = None if arguments.tracker == "none" or arguments.dry_run else arguments.tracker
    if experiment.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)

    # ---- model
    torch.manual_seed(experiment.seed)
    network = PRESETS[experiment.preset].build(config=experiment.network)
    objective = Objective(network, experiment)
    accelerator = make_accelerator(experiment, output, tracker)
    accumulation = accelerator.gradient_accumulation_steps
    per_step = accumulation * accelerator.num_processes
    main_process = accelerator.is_main_process

    # ---- data
    sources = open_training_data(
        experiment,
        data=arguments.data,
        illuminants=arguments.illuminants,
        lists=arguments.lists,
        encoder_weights=arguments.encoder_weights,
        cache=arguments.cache or output.parent / "cache",
        device=accelerator.device,
        first=accelerator,
    )
    feed, held_out, encoder = sources.training, sources.validation, sources.encoder
    steps = experiment.steps or max(1, round(experiment.epochs * len(feed) / experiment.batch))
    if arguments.dry_run:
        if main_process:
            dry_run(experiment, network, sources, steps, output)
            if arguments.start or experiment.start:
                print(f"begins with the weights of {arguments.start or experiment.start}")
        return accelerator

    # ---- resume
    states = whole_states(output / "states")
    known = None if arguments.start else sources.fingerprint
    begun_with = "" if start is None or states else begin_with(network, start, known)
    objective.to(accelerator.device)
    optimizer = make_optimizer(objective, experiment)
    average = Average(network, settings.ema) if settings.ema else None
    state = LoopState(
        experiment=experiment.to_json(),
        data=sources.fingerprint,
        processes=accelerator.num_processes,
        start=begun_with,
    )
    if states:
        check_resume(states, experiment, sources, arguments)
        state = load_state(states[-1], objective, None if average is None else average.state, optimizer)
        if arguments.start:
            check_same_start(arguments.start, state.start)
    if main_process:
        output.mkdir(parents=True, exist_ok=True)
        truncate_history(output / HISTORY, state.step)
        truncate_validations(output / VALIDATIONS, state.step)
        write_text(output / "config.json", json.dumps(experiment.to_json(), indent=1) + "\n")
    if tracker is not None:
        accelerator.init_trackers(experiment.name)
    if experiment.compile:
        network.compile()
    model, prepared = accelerator.prepare(objective, optimizer)
    if accelerator.scaler is not None and state.scaler:
        accelerator.scaler.load_state_dict(state.scaler)

    def assess() -> None:
        """Validate the averaged weights, write them where they are the best, and draw samples."""
        nonlocal state
        if average is not None:
            average.exchange(network)
        found = validate(network, held_out, experiment.validation_pictures, encoder)
        tqdm.write(f"step {state.step}: {found}")
        append_lines(output / VALIDATIONS, [json.dumps({"step": state.step, **asdict(found)})])
        if tracker is not None:
            accelerator.log({f"validation/{k}": v for k, v in asdict(found).items()}, step=state.step)
        if state.step and found.fmse < state.best_score:
            state = replace(state, best_score=found.fmse, best_step=state.step)
            write_weights(output / "best.safetensors", network, experiment, sources, state, found)
        if state.step == steps:
            write_weights(output / LAST, network, experiment, sources, state, found)
        if state.step == steps or (state.step and state.step % experiment.sample_every == 0):
            write_samples(network, held_out, encoder, output / f"samples_{state.step:08d}.png")
        if average is not None:
            average.exchange(network)

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
        disable=not (main_process and sys.stderr.isatty()),
    )
    losses: list[Tensor] = []
    rows: list[str] = []
    if main_process and state.step == 0:
        assess()
    model.train()
    for k, raw in prefetch(feed, numbers):
        batch = feed.finish(raw, k)
        seed = generator("network", experiment.seed, k).initial_seed()
        torch.manual_seed(seed)  # dropout
        rate = set_rate(optimizer, state.step, steps, experiment)
        with accelerator.accumulate(model):
            content = content_of(network, batch, encoder)
            with accelerator.autocast():
                loss, _ = model(batch, content, torch.Generator(accelerator.device).manual_seed(seed))
            norm = loss.detach()
            accelerator.backward(loss)
            losses.append(loss.detach())
            if accelerator.sync_gradients:
                limit = settings.clip or float("inf")
                norm = accelerator.clip_grad_norm_(model.parameters(), limit)
            # fp16 finds overflowing gradients by itself, and skips the step
            checked = loss if experiment.precision == "fp16" else loss + norm
            if not torch.isfinite(checked):
                raise ValueError(
                    f"the loss is {loss.item()} and its gradient's norm {float(norm)} at step {state.step}, "
                    f"micro-batch {k}, pictures {', '.join(batch.ids[:8])}; "
                    f"the last good state is kept in {output / 'states'}"
                )
            prepared.step()
            prepared.zero_grad()
        if not accelerator.sync_gradients:
            continue
        state = replace(state, step=state.step + 1)
        if average is not None:
            average.update(network, state.step)
        value = float(accelerator.gather(torch.stack(losses).mean()[None]).mean())
        losses.clear()
        rows.append(f"{state.step},{value!r},{rate!r}")
        bar.update(experiment.batch)
        bar.set_postfix(loss=f"{value:.4f}")
        if tracker is not None:
            accelerator.log({"loss": value, "learning_rate": rate}, step=state.step)
        last = state.step == steps
        if main_process and (last or state.step % experiment.validate_every == 0):
            assess()
        if main_process and (last or state.step % experiment.save_every == 0):
            append_lines(output / HISTORY, rows)
            rows.clear()
            if accelerator.scaler is not None:
                state = replace(state, scaler=accelerator.scaler.state_dict())
            kept = None if average is None else average.state
            save_state(output / "states", state, objective, kept, optimizer, experiment.keep)
            if last or state.step % experiment.validate_every == 0:
                draw_curves(output)
        if last or state.step % min(experiment.validate_every, experiment.save_every) == 0:
            accelerator.wait_for_everyone()
    bar.close()

    # ---- the end
    if main_process:
        seconds = time.perf_counter() - begun
        seen = (state.step - first_step) * experiment.batch
        print(
            f"\n{experiment.name}: {state.step} of {steps} steps, {seen} pictures in {seconds:.0f} s "
            f"({seen / max(seconds, 1e-9):.1f} img/s)"
        )
        print(validation_table(output / VALIDATIONS))
        print(f"best: step {state.best_step}, fMSE {state.best_score:.1f}")
        print(f"weights hash: {weights_hash(network)}\nin {output}")
    for log in accelerator.trackers:
        log.finish()
    return accelerator


def validation_table(path: Path) -> str:
    """The validations of a run, a line each; the last ten."""
    columns = ("step", "fmse", "fmse_composite", "fpsnr", "fpsnr_composite", "better")
    lines = ["".join(f"{name:>17}" for name in columns)]
    for line in path.read_text(encoding="utf-8").splitlines()[-10:]:
        row = json.loads(line)
        lines.append(
            "".join(f"{row[name]:>17.2f}" if name != "step" else f"{row[name]:>17}" for name in columns)
        )
    return "\n".join(lines)
