"""Picture sheets of the images that gained and lost most: composite, result, truth, object."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from raiha_core.data.item import Triple
from raiha_core.data.pictures import Bytes
from raiha_core.durable import durable_path
from raiha_core.resizing import shrink_within

from .plan import NONE, RANDOM_PHOTO, UNTOUCHED, ScoringPlan
from .predictors import NoPredictor, PredictionRequest, Predictor
from .protocols import Prepared, Protocol, encode
from .scoring import load_triple
from .summary import Table

PICTURES_SHOWN = 4
CELL, GAP, LINE = 240, 6, 18


def cell(pixels: Bytes) -> Image.Image:
    """A picture (H, W, 3) uint8 in the middle of a white square of CELL pixels, never enlarged."""
    picture = shrink_within(Image.fromarray(pixels).convert("RGB"), CELL)
    square = Image.new("RGB", (CELL, CELL), "white")
    square.paste(picture, ((CELL - picture.width) // 2, (CELL - picture.height) // 2))
    return square


def dimmed(prepared: Prepared) -> Bytes:
    """The composite, dimmed outside the object."""
    weight = prepared.mask[..., None].astype(np.float32) / 255
    return (prepared.composite * (0.25 + 0.75 * weight)).astype(np.uint8)


def _row(item: Triple, protocol: Protocol, source: Predictor, reference: str) -> list[Image.Image]:
    prepared = load_triple(protocol, item)
    prediction = source.predict([PredictionRequest(item, prepared, [reference])])[0][0]
    result = levels_of(protocol, prediction)
    return [cell(x) for x in (dimmed(prepared), prepared.composite, result, prepared.truth)]


def levels_of(protocol: Protocol, prediction: Tensor) -> Bytes:
    """A prediction (1, 3, H, W) as the protocol scores it, (H, W, 3) uint8."""
    pixels = encode(protocol, prediction)
    if pixels.is_floating_point():
        pixels = (pixels * 255).round().byte()
    return np.ascontiguousarray(pixels[0].permute(1, 2, 0).numpy())


def sheet(
    rows: Sequence[tuple[str, list[Image.Image]]],
    titles: Sequence[str] = ("object", "composite", "result", "truth"),
) -> Image.Image:
    """A white RGB sheet: one row per picture, and a line of text over each.

    Args: rows: the text, and a cell of CELL x CELL pixels for each title.
    """
    width = len(titles) * (CELL + GAP) + GAP
    canvas = Image.new("RGB", (width, LINE + len(rows) * (CELL + LINE + GAP)), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(12)
    for column, title in enumerate(titles):
        draw.text((GAP + column * (CELL + GAP), 2), title, fill="#666666", font=font)
    for number, (text, cells) in enumerate(rows):
        top = LINE + number * (CELL + LINE + GAP)
        draw.text((GAP, top + 2), text, fill="black", font=font)
        for column, picture in enumerate(cells):
            canvas.paste(picture, (GAP + column * (CELL + GAP), top + LINE))
    return canvas


def write_sheets(
    out: Path, items: Sequence[Triple], protocol: Protocol, source: Predictor, table: Table, plan: ScoringPlan
) -> None:
    """`worst.jpg` and `best.jpg`: the largest loss and gain of PSNR over the composite, one unit an image.

    Nothing is written where the composite alone was scored.
    """
    if isinstance(source, NoPredictor):
        return
    by_id = {item.id: item for item in items}
    gains: dict[str, tuple[float, str]] = {}
    for (item_id, reference), row in table.items():
        if reference == UNTOUCHED or item_id not in by_id or reference not in plan.references(item_id):
            continue
        if reference == plan.variants.get(RANDOM_PHOTO, {}).get(item_id, UNTOUCHED):
            continue  # a control, not a result
        gain = row.scores.psnr - table[item_id, UNTOUCHED].scores.psnr
        if item_id not in gains or gain < gains[item_id][0]:
            gains[item_id] = gain, reference
    ranked = sorted(gains, key=lambda i: (gains[i][0], i))
    for name, chosen in (("worst", ranked[:PICTURES_SHOWN]), ("best", ranked[::-1][:PICTURES_SHOWN])):
        rows = []
        for item_id in chosen:
            gain, reference = gains[item_id]
            before, after = table[item_id, UNTOUCHED].scores, table[item_id, reference].scores
            text = f"{item_id}: {before.psnr:.2f} -> {after.psnr:.2f} dB ({gain:+.2f}), protocol {protocol}"
            text += "" if reference == NONE else f", reference {reference}"
            rows.append((text, _row(by_id[item_id], protocol, source, reference)))
        with durable_path(out / f"{name}.jpg") as temporary:
            sheet(rows).save(temporary, quality=90)
