"""Pencil and paper of the sheets: fitting pictures, framing patches, outlining objects, setting captions.

Everything here works on PIL images; `sheet.py` decides what is shown.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont
from torch import Tensor

from .resizing import BICUBIC, BOX, LANCZOS, resize_picture

Colour = tuple[int, int, int]
Box = tuple[int, int, int, int]  # left, top, right, bottom; the last two belong to it

PAPER, INK, GREY, HAIR = (247, 246, 243), (38, 38, 40), (112, 112, 116), (214, 212, 206)
DARK = (20, 20, 20)  # keeps frames and labels visible on bright pictures
MARGIN, GAP = 28, 22
TITLE, HEADING, SMALL, TAG = 28, 18, 15, 13  # font sizes in pixels
HEADING_HEIGHT, LINE_HEIGHT = 32, 20


@dataclass(frozen=True, slots=True)
class Frame:
    """A marked patch."""

    patch: int  # row-major
    colour: Colour
    label: str
    dashed: bool


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture with its caption below; the caption never grows wider than the panel."""

    picture: Image.Image
    heading: str
    lines: tuple[str, ...] = ()
    width: int = 0  # of the column it stands in; at least the picture's

    @property
    def size(self) -> tuple[int, int]:
        height = self.picture.height + HEADING_HEIGHT + LINE_HEIGHT * len(self.lines)
        return max(self.width, self.picture.width), height


def font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    """Pillow's own font: the same letters on every machine."""
    return ImageFont.load_default(size)


def to_pil(picture: Tensor) -> Image.Image:
    """(1, 3, H, W) sRGB 0..1 -> RGB, rounded. Raises: ValueError for another shape."""
    if picture.ndim != 4 or picture.shape[:2] != (1, 3):
        raise ValueError(f"a sheet shows pictures (1, 3, H, W), got {tuple(picture.shape)}")
    codes = (picture[0].detach().cpu().float().clamp(0, 1) * 255).round().to(torch.uint8)
    return Image.fromarray(np.ascontiguousarray(codes.permute(1, 2, 0).numpy()))


def from_pil(picture: Image.Image) -> Tensor:
    """RGB -> (1, 3, H, W) float32 sRGB 0..1."""
    codes = torch.from_numpy(np.array(picture.convert("RGB")))
    return codes.permute(2, 0, 1)[None].float() / 255


def fit(picture: Image.Image, width: int, height: int) -> Image.Image:
    """Scaled, up or down, to the largest size within width x height; the aspect is kept."""
    scale = min(width / picture.width, height / picture.height)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    return resize_picture(picture, size, LANCZOS)


def outline(picture: Image.Image, mask: Tensor) -> Image.Image:
    """A thin white line with a dark edge around the object: mask (1, 1, H, W) of any size."""
    size = (2 * picture.width, 2 * picture.height)  # drawn at twice the size, so that the line is smooth
    share = Image.fromarray((mask[0, 0].detach().cpu().float() * 255).round().to(torch.uint8).numpy())
    inside = resize_picture(share, size, BICUBIC).point(lambda level: 255 if level > 127 else 0)
    drawn = picture.copy()
    for reach, colour in ((9, (20, 20, 20)), (5, (255, 255, 255))):
        ring = ImageChops.subtract(inside.filter(ImageFilter.MaxFilter(reach)), inside)
        drawn.paste(colour, mask=resize_picture(ring, picture.size, BOX))
    return drawn


def draw_frames(picture: Image.Image, frames: Sequence[Frame], grid: int) -> Image.Image:
    """Frames around patches of a grid x grid raster; several on one patch are nested."""
    drawn = picture.copy()
    pen = ImageDraw.Draw(drawn)
    stroke = max(2, round(max(picture.size) / 200))
    taken: dict[int, int] = {}
    for frame in frames:
        inset = taken.get(frame.patch, 0)
        taken[frame.patch] = inset + 1
        _draw_frame(pen, frame, _cell(picture.size, frame.patch, grid, inset * (stroke + 2)), stroke)
    occupied = [_cell(picture.size, patch, grid, 0) for patch in taken]
    for frame in frames:  # labels last: no frame may cross one
        box = _tag_place(frame, _cell(picture.size, frame.patch, grid, 0), occupied, picture.size)
        occupied.append(box)
        pen.rounded_rectangle(box, 3, fill=frame.colour, outline=DARK)
        middle = ((box[0] + box[2] + 1) / 2, (box[1] + box[3] + 1) / 2)
        pen.text(middle, frame.label, fill=DARK, font=font(TAG), anchor="mm")
    return drawn


def _cell(size: tuple[int, int], patch: int, grid: int, inset: int) -> Box:
    row, column = divmod(patch, grid)
    edges = [
        round(k * side / grid) for side, k in zip(size * 2, (column, row, column + 1, row + 1), strict=True)
    ]
    left, top, right, bottom = edges
    inset = min(inset, (right - left) // 3, (bottom - top) // 3)
    return left + inset, top + inset, right - 1 - inset, bottom - 1 - inset


def _draw_frame(pen: ImageDraw.ImageDraw, frame: Frame, box: Box, stroke: int) -> None:
    left, top, right, bottom = box
    if not frame.dashed:
        pen.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline=DARK, width=stroke + 2)
        pen.rectangle(box, outline=frame.colour, width=stroke)
        return
    bars = []
    for start, end, near, far, upright in (
        (left, right, top, bottom, False),
        (top, bottom, left, right, True),
    ):
        count = 2 * max(1, round((end - start) / 18)) + 1  # dash, gap, ..., dash: corners are closed
        edges = [round(start + k * (end + 1 - start) / count) for k in range(count + 1)]
        for position in (near, far - stroke + 1):
            for low, high in list(pairwise(edges))[::2]:
                across = (position, position + stroke - 1)
                along = (low, high - 1)
                x, y = (across, along) if upright else (along, across)
                bars.append((x[0], y[0], x[1], y[1]))
    for x0, y0, x1, y1 in bars:
        pen.rectangle((x0 - 1, y0 - 1, x1 + 1, y1 + 1), fill=DARK)
    for bar in bars:
        pen.rectangle(bar, fill=frame.colour)


def _tag_place(frame: Frame, cell: Box, occupied: Sequence[Box], size: tuple[int, int]) -> Box:
    """Beside the patch, where the label covers least of other patches and labels."""
    width, height = round(font(TAG).getlength(frame.label)) + 8, TAG + 4
    left, top, right, bottom = cell
    corners = [
        (x, y)
        for y in (top - height, bottom + 1)
        for x in (left - 1, left - 1 + width, right + 2 - width, left - 1 - width)
    ]
    corners += [
        (left - width, top),
        (right + 1, top),
        (left - width, bottom - height),
        (right + 1, bottom - height),
    ]

    def covered(corner: tuple[int, int]) -> int:
        x, y = corner
        hidden = sum(_shared((x, y, x + width - 1, y + height - 1), box) for box in occupied)
        within = min(x, y) >= 0 and x + width <= size[0] and y + height <= size[1]
        return hidden if within else hidden + 10**6

    x, y = min(corners, key=covered)  # the first of equals
    x, y = max(0, min(x, size[0] - width)), max(0, min(y, size[1] - height))
    return x, y, x + width - 1, y + height - 1


def _shared(first: Box, second: Box) -> int:
    """Pixels that two boxes have in common."""
    wide = min(first[2], second[2]) - max(first[0], second[0]) + 1
    high = min(first[3], second[3]) - max(first[1], second[1]) + 1
    return max(0, wide) * max(0, high)


def shorten(text: str, width: int, size: int) -> str:
    """The text, with its middle left out where it is wider than `width` pixels."""
    measure = font(size).getlength
    if measure(text) <= width:
        return text
    keep = len(text) - 1
    while keep > 1 and measure(f"{text[: (keep + 1) // 2]}...{text[len(text) - keep // 2 :]}") > width:
        keep -= 1
    return f"{text[: (keep + 1) // 2]}...{text[len(text) - keep // 2 :]}"


def compose(
    columns: Sequence[Sequence[Panel]], title: str, subtitle: str, legend: Sequence[tuple[bool, Colour, str]]
) -> Image.Image:
    """Columns of panels under a title row, with a legend (dashed, colour, text) at the foot."""
    widths = [max(panel.size[0] for panel in column) for column in columns]
    heights = [sum(panel.size[1] for panel in column) + GAP * (len(column) - 1) for column in columns]
    head = MARGIN + TITLE + (LINE_HEIGHT + 6 if subtitle else 0) + 18
    width = max(sum(widths) + GAP * (len(widths) - 1), _words_width(title, subtitle, legend)) + 2 * MARGIN
    foot = (LINE_HEIGHT + 14 if legend else 0) + MARGIN
    sheet = Image.new("RGB", (width, head + max(heights) + foot), PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((MARGIN, MARGIN - 4), title, fill=INK, font=font(TITLE))
    if subtitle:
        pen.text((MARGIN, MARGIN + TITLE + 6), subtitle, fill=GREY, font=font(SMALL + 1))
    pen.line((MARGIN, head - 10, width - MARGIN - 1, head - 10), fill=HAIR)
    left = MARGIN
    for column, wide in zip(columns, widths, strict=True):
        top = head
        for panel in column:
            _put(sheet, pen, panel, left, top, wide)
            top += panel.size[1] + GAP
        left += wide + GAP
    _put_legend(pen, legend, sheet.height - MARGIN - LINE_HEIGHT + 4)
    return sheet


def _words_width(title: str, subtitle: str, legend: Sequence[tuple[bool, Colour, str]]) -> int:
    entries = sum(52 + font(SMALL).getlength(text) for _, _, text in legend)
    return round(max(font(TITLE).getlength(title), font(SMALL + 1).getlength(subtitle), entries))


def _put(sheet: Image.Image, pen: ImageDraw.ImageDraw, panel: Panel, left: int, top: int, width: int) -> None:
    sheet.paste(panel.picture, (left, top))
    top += panel.picture.height + 7
    pen.text((left, top), shorten(panel.heading, width, HEADING), fill=INK, font=font(HEADING))
    for number, line in enumerate(panel.lines):
        place = (left, top + HEADING_HEIGHT - 7 + LINE_HEIGHT * number)
        pen.text(place, shorten(line, width, SMALL), fill=GREY, font=font(SMALL))


def _put_legend(pen: ImageDraw.ImageDraw, legend: Sequence[tuple[bool, Colour, str]], top: int) -> None:
    left = MARGIN
    for dashed, colour, text in legend:
        _draw_frame(pen, Frame(0, colour, "", dashed), (left, top, left + 15, top + 15), 3)
        pen.text((left + 24, top + 7), text, fill=GREY, font=font(SMALL), anchor="lm")
        left += 52 + round(font(SMALL).getlength(text))
