"""Metrics against the worked examples of the protocols' description, and scikit-image."""

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from raiha_train.evaluation.metrics import (
    BIN_NAMES,
    error_sums,
    foreground_bin,
    foreground_mse,
    mse,
    psnr,
    ssim,
)


def grey(value: float, height: int, width: int) -> torch.Tensor:
    return torch.full((1, 3, height, width), value, dtype=torch.float64) / 255


def noisy(height: int, width: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    smooth = torch.nn.functional.interpolate(
        torch.rand(1, 3, 6, 5, generator=generator), size=(height, width), mode="bicubic"
    )
    return ((smooth + 0.1 * torch.rand(1, 3, height, width, generator=generator)).clamp(0, 1) * 255).to(
        torch.uint8
    )


def test_one_channel_off_by_thirty():
    # Oracle: MSE = 30^2 * 16 / (3 * 64) = 75, fMSE = 30^2 * 16 / (3 * 16) = 300.
    target, mask = grey(90, 8, 8), torch.zeros(1, 1, 8, 8)
    mask[..., :2, :] = 1
    pred = target.clone()
    pred[:, 1, :2] += 30 / 255
    torch.testing.assert_close(mse(pred, target, mask), torch.tensor([75.0], dtype=torch.float64))
    torch.testing.assert_close(foreground_mse(pred, target, mask), torch.tensor([300.0], dtype=torch.float64))
    assert float(psnr(mse(pred, target, mask))) == pytest.approx(29.3802, abs=5e-5)
    assert float(psnr(foreground_mse(pred, target, mask))) == pytest.approx(23.3596, abs=5e-5)


def test_a_soft_mask_weighs():
    target = torch.full((1, 3, 8, 8), 100, dtype=torch.uint8)
    mask = torch.full((1, 1, 8, 8), 51, dtype=torch.uint8)  # 0.2
    assert float(mse(target + 10, target, mask)) == pytest.approx(20, abs=1e-12)
    assert float(foreground_mse(target + 10, target, mask)) == pytest.approx(100, abs=1e-12)


def test_decibels_are_averaged_not_taken_of_the_average():
    assert float(psnr(torch.tensor([1.0, 100.0])).mean()) == pytest.approx(38.1308, abs=5e-5)
    assert float(psnr(torch.tensor([50.5]))) == pytest.approx(31.0979, abs=5e-5)


def test_peak_of_the_truth_lowers_psnr():
    assert float(psnr(torch.tensor(25.0), peak=200)) == pytest.approx(32.0412, abs=5e-5)


def test_a_perfect_prediction_stays_finite():
    picture = noisy(40, 40, 0)
    assert float(mse(picture, picture)) == 0
    assert float(psnr(mse(picture, picture))) == pytest.approx(108.1308, abs=5e-5)
    assert float(ssim(picture, picture, "box")) == float(ssim(picture, picture, "gauss")) == 1


def test_types_agree_and_uint8_sums_are_exact():
    pred, target = noisy(300, 41, 1), noisy(300, 41, 2)
    mask = noisy(300, 41, 3)[:, :1]
    p, t, m = (x[0].numpy().astype(np.int64) for x in (pred, target, mask))
    whole = int((m * (p - t) ** 2).sum())  # integers: no rounding anywhere
    sums = error_sums(pred, target, mask)
    assert float(sums.squared) == whole / 255
    assert float(sums.area) == int(m.sum()) / 255
    floats = error_sums(pred.double() / 255, target.double() / 255, mask.double() / 255)
    torch.testing.assert_close(floats.squared, sums.squared, rtol=1e-12, atol=0)
    batch = error_sums(pred.repeat(3, 1, 1, 1), target.repeat(3, 1, 1, 1), mask.repeat(3, 1, 1, 1))
    assert batch.squared.tolist() == [float(sums.squared)] * 3


def test_background_does_not_count():
    pred, target = noisy(64, 64, 4), noisy(64, 64, 5)
    mask = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    mask[..., 20:40, 10:30] = True
    other = torch.where(mask, pred, 255 - pred)
    for window in ("box", "gauss"):
        assert float(ssim(pred, target, window, mask)) == float(ssim(other, target, window, mask)) < 1
    assert float(mse(pred, target, mask)) == float(mse(other, target, mask))


@pytest.mark.parametrize("size", [(11, 11), (150, 290), (64, 7 + 128)])
@pytest.mark.parametrize("window", ["box", "gauss"])
def test_ssim_is_scikit_images(size, window):
    # Tiles of 128 windows: sizes below, across and just above one tile.
    pred, target = noisy(*size, 6), noisy(*size, 7)
    mask = torch.zeros(1, 1, *size, dtype=torch.uint8)
    mask[..., 3:-2, 4:-1] = 200
    for weight in (None, mask):
        m = 1.0 if weight is None else weight[0, 0, ..., None].numpy() / 255
        p, t = (x[0].permute(1, 2, 0).numpy().astype(np.float64) for x in (pred, target))
        gauss = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
        expected = structural_similarity(
            t + m * (p - t), t, data_range=255, channel_axis=2, **(gauss if window == "gauss" else {})
        )
        assert float(ssim(pred, target, window, weight)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("window", ["box", "gauss"])
def test_ssim_of_constants(window):
    expected = (2 * 100 * 110 + 6.5025) / (100**2 + 110**2 + 6.5025)
    assert float(ssim(grey(110, 16, 16), grey(100, 16, 16), window)) == pytest.approx(expected, abs=1e-9)
    assert expected == pytest.approx(0.995476, abs=5e-7)


def test_bins_close_their_upper_ends():
    assert [foreground_bin(x) for x in (1e-9, 0.05, 0.0500001, 0.15, 0.1500001, 1)] == [0, 0, 1, 1, 2, 2]
    assert len(BIN_NAMES) == 3
    for bad in (0, -0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="foreground ratio"):
            foreground_bin(bad)


def test_errors_name_what_is_wrong():
    picture, mask = noisy(16, 16, 8), torch.zeros(1, 1, 16, 16)
    with pytest.raises(ValueError, match=r"no foreground in images \[0\]"):
        foreground_mse(picture, picture, mask)
    with pytest.raises(ValueError, match="mask"):
        mse(picture, picture, mask[..., :8])
    with pytest.raises(ValueError, match="truth"):
        mse(picture, picture[..., :8])
    with pytest.raises(ValueError, match="NaN"):
        mse(picture.double() * float("nan"), picture)
    with pytest.raises(ValueError, match="smaller than the SSIM window"):
        ssim(picture[..., :6], picture[..., :6], "box")
    with pytest.raises(ValueError, match="'box' or 'gauss'"):
        ssim(picture, picture, "disc")
