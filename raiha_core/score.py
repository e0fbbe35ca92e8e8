"""How much of a composite seems wrong: the size of the change that a harmonizer would make of it.

What a harmonizer would leave alone seems right to it. A second opinion needs no harmonizer: how far
BargainNet's codes of the object and of its background lie apart, as its authors measure it.
Source: this project; arXiv:2009.09169. Shapes: B composites of H x W.
"""

import warnings
from bisect import bisect_left
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from . import background, checkpoint, mask_meaning, masks, render
from .color import srgb_to_lab
from .enlargement import shrink
from .features.encoders import Encoder
from .harmonizer import DEFAULT_MODEL, Harmonizer, load_harmonizer
from .model_folders import user_weights
from .models.bargainnet import BargainNet
from .models.style_code import StyleCode, StyleEncoder, distance, harmony
from .pipeline import HarmonizeWarning
from .precision import doubled

SIDE = 256  # of the square at which the change is measured
# Every twentieth part of held_out's 399 right pictures scores less than this: train/bench/score.py
RIGHT = (
    0.23, 0.57, 0.86, 1.12, 1.37, 1.61, 1.83, 2.28, 2.66, 3.00,
    3.54, 4.26, 5.04, 6.03, 6.87, 7.90, 9.16, 11.17, 13.83,
)  # fmt: skip
SECOND = ("bargainnet-encoder", "bargainnet")  # weights that hold the encoder, by name


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """Of one composite."""

    change: float  # mean CIELAB distance over the object between composite and answer; 0: nothing is wrong
    lightness: float  # mean change of L* that the answer makes; above 0: the object is too dark
    red: float  # of a*: above 0, the object is too green
    yellow: float  # of b*: above 0, the object is too blue
    rank: float | None  # share of right pictures that score less, 0..0.95; None: not measured for this model
    distance: float | None = None  # BargainNet's, at least 0; None: its file is not here
    harmony: float | None = None  # BargainNet's score made of it, 1 where object and background agree


@torch.inference_mode()
def score(
    composite: Tensor,
    mask: Tensor,
    model: "Harmonizer | str | Path" = DEFAULT_MODEL,
    *,
    encoder: Encoder | None = None,
    second: StyleEncoder | None = None,
) -> tuple[Score, ...]:
    """How much seems wrong with each composite.

    Args:
        composite: sRGB (B, 3, H, W), floating point, values 0..1, any size.
        mask: (B, 1, H, W), 1 = pasted object; batch 1 broadcasts; understood as `harmonize` does.
        model: whose change is measured, as for `harmonize`; ranks are known of the shipped one.
        encoder: needed only by networks that read patch features; loaded by name where left out.
        second: BargainNet's encoder, as `second_opinion` finds it.
    Returns: one for each composite; an empty mask scores 0, with a `HarmonizeWarning`.
    Raises: as `harmonize`.
    """
    meant = mask_meaning.understand(composite, mask)
    for note in meant.notes:
        warnings.warn(note, HarmonizeWarning, stacklevel=2)
    composite, mask = masks.check_pair(composite, meant.mask)
    if (empty := mask_meaning.empty_note(mask)) is not None:
        warnings.warn(empty, HarmonizeWarning, stacklevel=2)
    harmonizer = model if isinstance(model, Harmonizer) else load_harmonizer(model, composite.device)
    return tuple(
        _one(composite[row : row + 1], mask[row : row + 1], harmonizer, encoder, second)
        for row in range(len(composite))
    )


def _one(
    composite: Tensor,
    mask: Tensor,
    harmonizer: Harmonizer,
    encoder: Encoder | None,
    second: StyleEncoder | None,
) -> Score:
    shipped = harmonizer.name == DEFAULT_MODEL
    if not (mask > 0).any():
        return Score(change=0.0, lightness=0.0, red=0.0, yellow=0.0, rank=0.0 if shipped else None)
    if not background.outside(mask).any():
        raise ValueError("the mask covers the whole picture: without a background nothing can seem wrong")
    said = harmonizer.predict(composite, mask, [()], encoder=encoder)
    small, weight = (shrink(x, (SIDE, SIDE)) for x in (composite, mask))
    new = render.apply(said, small, (weight > 0).to(weight))
    moved, weight = doubled(srgb_to_lab(new) - srgb_to_lab(small)), doubled(weight)
    weight = weight / weight.sum()
    change = float((moved.square().sum(1, keepdim=True).sqrt() * weight).sum())
    lightness, red, yellow = (moved * weight).sum((0, 2, 3)).tolist()
    apart = None if second is None else distance(second, *_seen(composite, mask))
    return Score(
        change=change,
        lightness=lightness,
        red=red,
        yellow=yellow,
        rank=rank(change) if shipped else None,
        distance=None if apart is None else float(apart),
        harmony=None if apart is None else float(harmony(apart)),
    )


def _seen(composite: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """As BargainNet's authors hand pictures to the encoder."""
    return shrink(composite, (SIDE, SIDE)), shrink(mask, (SIDE, SIDE))


def rank(change: float) -> float:
    """Share of right (untouched) pictures that the shipped network changes less: 0..0.95 in steps of 0.05.

    Args: change: mean CIELAB distance over the object, as in `Score.change`.
    Source: `RIGHT`, measured by train/bench/score.py.
    """
    return bisect_left(RIGHT, change) / (len(RIGHT) + 1)


def second_opinion(device: torch.device | str = "cpu", path: Path | None = None) -> StyleEncoder | None:
    """BargainNet's encoder, where its file is here; None where it is not.

    Args: path: a converted file of it; None looks among the user's weights.
    Raises: as `checkpoint.load`; ValueError where the file holds something else.
    """
    if path is None:
        here = user_weights()
        path = next((here[name] for name in SECOND if name in here), None)
        if path is None:
            return None
    network = checkpoint.load(path, device=device).network
    if not isinstance(network, StyleCode | BargainNet):
        raise ValueError(f"{path} holds '{network.name}' and not BargainNet's encoder")
    return network.style


def in_words(found: Score) -> str:
    """A score in one line, with its units."""
    if found.change == 0:
        return "nothing would be changed"
    ways = (
        (found.lightness, "lighter", "darker"),
        (found.red, "redder", "greener"),
        (found.yellow, "yellower", "bluer"),
    )
    told = [f"{abs(value):.1f} {up if value > 0 else down}" for value, up, down in ways if abs(value) >= 0.5]
    line = f"seems wrong by {found.change:.1f} (CIELAB)"
    if told:
        line += f": it would be made {', '.join(told)}"
    if found.rank is not None:
        line += f"; {found.rank:.0%} of right pictures score less"
    if found.harmony is not None:
        line += f"; BargainNet's harmony {found.harmony:.2f} (1 is best)"
    return line
