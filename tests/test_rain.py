"""RAIN and the instance norm against slow loops, and the two measured failures of the source."""

import pytest
import torch
import torch.nn.functional as F

from raiha_core.background import touched_cells
from raiha_core.masked_statistics import masked_moments
from raiha_core.models.blocks import instance_norm, pad_to_multiple, resize_mask
from raiha_core.models.rain import RegionNorm


def seeded(channels=3, mask_resize="area", dtype=torch.float64):
    torch.manual_seed(0)
    norm = RegionNorm(channels, mask_resize).to(dtype)
    for parameter in norm.parameters():
        torch.nn.init.normal_(parameter, 0, 0.5)
    return norm


def slow_rain(x, m, norm):
    """Section 2.1's formula, one image, channel and region at a time."""
    out = torch.empty_like(x)
    for b in range(len(x)):
        w = m[b, 0]
        for c in range(x.shape[1]):
            h = x[b, c]
            mean, deviation = {}, {}
            for side, weight in (("f", w), ("b", 1 - w)):
                n = weight.sum() + 1e-5
                mean[side] = (h * weight).sum() / n
                deviation[side] = ((weight * (h - mean[side]) ** 2).sum() / n + 1e-5).sqrt()
            back = (1 + norm.background_gamma[c]) * (h - mean["b"]) / deviation["b"] + norm.background_beta[c]
            moved = (h - mean["f"]) / deviation["f"] * deviation["b"] + mean["b"]
            fore = (1 + norm.foreground_gamma[c]) * moved + norm.foreground_beta[c]
            out[b, c] = (1 - w) * back + w * fore
    return out


@pytest.mark.parametrize("soft", [False, True])
def test_rain_is_its_formula(soft):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 3, 5, 7, generator=generator, dtype=torch.float64)
    mask = torch.rand(2, 1, 5, 7, generator=generator, dtype=torch.float64)
    mask = mask if soft else mask.round()
    norm = seeded()
    torch.testing.assert_close(norm(x, mask), slow_rain(x, mask, norm), rtol=0, atol=1e-10)


def test_rain_gives_the_object_the_backgrounds_statistics():
    # Oracle: with all parameters 0 the object leaves with the background's mean and deviation.
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(1, 2, 16, 16, generator=generator) * 3 + 5
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., 4:10, 3:12] = 1
    x = torch.where(mask > 0, x * 0.1 - 7, x)
    out = RegionNorm(2, "area")(x, mask)
    got, wanted = masked_moments(out, mask), masked_moments(x, 1 - mask)
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)


def test_a_full_mask_keeps_the_objects_own_statistics():
    x = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    out = RegionNorm(3, "area")(x, torch.ones(1, 1, 8, 8))
    torch.testing.assert_close(out, x, rtol=1e-4, atol=1e-4)  # the source's would have deviation 0.003


def test_area_masks_keep_a_small_object_that_nearest_loses():
    mask = torch.zeros(1, 1, 256, 256)
    mask[..., 101:104, 101:104] = 1
    for size in ((64, 64), (32, 32)):
        assert resize_mask(mask, size, "nearest").sum() == 0
        share = resize_mask(mask, size, "area")
        torch.testing.assert_close(share.sum(), torch.tensor(9.0 * size[0] ** 2 / 256**2))
        assert touched_cells(mask, size).any()


def test_an_image_does_not_depend_on_its_batch():
    x = torch.randn(3, 3, 6, 6, generator=torch.Generator().manual_seed(4))
    mask = torch.rand(3, 1, 12, 12, generator=torch.Generator().manual_seed(5))
    norm = seeded(dtype=torch.float32)
    whole = norm(x, mask)
    for b in range(3):
        torch.testing.assert_close(whole[b : b + 1], norm(x[b : b + 1], mask[b : b + 1]))


@pytest.mark.parametrize("full", [False, True])
def test_rain_gradients(full):
    x = torch.randn(1, 2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(6))
    mask = torch.ones(1, 1, 3, 4, dtype=torch.float64)
    if not full:
        mask = torch.rand(1, 1, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    assert torch.autograd.gradcheck(seeded(2), (x.requires_grad_(), mask))


def test_statistics_stay_in_float32_under_half_precision():
    # 300 + noise: in bfloat16 the sum of 4096 such numbers, and so the mean, would be off by whole units.
    x = 300 + torch.randn(1, 2, 64, 64, generator=torch.Generator().manual_seed(8))
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., :20] = 1
    x = x.bfloat16()
    norm = seeded(2, dtype=torch.float32)
    half = norm(x, mask)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half, norm(x.float(), mask).bfloat16())
    torch.testing.assert_close(instance_norm(x), instance_norm(x.float()).bfloat16())


def test_instance_norm_is_torchs():
    x = torch.randn(2, 5, 9, 7, generator=torch.Generator().manual_seed(9)) * 4 + 2
    torch.testing.assert_close(instance_norm(x), F.instance_norm(x, eps=1e-5))


def test_padding_repeats_the_edge_up_to_the_multiple():
    x = torch.arange(2 * 3 * 5.0).reshape(1, 2, 3, 5)
    padded = pad_to_multiple(x, 4)
    assert padded.shape == (1, 2, 4, 8)
    assert torch.equal(padded[..., :3, :5], x)
    assert torch.equal(padded[..., 3, :5], x[..., 2, :])
    assert torch.equal(padded[..., 7], padded[..., 4])
    five = torch.rand(2, 3, 1, 3, 5)
    assert torch.equal(pad_to_multiple(five, 4)[1, 2], pad_to_multiple(five[1, 2][None], 4)[0])
    assert pad_to_multiple(x, 1) is x
