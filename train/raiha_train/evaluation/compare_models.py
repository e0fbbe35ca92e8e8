"""Every model on every set, beside the composite, the preset without weights and colour matching.

    python train/compare_models.py --sets dev_iharmony4=PATH held_out=PATH --models W.safetensors --out OUT

Scores come from evaluate.py, one folder per set, protocol and model; finished ones are not done again, and
those of other weights, pictures or code of the same name are an error, or done anew with --overwrite.
A set named like SET@C is scored under that protocol, else A. Differences are paired over pictures, in dB of
PSNR, with 95 % bootstrap intervals; better and worse count pictures that change by more than 0.1 dB.
Pictures whose composite *is* the truth have no decibels: their line says what error was brought in.
"""

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

from raiha_core.durable import write_text

from ..command import command_parser, exit_code
from ..prepare.make_held_out import ORDER
from . import evaluate
from .intervals import paired
from .summary import NOTICEABLE_DB, scene

BASES = ("composite", "statistics")
COLOUR_MATCHED = (
    "mkl",
    "mkl-half",
)  # what artists use today, all of it and half of the way: `colour_matching`

MetricsById = dict[str, dict[str, float]]


def run_scores(data: Path, protocol: str, model: str, out: Path, *, overwrite: bool = False) -> MetricsById:
    """Per picture what evaluate.py wrote, now or before. Raises: ValueError where it could not."""
    command = ["--data", str(data), "--model", model, "--protocol", protocol, "--out", str(out)]
    command += ["--quiet", "--no-plots", *(["--overwrite"] if overwrite else [])]
    if evaluate.main(command) != 0:
        raise ValueError(f"'{model}' could not be scored on {data}")
    with (out / "per_image.csv").open(newline="", encoding="utf-8") as file:
        return {
            row["id"]: {k: float(v) for k, v in row.items() if k not in ("id", "subset")}
            for row in csv.DictReader(file)
        }


def gain_cell(first: MetricsById, second: MetricsById, names: Sequence[str]) -> str:
    """'+1.23 [0.40, 2.10], 12/3/7': second minus first."""
    before, after = ([scores[name]["psnr"] for name in names] for scores in (first, second))
    found = paired(before, after, [scene(name) for name in names], same=NOTICEABLE_DB)
    interval = found.difference
    return (
        f"{interval.mean:+.2f} [{interval.low:+.2f}, {interval.high:+.2f}], "
        f"{found.above}/{found.same}/{found.below}"
    )


def mean(scores: MetricsById, names: Sequence[str], metric: str) -> float:
    return sum(scores[name][metric] for name in names) / len(names)


def families(names: Sequence[str]) -> dict[str, list[str]]:
    """Pictures of make_held_out.py by the family that their names begin with; {} for any other set."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(name.split("-", 1)[0], []).append(name)
    return found if set(found) <= set(ORDER) else {}


def set_table(title: str, scores: dict[str, MetricsById]) -> str:
    """One set's lines, and per family of composites where there are any."""
    composite, base = (scores[name] for name in BASES)
    names = [name for name in composite if composite[name]["mse"] > 0]
    still = [name for name in composite if composite[name]["mse"] == 0]
    lines = [
        f"### {title} (n = {len(names)})\n",
        "| model | MSE | PSNR | over the composite, dB, better/same/worse | over `statistics` |",
        "|---|---|---|---|---|",
    ]
    for model, found in scores.items():
        over = "" if model == "composite" else gain_cell(composite, found, names)
        beside = "" if model in BASES else gain_cell(base, found, names)
        numbers = f"{mean(found, names, 'mse'):.1f} | {mean(found, names, 'psnr'):.2f}"
        lines.append(f"| {model} | {numbers} | {over} | {beside} |")
    parts = families(names)
    if parts:
        lines += ["", f"| gain over the composite, dB | {' | '.join(parts)} |", f"|---|{'---|' * len(parts)}"]
        for model, found in scores.items():
            if model != "composite":
                cells = [mean(found, part, "psnr") - mean(composite, part, "psnr") for part in parts.values()]
                lines.append(f"| {model} | {' | '.join(f'{cell:+.2f}' for cell in cells)} |")
    if still:
        brought = [
            f"{model} {mean(found, still, 'fmse'):.0f}"
            for model, found in scores.items()
            if model != "composite"
        ]
        lines += ["", f"fMSE brought into {len(still)} composites that were right: {', '.join(brought)}."]
    return "\n".join(lines) + "\n"


def short_names(models: Sequence[str]) -> dict[str, str]:
    """Models by the name they have in tables and folders. Raises: ValueError naming two that share one."""
    short: dict[str, str] = {}
    for model in models:
        name = Path(model).stem if model.endswith(".safetensors") else model
        if name in short:
            raise ValueError(f"'{short[name]}' and '{model}' would share the name '{name}': rename one")
        short[name] = model
    return short


def compare(arguments: argparse.Namespace) -> None:
    """Score every model on every set, and write and print the tables."""
    pages = []
    models = short_names((*BASES, *COLOUR_MATCHED, *arguments.models))
    for entry in arguments.sets:
        name, _, path = entry.partition("=")
        name, _, protocol = name.partition("@")
        protocol = protocol or "A"
        scores = {}
        for short, model in models.items():
            folder = arguments.out / f"{name}_{protocol}_{short}"
            scores[short] = run_scores(Path(path), protocol, model, folder, overwrite=arguments.overwrite)
        pages.append(set_table(f"{name}, protocol {protocol}", scores))
    write_text(arguments.out / "comparison.md", "\n".join(pages))
    print("\n".join(pages))


def main(argv: Sequence[str] | None = None) -> int:
    parser = command_parser(__doc__)
    parser.add_argument("--sets", nargs="+", required=True, metavar="NAME[@PROTOCOL]=PATH")
    parser.add_argument("--models", nargs="*", default=[], help="weights, beside what is always there")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--overwrite", action="store_true", help="score again what is there already")
    arguments = parser.parse_args(argv)
    return exit_code("compare_models", lambda: compare(arguments))
