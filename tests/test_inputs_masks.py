"""The table of masks in docs/inputs.md: every row is tried, and no row stands there untried."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from raiha_core.images import read_mask
from raiha_core.mask_meaning import MaskWarning, Meaning, empty_note, understand
from tests.node_cases import Host

PAGE = Path(__file__).parents[1] / "docs" / "inputs.md"
OBJECT = np.zeros((40, 60), bool)
OBJECT[10:25, 20:50] = True
COVER = torch.from_numpy(OBJECT.astype(np.float32))[None, None]
PICTURE = torch.full((1, 3, 40, 60), 0.5)
VOC = [0, 0, 0, 128, 0, 0, 0, 128, 0]


def from_file(codes, palette=None, **how):
    def read(folder):
        image = Image.fromarray(np.asarray(codes, np.uint8), "P" if palette else None)
        if palette:
            image.putpalette(palette)
        image.save(folder / "m.png")
        return understand(PICTURE, read_mask(folder / "m.png", **how))

    return read


def from_wire(mask):
    return lambda folder: understand(PICTURE, mask)


def from_the_editor(folder):
    host = Host(folder / "base")
    (host.folder("input") / "clipspace").mkdir()
    rgba = np.dstack([np.full(OBJECT.shape, 99)] * 3 + [np.where(OBJECT, 0, 255)]).astype(np.uint8)
    Image.fromarray(rgba).save(host.folder("input") / "clipspace" / "clipspace-painted-masked-1.png")
    with host.session():
        found = host.nodes["Raiha_LoadMask"].execute(image="clipspace/clipspace-painted-masked-1.png").args[0]
    return Meaning(found[None], ())


SOFT = (
    torch.from_numpy(np.linspace(0, 255, 2400).round().reshape(40, 60).astype(np.float32))[None, None] / 255
)
VOID = np.where(OBJECT, 15, 0)
VOID[30:33, 20:50] = 255
SPECKED = COVER.clone()
SPECKED[..., 35, 5] = 1
TWICE = COVER.repeat_interleave(2, 2).repeat_interleave(2, 3)
GREYS = [grey for grey in range(256) for _ in range(3)]
# row -> examples: (how it comes, what it must give: a mask, or a sentence of a refusal; what is said)
ROWS = {
    "64x64 zeros or ones beside a picture of another size": [
        (from_file(np.zeros((64, 64))), "no mask was given", ""),
        (from_wire(torch.ones(1, 1, 64, 64)), "no mask was given", ""),
    ],
    "1 of 255 everywhere": [(from_file(np.ones((40, 60))), "no mask was given", "")],
    "zeros of the picture's size": [(from_wire(0 * COVER), 0 * COVER, "")],
    "values beyond 0..1 by less than 1": [(from_wire(COVER * 1.4 - 0.2), COVER, "")],
    "NaN, infinity, another scale such as 0..255": [
        (from_wire(COVER / 0), "finite numbers", ""),
        (from_wire(COVER * 255), "must lie in 0..1", ""),
    ],
    "a palette file or codes up to 20, with 0 and one other value": [
        (from_file(OBJECT * 1), COVER, "labels"),
        (from_file(OBJECT * 20), COVER, "labels"),
        (from_file(OBJECT * 2, VOC), COVER, "labels"),
    ],
    "a palette file or codes up to 20, with several values": [
        (from_file(OBJECT * 2 + 1), "with the values 1, 3", ""),
        (from_file(OBJECT + 1, VOC), "with the values 1, 2", ""),
        (from_file(OBJECT * 2 + 1, label=3), COVER, ""),
    ],
    "the same beside 255 and nothing between (VOC's and Cityscapes' void)": [
        (from_file(VOID), "with the values 0, 15, 255", ""),
        (from_wire(torch.from_numpy(VOID / 255).float()[None, None]), "with the values 0, 15, 255", ""),
        (
            from_wire(torch.from_numpy(VOID * 256 / 65535).float()[None, None]),
            "with the values 0, 15, 25",
            "",
        ),
        (from_file(VOID, label=15), COVER, ""),
    ],
    "a palette of black and white, or of many greys": [
        (from_file(1 - OBJECT, [255] * 3 + [0] * 3), COVER, ""),
        (from_file((SOFT * 255)[0, 0], GREYS), SOFT.where(SOFT > 2.5 / 255, 0), ""),
    ],
    "1 or 2 of 255": [
        (from_file(np.where(OBJECT, 255, 2)), COVER, "nearly black"),
        (from_wire(COVER.clamp_min(1 / 255)), COVER, "nearly black"),
    ],
    "islands of less than a thousandth of the mask": [(from_wire(SPECKED), SPECKED, "")],
    "two values of which the larger is above 20": [(from_file(OBJECT * 128), COVER * 128 / 255, "")],
    "alpha that varies, and falls below 253 of 255": [
        (from_file(np.dstack([np.full((40, 60), 77)] * 3 + [OBJECT * 255])), COVER, ""),
        (from_file(np.dstack([OBJECT * 255] * 3 + [253 + 2 * OBJECT.T.reshape(40, 60)])), COVER, ""),
    ],
    "alpha in a file of ComfyUI's mask editor (`clipspace-...`), in the nodes": [
        (from_the_editor, COVER, "")
    ],
    "another size of the same aspect (within 1 %)": [(from_wire(TWICE), COVER, "resized")],
    "another aspect": [
        (from_wire(COVER[..., :50]), "50x40 but the composite is 60x40", ""),
        (from_wire(COVER.mT), "EXIF orientation", ""),
    ],
    "more than half of the picture and most of its border": [
        (from_wire(1 - COVER), 1 - COVER, "looks inverted"),
    ],
}


def rows_of_the_page():
    lines = PAGE.read_text(encoding="utf-8").split("## Masks")[1].split("\n## ")[0].splitlines()
    return [line.split("|")[1].strip() for line in lines if line.startswith("| ")][1:]


def test_every_row_is_tried():
    assert rows_of_the_page() == list(ROWS)


@pytest.mark.parametrize("row", ROWS)
def test_masks_mean_what_the_page_says(tmp_path, row):
    for read, expected, said in ROWS[row]:
        if isinstance(expected, str):
            with pytest.raises(ValueError, match=expected):
                read(tmp_path)
            continue
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", MaskWarning)
            found = read(tmp_path)
        assert (found.mask - expected).abs().mean() < (0.05 if "size" in row else 1e-6)
        notes = " ".join([*(str(warning.message) for warning in caught), *found.notes])
        assert said in notes
        assert bool(notes) == bool(said)
    if row.startswith("zeros"):
        assert empty_note(0 * COVER)
