"""models/coring.py: noise is gone, what is larger than it stays. Oracle: scipy's Gaussian and numpy."""

import numpy as np
import pytest
import scipy.ndimage
import torch

from raiha_core.models.coring import cored
from raiha_core.models.plus import PlusConfig
from tests.network_cases import pairs, small

pytestmark = pytest.mark.usefixtures("one_thread")


def test_it_is_a_soft_threshold_on_what_a_gaussian_leaves():
    image = torch.rand(2, 3, 24, 31, generator=torch.Generator().manual_seed(0))
    values = image.double().numpy()
    smooth = scipy.ndimage.gaussian_filter(values, (0, 0, 1, 1), mode="nearest", radius=(0, 0, 3, 3))
    detail = values - smooth
    expected = smooth + np.sign(detail) * np.maximum(np.abs(detail) - 4 / 255, 0)
    np.testing.assert_allclose(cored(image, 4.0).numpy(), expected, atol=1e-6)


def test_noise_on_a_smooth_surface_is_gone_and_an_edge_stays():
    image = torch.full((1, 3, 40, 40), 0.3)
    image[..., 20:] = 0.7
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(0)) / 255
    before, after = (x[..., 2:14].std() for x in (image + noise, cored(image + noise, 3.0)))
    assert after < 0.45 * before
    assert (cored(image, 3.0) - image).abs().max() < 3.01 / 255


def test_without_levels_it_is_the_picture_itself():
    image = torch.rand(1, 3, 8, 8)
    assert cored(image, 0.0) is image
    with pytest.raises(ValueError, match="coring must not be negative, got -1"):
        PlusConfig(coring=-1)


def test_the_trunk_sees_less_noise_and_the_rest_of_the_network_the_picture():
    network = small("raiha-plus", coring=3.0, local_map=False).eval()
    plain = small("raiha-plus", local_map=False).eval()
    plain.load_state_dict(network.state_dict())
    seen = []
    network.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    composite, mask = pairs(1)[:2]
    network(composite, mask)
    assert torch.equal(seen[0], cored(composite, 3.0))
    assert torch.equal(network._base(composite, mask).shift, plain._base(composite, mask).shift)
