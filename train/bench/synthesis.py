"""How fast composites are made, and how strong they are: fMSE quantiles beside those of genuine composites.

Example: python train/bench/synthesis.py --data PHOTOS --illuminants CCHARMONY --beside dev_iharmony4
fMSE is between composite and truth, over the object, in squared grey levels. --beside takes iHarmony4's
layout or folders composite/, mask/, real/. Speed is of the whole of `Feed.finish`: crops, families, limits.
"""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from raiha_core.data.layout import read_root
from raiha_core.data.pictures import decode_mask, decode_rgb
from raiha_core.resizing import bilinear
from raiha_train.command import command_parser
from raiha_train.data.batch import Batch, as_batch
from raiha_train.data.synthesis import FAMILIES, Synthesis, SynthesisConfig
from raiha_train.data.training_data import open_illuminants
from raiha_train.loop.benchmarks import benched, opened, rate
from raiha_train.loop.validation import foreground_errors

SHOWN_QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)


def quantile_line(name: str, errors: Tensor, speed: str = "") -> str:
    values = torch.quantile(errors, torch.tensor(SHOWN_QUANTILES)).tolist()
    cells = " | ".join(f"{value:.0f}" for value in (*values, float(errors.mean())))
    return f"| {name} | {len(errors)} | {cells} | {speed} |"


def real_errors(root: Path, size: int) -> Tensor:
    """fMSE of a data set's own composites at `size`."""
    errors = []
    for item in read_root(root):
        pictures = [as_batch(decode_rgb(path)) / 255 for path in (item.composite_path, item.real_path)]
        mask = torch.from_numpy(decode_mask(item.mask_path)).float()[None, None] / 255
        small = [bilinear(x.float(), (size, size), antialias=True) for x in (*pictures, mask)]
        composite, target, small_mask = small
        batch = Batch(composite=composite, mask=small_mask, target=target, ids=(item.id,))
        errors.append(foreground_errors(composite, batch))
    return torch.cat(errors)


def main() -> None:
    parser = command_parser(__doc__)
    parser.add_argument("--data", type=Path, help="folder of photos (default: assets/scenes)")
    parser.add_argument("--illuminants", type=Path, help="CCHarmony's folder; left out: without that family")
    parser.add_argument("--beside", type=Path, nargs="*", default=[], help="data sets to compare with")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--pictures", type=int, default=256, help="per family")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    experiment = benched("plus_small_data", arguments.size, arguments.batch)
    lights = None
    if arguments.illuminants is not None:
        wanted = replace(experiment, synthesis=SynthesisConfig())
        lights = open_illuminants(wanted, arguments.illuminants)
    rounds = max(1, arguments.pictures // arguments.batch)
    head = " | ".join(f"{q:.0%}" for q in SHOWN_QUANTILES)
    print(
        f"{arguments.size} px, batch {arguments.batch}, {arguments.device}, {torch.get_num_threads()} threads"
    )
    print(f"| family | n | {head} | mean | img/s |\n|---|{'---|' * (len(SHOWN_QUANTILES) + 3)}")
    with TemporaryDirectory() as folder:
        feed = opened(experiment, arguments.data, Path(folder), arguments.device).training
        for name in FAMILIES[1:]:
            if name == "illuminant" and lights is None:
                continue
            only = {other: float(other == name) for other in FAMILIES}
            feed.synthesis = Synthesis(replace(SynthesisConfig(), **only), lights)
            batches = [feed.finish(feed.raw(k), k) for k in range(rounds)]
            errors = torch.cat([foreground_errors(batch.composite, batch) for batch in batches]).cpu()
            raws = [feed.raw(k) for k in range(4)]
            speed = rate(
                lambda k, raws=raws: feed.finish(raws[k % 4], k),
                arguments.batch,
                min(rounds, 8),
                arguments.device,
            )
            print(quantile_line(name, errors, f"{speed:.0f}"))
    for root in arguments.beside:
        print(quantile_line(f"genuine: {root.name}", real_errors(root, arguments.size)))


if __name__ == "__main__":
    main()
