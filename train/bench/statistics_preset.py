"""What the `statistics` preset gives on sets of triples, beside the composite and Reinhard's transfer.

    python train/bench/statistics_preset.py --data dev_iharmony4 dev_daynight TRIPLES

Each folder is iHarmony4's layout or composite/, mask/, real/ (`make_real_masked.py` writes that). Protocol A.
"Better" counts images that gain more than 0.1 dB over the composite, "worse" those that lose as much.
(Not called statistics.py: beside a script of that name Python's own module could not be imported.)
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from raiha_core import render
from raiha_core.data.item import Triple
from raiha_core.data.layout import read_root
from raiha_core.data.pictures import decode_mask, decode_rgb
from raiha_core.models.statistics import Statistics, StatisticsConfig, reinhard
from raiha_train.command import command_parser
from raiha_train.evaluation.protocols import Protocol, Scores, prepare, score
from raiha_train.evaluation.summary import NOTICEABLE_DB

_METHODS: dict[str, StatisticsConfig | None] = {
    "composite": None,
    "Reinhard, whole background, 100 %": reinhard(1.0),
    "Reinhard, whole background, 50 %": reinhard(0.5),
    "statistics": StatisticsConfig(),
}


def score_methods(items: Sequence[Triple], protocol: Protocol) -> dict[str, list[Scores]]:
    """Scores of every method, image by image."""
    scores: dict[str, list[Scores]] = {name: [] for name in _METHODS}
    for item in tqdm(items, unit="image", leave=False):
        pictures = decode_rgb(item.composite_path), decode_mask(item.mask_path), decode_rgb(item.real_path)
        prepared = prepare(protocol, *pictures, item.id)
        composite, mask = prepared.inputs()
        for name, config in _METHODS.items():
            result = composite
            if config is not None:
                result = render.apply(Statistics(config).predict(composite, mask), composite, mask)
            scores[name].append(score(protocol, prepared, result))
    return scores


def method_row(name: str, scores: Sequence[Scores], composites: Sequence[Scores]) -> str:
    """One line of the table: mean MSE and PSNR, and how many images changed for the better."""
    count = len(scores)
    gains = [s.psnr - c.psnr for s, c in zip(scores, composites, strict=True)]
    better, worse = sum(g > NOTICEABLE_DB for g in gains), sum(g < -NOTICEABLE_DB for g in gains)
    mse, psnr = (sum(getattr(s, field) for s in scores) / count for field in ("mse", "psnr"))
    return (
        f"| {name} | {mse:.1f} | {psnr:.2f} | {psnr - sum(c.psnr for c in composites) / count:+.2f} "
        f"| {better} / {count - better - worse} / {worse} |"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command_parser(__doc__)
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    options = parser.parse_args(arguments)
    protocol = Protocol(name="A")
    with torch.inference_mode():
        for folder in options.data:
            items = read_root(folder)
            scores = score_methods(items, protocol)
            print(f"\n{folder.name}: {len(items)} images, protocol {protocol}\n")
            print("| method | MSE | PSNR | gain | better / same / worse |\n|---|---|---|---|---|")
            for name in _METHODS:
                print(method_row(name, scores[name], scores["composite"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
