"""Masks grown and feathered by pixels, against slow loops."""

import pytest
import torch

from raiha_core.mask_shape import LARGEST, dilated, shaped


def soft_mask(height=23, width=31, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mask = torch.zeros(1, 1, height, width)
    mask[..., 8:13, 9:20] = 0.2 + 0.8 * torch.rand(5, 11, generator=generator)
    mask[..., 0:3, 27:31] = 1  # cut by the frame
    return mask


def slow_maximum(mask, radius):
    """Oracle: every pixel asks every other one that lies within the radius."""
    height, width = mask.shape[-2:]
    out = mask.clone()
    for y in range(height):
        for x in range(width):
            best = 0.0
            for dy in range(-radius, radius + 1):
                for dx in range(-radius, radius + 1):
                    inside = 0 <= y + dy < height and 0 <= x + dx < width
                    if inside and dy * dy + dx * dx <= radius * radius:
                        best = max(best, float(mask[0, 0, y + dy, x + dx]))
            out[0, 0, y, x] = best
    return out


@pytest.mark.parametrize("radius", [1, 2, 3, 5, 9])
def test_growing_is_the_maximum_over_a_disc_and_shrinking_its_mirror(radius):
    mask = soft_mask()
    expected = slow_maximum(mask, radius)
    assert torch.equal(dilated(mask, radius), expected)
    assert torch.equal(shaped(mask, radius), expected)
    assert torch.equal(shaped(mask, -radius), 1 - slow_maximum(1 - mask, radius))


def test_the_frame_is_no_border():
    # An object that the frame cuts keeps what lies at the frame.
    mask = torch.zeros(1, 1, 20, 30)
    mask[..., 10:20, 5:25] = 1
    shrunk, soft = shaped(mask, -3), shaped(mask, 0, 6)
    assert shrunk[0, 0, 19, 10:20].eq(1).all()
    assert shrunk[0, 0, 10:13].eq(0).all()
    assert soft[0, 0, 19, 10:20].eq(1).all()


@pytest.mark.parametrize("feather", [1, 2, 5, 8, 20])
def test_a_hard_border_becomes_a_ramp_of_that_width(feather):
    mask = torch.zeros(1, 1, 60, 60)
    mask[..., 30:] = 1
    row = shaped(mask, 0, feather)[0, 0, 30]
    assert (row.diff() >= -1e-6).all()
    soft = ((row > 1e-6) & (row < 1 - 1e-6)).nonzero().flatten()
    assert feather - 1 <= len(soft) <= feather + 2
    torch.testing.assert_close(row + row.flip(0), torch.ones(60))  # half of it to each side


def test_nothing_asked_for_gives_the_same_object_back_and_batches_are_their_rows():
    mask = torch.cat([soft_mask(), soft_mask(seed=3).flip(-1), torch.zeros(1, 1, 23, 31)])
    assert shaped(mask) is mask
    each = torch.cat([shaped(row[None], -1, 3) for row in mask])
    torch.testing.assert_close(shaped(mask, -1, 3), each)
    assert not shaped(mask, 4, 2)[2].any()  # an empty one stays empty


def test_what_is_too_large_is_named():
    with pytest.raises(ValueError, match=r"grow must lie in -512\.\.512 pixels, got 513"):
        shaped(soft_mask(), LARGEST + 1)
    with pytest.raises(ValueError, match=r"feather must lie in 0\.\.512 pixels, got -1"):
        shaped(soft_mask(), 0, -1)
