"""Writes assets/hard_cases.jpg and assets/before_after.jpg: hard cases, and scenes beside their truth.

    PYTHONPATH=workflows python tests/tools/make_hard_cases.py

Shipped cut-outs in shipped scenes, and regions of shipped scenes whose colours were changed, so that
everything on the sheet may be shown; and for skin a portrait in the public domain.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from scenes import Paste, recolour
from scenes import paste_cutout as paste
from torch import Tensor

from raiha_core.drawing import Panel, compose, fit, from_pil, to_pil
from raiha_core.pipeline import harmonize

ROOT = Path(__file__).resolve().parents[2]
PHOTOS = ROOT / "assets" / "scenes" / "photos"
MODELS = ("statistics", "raiha-plus")
WIDTH, HEIGHT, ACROSS = 230, 190, 7


@dataclass(frozen=True, kw_only=True, slots=True)
class Region:
    """An ellipse or a box of a photo, recoloured by gains in linear light."""

    scene: str
    box: tuple[float, float, float, float]  # left, top, right, bottom, shares of the sides
    gains: tuple[float, float, float]
    ellipse: bool = True


def pasted(cutout: str, scene: str, height: float, foot: tuple[float, float], **more: object) -> Paste:
    return Paste(name=cutout, cutout=f"tuxpaint_{cutout}.png", scene=scene, height=height, foot=foot, **more)  # type: ignore[arg-type]


PORTRAIT = "../../hard_cases/skimage_astronaut.jpg"
MEADOW = "lomiri_aitzgorri_by_Aitzol_Berasategi.jpg"
CASES: dict[str, Paste | Region] = {
    "red, in green": pasted("firetruck", MEADOW, 0.3, (0.4, 0.95)),
    "black, on light stone": pasted(
        "stethoscope", "lomiri_Picture_0B_by_freespace.jpg", 0.45, (0.13, 0.97)
    ),
    "red and white, at night": pasted("Candy_cane_photo_1", "skimage_rocket.jpg", 0.6, (0.25, 0.97)),
    "white": Region(
        scene="skimage_coffee.jpg", box=(0.27, 0.03, 0.7, 0.56), gains=(0.5, 0.8, 1.3)
    ),
    "metal": Region(
        scene="skimage_coffee.jpg", box=(0.53, 0.54, 0.69, 0.84), gains=(0.5, 0.9, 1.8)
    ),
    "night": pasted("Roast_turkey", "palapeli_cincinnati-bridge.jpg", 0.3, (0.25, 0.98)),
    "against the light": pasted(
        "Christmas_Tree_photo", "lomiri_sunset_by_Aitzol_Berasategi.jpg", 0.6, (0.75, 0.97)
    ),
    "sky": Region(
        scene=MEADOW, box=(0.0, -0.16, 1.0, 0.16), gains=(1.5, 0.9, 0.6), ellipse=False
    ),
    "skin": Region(
        scene=PORTRAIT, box=(0.295, 0.02, 0.595, 0.385), gains=(0.55, 0.9, 1.4)
    ),
    "red bowl": Region(
        scene="lomiri_Picture_0B_by_freespace.jpg", box=(0.28, 0.14, 0.98, 0.96), gains=(0.55, 1.2, 1.6)
    ),
    "3 % of the picture": pasted(
        "Mince_Pie", "skimage_coffee.jpg", 0.22, (0.88, 0.97), gains=(0.75, 1.0, 1.6)
    ),
    "70 % of the picture": Region(
        scene="palapeli_european-honey-bee.jpg",
        box=(0.08, 0.08, 0.92, 0.92),
        gains=(0.45, 0.4, 0.35),
        ellipse=False,
    ),
    "already right": Region(
        scene="sklearn_flower.jpg", box=(0.26, 0.18, 0.72, 0.86), gains=(1.0, 1.0, 1.0)
    ),
    "already right, dark in light": Region(
        scene="lomiri_seeding_by_Clements_Engelhardt.jpg", box=(0.14, 0.05, 0.46, 0.6), gains=(1.0, 1.0, 1.0)
    ),
}  # fmt: skip

CITRUS = "palapeli_citrus-fruits.jpg"
# what each would look like is known: the photo itself
SCENES = {
    "flower, dark": Region(scene="sklearn_flower.jpg", box=(0.26, 0.18, 0.72, 0.86), gains=(0.35, 0.4, 0.5)),
    "flower, cold": Region(scene="sklearn_flower.jpg", box=(0.26, 0.18, 0.72, 0.86), gains=(0.6, 0.9, 2.2)),
    "dandelion, dark": Region(
        scene="lomiri_seeding_by_Clements_Engelhardt.jpg", box=(0.14, 0.05, 0.46, 0.6), gains=(0.4, 0.4, 0.6)
    ),
    "cat, cold": Region(scene="skimage_chelsea.jpg", box=(0.05, 0.0, 0.95, 1.0), gains=(0.5, 0.7, 1.0)),
    "slice, green": Region(scene=CITRUS, box=(0.16, 0.27, 0.47, 0.68), gains=(0.5, 1.1, 0.9)),
    "bowl, bright": Region(
        scene="lomiri_Picture_0B_by_freespace.jpg", box=(0.28, 0.14, 0.98, 0.96), gains=(1.5, 1.9, 1.9)
    ),
    "drum, cold": Region(
        scene="lomiri_Wine_by_Jakkub_Mede.jpg", box=(0.04, 0.52, 0.64, 0.84), gains=(0.5, 0.8, 1.4)
    ),
    "bee, yellow": Region(
        scene="palapeli_european-honey-bee.jpg", box=(0.1, 0.2, 0.98, 0.98), gains=(1.4, 1.2, 0.6)
    ),
}


def pictures(case: Paste | Region) -> tuple[Tensor, Tensor]:
    """Composite (1, 3, H, W) and mask (1, 1, H, W)."""
    if isinstance(case, Paste):
        composite, mask = paste(case)
        return from_pil(composite), from_pil(mask.convert("RGB"))[:, :1]
    scene = Image.open(PHOTOS / case.scene).convert("RGB")
    other = recolour(scene.convert("RGBA"), case.gains).convert("RGB")
    truth, new = from_pil(scene), from_pil(other)
    height, width = truth.shape[-2:]
    left, top, right, bottom = case.box
    y = (torch.arange(height)[:, None] + 0.5) / height
    x = (torch.arange(width)[None] + 0.5) / width
    u, v = (x - (left + right) / 2) / (right - left) * 2, (y - (top + bottom) / 2) / (bottom - top) * 2
    distance = (u.square() + v.square()).sqrt() if case.ellipse else torch.maximum(u.abs(), v.abs())
    mask = ((1 - distance) * 60 + 0.5).clamp(0, 1)[None, None]
    return truth + mask * (new - truth), mask


def decibels(picture: Tensor, truth: Tensor, mask: Tensor) -> float:
    """PSNR over the object."""
    squares = (picture - truth).square() * mask
    return -10 * float((squares.sum() / (3 * mask.sum())).clamp_min(1e-6).log10())


def scene_sheet() -> Image.Image:
    """Before, after and truth, the best gain first."""
    columns: list[tuple[float, list[Panel]]] = []
    for name, case in SCENES.items():
        composite, mask = pictures(case)
        truth = from_pil(Image.open(PHOTOS / case.scene).convert("RGB"))
        result = harmonize(composite, mask, [[]], MODELS[-1])
        scores = [decibels(picture, truth, mask) for picture in (composite, result)]
        panels = [
            Panel(fit(to_pil(composite), WIDTH, HEIGHT), name, (f"{scores[0]:.1f} dB",)),
            Panel(fit(to_pil(result), WIDTH, HEIGHT), MODELS[-1], (f"{scores[1]:.1f} dB",)),
            Panel(fit(to_pil(truth), WIDTH, HEIGHT), "the photo itself"),
        ]
        columns.append((scores[0] - scores[1], panels))
    shown = [panels for _, panels in sorted(columns, key=lambda pair: pair[0])]
    return compose(
        shown, "Scenes whose truth is known", "composite, raiha-plus, truth; PSNR over the object", ()
    )


def main() -> None:
    columns: list[list[Panel]] = [[] for _ in range(ACROSS)]
    for place, (name, case) in enumerate(CASES.items()):
        composite, mask = pictures(case)
        shown = [("composite", composite)]
        shown += [(model, harmonize(composite, mask, [[]], model)) for model in MODELS]
        for model, picture in shown:
            heading = f"{name}" if model == "composite" else model
            columns[place % ACROSS].append(Panel(fit(to_pil(picture), WIDTH, HEIGHT), heading))
    sheet = compose(columns, "Hard cases", "composite, then each model, no reference", ())
    sheet.save(ROOT / "assets" / "hard_cases.jpg", quality=85)
    scene_sheet().save(ROOT / "assets" / "before_after.jpg", quality=85)


if __name__ == "__main__":
    main()
