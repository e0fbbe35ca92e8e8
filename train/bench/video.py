"""Flicker of a harmonized object in a clip: this project's modes beside what others do, in one run.

    python train/bench/video.py PHOTO [--model raiha-plus] [--frames 48] [--side 320]

From one photo three clips: still with noise, a pan, and light that fades. The object's region is the photo's
own, miscoloured alike in all frames, so the truth is known. Flicker: mean absolute second difference of the
object's mean Lab over the frames. Error: mean Lab distance of the object's mean to the truth's.
`exponential` smooths the answers' changes with a factor of 0.2. `uniform` gives all frames the first frame's
change, as a uniform mode of colour matching does; it is re-made here from its description.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from raiha_core import clips
from raiha_core.clips import FIRST, MEAN, MODES, PER_FRAME, SMOOTH, Look
from raiha_core.color import srgb_to_lab
from raiha_core.harmonizer import load_harmonizer
from raiha_core.images import read_picture
from raiha_core.pipeline import harmonize
from raiha_core.resizing import bilinear

_GAIN = (1.2, 1.0, 0.8)  # of the object, in sRGB values
EXPONENTIAL, UNIFORM = "exponential", "uniform"


def make_clip(photo: Tensor, kind: str, frames: int, side: int) -> Tensor:
    """(T, 3, side, side) of the truth."""
    generator = torch.Generator().manual_seed(7)
    wide = bilinear(photo, (side, side + frames), antialias=True).clamp(0, 1)
    made = []
    for t in range(frames):
        frame = wide[..., t : t + side] if kind == "pan" else wide[..., :side]
        if kind == "fade":
            frame = frame * (1 - 0.6 * t / (frames - 1))
        made.append((frame + torch.randn(frame.shape, generator=generator) * 0.03).clamp(0, 1))
    return torch.cat(made)


def steadied(answers: list[Tensor], looks: list[Look], mask: Tensor, mode: str) -> list[Tensor]:
    if mode in MODES:
        wanted = clips.steady(looks, mode)
    elif mode == UNIFORM:
        wanted = [looks[0].change] * len(looks)
    else:
        wanted = [looks[0].change]
        for look in looks[1:]:
            wanted.append(torch.lerp(wanted[-1], look.change, 0.2))
    return [
        clips.corrected(answer, mask, look, change)
        for answer, look, change in zip(answers, looks, wanted, strict=True)
    ]


def colours(frames: list[Tensor], mask: Tensor) -> Tensor:
    """(T, 3) mean Lab of the object."""
    inside = mask[0, 0] > 0
    return torch.stack([srgb_to_lab(frame)[0][:, inside].mean(1) for frame in frames])


def main() -> int:
    parser = argparse.ArgumentParser(description="Flicker of a harmonized object over a clip.")
    parser.add_argument("photo", type=Path)
    parser.add_argument("--model", default="raiha-plus")
    parser.add_argument("--frames", type=int, default=48)
    parser.add_argument("--side", type=int, default=320)
    arguments = parser.parse_args()
    photo = read_picture(arguments.photo).pixels
    model = load_harmonizer(arguments.model)
    side = arguments.side
    mask = torch.zeros(1, 1, side, side)
    mask[..., side // 3 : 2 * side // 3, side // 3 : 2 * side // 3] = 1
    print("| clip | mode | flicker | of per frame | error | of per frame |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for kind in ("still", "pan", "fade"):
        truth = list(make_clip(photo, kind, arguments.frames, side).split(1))
        gain = torch.tensor(_GAIN)[:, None, None]
        composites = [torch.where(mask > 0, (frame * gain).clamp(0, 1), frame) for frame in truth]
        answers = [harmonize(frame, mask, model=model) for frame in composites]
        looks = [clips.look_at(*pair, mask) for pair in zip(composites, answers, strict=True)]
        goal = colours(truth, mask)
        rows = [("truth", truth)]
        rows += [
            (mode, steadied(answers, looks, mask, mode))
            for mode in (PER_FRAME, EXPONENTIAL, UNIFORM, FIRST, MEAN, SMOOTH)
        ]
        numbers = {}
        for mode, done in rows:
            found = colours(done, mask)
            flicker = found.diff(n=2, dim=0).abs().mean().item()
            numbers[mode] = flicker, (found - goal).square().sum(1).sqrt().mean().item()
        first = numbers[PER_FRAME]
        for mode, (flicker, error) in numbers.items():
            shares = f"{flicker / first[0]:.2f} | {error:.3f} | {error / max(first[1], 1e-9):.2f}"
            print(f"| {kind} | {mode} | {flicker:.4f} | {shares} |", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
