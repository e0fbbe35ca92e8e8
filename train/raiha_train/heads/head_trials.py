"""Ideas for what stands behind the trunk, at equal budget, beside the shipped head trained on as long.

    python train/head_trials.py --data GATHERED --illuminants CCHARMONY --genuine TRIPLES \\
        --retoucher sRGB --sets held_out=TRIPLES halves=TRIPLES --out OUT

The shipped trunk stays as it is: what heads read of composites is measured once and kept in OUT, in files
of some pictures, so a stopped run goes on when the same command is given again. `base` is the shipped head
trained further on --photos made composites; each idea changes one thing: `chosen` trains on recolourings
whose moments are those of --genuine (which are then no longer unseen), `rawness` reads what the lookup
tables in --retoucher would do to the picture, `kinds` the object's ImageNet classes and their colours,
`finer` the map at stride 8. --fill makes files for so many seconds and stops; --size is what the trunk is
shown. Differences to `base` are paired over pictures, means over --seeds, with 95 % bootstrap intervals.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from raiha_core.data.folder import is_triple_folder, read_triples
from raiha_core.data.iharmony4 import TEST_LIST, read_iharmony4
from raiha_core.data.item import Triple
from raiha_core.harmonizer import DEFAULT_MODEL, NetworkHarmonizer, load_harmonizer
from raiha_core.models.plus import Plus

from ..command import command_parser, exit_code
from ..data.feed import Feed
from ..data.training_data import open_training_data
from ..evaluation.intervals import bootstrap_mean
from ..experiment import Experiment, load_experiment
from .chosen_changes import tilt
from .composites import (
    LOOKED_AT,
    Readers,
    all_rows,
    candidate_moments,
    genuine_moments,
    make_chunks,
    read_set,
    recolourings,
)
from .kinds import ObjectClasses, kind_numbers
from .pooled import Pooled
from .rawness import Retoucher
from .trial import HeadBudget, harm, psnr_of, squared_errors, train_head

RECIPE = Path(__file__).resolve().parents[2] / "configs" / "plus_small_data.py"
FITTED_ON = 400  # photos whose recolourings the tilt is fitted on
WRONG = 1.0  # fMSE below which a composite was right already
Inputs = Callable[[Pooled], Tensor]  # what a trial's head reads beside the shipped one's inputs


class _OnlyOne:
    is_local_main_process = True


def recipe(size: int) -> Experiment:
    """The shipped weights' own composites, one picture at a time."""
    own = load_experiment(RECIPE)
    return replace(
        own, size=size, network=replace(own.network, size=size), batch=1, micro_batch=1, seed=4_000
    )


def open_feed(arguments: argparse.Namespace) -> Feed:
    data = open_training_data(
        recipe(arguments.size),
        data=arguments.data,
        illuminants=arguments.illuminants,
        lists=None,
        cache=arguments.cache or arguments.out / "cache",
        device=torch.device("cpu"),
        first=_OnlyOne(),
    )
    return data.training


def _triples(root: Path) -> list[Triple]:
    return read_triples(root) if is_triple_folder(root) else read_iharmony4(root, TEST_LIST)


def fitted_tilt(arguments: argparse.Namespace, feed: Feed) -> Tensor:
    """Made once, kept as text: the genuine moments, those of the first recolourings, the chosen ones'."""
    path = arguments.out / "tilt.pt"
    if path.is_file():
        return torch.load(path, weights_only=True)
    wanted = genuine_moments(_triples(arguments.genuine))
    feeds = recolourings(feed, arguments.candidates, LOOKED_AT)
    photos = min(FITTED_ON, arguments.photos)
    found = torch.stack([candidate_moments(feed, feeds, k) for k in range(photos)])
    tilted = tilt(found, wanted)
    chances = (found @ tilted).softmax(1)[..., None]
    with (arguments.out / "moments.txt").open("w", encoding="utf-8") as file:
        for name, values in (
            ("genuine", wanted),
            ("first", found[:, 0].mean(0)),
            ("chosen", (found * chances).sum(1).mean(0)),
        ):
            print(f"{name:8}", *(f"{value:6.2f}" for value in values.tolist()), file=file)
    torch.save(tilted, path)
    return tilted


def fill(arguments: argparse.Namespace, network: Plus) -> bool:
    """Make what is missing of the features; False where --fill ended first."""
    end = time.monotonic() + arguments.fill if arguments.fill else float("inf")
    torch.set_num_threads(arguments.threads)
    retoucher = Retoucher(arguments.retoucher) if arguments.retoucher else None
    readers = Readers(network=network, classes=ObjectClasses(), retoucher=retoucher)

    def chunks() -> Iterator[Path]:
        for name, root in arguments.sets:
            yield from read_set(_triples(root), readers, arguments.out / "sets" / name)
        feed = open_feed(arguments)
        tilted = fitted_tilt(arguments, feed)
        yield from make_chunks(
            feed, readers, tilted, arguments.candidates, arguments.photos, arguments.out / "made"
        )

    for path in chunks():
        if time.monotonic() > end:
            print(f"stopped after {path}")
            return False
    return True


def trials(made: Pooled, groups: list[str]) -> dict[str, tuple[str, Tensor | None, Inputs]]:
    """Name -> which recolourings it trains on, its inputs for those, and its inputs for other pictures."""
    none: Inputs = lambda rows: torch.empty(0)  # noqa: E731
    found: dict[str, tuple[str, Tensor | None, Inputs]] = {
        "base": ("first", None, none),
        "chosen": ("chosen", None, none),
    }
    if "first.rawness" in made:
        found["rawness"] = ("first", made["first.rawness"], lambda rows: rows["rawness"])
    own, ring = made["first.own"], made["first.ring"]
    numbers, colours = kind_numbers(made["first.kinds"], own, ring, made["first.truth"], groups)
    found["kinds"] = ("first", numbers, lambda rows: colours(rows["kinds"], rows["own"], rows["ring"]))
    found["finer"] = ("first", made["first.finer"].flatten(1), lambda rows: rows["finer"].flatten(1))
    return found


def score_trials(arguments: argparse.Namespace, network: Plus, groups: list[str]) -> str:
    """Train every trial with every seed, score it over every set, and say so in a table."""
    made = all_rows(sorted((arguments.out / "made").glob("*.safetensors")))
    sets = {
        name: all_rows(sorted((arguments.out / "sets" / name).glob("*.safetensors")))
        for name, _ in arguments.sets
    }
    budget, loss = HeadBudget(steps=arguments.steps), recipe(arguments.size).loss
    scored: dict[str, dict[str, Tensor]] = {}
    untouched = {name: squared_errors(None, rows) for name, rows in sets.items()}
    for trial, (which, extra, inputs) in trials(made, groups).items():
        if arguments.trials and trial not in (*arguments.trials, "base"):
            continue
        rows = {n.removeprefix(f"{which}."): v for n, v in made.items() if n.startswith(f"{which}.")}
        heads = [train_head(network, rows, extra, loss, budget, seed) for seed in range(arguments.seeds)]
        scored[trial] = {}
        for name, other in sets.items():
            given = None if extra is None else inputs(other)
            with torch.no_grad():
                found = [squared_errors(head(other, given), other) for head in heads]
            scored[trial][name] = torch.stack(found)
    return trial_table(scored, untouched, {name: rows["counts"] for name, rows in sets.items()})


def trial_table(
    scored: dict[str, dict[str, Tensor]], untouched: dict[str, Tensor], counts: dict[str, Tensor]
) -> str:
    """One line per set and trial: mean PSNR over seeds, difference to `base`, harm to what was right."""
    lines = [
        "| set | trial | PSNR | over `base`, dB | better / worse | by seed | harm |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, before in untouched.items():
        wrong = harm(before, counts[name]) > WRONG
        lines.append(f"| {name} | composite | {psnr_of(before[wrong]).mean():.2f} | | | | |")
        base = psnr_of(scored["base"][name][:, wrong])
        for trial, results in scored.items():
            own = psnr_of(results[name][:, wrong])
            brought = harm(results[name], counts[name])[:, ~wrong]
            right = f"{brought.mean():.0f}" if brought.numel() else ""
            line = f"| {name} | {trial} | {own.mean():.2f} |"
            if trial != "base":
                each = (own - base).mean(0)
                gain = bootstrap_mean(each.numpy())
                seeds = ", ".join(f"{value:+.2f}" for value in (own - base).mean(1).tolist())
                line += f" {gain.mean:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}] |"
                line += f" {int((each > 0.1).sum())} / {int((each < -0.1).sum())} | {seeds} |"
            else:
                line += " | | |"
            lines.append(f"{line} {right} |")
    return "\n".join(lines)


def run_trials(arguments: argparse.Namespace) -> None:
    arguments.out.mkdir(parents=True, exist_ok=True)
    harmonizer = load_harmonizer(arguments.model, torch.device("cpu"))
    network = harmonizer.network if isinstance(harmonizer, NetworkHarmonizer) else None
    if not isinstance(network, Plus):
        raise ValueError(f"'{arguments.model}' has no head that could be trained on pooled features")
    network.eval().requires_grad_(False)
    if not fill(arguments, network):
        return
    feed = open_feed(arguments)
    rows = [feed.cache.rows[feed.rows[i]] for i in _order(feed, arguments.photos)]
    found = score_trials(arguments, network, [row.group or row.image.name for row in rows])
    (arguments.out / "trials.md").write_text(found + "\n", encoding="utf-8")
    print(found)


def _order(feed: Feed, count: int) -> list[int]:
    from ..data.feed import rows_of

    return [rows_of(k, len(feed.rows), 1, feed.experiment.seed)[0] for k in range(count)]


def _named(text: str) -> tuple[str, Path]:
    name, _, path = text.partition("=")
    if not name or not path:
        raise argparse.ArgumentTypeError(f"'{text}' is not NAME=PATH")
    return name, Path(path)


def main(argv: Sequence[str] | None = None) -> int:
    parser = command_parser(__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--illuminants", type=Path, required=True)
    parser.add_argument("--genuine", type=Path, required=True)
    parser.add_argument("--retoucher", type=Path)
    parser.add_argument("--sets", type=_named, nargs="+", required=True, metavar="NAME=PATH")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cache", type=Path, help="of packed photos (default OUT/cache)")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--trials", nargs="*")
    parser.add_argument("--photos", type=int, default=2400)
    parser.add_argument("--candidates", type=int, default=5)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--fill", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args(argv)
    return exit_code("head_trials", lambda: run_trials(arguments))
