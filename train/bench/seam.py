"""How much of a repainted region's drift the preset `seam` takes away, beside the other presets, in one run.

    python train/bench/seam.py [--photos FOLDER] [--objects FOLDER] [--cases 16] [--models seam statistics]

A region of each photo is shifted by 2 to 8 levels (half the time all channels alike) and its contrast
multiplied by 0.95 to 1.05, flat or as a slope from one such shift to another, which may have the other
sign; then it is rounded to 8 bits. Regions are blobs, boxes, brush strokes and, where `--objects` has masks
of the photos' names, objects grown by 3 to 14 pixels. Without folders the shipped scenes and cut-outs serve.
Error: root mean squared levels inside the region, to the photo; printed are its quotients, after / before.
"""

import argparse
import math
from collections import defaultdict
from pathlib import Path

import torch
from torch import Tensor

from raiha_core.harmonizer import load_harmonizer
from raiha_core.images import list_photos, read_picture
from raiha_core.mask_shape import dilated, shaped
from raiha_core.pipeline import harmonize
from raiha_core.resizing import between_corners, bilinear

SHIPPED_SCENES = Path(__file__).resolve().parents[2] / "assets" / "scenes"
SHARE = 0.005, 0.6  # of the picture, that a region covers


class Dice:
    """Random numbers of one case."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=self.generator))

    def sign(self) -> int:
        return 1 if self.between(0, 1) < 0.5 else -1


def region(kind: str, size: tuple[int, int], dice: Dice) -> Tensor:
    """(1, 1, H, W), 0 or 1: a blob, a box or brush strokes."""
    height, width = size
    y, x = torch.arange(height)[:, None].float(), torch.arange(width).float()
    row, column = dice.between(0.2, 0.8) * height, dice.between(0.2, 0.8) * width
    if kind == "box":
        tall, wide = dice.between(0.08, 0.25) * height, dice.between(0.08, 0.25) * width
        return (((y - row).abs() < tall) & ((x - column).abs() < wide)).float()[None, None]
    if kind == "blob":
        radius = dice.between(0.1, 0.3) * min(size)
        wobble = between_corners(torch.randn(1, 1, 6, 6, generator=dice.generator), size, "bicubic")
        far = ((y - row) ** 2 + (x - column) ** 2).sqrt() / radius
        return (far < 1 + 0.35 * wobble).float()
    mask = torch.zeros(1, 1, height, width)
    angle, radius = dice.between(0, 2 * math.pi), dice.between(0.03, 0.09) * min(size)
    for _ in range(60):
        angle += dice.between(-0.5, 0.5)
        pace = dice.between(0.004, 0.012) * max(size)
        row, column = row + pace * math.sin(angle), column + pace * math.cos(angle)
        mask[((y - row) ** 2 + (x - column) ** 2 < radius**2)[None, None]] = 1
    return mask


def drifted(truth: Tensor, mask: Tensor, kind: str, dice: Dice) -> Tensor:
    """The photo whose region has drifted, in 8 bits."""

    def shift() -> Tensor:
        alike = dice.between(0, 1) < 0.5
        values = [dice.between(2, 8) * dice.sign() for _ in range(3)]
        return torch.tensor([values[0]] * 3 if alike else values)[None, :, None, None] / 255

    rows, columns = (mask[0, 0] > 0).nonzero().double().unbind(1)
    first, last, angle = shift(), shift(), dice.between(0, 2 * math.pi)
    along = math.sin(angle) * rows + math.cos(angle) * columns
    place = torch.zeros_like(mask)
    if kind == "slope":
        place[mask > 0] = ((along - along.min()) / (along.max() - along.min()).clamp_min(1e-9)).float()
    mean = truth[..., mask[0, 0] > 0].mean(-1)[..., None, None]
    changed = mean + dice.between(0.95, 1.05) * (truth - mean) + torch.lerp(first, last, place)
    return ((truth + mask * (changed - truth)).clamp(0, 1) * 255).round() / 255


def levels_off(image: Tensor, truth: Tensor, mask: Tensor) -> float:
    inside = (mask > 0).expand_as(image)
    return float((255 * (image - truth)[inside]).square().mean().sqrt())


def objects_of(folder: Path | None) -> dict[str, Path]:
    found = {} if folder is None else {path.stem: path for path in list_photos(folder)}
    return {stem.removesuffix("_mask"): path for stem, path in found.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description="What the preset seam takes away of a repaint's drift.")
    parser.add_argument("--photos", type=Path, default=SHIPPED_SCENES / "photos")
    parser.add_argument("--objects", type=Path, help="masks of objects, by the photos' names")
    parser.add_argument("--cases", type=int, default=16, help="regions, each with both drifts")
    parser.add_argument("--side", type=int, default=320, help="photos are made smaller to this long side")
    parser.add_argument("--feather", type=int, default=0, help="pixels of the regions' soft edge")
    parser.add_argument("--models", nargs="+", default=["seam", "statistics"])
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    photos = sorted(list_photos(arguments.photos))
    objects = objects_of(arguments.objects)
    kinds = ["blob", "box", "brush", *(["object"] if objects else [])]
    models = {name: load_harmonizer(name) for name in arguments.models}
    quotients: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for case in range(arguments.cases):
        dice, kind = Dice(arguments.seed * 100_003 + case), kinds[case % len(kinds)]
        truth, mask = _place(photos, objects, kind, dice, arguments.side)
        mask = shaped(mask, feather=arguments.feather)
        for drift in ("flat", "slope"):
            composite = drifted(truth, mask, drift, dice)
            before = levels_off(composite, truth, mask)
            for name, model in models.items():
                after = levels_off(harmonize(composite, mask, model=model, as_stored=True), truth, mask)
                for row in (kind, "all"):
                    quotients[name, row, drift].append(after / before)
    _print(quotients)
    return 0


def _place(
    photos: list[Path], objects: dict[str, Path], kind: str, dice: Dice, side: int
) -> tuple[Tensor, Tensor]:
    """A photo and a region in it."""
    fit = [path for path in photos if kind != "object" or path.stem in objects]
    while True:
        path = fit[int(dice.between(0, len(fit)))]
        photo = read_picture(path).pixels
        share = min(1.0, side / max(photo.shape[-2:]))
        size = round(photo.shape[-2] * share), round(photo.shape[-1] * share)
        small = photo if share == 1 else bilinear(photo, size, antialias=True).clamp(0, 1)
        if kind == "object":
            mask = (bilinear(read_picture(objects[path.stem]).pixels[:, :1], size) > 0.5).float()
            mask = dilated(mask, int(dice.between(3, 15)))
        else:
            mask = region(kind, size, dice)
        if SHARE[0] < float(mask.mean()) < SHARE[1]:
            return small, mask


def _print(quotients: dict[tuple[str, str, str], list[float]]) -> None:
    print("| model | region | drift | cases | median | 90 % | worst | above 1.1 |")
    print("| --- | --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for (name, kind, drift), found in sorted(quotients.items()):
        values = torch.tensor(found)
        worse = int((values > 1.1).sum())
        numbers = " | ".join(f"{float(v):.3f}" for v in (values.median(), values.quantile(0.9), values.max()))
        print(f"| {name} | {kind} | {drift} | {len(found)} | {numbers} | {worse} |")


if __name__ == "__main__":
    raise SystemExit(main())
