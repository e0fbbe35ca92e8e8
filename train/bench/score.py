"""How well `raiha score` tells changed composites from right ones: the area under the ROC curve (AUC).

    python train/bench/score.py --data HELD --models raiha-plus statistics

HELD is what make_held_out.py wrote: names begin with the family, and `untouched` pictures are right already;
iHarmony4's layout is taken too, where all composites are changed ones.
AUC: the chance that a changed composite scores higher than a right one; 0.5 is guessing. `other`: against the
untouched composites, which show other photos; `own`: against the truths of the same composites, with the same
masks. Baseline: the distance of the mean colours of object and background, which needs no network. Intervals
are 95 %, over photos. --encoder adds BargainNet's score. The last lines are the shipped network's constants.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from raiha_core.color import srgb_to_lab
from raiha_core.data.item import Triple
from raiha_core.data.layout import read_root
from raiha_core.data.pictures import decode_mask, decode_rgb
from raiha_core.enlargement import shrink
from raiha_core.harmonizer import DEFAULT_MODEL, load_harmonizer
from raiha_core.score import SIDE, score, second_opinion
from raiha_train.command import command_parser
from raiha_train.data.batch import as_batch

_RIGHT = "untouched"  # how names of composites begin that are right already
_RESAMPLES = 1000
STEPS = 20  # parts of the right pictures whose bounds are kept
Ruler = Callable[[Tensor, Tensor], float]


def mean_colours(picture: Tensor, mask: Tensor) -> float:
    """CIELAB distance of the mean colours of object and background."""
    small, weight = (shrink(x, (SIDE, SIDE)) for x in (picture, mask))
    lab = srgb_to_lab(small)
    inside, outside = ((lab * w).sum((2, 3)) / w.sum() for w in (weight, 1 - weight))
    return float((inside - outside).norm())


def auc(right: NDArray[np.float64], changed: NDArray[np.float64]) -> float:
    """Chance that a changed one scores higher; equal scores count half."""
    above = changed[:, None] > right
    return float((above + 0.5 * (changed[:, None] == right)).mean())


def _auc_interval(right: NDArray[np.float64], changed: NDArray[np.float64], *, paired: bool) -> str:
    """AUC with its bootstrap interval. Args: paired: both are of the same photos, drawn together."""
    draws = np.random.default_rng(0)
    found = []
    for _ in range(_RESAMPLES):
        picked = draws.integers(len(changed), size=len(changed))
        others = picked if paired else draws.integers(len(right), size=len(right))
        found.append(auc(right[others], changed[picked]))
    low, high = np.quantile(found, [0.025, 0.975])
    return f"{auc(right, changed):.3f} [{low:.3f}, {high:.3f}]"


def rulers(models: Sequence[str], encoder: Path | None) -> dict[str, Ruler]:
    """What is compared, by name; each takes a picture and its mask."""
    found: dict[str, Ruler] = {"mean colours (baseline)": mean_colours}
    for name in models:
        harmonizer = load_harmonizer(name)
        found[name] = lambda picture, mask, harmonizer=harmonizer: score(picture, mask, harmonizer)[0].change
    second = second_opinion(path=encoder)
    if second is not None:
        found["BargainNet's distance"] = lambda picture, mask: (
            score(picture, mask, "statistics", second=second)[0].distance or 0.0
        )
    return found


def _measure(items: Sequence[Triple], measured: dict[str, Ruler]) -> dict[str, NDArray[np.float64]]:
    """Ruler -> (items, 2): of each composite and of its truth."""
    found: dict[str, list[list[float]]] = {name: [] for name in measured}
    for item in tqdm(items, unit="image", leave=False):
        mask = as_batch(decode_mask(item.mask_path)).float() / 255
        pictures = [
            as_batch(decode_rgb(path)).float() / 255 for path in (item.composite_path, item.real_path)
        ]
        for name, ruler in measured.items():
            found[name].append([ruler(picture, mask) for picture in pictures])
    return {name: np.array(values) for name, values in found.items()}


def _report(items: Sequence[Triple], scores: dict[str, NDArray[np.float64]]) -> None:
    changed = np.array([not item.id.startswith(_RIGHT) for item in items])
    family = np.array([item.subset or item.id.split("-")[0] for item in items])
    families = sorted({*family[changed]})
    print(f"{int(changed.sum())} changed composites, {int((~changed).sum())} right ones\n")
    print(f"| ruler | AUC, other | AUC, own | own, by family ({', '.join(families)}) |\n|---|---|---|---|")
    for name, values in scores.items():
        composites, truths = values[changed, 0], values[changed, 1]
        other = _auc_interval(values[~changed, 0], composites, paired=False) if (~changed).any() else "-"
        own = [values[family == each] for each in families]
        each = ", ".join(f"{auc(rows[:, 1], rows[:, 0]):.2f}" for rows in own)
        print(f"| {name} | {other} | {_auc_interval(truths, composites, paired=True)} | {each} |")
    if DEFAULT_MODEL in scores and not changed.all():
        right = scores[DEFAULT_MODEL][:, 1]
        bounds = np.quantile(right, np.arange(1, STEPS) / STEPS)
        print(f"\n{DEFAULT_MODEL}, of {len(right)} right pictures every twentieth part scores less than:")
        print(", ".join(f"{bound:.2f}" for bound in bounds))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command_parser(__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", nargs="+", default=[DEFAULT_MODEL, "statistics"])
    parser.add_argument("--encoder", type=Path, help="BargainNet's, converted; left out: where it is here")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    items = read_root(options.data)
    _report(items, _measure(items, rulers(options.models, options.encoder)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
