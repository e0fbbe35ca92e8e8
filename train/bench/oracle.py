"""What the remaining error consists of: a model's pictures, corrected by the truth in one respect each.

Example: python train/bench/oracle.py --data dev_iharmony4 --models composite statistics raiha-plus

Protocol A (256 px). Over the object each correction takes the truth's mean lightness, mean colour, both, both
and the deviations (all in Lab), or the best affine map of RGB; what is left is what it cannot explain.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from raiha_core.color import lab_to_srgb, srgb_to_lab
from raiha_core.data.layout import read_root
from raiha_core.data.pictures import decode_mask, decode_rgb
from raiha_core.harmonizer import load_harmonizer
from raiha_core.masked_statistics import measure
from raiha_core.pipeline import harmonize
from raiha_train.command import command_parser
from raiha_train.data.batch import as_batch
from raiha_train.evaluation.protocols import Protocol, prepare, score

Correction = Callable[[Tensor, Tensor, Tensor], Tensor]


def take_moments(lightness: bool, colour: bool, deviation: bool) -> Correction:
    """Takes over the truth's means of the channels that are named, and the deviations of all."""

    def correct(new: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
        lab = srgb_to_lab(new)
        mine, right = measure(lab, mask), measure(srgb_to_lab(truth), mask)
        take = torch.tensor([lightness, colour, colour])
        centre = torch.where(take, right.mean, mine.mean)[..., None, None]
        ratio = ((right.variance + 1e-3) / (mine.variance + 1e-3)).sqrt()[..., None, None]
        scale = ratio if deviation else torch.ones_like(ratio)
        return lab_to_srgb((lab - mine.mean[..., None, None]) * scale + centre).clamp(0, 1)

    return correct


def affine(new: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """The 3x4 map of RGB that fits best over the object."""
    inside = mask[0, 0] > 0.5
    pixels = torch.cat([new[0][:, inside], torch.ones(1, int(inside.sum()))]).T.double()
    solution = torch.linalg.lstsq(pixels, truth[0][:, inside].T.double()).solution
    out = new.clone()
    out[0][:, inside] = (pixels @ solution).T.to(new).clamp(0, 1)
    return out


CORRECTIONS: dict[str, Correction] = {
    "as it is": lambda new, truth, mask: new,
    "lightness": take_moments(True, False, False),
    "colour": take_moments(False, True, False),
    "three means": take_moments(True, True, False),
    "means and deviations": take_moments(True, True, True),
    "affine": affine,
}


def main() -> None:
    parser = command_parser(__doc__)
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--models", nargs="+", default=["composite", "statistics"])
    arguments = parser.parse_args()
    print(f"| set | model | {' | '.join(CORRECTIONS)} |\n|---|---|{'---|' * len(CORRECTIONS)}")
    protocol = Protocol(name="A")
    for data in arguments.data:
        items = [
            prepare(
                protocol,
                decode_rgb(item.composite_path),
                decode_mask(item.mask_path),
                decode_rgb(item.real_path),
                item.id,
            )
            for item in read_root(data)
        ]
        for name in arguments.models:
            model = None if name == "composite" else load_harmonizer(name)
            scores: dict[str, list[tuple[float, float]]] = {key: [] for key in CORRECTIONS}
            for prepared in items:
                composite, mask = prepared.inputs()
                truth = as_batch(prepared.truth).float() / 255
                new = composite if model is None else harmonize(composite, mask, [[]], model, as_stored=True)
                for key, correct in CORRECTIONS.items():
                    found = score(protocol, prepared, correct(new, truth, mask))
                    scores[key].append((found.mse, found.psnr))
            cells = []
            for pairs in scores.values():
                errors, decibels = zip(*pairs, strict=True)
                cells.append(f"{sum(errors) / len(errors):.0f} / {sum(decibels) / len(decibels):.2f}")
            print(f"| {data.name} | {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
