"""The colour-matching baseline: what it promises of means, covariances and the way it takes."""

import pytest
import torch

from raiha_core import render
from raiha_train.evaluation.colour_matching import ColourMatching, load_model, monge_map
from tests.network_cases import pairs


def covariance(image: torch.Tensor, region: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    pixels = image[0].flatten(1)[:, region.flatten() > 0.5].double()
    return pixels.mean(1), torch.cov(pixels, correction=0)


def case() -> tuple[torch.Tensor, torch.Tensor]:
    image, mask, _ = pairs(1)
    return 0.3 + 0.4 * image, (mask > 0.5).float()  # far from black and white: nothing is clamped


def test_the_object_gets_the_backgrounds_mean_and_covariance():
    # Oracle: torch.cov of the rendered pixels.
    image, mask = case()
    prediction = ColourMatching("mkl").predict(image, mask, [[]])
    new = render.apply(prediction, image, mask)
    assert 0 < float(new[..., mask[0, 0] > 0].min()) < float(new[..., mask[0, 0] > 0].max()) < 1
    for found, wanted in zip(covariance(new, mask), covariance(image, 1 - mask), strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=2e-5)


def test_of_all_such_maps_it_is_the_symmetric_one():
    # Brenier: the map of least way is the gradient of a convex function, so symmetric and positive.
    generator = torch.Generator().manual_seed(0)
    roots = torch.randn(2, 4, 3, 3, generator=generator, dtype=torch.float64)
    first, second = roots @ roots.mT
    found = monge_map(first, second)
    torch.testing.assert_close(found, found.mT)
    assert (torch.linalg.eigvalsh(found) > 0).all()
    torch.testing.assert_close(found @ first @ found.mT, second, rtol=1e-3, atol=1e-3)


def test_half_is_half_of_the_way():
    image, mask = case()
    full, half = (
        render.apply(ColourMatching(name).predict(image, mask, [[]]), image, mask)
        for name in ("mkl", "mkl-half")
    )
    torch.testing.assert_close(half, (full + image) / 2, rtol=0, atol=1e-6)


def test_a_flat_object_takes_the_backgrounds_mean():
    image, mask = case()
    image = torch.where(mask > 0, torch.tensor([0.2, 0.5, 0.6]).view(1, 3, 1, 1), image)
    new = render.apply(ColourMatching("mkl").predict(image, mask, [[]]), image, mask)
    torch.testing.assert_close(covariance(new, mask)[0], covariance(image, 1 - mask)[0], rtol=0, atol=1e-4)


def test_models_are_loaded_by_name():
    assert load_model("mkl-half", torch.device("cpu")).name == "mkl-half"
    assert load_model("statistics", torch.device("cpu")).name == "statistics"
    with pytest.raises(ValueError, match="no model 'mkl-third'"):
        load_model("mkl-third", torch.device("cpu"))
