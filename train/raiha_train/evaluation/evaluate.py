"""Score a harmonizer, or a folder of another method's outputs, over a data set.

    python train/evaluate.py --data iHarmony4 --model statistics --protocol A --out runs/statistics_A
    python train/evaluate.py --data iHarmony4 --predictions outputs/PCTNet --protocol C --out runs/pctnet_C

A run that was stopped goes on where it was when the same command is given again.
"""

import argparse
import csv
import io
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from raiha_core import __version__
from raiha_core.data.item import Triple, missing_files
from raiha_core.data.layout import read_root
from raiha_core.data.raharmony4 import Listed, read_references
from raiha_core.durable import write_text
from raiha_core.features.encoders import build_encoder
from raiha_core.harmonizer import NetworkHarmonizer

from ..command import command_parser, exit_code
from . import run_settings
from .belief_log import BELIEF_LOG, BELIEF_PARTS, mean_belief
from .colour_matching import load_model
from .compare_runs import compare_runs
from .listed_references import ListedReferences
from .plan import UNTOUCHED, ScoringPlan, plan_with, plan_without
from .prediction_folder import PredictionFolder, index
from .predictors import (
    FolderPredictor,
    ModelPredictor,
    NoPredictor,
    Predictor,
    is_the_authors,
    weights_file,
)
from .protocols import DESCRIPTIONS, PROTOCOLS, Protocol
from .score_log import PAIRS_LOG, SCORES, append_pairs, drop_torn_line, read_pairs
from .scoring import evaluate
from .summary import Table, headline_rows, summarise
from .tables import report


def make_parser() -> argparse.ArgumentParser:
    parser = command_parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="iHarmony4, or composite/, mask/, real/")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--model", help="preset, shipped weights, .safetensors file, 'composite', 'mkl' or 'mkl-half'"
    )
    source.add_argument("--predictions", type=Path, help="folder of outputs, found by file name")
    parser.add_argument(
        "--suffix", default="", help="what stands in predictions' names after the composite's"
    )
    parser.add_argument("--list", type=Path, help="list of composites (default IHD_test.txt)")
    parser.add_argument("--references", type=Path, help="RAHarmony4 list; its items are scored")
    parser.add_argument("--seeds", type=int, default=5, help="runs of random references (default 5)")
    parser.add_argument("--encoder", default="lite0", help="matches references for models without a spec")
    parser.add_argument(
        "--encoder-weights",
        type=Path,
        metavar="FOLDER",
        help="of the encoder: a file or a folder (default: RAIHA_ENCODER_WEIGHTS, then the models' folder)",
    )
    parser.add_argument("--protocol", choices=PROTOCOLS, default="A", help="default A; see protocols in docs")
    parser.add_argument("--b-size", type=int, default=256, help="B: side of the JPEG copies (256)")
    parser.add_argument("--b-kernel", choices=("linear", "cubic"), default="linear", help="B: their kernel")
    parser.add_argument("--strength", type=float, default=1.0)
    parser.add_argument(
        "--rendering",
        choices=("authors", "ours"),
        help="of a published network at full size: as its authors do, which their figures come from and is "
        "the default for their weights, or as we do",
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch-size", type=int, default=16, help="pictures per forward, not on CPU (16)")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 2, help="threads that decode and score"
    )
    parser.add_argument("--allow-missing", action="store_true", help="score what is there, and say so")
    parser.add_argument("--overwrite", action="store_true", help="start anew in a used folder")
    parser.add_argument("--compare", type=Path, help="folder of another run, compared image by image")
    parser.add_argument("--no-plots", action="store_true")
    parser.add_argument("--quiet", action="store_true", help="do not print the report")
    return parser


@dataclass(frozen=True, kw_only=True, slots=True)
class Setup:
    """What a run works on, after every check that needs no decoding."""

    items: list[Triple]
    listed: list[Listed] | None
    plan: ScoringPlan
    protocol: Protocol
    notes: list[str]  # for the header: what was left out


def _present(items: list[Triple], allow_missing: bool, notes: list[str]) -> list[Triple]:
    lacking = missing_files(items)
    if not lacking:
        return items
    first = lacking[0][0].root / lacking[0][1]
    text = f"{len(lacking)} of {len(items)} items lack a file, the first is '{first}'"
    if not allow_missing:
        raise ValueError(f"{text}. --allow-missing scores the rest")
    notes.append(f"left out: {text}")
    gone = {item.id for item, _ in lacking}
    rest = [item for item in items if item.id not in gone]
    if not rest:
        raise ValueError(f"nothing is left to score: {text}")
    return rest


def _present_references(
    root: Path, listed: list[Listed], items: list[Triple], allow_missing: bool, notes: list[str]
) -> list[Listed]:
    """Entries of the scored items with the references that exist; entries without any are dropped."""
    wanted = {item.composite for item in items}
    listed = [entry for entry in listed if entry.input in wanted]
    paths = {ref for entry in listed for ref in entry.refs}
    gone = {ref for ref in paths if not (root / ref).is_file()}
    if not gone:
        return listed
    text = f"{len(gone)} of {len(paths)} references are missing, the first is '{root / min(gone)}'"
    if not allow_missing:
        raise ValueError(f"{text}. --allow-missing scores the rest")
    kept = [
        Listed(input=e.input, mask=e.mask, refs=refs)
        for e in listed
        if (refs := tuple(ref for ref in e.refs if ref not in gone))
    ]
    notes.append(f"left out: {text}; {len(listed) - len(kept)} of {len(listed)} items keep none")
    return kept


def prepare_run(arguments: argparse.Namespace) -> tuple[Setup, PredictionFolder | None]:
    """Lists, files and folders, checked. Raises: ValueError that says what is missing and which first."""
    for name in ("seeds", "batch_size", "workers"):
        if getattr(arguments, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be at least 1, got {getattr(arguments, name)}")
    if arguments.references and (arguments.predictions or arguments.model == "composite"):
        raise ValueError("--references guide a model; give them together with one (or use --list)")
    protocol = Protocol(name=arguments.protocol, size=arguments.b_size, kernel=arguments.b_kernel)
    notes: list[str] = []
    items = read_root(arguments.data, arguments.references or arguments.list)
    items = _present(items, arguments.allow_missing, notes)
    listed = None
    if arguments.references:
        path = arguments.data / arguments.references
        listed = read_references(path if path.is_file() else arguments.references)
        listed = _present_references(arguments.data, listed, items, arguments.allow_missing, notes)
    folder = None
    if arguments.predictions:
        folder = index(
            arguments.predictions,
            items,
            protocol,
            suffix=arguments.suffix,
            allow_missing=arguments.allow_missing,
        )
        notes += [f"predictions: {note}" for note in folder.notes]
        items = [item for item in items if item.id in folder.files]
    if arguments.model == "composite":
        plan = ScoringPlan(variants={})
    elif listed is not None:
        plan = plan_with(items, listed, arguments.seeds)
    else:
        plan = plan_without(items)
    return Setup(items=items, listed=listed, plan=plan, protocol=protocol, notes=notes), folder


def make_source(arguments: argparse.Namespace, setup: Setup, folder: PredictionFolder | None) -> Predictor:
    if folder is not None:
        return FolderPredictor(folder)
    if arguments.model == "composite":
        return NoPredictor()
    device = torch.device(arguments.device)
    harmonizer = load_model(arguments.model, device)
    listed = encoder = None
    reads = isinstance(harmonizer, NetworkHarmonizer) and harmonizer.needs.content_without_references
    if setup.listed or reads:
        name = harmonizer.spec.encoder if harmonizer.spec else arguments.encoder
        encoder = build_encoder(name, weights=arguments.encoder_weights, device=device)
    if setup.listed:
        assert encoder is not None
        listed = ListedReferences(arguments.data, encoder)
    exact = is_the_authors(harmonizer) if arguments.rendering is None else arguments.rendering == "authors"
    beliefs = arguments.out / BELIEF_LOG
    strength = arguments.strength
    return ModelPredictor(harmonizer, device, strength, listed, beliefs, exact=exact, encoder=encoder)


def rendering_of(source: Predictor) -> str:
    """How full size is rendered; "" where nothing is."""
    return ("authors" if source.exact else "ours") if isinstance(source, ModelPredictor) else ""


def make_settings(
    arguments: argparse.Namespace, setup: Setup, folder: PredictionFolder | None, rendering: str
) -> run_settings.Settings:
    model, weights = arguments.model or "predictions", ""
    if folder is not None:
        weights = folder.digest()
    elif path := weights_file(model):
        weights = run_settings.weights_digest(path)
    listed = setup.listed
    return run_settings.Settings(
        protocol=str(setup.protocol),
        model=model,
        model_digest=weights,
        strength=arguments.strength,
        rendering=rendering,
        items=run_settings.digest_of(item.composite for item in setup.items),
        references="" if listed is None else run_settings.digest_of(entry.to_line() for entry in listed),
        seeds=0 if listed is None else arguments.seeds,
        encoder="" if listed is None else arguments.encoder,
        code=run_settings.code_digest(),
    )


def score_all(arguments: argparse.Namespace, setup: Setup, source: Predictor, log: Path) -> Table:
    """Score what the log does not hold yet; unreadable triples are an error or, if allowed, a note."""
    drop_torn_line(log)
    table = read_pairs(log)
    references = {item.id: [UNTOUCHED, *setup.plan.references(item.id)] for item in setup.items}
    todo = [i for i in setup.items if any((i.id, ref) not in table for ref in references[i.id])]
    bar = tqdm(
        evaluate(todo, setup.protocol, source, setup.plan, arguments.workers, arguments.batch_size),
        total=len(setup.items),
        initial=len(setup.items) - len(todo),
        unit="image",
        disable=not sys.stderr.isatty(),
    )
    problems = []
    for outcome in bar:
        if outcome.problem:
            if not arguments.allow_missing:
                raise ValueError(f"{outcome.problem}. --allow-missing scores the rest")
            problems.append(outcome.problem)
            continue
        append_pairs(log, outcome.rows)
        table |= {(row.id, row.reference): row for row in outcome.rows}
    if problems:
        setup.notes.append(f"left out: {len(problems)} items cannot be scored, the first: {problems[0]}")
    if not table:
        raise ValueError("no item could be scored")
    return table


def write_per_image(path: Path, table: Table, setup: Setup, order: Sequence[str]) -> None:
    """The headline's scores: `id, subset, mse, psnr, fmse, fpsnr, ssim, foreground_ratio`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["id", "subset", *SCORES])
    for row, scores in headline_rows(table, setup.plan, order):
        writer.writerow([row.id, row.subset, *(f"{scores[m]:.8g}" for m in SCORES)])
    write_text(path, text.getvalue())


def scored_ids(run_folder: Path) -> list[str]:
    """Ids of a finished run's `per_image.csv`, in order."""
    with open(run_folder / "per_image.csv", newline="", encoding="utf-8") as file:
        return [row["id"] for row in csv.DictReader(file)]


def title_of(arguments: argparse.Namespace) -> str:
    if arguments.predictions:
        return f"Predictions of {arguments.predictions.name}"
    return f"Model {Path(arguments.model).stem if weights_file(arguments.model) else arguments.model}"


def run(arguments: argparse.Namespace) -> dict[str, object]:
    """One evaluation from arguments to files. Returns: what `scores.json` holds."""
    setup, folder = prepare_run(arguments)
    source = make_source(arguments, setup, folder)
    rendering = rendering_of(source)
    settings = make_settings(arguments, setup, folder, rendering)
    run_settings.claim(arguments.out, asdict(settings), arguments.overwrite, [PAIRS_LOG, BELIEF_LOG])
    table = score_all(arguments, setup, source, arguments.out / PAIRS_LOG)
    order = [item.id for item in setup.items]
    write_per_image(arguments.out / "per_image.csv", table, setup, order)
    summary = summarise(table, setup.plan, order)
    result: dict[str, object] = {
        "raiha": __version__,
        "title": title_of(arguments),
        "protocol": str(setup.protocol),
        "protocol_description": DESCRIPTIONS[setup.protocol.name],
        "model": arguments.model or "predictions",
        "rendering": rendering,
        "items": len(setup.items),
        "left_out": setup.notes,
        **summary,
    }
    notes = list(setup.notes)
    if rendering == "authors":
        notes.append("inside the mask rendered as the network's authors render, as their figures were made")
    if belief := mean_belief(arguments.out / BELIEF_LOG):
        result["belief"] = belief
        parts = ", ".join(f"{name} {belief[name]:.1%}" for name in BELIEF_PARTS)
        notes.append(f"References were followed, of the way to what they show: {parts} on average.")
    if arguments.compare:
        result["comparison"] = compare_runs(arguments.compare, arguments.out)
    page = report(summary, title_of(arguments), setup.protocol, notes)
    write_text(arguments.out / "report.md", page)
    write_text(arguments.out / "scores.json", json.dumps(result, indent=1) + "\n")
    if not arguments.no_plots:
        from .plots import write_plots  # matplotlib takes a second to import
        from .sheets import write_sheets

        write_plots(arguments.out, table, setup.plan, order, title_of(arguments), str(setup.protocol))
        write_sheets(arguments.out, setup.items, setup.protocol, source, table, setup.plan)
    if not arguments.quiet:
        print(page)
        if arguments.compare:
            print(json.dumps(result["comparison"], indent=1))
    return result


def main(argv: Sequence[str] | None = None) -> int:
    arguments = make_parser().parse_args(argv)
    kept = "finished images are kept, the same command goes on"
    return exit_code("evaluate", lambda: run(arguments), kept=kept)
