"""Oracles: slow loops over pixels in exact fractions."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from raiha_core import masks
from raiha_core.background import background_patches


def slow_coverage(mask: Tensor, grid: int) -> list[list[Fraction]]:
    """Mean of one mask (H, W) over each patch, pixel by pixel, in exact fractions."""
    height, width = mask.shape
    result = []
    for i in range(grid):
        top, bottom = Fraction(i * height, grid), Fraction((i + 1) * height, grid)
        row = []
        for j in range(grid):
            left, right = Fraction(j * width, grid), Fraction((j + 1) * width, grid)
            total = Fraction(0)
            for y in range(math.floor(top), math.ceil(bottom)):
                for x in range(math.floor(left), math.ceil(right)):
                    tall = min(bottom, y + 1) - max(top, y)
                    wide = min(right, x + 1) - max(left, x)
                    total += tall * wide * Fraction(mask[y, x].item())
            row.append(total / ((bottom - top) * (right - left)))
        result.append(row)
    return result


def slow_foreground(mask: Tensor, grid: int) -> list[bool]:
    shares = [share for row in slow_coverage(mask, grid) for share in row]
    chosen = [share >= Fraction(1, 2) for share in shares]
    if not any(chosen) and max(shares) > 0:
        chosen[shares.index(max(shares))] = True  # index: the lowest among equals
    return chosen


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 24), st.integers(1, 24), st.integers(1, 9), st.integers(0, 3), st.integers(0, 2**32))
def test_patches_equal_a_loop_over_pixels(height, width, grid, kind, seed):
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(2, 1, height, width, generator=generator)
    if kind == 1:  # steps of 1/4 give many exact halves and ties
        mask = (mask * 5).floor() / 4
        mask = mask.clamp(0, 1)
    elif kind == 2:
        mask = (mask < 0.5).float()
    elif kind == 3:
        mask = (mask < 0.03).float()
    share, front, back = (
        function(mask, grid) for function in (masks.coverage, masks.foreground_patches, background_patches)
    )
    for b in range(2):
        exact = slow_coverage(mask[b, 0], grid)
        expected = torch.tensor([[float(v) for v in row] for row in exact], dtype=torch.float64)
        torch.testing.assert_close(share[b], expected, atol=1e-12, rtol=0)
        assert back[b].tolist() == [v == 0 for row in exact for v in row]
        if kind:  # where sums are exact, so is the choice; random floats may tie within rounding
            assert front[b].tolist() == slow_foreground(mask[b, 0], grid)


def test_a_pixel_beside_a_patch_does_not_touch_it():
    # A fixed bug: with edges in floats, 9 of 57057 cells reached one pixel too far. All sizes where the
    # float edge i * (size / grid) lies beside the whole number it should be:
    wrong = [
        (size, grid, i)
        for size in range(1, 400)
        for grid in (7, 12, 14, 24, 37)
        for i in range(1, grid)
        if i * size % grid == 0 and i * (size / grid) != i * size // grid
    ]
    assert wrong
    for size, grid, i in wrong:
        edge = i * size // grid
        mask = torch.zeros(1, 1, size, 1)
        mask[0, 0, :edge] = 1
        back = background_patches(mask, grid).reshape(grid, grid)[:, 0]
        assert back.tolist() == [k >= i for k in range(grid)]
        mask = 1 - mask
        back = background_patches(mask, grid).reshape(grid, grid)[:, 0]
        assert back.tolist() == [k < i for k in range(grid)]


@pytest.mark.parametrize(("height", "width", "grid"), [(12, 16, 4), (100, 75, 12), (37, 41, 7)])
def test_exactly_half_is_foreground(height, width, grid):
    # a checkerboard cut in half: each patch column has cover 1, 1/2 or 0 by the same exact loop
    mask = torch.zeros(1, 1, height, width)
    mask[..., : width // 2] = 1
    assert masks.foreground_patches(mask, grid)[0].tolist() == slow_foreground(mask[0, 0], grid)
    half = torch.full((1, 1, height, width), 0.5)
    assert masks.foreground_patches(half, grid).all()
    assert not background_patches(half, grid).any()


def test_empty_full_and_single_pixel_masks():
    empty = torch.zeros(2, 1, 20, 30)
    assert not masks.foreground_patches(empty, 6).any()
    assert background_patches(empty, 6).all()
    full = torch.ones(1, 1, 20, 30)
    assert (masks.coverage(full, 6) == 1).all()
    assert masks.foreground_patches(full, 6).all()
    assert not background_patches(full, 6).any()
    one = empty.clone()
    one[1, 0, 19, 0] = 0.001  # the bottom left patch of the second mask
    assert masks.foreground_patches(one, 6).nonzero().tolist() == [[1, 30]]
    assert (~background_patches(one, 6)).nonzero().tolist() == [[1, 30]]


def test_best_covered_patch_wins_and_ties_go_to_the_lowest():
    mask = torch.zeros(2, 1, 8, 8)
    mask[0, 0, 5, 5] = 0.4
    mask[0, 0, 5, 1] = 0.4
    mask[0, 0, 1, 5] = 0.3
    mask[1, 0, 1, 5] = 0.3
    mask[1, 0, 5, 1] = 0.2
    assert masks.foreground_patches(mask, 2).nonzero().tolist() == [[0, 2], [1, 1]]


def test_a_mask_smaller_than_the_grid():
    mask = torch.tensor([[[[1.0, 0.0]]]])
    front = masks.foreground_patches(mask, 4).reshape(4, 4)
    assert front.tolist() == [[True, True, False, False]] * 4


def test_a_grid_or_mask_of_nothing_is_refused():
    with pytest.raises(ValueError, match="grid of 0"):
        masks.coverage(torch.ones(1, 1, 4, 4), 0)
    with pytest.raises(ValueError, match=r"\(1, 1, 0, 4\)"):
        masks.coverage(torch.ones(1, 1, 0, 4), 2)


def test_pair_broadcasts_batch_one_either_way():
    composite, mask = torch.rand(1, 3, 5, 6), torch.rand(4, 1, 5, 6)
    first, second = masks.check_pair(composite, mask)
    assert first.shape == (4, 3, 5, 6)
    assert second.shape == (4, 1, 5, 6)
    assert (first == composite).all()
    first, second = masks.check_pair(torch.rand(4, 3, 5, 6), mask[:1])
    assert (second == mask[:1]).all()
    assert second.shape == (4, 1, 5, 6)


BAD = {
    "three axes": (torch.rand(3, 5, 6), torch.rand(1, 1, 5, 6), r"composite.*\(3, 5, 6\)"),
    "four channels": (torch.rand(1, 4, 5, 6), torch.rand(1, 1, 5, 6), r"composite.*\(1, 4, 5, 6\)"),
    "mask without channel": (torch.rand(1, 3, 5, 6), torch.rand(1, 5, 6), r"mask.*\(1, 5, 6\)"),
    "mask with three": (torch.rand(1, 3, 5, 6), torch.rand(1, 3, 5, 6), r"mask.*\(1, 3, 5, 6\)"),
    "other size": (torch.rand(1, 3, 5, 6), torch.rand(1, 1, 64, 65), "mask is 65x64.*composite is 6x5"),
    "other batch": (torch.rand(2, 3, 5, 6), torch.rand(3, 1, 5, 6), "2 composites and 3 masks"),
    "above one": (torch.rand(1, 3, 5, 6), torch.full((1, 1, 5, 6), 255.0), "255"),
    "far below zero": (torch.rand(1, 3, 5, 6), torch.full((1, 1, 5, 6), -1.5), "-1.5"),
    "infinite mask": (torch.rand(1, 3, 5, 6), torch.full((1, 1, 5, 6), math.inf), "inf"),
    "NaN in the mask": (torch.rand(1, 3, 5, 6), torch.full((1, 1, 5, 6), math.nan), "nan"),
    "NaN in the composite": (torch.full((1, 3, 5, 6), math.nan), torch.ones(1, 1, 5, 6), "NaN"),
    "infinite composite": (torch.full((1, 3, 5, 6), math.inf), torch.ones(1, 1, 5, 6), "infinite"),
    "integers": (torch.ones(1, 3, 5, 6, dtype=torch.uint8), torch.ones(1, 1, 5, 6), "composite.*uint8"),
    "integer mask": (torch.ones(1, 3, 5, 6), torch.ones(1, 1, 5, 6, dtype=torch.bool), "mask.*bool"),
    "no pixels": (torch.ones(1, 3, 0, 6), torch.ones(1, 1, 0, 6), "composite is empty"),
    "no batch": (torch.ones(0, 3, 5, 6), torch.ones(1, 1, 5, 6), "composite is empty"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_pairs_are_refused_by_name(name):
    composite, mask, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        masks.check_pair(composite, mask)
