"""Enlarging a part at a time is enlarging the whole: torch's own interpolation is the oracle."""

import pytest
import torch
import torch.nn.functional as F

from raiha_core.enlargement import Bicubic, Enlarged, Window, enlarge, shrink

CLOSE = 1e-4  # white noise changes by 5 from cell to cell, and float32 knows a place to 1.5e-5 cells
SIZES = [(256, 4096), (256, 1080), (7, 61), (9, 9), (16, 50), (33, 20)]


def noisy(cells, seed=0):
    return torch.randn(2, 3, cells, cells, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("cells", "side"), SIZES)
def test_bicubic_parts_are_those_of_torch(cells, side):
    small = noisy(cells)
    height = 40
    whole = F.interpolate(small, size=(height, side), mode="bicubic", align_corners=False)
    field = Bicubic(small, (height, side))
    for rows, columns in ((slice(0, height), slice(0, side)), (slice(3, 17), slice(side // 3, side // 2))):
        part = field.part(Window(rows, columns))
        torch.testing.assert_close(part, whole[..., rows, columns], rtol=0, atol=CLOSE)


@pytest.mark.parametrize(("cells", "side"), SIZES)
def test_bilinear_parts_are_those_of_the_whole(cells, side):
    small = noisy(cells)
    inside = torch.ones(2, 1, cells, cells, dtype=torch.bool)
    whole = F.interpolate(small, size=(40, side), mode="bilinear", align_corners=False)
    torch.testing.assert_close(enlarge(small, inside, (40, side)), whole, rtol=0, atol=CLOSE)
    window = Window(slice(11, 30), slice(side // 2, side - 2))
    part = Enlarged(small, inside, (40, side)).part(window)
    torch.testing.assert_close(part, whole[..., window.rows, window.columns], rtol=0, atol=CLOSE)


def test_without_antialias_shrinking_samples_as_opencv_does():
    # Oracle: at a third of the size the centre pixel of each 3 x 3 is taken; with antialias a mean is.
    image = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(shrink(image, (4, 4), antialias=False), image[..., 1::3, 1::3])
    assert (shrink(image, (4, 4)) - image[..., 1::3, 1::3]).abs().max() > 0.05
