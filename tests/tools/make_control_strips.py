"""Writes web/docs/control_*.jpg, the strips of pictures in the help of Harmonize, from shipped files.

python tests/tools/make_control_strips.py
"""

from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from raiha_core.controls import Controls
from raiha_core.drawing import to_pil
from raiha_core.features.references import Reference
from raiha_core.images import read_picture
from raiha_core.mask_files import read_mask
from raiha_core.pipeline import harmonize

ROOT = Path(__file__).resolve().parents[2]
ASSETS = ROOT / "assets"
DOCS = ROOT / "web" / "docs"
SIZE = (200, 230)  # of a picture
_PAPER, _INK = (247, 246, 243), (40, 40, 40)

# name -> demo composite, and the values shown; () as the value of `background`: all
STRIPS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "strength": ("tree", (0.0, 0.5, 1.0, 1.5, 2.0)),
    "light": ("tree", (0.0, 0.5, 1.0, 2.0)),
    "colour": ("tree", (0.0, 0.5, 1.0, 2.0)),
    "contrast": ("tree", (0.0, 0.5, 1.0, 2.0)),
    "reference_strength": ("grapefruit", (0.0, -1.0, 0.5, 1.0)),
    "limit": ("tree", (3.0, 8.0, 20.0, 100.0)),
    "keep_hue": ("grapefruit", (False, True)),
    "grow": ("tree", (-6, 0, 6)),
    "feather": ("tree", (0, 12, 40)),
    "context": ("pie", (0.0, 1.0, 0.25)),
    "local_light": ("truck", (0.0, 1.0, 2.0)),
    "background": ("truck", ("all", "the meadow", "the sky")),
}


def _pair(demo: str) -> tuple[Tensor, Tensor]:
    return read_picture(ASSETS / "demo" / f"{demo}.png").pixels, read_mask(
        ASSETS / "demo" / f"{demo}_mask.png"
    )


def _lit_from_the_wrong_side(composite: Tensor, mask: Tensor) -> Tensor:
    columns = (mask > 0.5).any(2).flatten().nonzero().flatten()
    across = ((torch.arange(mask.shape[-1]) - columns[0]) / (columns[-1] - columns[0])).clamp(0, 1)
    return torch.lerp(composite, (composite * (1.6 - 1.1 * across)).clamp(0, 1), mask)


def _answer(name: str, value: Any, composite: Tensor, mask: Tensor) -> Tensor:
    if name == "strength":
        return harmonize(composite, mask, strength=value)
    if name == "background":
        half = torch.zeros_like(mask)
        rows = slice(0, mask.shape[-2] // 2) if value == "the sky" else slice(mask.shape[-2] // 2, None)
        half[..., rows, :] = 1
        return harmonize(composite, mask, background=None if value == "all" else half)
    references: tuple[Reference, ...] = ()
    if name == "reference_strength":
        photo = read_picture(ASSETS / "scenes" / "photos" / "palapeli_citrus-fruits_detail.jpg").pixels
        references = (Reference(id="detail", image=photo, by_hand=True),)
    return harmonize(composite, mask, references, controls=Controls(**{name: value}))


def _cut(picture: Tensor, mask: Tensor) -> Image.Image:
    """The object with some surroundings, at `SIZE`."""
    rows, columns = (mask > 0).any(3).flatten().nonzero(), (mask > 0).any(2).flatten().nonzero()
    height, width = mask.shape[-2:]
    middle = [float(one.float().mean()) for one in (columns, rows)]
    side = max(float(rows[-1] - rows[0]) * 1.25, float(columns[-1] - columns[0]) * 1.25 * SIZE[1] / SIZE[0])
    side = min(side, height, width * SIZE[1] / SIZE[0])
    wide = side * SIZE[0] / SIZE[1]
    left = min(max(0.0, middle[0] - wide / 2), width - wide)
    top = min(max(0.0, middle[1] - side / 2), height - side)
    box = (left, top, left + wide, top + side)
    return to_pil(picture).resize(SIZE, Image.Resampling.LANCZOS, box=box)


def strip(name: str) -> Image.Image:
    """One control at several values, from left to right."""
    demo, values = STRIPS[name]
    composite, mask = _pair(demo)
    if name == "local_light":
        composite = _lit_from_the_wrong_side(composite, mask)
    sheet = Image.new("RGB", (len(values) * (SIZE[0] + 4) - 4, SIZE[1] + 22), _PAPER)
    brush, letters = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for place, value in enumerate(values):
        left = place * (SIZE[0] + 4)
        sheet.paste(_cut(_answer(name, value, composite, mask), mask), (left, 0))
        told = {True: "on", False: "off"}.get(value, value) if isinstance(value, bool) else value
        shown = told if isinstance(told, str) else f"{told:g}"
        brush.text((left + 4, SIZE[1] + 3), f"{name}: {shown}", _INK, letters)
    return sheet


if __name__ == "__main__":
    for control in STRIPS:
        strip(control).save(DOCS / f"control_{control}.jpg", quality=76)
