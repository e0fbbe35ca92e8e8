"""What `local_light` gains where object and scene are lit from different sides, and what it costs elsewhere.

Example: python train/bench/local_light.py --data LIT_APART --models statistics raiha-plus --amounts 0.5 1 2

Protocol A (256 px) over triples of make_lit_apart.py, or any whose names begin with their kind and a hyphen.
Differences are to the same model without it, in dB of PSNR, paired over pictures, with 95 % bootstrap
intervals; better and worse count pictures that change by more than 0.1 dB. Of triples named `right-` or
`untouched-` the line says what error was brought in (fMSE).
"""

from collections import defaultdict
from pathlib import Path

import numpy as np
import torch

from raiha_core.data.layout import read_root
from raiha_core.harmonizer import load_harmonizer
from raiha_core.local_light import border_ramp, light_across
from raiha_core.pipeline import harmonize
from raiha_train.command import command_parser
from raiha_train.data.batch import as_batch
from raiha_train.evaluation.intervals import bootstrap_mean
from raiha_train.evaluation.metrics import error_sums, psnr
from raiha_train.evaluation.protocols import Protocol, encode
from raiha_train.evaluation.scoring import load_triple

_RIGHT = ("right", "untouched")  # kinds that were right already


def row(kind: str, model: str, errors: dict[float, np.ndarray]) -> str:
    """A line of the table from each amount's MSE and fMSE, (n, 2); the first amount is none."""
    before, *after = errors.values()
    if kind in _RIGHT:
        cells = [f"fMSE {error[:, 1].mean():.0f}" for error in errors.values()]
        return f"| {kind} | {len(before)} | {model} | {' | '.join(cells)} |"
    decibels = psnr(torch.from_numpy(before[:, 0])).numpy()
    cells = [f"{decibels.mean():.2f}"]
    for error in after:
        gain = psnr(torch.from_numpy(error[:, 0])).numpy() - decibels
        mean = bootstrap_mean(gain)
        counts = f"{(gain > 0.1).sum()}/{(gain < -0.1).sum()}"
        cells.append(f"{mean.mean:+.2f} [{mean.low:+.2f}, {mean.high:+.2f}], {counts}")
    return f"| {kind} | {len(before)} | {model} | {' | '.join(cells)} |"


def main() -> None:
    parser = command_parser(__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", nargs="+", default=["statistics", "raiha-plus"])
    parser.add_argument("--amounts", type=float, nargs="+", default=[0.5, 1.0, 2.0])
    parser.add_argument("--every", type=int, default=1, help="take every n-th triple")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    protocol = Protocol(name="A")
    models = {
        name: None if name == "composite" else load_harmonizer(name, torch.device("cpu"))
        for name in arguments.models
    }
    amounts = (0.0, *arguments.amounts)
    found: dict[tuple[str, str, float], list[tuple[float, float]]] = defaultdict(list)
    for item in read_root(arguments.data)[:: arguments.every]:
        prepared = load_triple(protocol, item)
        kind = Path(item.composite).stem.partition("-")[0]
        composite, mask = prepared.inputs()
        ramp = border_ramp(composite, mask)
        for name, model in models.items():
            plain = composite if model is None else harmonize(composite, mask, model=model, as_stored=True)
            for amount in amounts:
                lit = encode(protocol, light_across(plain.clone(), mask, ramp, amount))
                sums = error_sums(lit, as_batch(prepared.truth), as_batch(prepared.weight))
                for group in (kind,) if kind in _RIGHT else (kind, "all that is wrong"):
                    found[group, name, amount].append((float(sums.mse()), float(sums.foreground_mse())))
    columns = " | ".join(f"{amount:g}" for amount in arguments.amounts)
    print(f"| kind | n | model | without | {columns} |\n|---|---|---|---|{'---|' * len(arguments.amounts)}")
    for kind in dict.fromkeys(key[0] for key in found):
        for name in models:
            print(row(kind, name, {amount: np.array(found[kind, name, amount]) for amount in amounts}))


if __name__ == "__main__":
    main()
