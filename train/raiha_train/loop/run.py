"""One run: what it begins with, its steps, and what it leaves in its folder."""

import argparse
import json
import math
import os
import sys
import time
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor
from tqdm import tqdm

from raiha_core import checkpoint
from raiha_core.durable import append_lines, make_folder, write_text
from raiha_core.gallery.lock import writer_lock
from raiha_core.models.network import Network
from raiha_core.models.presets import PRESETS
from raiha_core.value_reading import unread

from ..data.feed import prefetch, with_waits
from ..data.training_data import TrainingData, open_training_data
from ..experiment import Experiment
from ..seeds import generator
from .curves import draw_curves
from .history import (
    HISTORY,
    VALIDATIONS,
    history_row,
    peak_mib,
    truncate_history,
    truncate_validations,
    validation_table,
)
from .objective import Objective
from .optimizer import make_optimizer, set_rate
from .preview import dry_run, write_samples
from .processes import make_accelerator
from .provenance import begin_with, check_same_start, write_weights
from .schedule import Average
from .state import LoopState, check_resume, load_state, save_state, weights_hash, whole_states
from .stopping import StopRequest, listening
from .tracking import facts, log_picture
from .validation import content_of, validate

LAST, BEST, STATES, LOCK = "last.safetensors", "best.safetensors", "states", "run.lock"


def run(
    experiment: Experiment, output: Path, start: Path | None, arguments: argparse.Namespace
) -> Accelerator:
    """Train one experiment in its folder, as the only one that does.

    Args: start: weights to begin with, unless the run has begun; a dry run of what makes them leaves none.
    Raises: ValueError where another training writes into this folder.
    """
    if experiment.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    tracker = None if arguments.tracker == "none" or arguments.dry_run else arguments.tracker
    torch.manual_seed(experiment.seed)
    network = PRESETS[experiment.preset].build(config=experiment.network)
    objective = Objective(network, experiment)
    accelerator = make_accelerator(experiment, output, tracker)
    if experiment.compile and accelerator.device.type == "cpu":
        raise ValueError(
            "compile pays on a GPU: on the CPU compiling takes longer than it saves; set compile=false"
        )
    data = open_training_data(
        experiment,
        data=arguments.data,
        illuminants=arguments.illuminants,
        lists=arguments.lists,
        encoder_weights=arguments.encoder_weights,
        cache=arguments.cache or output.parent / "cache",
        device=accelerator.device,
        first=accelerator,
        look=arguments.dry_run,
    )
    steps = experiment.steps or max(1, round(experiment.epochs * len(data.training) / experiment.batch))
    if arguments.dry_run:
        if accelerator.is_main_process:
            dry_run(experiment, network, data, steps, output)
            if arguments.start or experiment.start:
                print(f"begins with the weights of {arguments.start or experiment.start}")
        return accelerator
    with ExitStack() as held:
        if accelerator.is_main_process:
            make_folder(output)
            held.enter_context(writer_lock(output / LOCK, "the run in"))
        begun = Run(experiment, output, objective, accelerator, data, steps)
        begun.begin(start, arguments)
        if experiment.loss.teaches and start is not None:
            objective.learn_from(checkpoint.load(start).network, accelerator.device)
        if tracker is not None:
            accelerator.init_trackers(experiment.name, facts(experiment, accelerator, data.fingerprint))
        with listening() as request:
            begun.train(request)
    return accelerator


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """One step, as all processes know it."""

    loss: float  # mean over the micro-batches
    checked: float  # the same and the gradient's norm; no number where either is none
    stop: bool  # whether some process was asked to stop
    terms: dict[str, float]  # of the loss, in the main process' last micro-batch


class Run:
    """What one run works with, from its beginning or its newest state to its last step."""

    def __init__(
        self,
        experiment: Experiment,
        output: Path,
        objective: Objective,
        accelerator: Accelerator,
        data: TrainingData,
        steps: int,
    ) -> None:
        self.experiment, self.output, self.steps = experiment, output, steps
        self.objective, self.accelerator, self.data = objective, accelerator, data
        self.network: Network = objective.network
        objective.to(accelerator.device)
        self.optimizer = make_optimizer(objective, experiment)
        self.average: Average | None = None
        self.state = LoopState(
            experiment=experiment.to_json(), data=data.fingerprint, processes=accelerator.num_processes
        )

    # ---- the beginning

    def begin(self, start: Path | None, arguments: argparse.Namespace) -> None:
        """Fill weights and state from the newest whole state, else from `start`; keep what belongs to it.

        Raises: ValueError where the state or the weights are of another run, network or data.
        """
        states = whole_states(self.output / STATES)
        if start is not None and not states:
            known = None if arguments.start else self.data.fingerprint
            self.state = replace(self.state, start=begin_with(self.network, start, known))
        if ema := self.experiment.optimisation.ema:
            self.average = Average(self.network, ema)
        if states:
            processes = self.accelerator.num_processes
            check_resume(
                states, self.experiment, self.data.fingerprint, processes=processes, allowed=arguments.resume
            )
            kept = None if self.average is None else self.average.state
            self.state = load_state(states[-1], self.objective, kept, self.optimizer)
            if arguments.start:
                check_same_start(arguments.start, self.state.start)
        if self.accelerator.is_main_process:
            truncate_history(self.output / HISTORY, self.state.step)
            truncate_validations(self.output / VALIDATIONS, self.state.step)
            write_text(self.output / "config.json", json.dumps(self.experiment.to_json(), indent=1) + "\n")

    def numbers(self) -> list[int]:
        """The micro-batches that are this process's share of the steps to come, in order."""
        accelerator = self.accelerator
        turns = accelerator.gradient_accumulation_steps
        per_step = turns * accelerator.num_processes
        return [
            step * per_step + turn * accelerator.num_processes + accelerator.process_index
            for step in range(self.state.step, self.steps)
            for turn in range(turns)
        ]

    # ---- the loop

    def train(self, request: StopRequest) -> None:
        """All steps that are left, then the report.

        Raises: ValueError where the loss is no number, or after saving where the run was asked to stop.
        """
        experiment, accelerator, feed = self.experiment, self.accelerator, self.data.training
        if experiment.compile:
            self.network.compile()
        model, optimizer = accelerator.prepare(self.objective, self.optimizer)
        if accelerator.scaler is not None and self.state.scaler:
            accelerator.scaler.load_state_dict(self.state.scaler)
        begun, first_step = time.perf_counter(), self.state.step
        bar = tqdm(
            total=self.steps * experiment.batch,
            initial=self.state.step * experiment.batch,
            unit="img",
            disable=not (accelerator.is_main_process and sys.stderr.isatty()),
        )
        losses: list[Tensor] = []
        pictures: list[tuple[int, tuple[str, ...]]] = []  # of the step: micro-batches and their ids
        rows: list[str] = []
        if accelerator.is_main_process and self.state.step == 0:
            self.assess()
        model.train()
        waited, last = 0.0, time.perf_counter()
        for (k, raw), seconds in with_waits(prefetch(feed, self.numbers())):
            waited += seconds
            seed = generator("network", experiment.seed, k).initial_seed()
            torch.manual_seed(seed)  # dropout
            rate = set_rate(self.optimizer, self.state.step, self.steps, experiment)
            with accelerator.accumulate(model):
                with self.trusting():
                    batch = feed.finish(raw, k)
                    content = content_of(self.network, batch, self.data.encoder)
                with accelerator.autocast(), self.trusting():
                    loss, terms = model(batch, content, torch.Generator(accelerator.device).manual_seed(seed))
                norm = loss.detach()
                accelerator.backward(loss)
                losses.append(loss.detach())
                if accelerator.sync_gradients:
                    limit = experiment.optimisation.clip or float("inf")
                    norm = accelerator.clip_grad_norm_(model.parameters(), limit)
                optimizer.step()
                optimizer.zero_grad()
            pictures.append((k, batch.ids))
            if not accelerator.sync_gradients:
                continue
            told = self.read_step(losses, norm, terms, request)
            if not math.isfinite(told.checked):
                raise ValueError(self.what_broke(losses, pictures, told))
            self.state = replace(self.state, step=self.state.step + 1)
            if self.average is not None:
                self.average.update(self.network, self.state.step)
            losses.clear()
            pictures.clear()
            now, memory = time.perf_counter(), peak_mib(accelerator.device)
            rows.append(history_row(self.state.step, told.loss, rate, now - last, waited, memory))
            bar.update(experiment.batch)
            bar.set_postfix(loss=f"{told.loss:.4f}")
            if accelerator.trackers:
                parts = {f"terms/{name}": term for name, term in told.terms.items()}
                parts |= {"time/step": now - last, "time/data_wait": waited, "memory/peak_mib": memory}
                accelerator.log({"loss": told.loss, "learning_rate": rate, **parts}, step=self.state.step)
            waited, last = 0.0, now
            self.keep(rows)
            if told.stop and self.state.step < self.steps:
                self.stop(rows)
        bar.close()
        if accelerator.is_main_process:
            self.report(time.perf_counter() - begun, self.state.step - first_step)
        for log in accelerator.trackers:
            log.finish()

    def trusting(self) -> AbstractContextManager[None]:
        """On a GPU the batch, which the feed made, is not looked at again: each look would wait for it."""
        return nullcontext() if self.accelerator.device.type == "cpu" else unread()

    def read_step(
        self, losses: list[Tensor], norm: Tensor, terms: dict[str, Tensor], request: StopRequest
    ) -> "Told":
        """What the processes must know of a step, in the one moment in which they wait for the device."""
        mean = torch.stack(losses).mean()
        # fp16 finds overflowing gradients by itself, and skips the step
        checked = mean if self.experiment.precision == "fp16" else mean + norm
        stop = mean.new_full((), float(request.asked))
        row = torch.stack([x.detach().float() for x in (mean, checked, stop, *terms.values())])
        found = self.accelerator.gather(row[None]).cpu()  # (processes, numbers)
        return Told(
            loss=float(found[:, 0].mean()),
            checked=float(found[:, 1].mean()),
            stop=bool(found[:, 2].any()),
            terms=dict(zip(terms, found[0, 3:].tolist(), strict=True)),
        )

    def what_broke(
        self, losses: list[Tensor], pictures: list[tuple[int, tuple[str, ...]]], told: "Told"
    ) -> str:
        """Which micro-batch has a loss that is no number; the last of the step where its gradient is none."""
        bad = [i for i, loss in enumerate(losses) if not torch.isfinite(loss)]
        k, ids = pictures[bad[0] if bad else -1]
        loss = float(losses[bad[0] if bad else -1])
        return (
            f"the loss is {loss} and with its gradient's norm {told.checked} at step {self.state.step}, "
            f"micro-batch {k}, pictures {', '.join(ids[:8])}; "
            f"the last good state is kept in {self.output / STATES}"
        )

    def due(self, every: int) -> bool:
        """Whether something that happens every so many steps, and after the last, is to be done now."""
        return self.state.step == self.steps or (self.state.step > 0 and self.state.step % every == 0)

    def keep(self, rows: list[str]) -> None:
        """Validate and save where it is time to; `rows` of the history are written with the state."""
        experiment, accelerator = self.experiment, self.accelerator
        if accelerator.is_main_process and self.due(experiment.validate_every):
            self.assess()
        if accelerator.is_main_process and self.due(experiment.save_every):
            self.save(rows)
            if self.due(experiment.validate_every):
                draw_curves(self.output)
        if self.due(min(experiment.validate_every, experiment.save_every)):
            accelerator.wait_for_everyone()

    def save(self, rows: list[str]) -> None:
        """Write the state of this step, and the rows of the history up to it."""
        append_lines(self.output / HISTORY, rows)
        rows.clear()
        if self.accelerator.scaler is not None:
            self.state = replace(self.state, scaler=self.accelerator.scaler.state_dict())
        kept = None if self.average is None else self.average.state
        save_state(
            self.output / STATES, self.state, self.objective, kept, self.optimizer, self.experiment.keep
        )

    def stop(self, rows: list[str]) -> None:
        """Save, and end as whoever sent SIGTERM wants it. Raises: ValueError saying where the run stands."""
        if self.accelerator.is_main_process and not self.due(self.experiment.save_every):
            self.save(rows)
        self.accelerator.wait_for_everyone()
        raise ValueError(
            f"asked to stop: saved after step {self.state.step} of {self.steps}; give --resume to go on"
        )

    def assess(self) -> None:
        """Validate the averaged weights, write them where they are the best, and draw samples."""
        network, state, data = self.network, self.state, self.data
        if self.average is not None:
            self.average.exchange(network)
        found = None
        if data.validation is not None:
            found = validate(network, data.validation, self.experiment.validation_pictures, data.encoder)
            tqdm.write(f"step {state.step}: {found}")
            append_lines(self.output / VALIDATIONS, [json.dumps({"step": state.step, **asdict(found)})])
            self.accelerator.log({f"validation/{k}": v for k, v in asdict(found).items()}, step=state.step)
        if state.step and found is not None and found.fmse < state.best_score:
            state = self.state = replace(state, best_score=found.fmse, best_step=state.step)
            write_weights(self.output / BEST, network, self.experiment, data, state, found)
        if state.step == self.steps:
            write_weights(self.output / LAST, network, self.experiment, data, state, found)
        if self.due(self.experiment.sample_every):
            samples = self.output / f"samples_{state.step:08d}.png"
            write_samples(network, data.shown, data.encoder, samples)
            log_picture(self.accelerator, "samples", samples, state.step)
        if self.average is not None:
            self.average.exchange(network)

    # ---- the end

    def report(self, seconds: float, steps: int) -> None:
        """Print what was done in so many seconds and steps, and how good it is."""
        seen = steps * self.experiment.batch
        print(
            f"\n{self.experiment.name}: {self.state.step} of {self.steps} steps, {seen} pictures in "
            f"{seconds:.0f} s ({seen / max(seconds, 1e-9):.1f} img/s)"
        )
        if self.data.validation is None:
            print(f"nothing was held out, so no step is the best: {LAST} holds the last weights")
        else:
            print(validation_table(self.output / VALIDATIONS))
            print(f"best: step {self.state.best_step}, fMSE {self.state.best_score:.1f}")
        print(f"weights hash: {weights_hash(self.network)}\nin {self.output}")
