"""How far an answer moves when the picture moves by a pixel, gets noise, another size, or is mirrored.

    python train/bench/steadiness.py --models raiha-plus OTHER.safetensors --plot curves.png

Four shipped cut-outs in four shipped photos. Figures: grey levels of luma by which the object's mean change
moves, the largest of four steps by a pixel, of three draws of noise of 2 levels, at 90 % of the size, and
mirrored. The curves are the change over a pan, the object moving to the right by a pixel a frame.
`held` is the limit that each model is held to: 0.5, 0.5, 1 and 1 levels.
"""

import argparse
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from raiha_core.durable import durable_path
from raiha_core.harmonizer import Harmonizer, load_harmonizer
from raiha_core.pipeline import harmonize
from raiha_train.evaluation.plots import COLOURS

SHIPPED_SCENES = Path(__file__).resolve().parents[2] / "assets" / "scenes"
PLACED = (  # photo, cut-out, its width, and the place of its upper left corner
    ("lomiri_sunset_by_Aitzol_Berasategi.jpg", "tuxpaint_firetruck.png", 256, 128, 170),
    ("sklearn_china.jpg", "tuxpaint_Christmas_Tree_photo.png", 150, 200, 100),
    ("skimage_coffee.jpg", "tuxpaint_Mince_Pie.png", 180, 60, 150),
    ("palapeli_cincinnati-bridge.jpg", "tuxpaint_lobster.png", 200, 150, 140),
)
LIMITS = {"pixel": 0.5, "noise": 0.5, "size": 1.0, "mirror": 1.0}
NOISE = 2.0  # levels
LUMA = torch.tensor([0.299, 0.587, 0.114])  # Rec. 601


def pasted(background: Image.Image, cutout: Image.Image, x: int, y: int) -> tuple[Image.Image, Image.Image]:
    """A composite and its mask."""
    alpha = cutout.getchannel("A")
    mask = Image.new("L", background.size, 0)
    mask.paste(alpha, (x, y))
    composite = background.copy()
    composite.paste(cutout, (x, y), cutout)
    return composite, mask


def as_tensor(picture: Image.Image) -> Tensor:
    """(1, C, H, W), 0..1."""
    values = torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255)
    return values[None, None] if values.ndim == 2 else values.permute(2, 0, 1)[None]


def change(picture: Image.Image, mask: Image.Image, model: Harmonizer) -> float:
    """How much lighter the object gets, in levels."""
    composite, covered = as_tensor(picture), as_tensor(mask)
    moved = 255 * (harmonize(composite, covered, model=model) - composite)[0]
    return float(moved[:, covered[0, 0] > 0.5].mean(1) @ LUMA)


def noisy(picture: Image.Image, draws: np.random.Generator) -> Image.Image:
    values = np.asarray(picture) + draws.normal(0, NOISE, np.asarray(picture).shape)
    return Image.fromarray(values.clip(0, 255).round().astype(np.uint8))


def moves(scene: Callable[[int], tuple[Image.Image, Image.Image]], model: Harmonizer) -> dict[str, float]:
    """By how many levels the answer moves; `scene`: composite and mask, the object so far to the right."""
    picture, mask = scene(0)
    steps = [change(*scene(offset), model) for offset in range(5)]
    draws = np.random.default_rng(0)
    noise = [change(noisy(picture, draws), mask, model) - steps[0] for _ in range(3)]
    less = (int(picture.width * 0.9), int(picture.height * 0.9))
    filter_ = Image.Resampling.LANCZOS
    small = change(picture.resize(less, filter_), mask.resize(less, filter_), model)
    turned = Image.Transpose.FLIP_LEFT_RIGHT
    mirror = change(picture.transpose(turned), mask.transpose(turned), model)
    return {
        "pixel": max(abs(b - a) for a, b in pairwise(steps)),
        "noise": max(map(abs, noise)),
        "size": abs(small - steps[0]),
        "mirror": abs(mirror - steps[0]),
    }


def draw(curves: dict[str, dict[str, list[float]]], path: Path) -> None:
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
        background = Image.open(SHIPPED_SCENES / "photos" / photo).convert("RGB")
        cutout = Image.open(SHIPPED_SCENES / "cutouts" / cut).convert("RGBA")
        size = (width, round(cutout.height * width / cutout.width))
        cutout = cutout.resize(size, Image.Resampling.LANCZOS)
        title = Path(cut).stem.removeprefix("tuxpaint_")

        def scene(
            offset: int,
            *,
            behind: Image.Image = background,
            front: Image.Image = cutout,
            at: int = x,
            y: int = y,
        ) -> tuple[Image.Image, Image.Image]:
            return pasted(behind, front, at + offset, y)

        for name, model in models.items():
            found = moves(scene, model)
            held = all(found[what] <= limit for what, limit in LIMITS.items())
            figures = " | ".join(f"{found[what]:.2f}" for what in LIMITS)
            print(f"| {title} | {name} | {figures} | {'yes' if held else 'no'} |", flush=True)
            if arguments.plot:
                pan = [change(*scene(offset), model) for offset in range(arguments.frames)]
                curves.setdefault(title, {})[name] = pan
    if arguments.plot:
        draw(curves, arguments.plot)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
