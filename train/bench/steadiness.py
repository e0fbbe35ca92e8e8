"""How far an answer moves when the picture moves by a pixel, gets noise, another size, or is mirrored.

    python train/bench/steadiness.py --models raiha-plus OTHER.safetensors --plot curves.png

Four shipped cut-outs in four shipped photos. Figures: grey levels of luma by which the object's mean change
moves, the largest of four steps by a pixel, of three draws of noise of 2 levels, at 90 % of the size, and
mirrored. The curves are the change over a pan, the object moving to the right by a pixel a frame.
`held` is the limit that each model is held to: 0.5, 0.5, 1 and 1 levels.
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from raiha_core.durable import durable_path
from raiha_core.harmonizer import Harmonizer, load_harmonizer
from raiha_core.images import read_picture
from raiha_core.pipeline import harmonize
from raiha_core.resizing import bilinear
from raiha_train.evaluation.plots import COLOURS

_SCENES = Path(__file__).resolve().parents[2] / "assets" / "scenes"
PLACED = (  # photo, cut-out, its width, and the place of its upper left corner
    ("lomiri_sunset_by_Aitzol_Berasategi.jpg", "tuxpaint_firetruck.png", 256, 128, 170),
    ("sklearn_china.jpg", "tuxpaint_Christmas_Tree_photo.png", 150, 200, 100),
    ("skimage_coffee.jpg", "tuxpaint_Mince_Pie.png", 180, 60, 150),
    ("palapeli_cincinnati-bridge.jpg", "tuxpaint_lobster.png", 200, 150, 140),
)
LIMITS = {"pixel": 0.5, "noise": 0.5, "size": 1.0, "mirror": 1.0}
GRAIN = 2.0  # levels
Masked = tuple[Tensor, Tensor]  # a composite (1, 3, H, W) and its mask (1, 1, H, W), 0..1
LUMA = torch.tensor([0.299, 0.587, 0.114])  # Rec. 601


def pasted(background: Tensor, cutout: Tensor, x: int, y: int) -> Masked:
    """A composite and its mask, in 8 bits. Args: background (1, 3, H, W), cutout (1, 4, h, w), 0..1."""
    cutout = cutout[..., : background.shape[-2] - y, : background.shape[-1] - x]
    height, width = cutout.shape[-2:]
    mask = torch.zeros_like(background[:, :1])
    place = (..., slice(y, y + height), slice(x, x + width))
    mask[place] = cutout[:, 3:]
    colours = background.clone()
    colours[place] = cutout[:, :3]
    return in_codes(torch.lerp(background, colours, mask)), in_codes(mask)


def shifted(background: Tensor, cutout: Tensor, x: int, y: int, offset: int) -> Masked:
    return pasted(background, cutout, x + offset, y)


def in_codes(picture: Tensor) -> Tensor:
    return (255 * picture.clamp(0, 1)).round() / 255


def change(composite: Tensor, mask: Tensor, model: Harmonizer) -> float:
    """How much lighter the object gets, in levels."""
    moved = 255 * (harmonize(composite, mask, model=model) - composite)[0]
    return float(moved[:, mask[0, 0] > 0.5].mean(1) @ LUMA)


def moves(scene: Callable[[int], Masked], model: Harmonizer) -> dict[str, float]:
    """By how many levels the answer moves; `scene`: composite and mask, the object so far to the right."""
    picture, mask = scene(0)
    steps = [change(*scene(offset), model) for offset in range(5)]
    draws = torch.Generator().manual_seed(0)
    noise = []
    for _ in range(3):
        grain = torch.randn(picture.shape, generator=draws) * GRAIN / 255
        noise.append(change(in_codes(picture + grain), mask, model) - steps[0])
    less = (int(picture.shape[-2] * 0.9), int(picture.shape[-1] * 0.9))
    small = change(*(in_codes(bilinear(part, less, antialias=True)) for part in (picture, mask)), model)
    mirror = change(picture.flip(-1), mask.flip(-1), model)
    return {
        "pixel": max(abs(b - a) for a, b in pairwise(steps)),
        "noise": max(map(abs, noise)),
        "size": abs(small - steps[0]),
        "mirror": abs(mirror - steps[0]),
    }


def draw_pan(curves: dict[str, dict[str, list[float]]], path: Path) -> None:
    """One panel a scene, one line a model."""
    figure = Figure(figsize=(9, 5), layout="constrained", dpi=110)
    panels = figure.subplots(2, 2, sharex=True).flat
    for panel, (title, lines) in zip(panels, curves.items(), strict=False):
        for colour, (name, values) in zip(COLOURS, lines.items(), strict=False):
            panel.plot(values, color=colour, label=name, linewidth=1.4)
        panel.set_title(title, loc="left", fontsize=9)
        panel.spines[["top", "right"]].set_visible(False)
    figure.supxlabel("frame, one pixel further to the right each", fontsize=9)
    figure.supylabel("change of the object's luma, levels", fontsize=9)
    figure.legend(
        *figure.axes[0].get_legend_handles_labels(), loc="outside upper right", frameon=False, ncols=4
    )
    with durable_path(path) as temporary:
        figure.savefig(temporary, format="png")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="How far an answer moves when little else does.")
    parser.add_argument("--models", nargs="+", default=["raiha-plus", "statistics"])
    parser.add_argument("--scenes", type=int, default=len(PLACED), help="so many of them")
    parser.add_argument("--frames", type=int, default=24, help="of the pan that --plot draws")
    parser.add_argument("--plot", type=Path, help="PNG with the change over the pan")
    arguments = parser.parse_args(argv)
    models = {Path(name).stem: load_harmonizer(name) for name in arguments.models}
    curves: dict[str, dict[str, list[float]]] = {}
    print("| scene | model | " + " | ".join(LIMITS) + " | held |\n|---|---|---|---|---|---|---|")
    for photo, cut, width, x, y in PLACED[: arguments.scenes]:
        background = read_picture(_SCENES / "photos" / photo).pixels
        found_cut = read_picture(_SCENES / "cutouts" / cut)
        cutout = torch.cat((found_cut.pixels, found_cut.alpha), 1)
        size = (round(cutout.shape[-2] * width / cutout.shape[-1]), width)
        cutout = bilinear(cutout, size, antialias=True).clamp(0, 1)
        title = Path(cut).stem.removeprefix("tuxpaint_")

        scene = partial(shifted, background, cutout, x, y)
        for name, model in models.items():
            found = moves(scene, model)
            held = all(found[what] <= limit for what, limit in LIMITS.items())
            figures = " | ".join(f"{found[what]:.2f}" for what in LIMITS)
            print(f"| {title} | {name} | {figures} | {'yes' if held else 'no'} |", flush=True)
            if arguments.plot:
                pan = [change(*scene(offset), model) for offset in range(arguments.frames)]
                curves.setdefault(title, {})[name] = pan
    if arguments.plot:
        draw_pan(curves, arguments.plot)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
