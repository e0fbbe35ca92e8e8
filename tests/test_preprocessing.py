"""Squaring a picture for a network: geometry, range and normalisation."""

import numpy as np
import pytest
import torch
from PIL import Image

from raiha_core.features.preprocessing import Preprocessing, check_images, shows_one_colour

PLAIN = Preprocessing(size=20, interpolation="bicubic", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


@pytest.mark.parametrize(("interpolation", "filter"), [("bicubic", 3), ("bilinear", 2)])
@pytest.mark.parametrize("size", [(50, 73), (9, 12)])
def test_resizing_is_that_of_pillow(interpolation, filter, size):
    # Oracle: another implementation of the same antialiased filter, in floating point, per channel.
    image = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    found = Preprocessing(size=20, interpolation=interpolation, mean=PLAIN.mean, std=PLAIN.std).apply(image)
    for channel in range(3):
        expected = Image.fromarray(image[0, channel].numpy()).resize((20, 20), Image.Resampling(filter))
        np.testing.assert_allclose(found[0, channel].numpy(), np.asarray(expected).clip(0, 1), atol=1e-4)


def test_normalisation_is_per_channel():
    recipe = Preprocessing(size=4, interpolation="bicubic", mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 0.1))
    found = recipe.apply(torch.full((1, 3, 9, 5), 0.4))
    expected = torch.tensor([0.6, 0.8, 1.0])[None, :, None, None].expand(1, 3, 4, 4)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_overshoot_is_cut():
    edge = torch.zeros(1, 3, 8, 8)
    edge[..., 4:] = 1
    found = PLAIN.apply(edge)
    assert found.min() >= 0
    assert found.max() <= 1


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_not_finite_are_found_wherever_they_are(bad):
    for y, x in ((0, 0), (499, 0), (250, 333), (499, 699)):
        image = torch.rand(1, 3, 500, 700)
        image[0, 2, y, x] = bad
        with pytest.raises(ValueError, match="NaN or infinite"):
            PLAIN.apply(image)


@pytest.mark.parametrize("shape", [(3, 4, 4), (1, 1, 4, 4), (0, 3, 4, 4), (1, 3, 4, 0)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="floating-point images"):
        check_images(torch.zeros(shape))
    with pytest.raises(ValueError, match="int64"):
        check_images(torch.zeros(1, 3, 4, 4, dtype=torch.int64))


def test_one_colour_is_told_from_nearly_one_colour():
    images = torch.full((3, 3, 5, 6), 0.5)
    images[0, 1] = 0.25  # channels may differ
    images[1, 2, 4, 5] += 1e-6
    images[2, :, 0, 0] = 0
    assert shows_one_colour(images).tolist() == [True, False, False]
