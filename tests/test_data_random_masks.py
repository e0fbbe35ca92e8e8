"""data/random_masks.py: sizes in bounds, soft edges, several shapes, the same from the same seed."""

import torch

from raiha_train.data.random_masks import LARGEST, SMALLEST, random_regions


def g(seed=0):
    return torch.Generator().manual_seed(seed)


def test_every_region_has_a_size_within_bounds_and_values_in_0_1():
    for size in (32, 96):
        masks = random_regions(400, size, g(size))
        assert masks.shape == (400, 1, size, size)
        assert float(masks.min()) >= 0
        assert float(masks.max()) <= 1
        share = masks.mean((1, 2, 3))
        assert float(share.min()) >= SMALLEST
        assert float(share.max()) <= LARGEST
        assert float(share.std()) > 0.08  # small ones and large ones
        assert (masks.amax((1, 2, 3)) > 0.9).all()


def test_edges_are_soft_and_places_differ():
    masks = random_regions(200, 64, g())
    soft = ((masks > 0.02) & (masks < 0.98)).float().mean((1, 2, 3))
    assert float((soft > 0).float().mean()) > 0.95
    line = torch.linspace(-1, 1, 64)
    centre = (masks[:, 0] * line).sum((1, 2)) / masks.sum((1, 2, 3))
    assert float(centre.std()) > 0.2
    assert len({tuple(mask.flatten().tolist()) for mask in masks[:20]}) == 20


def test_the_same_seed_gives_the_same_regions():
    assert torch.equal(random_regions(8, 48, g(5)), random_regions(8, 48, g(5)))
    assert not torch.equal(random_regions(8, 48, g(5)), random_regions(8, 48, g(6)))
