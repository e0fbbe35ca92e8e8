"""Resizing gives the same bytes with every Pillow: its two passes, in their old order."""

import numpy as np
import pytest
from PIL import Image

from raiha_core.resizing import resize_codes


@pytest.mark.parametrize("kernel", [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC])
@pytest.mark.parametrize(("before", "after"), [((19, 34), (26, 19)), ((40, 8), (8, 24)), ((30, 31), (30, 7))])
def test_it_is_across_then_down_with_whole_levels_in_between(before, after, kernel):
    pixels = np.random.default_rng(0).integers(0, 256, (before[1], before[0], 3), dtype=np.uint8)
    across = np.stack([resize_codes(row[None], (after[0], 1), kernel)[0] for row in pixels])
    for x in range(after[0]):
        column = resize_codes(across[:, x : x + 1], (1, after[1]), kernel)
        assert np.array_equal(resize_codes(pixels, after, kernel)[:, x : x + 1], column)


def test_the_bytes_of_a_narrow_picture_that_becomes_wide():
    # Made with Pillow 12.3; in one call 13.0 gives 116 for the 117.
    pixels = (np.arange(12 * 3, dtype=np.int64).reshape(12, 3) ** 2 * 7 % 256).astype(np.uint8)
    small = resize_codes(pixels, (5, 2), Image.Resampling.BILINEAR)
    assert small.tolist() == [[122, 117, 108, 128, 141], [162, 135, 95, 127, 148]]
    nearest = resize_codes(pixels, (5, 2), Image.Resampling.NEAREST)
    assert np.array_equal(
        nearest, np.asarray(Image.fromarray(pixels).resize((5, 2), Image.Resampling.NEAREST))
    )
