"""The fit of the shipped constants: moments by loops, directions by another decomposition."""

from pathlib import Path

import numpy as np
import torch

from raiha_core.features.encoders import build_encoder
from raiha_core.images import list_photos, read_picture
from raiha_train.weights.fit_centring import DIRECTIONS, fit_directions, patch_moments

PHOTOS = Path(__file__).parents[1] / "assets" / "scenes" / "photos"


def test_fit_finds_mean_and_directions():
    # Oracle: the singular value decomposition of the centred vectors themselves.
    generator = np.random.Generator(np.random.PCG64(0))
    vectors = generator.normal(size=(2000, 160)) * np.linspace(3, 0.1, 160) + generator.normal(size=160)
    data = torch.from_numpy(vectors)
    mean, basis, share = fit_directions(len(data), data.sum(0), data.T @ data)
    np.testing.assert_allclose(mean.numpy(), vectors.mean(0), atol=1e-10)
    _, values, expected = np.linalg.svd(vectors - vectors.mean(0), full_matrices=False)
    assert basis.shape == (DIRECTIONS, 160)
    cosines = np.abs((basis.numpy() * expected[:DIRECTIONS]).sum(1))
    assert cosines[:100].min() > 0.999  # the last ones lie close together in variance
    np.testing.assert_allclose(share.numpy(), (values**2 / (values**2).sum())[:DIRECTIONS], atol=1e-8)
    assert (basis.gather(1, basis.abs().argmax(1, keepdim=True)) > 0).all()  # the sign is fixed


def test_moments_are_of_unit_patch_vectors():
    photos = list_photos(PHOTOS)[:2]
    count, total, outer = patch_moments(photos, 256)
    encoder = build_encoder("lite0-fast")
    raw = torch.cat([encoder.tokens(read_picture(p).pixels)[0].flatten(1).T for p in photos]).double()
    units = raw / raw.norm(dim=1, keepdim=True)
    assert count == len(units) == 128
    torch.testing.assert_close(total, units.sum(0), atol=1e-4, rtol=0)
    torch.testing.assert_close(outer, units.T @ units, atol=1e-4, rtol=0)
