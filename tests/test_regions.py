"""Regions against scipy's exact distances and against themselves at other sizes."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from raiha_core import regions
from raiha_core.background import outside, touched
from raiha_core.masked_statistics import measure
from raiha_core.regions import core, distance, rim, ring


def disc(size: tuple[int, int], radius: float = 0.2) -> Tensor:
    """An ellipse of the same shape in fractions of the sides, at any size: (1, 1, h, w)."""
    y, x = (((torch.arange(n) + 0.5) / n - 0.5) for n in size)
    return ((y[:, None] ** 2 + x**2) < radius**2).float()[None, None]


@pytest.mark.parametrize("size", [(40, 40), (33, 70), (64, 9)])
@pytest.mark.parametrize("share", [0.002, 0.05, 0.6])
def test_distances_are_scipys_up_to_the_reach(size, share):
    generator = torch.Generator().manual_seed(size[1])
    inside = torch.rand(3, 1, *size, generator=generator) < share
    inside[:, :, 0, 0] = True
    reach = 0.2
    found = distance(inside, reach)
    for b in range(3):
        exact = distance_transform_edt(~inside[b, 0].numpy(), sampling=(1 / size[0], 1 / size[1]))
        near = exact <= reach
        np.testing.assert_allclose(found[b, 0].numpy()[near], exact[near], atol=1e-6)
        far = exact > reach + 2 / min(size)
        assert np.isinf(found[b, 0].numpy()[far]).all()


def test_without_a_true_cell_everything_is_infinitely_far():
    assert distance(torch.zeros(1, 1, 8, 5, dtype=torch.bool), 0.3).isinf().all()


@pytest.mark.parametrize("size", [(512, 512), (256, 256), (96, 160), (64, 64)])
def test_a_ring_has_the_same_area_at_every_size(size):
    # Oracle: the annulus pi ((r + outer)^2 - (r + inner)^2), within one cell's width of its two edges.
    area = ring(disc(size), 0.1, 0.03).mean().item()
    exact = np.pi * ((0.2 + 0.1) ** 2 - (0.2 + 0.03) ** 2)
    assert area == pytest.approx(exact, abs=2 * np.pi * 0.53 * 0.6 / min(size))


def test_a_ring_of_half_a_cell_lies_between_its_neighbours():
    mask = disc((64, 64))
    narrow, between, wide = (ring(mask, (n / 64)).sum() for n in (3.0, 3.4, 4.0))
    assert narrow < between < wide


def test_rings_rims_and_cores_stay_on_their_side():
    soft = F.avg_pool2d(disc((128, 128)), 5, 1, 2)
    for outer in (0.01, 0.05, 0.4):
        assert (ring(soft, outer)[soft > 0.02] == 0).all()
        assert (rim(soft, outer)[soft < 0.98] == 0).all()
        assert (core(soft, outer)[soft < 0.98] == 0).all()
    filled = (soft > regions.FILLED).float()
    torch.testing.assert_close(rim(soft, 0.05) + core(soft, 0.05), filled)  # they share the object
    assert torch.equal(core(soft, 0.0), filled)
    assert core(soft, 0.45).sum() == 0


def test_the_frame_is_no_edge():
    full = torch.ones(1, 1, 20, 30)
    assert rim(full, 0.1).sum() == 0
    assert torch.equal(core(full, 0.1), full)
    assert ring(full, 0.1).sum() == 0
    assert outside(full).sum() == 0
    corner = torch.zeros(1, 1, 20, 20)
    corner[..., :10, :10] = 1
    assert rim(corner, 0.05)[..., 0, 0] == 0
    assert ring(corner, 0.05)[..., 0, 10] > 0


def test_a_speck_fainter_than_the_threshold_is_still_an_object():
    mask = torch.zeros(2, 1, 16, 16)
    mask[0, 0, 3, 3] = 0.004  # one pixel of 4000 x 4000, resized to 256 x 256
    assert touched(mask).nonzero().tolist() == [[0, 0, 3, 3]]
    assert ring(mask, 0.2)[0].sum() > 0
    assert ring(mask, 0.2)[1].sum() == 0  # an empty mask has no surroundings
    assert outside(mask)[1].all()


def test_batches_do_not_mix():
    masks = torch.cat([disc((48, 48), r) for r in (0.05, 0.2, 0.4)])
    together = ring(masks, 0.1, 0.02)
    for b in range(3):
        assert torch.equal(together[b : b + 1], ring(masks[b : b + 1], 0.1, 0.02))


def test_statistics_equal_numpys():
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(2, 3, 9, 11, generator=generator)
    weight = torch.rand(2, 1, 9, 11, generator=generator)
    found = measure(values, weight)
    for b in range(2):
        w = weight[b, 0].numpy()
        assert found.amount[b].item() == pytest.approx(w.sum(), rel=1e-5)
        for c in range(3):
            v = values[b, c].numpy()
            mean = np.average(v, weights=w)
            assert found.mean[b, c].item() == pytest.approx(mean, rel=1e-5)
            assert found.variance[b, c].item() == pytest.approx(
                np.average((v - mean) ** 2, weights=w), rel=1e-4
            )


def test_statistics_of_flat_and_of_empty_regions():
    flat = measure(torch.full((1, 3, 8, 8), 50.0), torch.rand(1, 1, 8, 8))
    torch.testing.assert_close(flat.mean, torch.full((1, 3), 50.0))
    assert flat.variance.max() < 1e-8
    empty = measure(torch.rand(1, 3, 8, 8), torch.zeros(1, 1, 8, 8))
    assert empty.amount == 0
    assert (empty.mean == 0).all()
    assert (empty.variance == 0).all()
