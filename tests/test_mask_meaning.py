"""What masks mean that come as tensors: over a wire, or from Python. Oracle: rectangles drawn by hand."""

import math
import warnings

import pytest
import torch
import torch.nn.functional as F

from raiha_core.mask_meaning import MaskWarning, Origin, blackened, empty_note, understand
from raiha_core.masks import check_pair
from raiha_core.pipeline import harmonize

SIZE = (48, 72)
PICTURE = torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(0))


def rectangle(value=1.0, size=SIZE):
    mask = torch.zeros(1, 1, *size)
    mask[..., size[0] // 4 : size[0] // 2, size[1] // 3 : size[1] // 2] = value
    return mask


def meant(mask, **how):
    return understand(PICTURE, mask, **how)


def test_an_ordinary_mask_comes_back_as_it_is():
    soft = F.avg_pool2d(rectangle(), 3, stride=1, padding=1)
    for mask in (rectangle(), soft, rectangle(0.5), rectangle(0.05), soft.half(), soft.double()):
        found = meant(mask)
        assert found.mask is mask
        assert not found.notes


@pytest.mark.parametrize("scale", [255, 65535 / 256, 65535])
@pytest.mark.parametrize("label", [1, 2, 13, 20])
def test_labels_behind_a_wire_are_scaled_whatever_read_the_file(scale, label):
    found = meant(rectangle(label / scale))
    assert torch.equal(found.mask, rectangle())
    assert f"its value {label} is taken" in found.notes[0]
    assert meant(found.mask).mask is found.mask  # the rules may be applied twice


def test_several_labels_behind_a_wire_are_refused():
    mask = rectangle(3 / 255)
    mask[..., :4, :] = 7 / 255
    with pytest.raises(ValueError, match="values 0, 3, 7: choose"):
        meant(mask)


@pytest.mark.parametrize("value", [21 / 255, 0.03, 128 / 255])
def test_faint_covers_are_no_labels(value):
    assert meant(rectangle(value)).mask.amax() == torch.tensor(value)


@pytest.mark.parametrize("black", [1 / 255, 2 / 255, 256 / 65535, 0.001])
def test_nearly_black_is_black(black):
    found = meant(rectangle().clamp_min(black))
    assert torch.equal(found.mask, rectangle())
    assert "nearly black" in found.notes[0]


def test_a_soft_edge_is_cut_off_without_a_word():
    mask = rectangle()
    mask[..., 0, :5] = 1 / 255
    found = blackened(mask, "the mask")
    assert torch.equal(found[0], rectangle())
    assert not found[1]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda m: F.interpolate(m, scale_factor=2, mode="bicubic")[..., ::2, ::2] * 1.1 - 0.05,
        lambda m: m * 1.0000002,
        lambda m: m * 1.8 - 0.7,
        lambda m: m - 1e-7,
    ],
)
def test_overshoot_is_clamped(spoil):
    mask = spoil(rectangle())
    assert mask.amax() > 1 or mask.amin() < 0
    found = meant(mask)
    kept = mask.clamp(0, 1)
    assert torch.equal(found.mask, kept.where(kept > 2.01 / 255, 0 * kept))
    assert not found.notes
    assert torch.equal(check_pair(PICTURE, mask)[1], kept)
    assert torch.equal(harmonize(PICTURE, mask, model="statistics")[kept.expand(-1, 3, -1, -1) == 0],
                       PICTURE[kept.expand(-1, 3, -1, -1) == 0])  # fmt: skip


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_refused(value):
    mask = rectangle()
    mask[0, 0, 0, 0] = value
    for use in (meant, lambda m: harmonize(PICTURE, m), lambda m: check_pair(PICTURE, m)):
        with pytest.raises(ValueError, match="finite numbers"):
            use(mask)


@pytest.mark.parametrize(
    "mask",
    [
        torch.zeros(1, 1, 64, 64),
        torch.ones(1, 1, 64, 64),
        torch.zeros(3, 1, 64, 64),
        torch.full((1, 1, *SIZE), 1 / 255),
        torch.full((1, 1, *SIZE), 1 - 255 * 256 / 65535),  # LoadImage of a grey JPEG, of a GIF
    ],
)
def test_what_load_image_gives_for_no_alpha_is_no_mask(mask):
    with pytest.raises(ValueError, match="no mask was given"):
        meant(mask)
    with pytest.raises(ValueError, match="no mask was given"):
        harmonize(PICTURE, mask, model="statistics")


def test_an_empty_mask_of_the_pictures_size_is_a_warning_only():
    assert not meant(torch.zeros(1, 1, *SIZE)).mask.any()
    assert "empty" in (empty_note(torch.zeros(1, 1, *SIZE)) or "")
    picture = torch.rand(1, 3, 64, 64)
    assert not understand(picture, torch.zeros(1, 1, 64, 64)).mask.any()  # the size says nothing here


@pytest.mark.parametrize("size", [(24, 36), (96, 144), (49, 73), (480, 717)])
def test_a_mask_of_the_same_shape_is_resized(size):
    found = meant(rectangle(size=size))
    assert found.mask.shape == (1, 1, *SIZE)
    assert (found.mask - rectangle()).abs().mean() < 0.02
    assert f"is {size[1]}x{size[0]} but the composite is 72x48: the mask was resized" in found.notes[0]


@pytest.mark.parametrize(
    ("size", "origin", "sentence"),
    [
        ((48, 48), Origin(), "48x48 but the composite is 72x48; they must have the same size: make"),
        ((72, 48), Origin(), "one of them lies on its side, as when an EXIF orientation"),
        (
            (144, 96),
            Origin(composite_orientation=6),
            "turned upright by its EXIF orientation 6; the mask fits it",
        ),
        ((72, 48), Origin(mask_orientation=8), "mask was turned upright by its EXIF orientation 8"),
        ((72, 48), Origin(composite_orientation=3), "one of them lies on its side"),
    ],
)
def test_other_shapes_are_refused_with_the_remedy(size, origin, sentence):
    with pytest.raises(ValueError, match=sentence):
        meant(rectangle(size=size), origin=origin)


def test_a_square_photo_that_was_turned_is_said():
    picture, mask = torch.rand(1, 3, 32, 32), rectangle(size=(32, 32))
    known = Origin(composite_orientation=6, mask_orientation=1)
    assert "the object lies elsewhere" in understand(picture, mask, origin=known).notes[0]
    assert not understand(picture, mask, origin=Origin(composite_orientation=6, mask_orientation=6)).notes
    assert not understand(picture, mask, origin=Origin(composite_orientation=1, mask_orientation=1)).notes


def test_inverting_gives_the_rest_and_no_grey_black():
    assert torch.equal(meant(1 - rectangle(), invert=True).mask, rectangle())
    grey = (1 - rectangle()) * (255 * 256 / 65535)  # what ComfyUI reads from a grey PNG never reaches 1
    assert torch.equal(meant(grey, invert=True).mask, rectangle())


@pytest.mark.parametrize(
    ("mask", "inverted"),
    [
        (1 - rectangle(), True),
        (rectangle(), False),
        (F.pad(torch.ones(1, 1, 40, 64), (4, 4, 4, 4)), False),  # large, but off the border
        (1 - F.pad(torch.ones(1, 1, 40, 64), (4, 4, 4, 4)), False),  # a frame: the border, but little
        (torch.ones(1, 1, *SIZE), False),  # no background at all: there is another word for it
        (torch.cat([rectangle(), 1 - rectangle()]), True),
    ],
)
def test_a_mask_that_looks_inverted_is_said(mask, inverted):
    notes = understand(PICTURE.expand(len(mask), -1, -1, -1), mask).notes
    assert bool(notes) == inverted
    assert all("looks inverted" in note for note in notes)


def test_python_is_told_by_a_warning_and_evaluation_takes_masks_as_they_are():
    mask = rectangle(1 / 255)
    with pytest.warns(MaskWarning, match="mask of labels"):
        changed = harmonize(PICTURE, mask, model="statistics")
    assert torch.equal(changed, harmonize(PICTURE, rectangle(), model="statistics"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        as_stored = harmonize(PICTURE, mask, model="statistics", as_stored=True)
    assert (as_stored - PICTURE).abs().max() < 1 / 255
    with pytest.raises(ValueError, match="must have the same size"):
        harmonize(PICTURE, rectangle(size=(24, 36)), model="statistics", as_stored=True)
