"""data/recolour.py: closed forms, a loop, statistics after a transfer, the same draws from a seed."""

import numpy as np
import pytest
import torch

from raiha_core.color import linear_to_srgb, srgb_to_lab, srgb_to_linear
from raiha_core.masked_statistics import weighted_mean
from raiha_train.data.recolour import (
    TRANSFERS,
    RetouchConfig,
    flatten,
    illuminant_names,
    light_field,
    load_illuminants,
    polynomial,
    relight,
    retouch,
    transfer_covariance,
    transfer_moments,
    transfer_quantiles,
)

STILL = {name: 0.0 for name in ("exposure", "white_balance", "contrast", "gamma", "tone", "saturation")}


def g(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(batch=3, size=16, seed=0):
    coarse = torch.rand(batch, 3, 4, 4, generator=g(seed)) * 0.5 + 0.25
    return torch.nn.functional.interpolate(coarse, size=(size, size), mode="bilinear")


def half_mask(batch=3, size=16):
    mask = torch.zeros(batch, 1, size, size)
    mask[..., : size // 2] = 1
    return mask


def test_a_retouch_without_spread_is_the_identity():
    picture = pictures()
    same = retouch(picture, half_mask(), RetouchConfig(probability=1.0, **STILL), g())
    torch.testing.assert_close(same, picture, atol=2e-6, rtol=0)
    never = retouch(picture, half_mask(), RetouchConfig(probability=0.0), g())
    torch.testing.assert_close(never, picture, atol=2e-6, rtol=0)


def test_exposure_is_a_gain_in_linear_light():
    picture = pictures(batch=6)
    new = retouch(picture, half_mask(6), RetouchConfig(probability=1.0, **{**STILL, "exposure": 0.2}), g(1))
    ratio = srgb_to_linear(new) / srgb_to_linear(picture)
    gain = ratio.flatten(1).median(1).values
    torch.testing.assert_close(ratio, gain.view(-1, 1, 1, 1).expand_as(ratio), atol=1e-3, rtol=1e-3)
    assert float(gain.std()) > 0.02


@pytest.mark.parametrize("field", sorted(STILL))
def test_each_slider_changes_something_and_stays_in_range(field):
    picture = pictures()
    new = retouch(picture, half_mask(), RetouchConfig(probability=1.0, **{**STILL, field: 0.4}), g(2))
    assert float((new - picture).abs().amax((1, 2, 3)).min()) > 1e-3
    assert float(new.min()) >= 0
    assert float(new.max()) <= 1


def test_the_tone_curve_keeps_the_order_of_tones():
    ramp = torch.linspace(0, 1, 256).view(1, 1, 1, 256).expand(8, 3, 1, 256)
    config = RetouchConfig(probability=1.0, **{**STILL, "tone": 5.0})  # far beyond its clamp
    new = retouch(ramp, torch.ones(8, 1, 1, 256), config, g())
    assert float((new[..., 1:] - new[..., :-1]).min()) >= -1e-6


def test_the_polynomial_is_its_loop():
    picture = pictures(batch=2, size=4).double()
    matrices = torch.randn(2, 3, 11, generator=g(), dtype=torch.float64) * 1e-3
    found = polynomial(picture, matrices)
    for b in range(2):
        for y in range(4):
            for x in range(4):
                r, gr, bl = (255 * float(v) for v in picture[b, :, y, x])
                terms = [r, gr, bl, r * gr, r * bl, gr * bl, r * r, gr * gr, bl * bl, r * gr * bl, 1.0]
                for c in range(3):
                    expected = sum(float(m) * t for m, t in zip(matrices[b, c], terms, strict=True)) / 255
                    assert float(found[b, c, y, x]) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def identity_light(count=1):
    light = torch.zeros(count, 2, 3, 11)
    light[..., :3] = torch.eye(3)
    return light


def test_relighting_from_a_neutral_light_to_itself_is_the_identity():
    picture = pictures()
    torch.testing.assert_close(relight(picture, identity_light(), g()), picture, atol=1e-6, rtol=0)
    brighter = identity_light()
    brighter[:, 1] *= 1.2
    torch.testing.assert_close(
        relight(picture, brighter, g()), (1.2 * picture).clamp(0, 1), atol=1e-6, rtol=0
    )


def test_illuminants_are_read_in_order_and_a_missing_or_odd_file_is_named(tmp_path):
    for i, name in enumerate(("x_1", "y")):
        np.save(tmp_path / f"{name}.npy", np.full((3, 11), float(i)))
        np.save(tmp_path / f"{name}_reverse.npy", np.full((3, 11), i + 0.5))
    (tmp_path / "list.txt").write_text("x_1_a\nx_1_b\ny_a\n")
    names = illuminant_names(tmp_path / "list.txt")
    assert names == ["x_1", "y"]
    assert load_illuminants(tmp_path, names)[:, :, 0, 0].tolist() == [[0.0, 0.5], [1.0, 1.5]]
    with pytest.raises(ValueError, match=r"no illuminant matrix .*z\.npy"):
        load_illuminants(tmp_path, ["z"])
    np.save(tmp_path / "y.npy", np.zeros((3, 3)))
    with pytest.raises(ValueError, match=r"y\.npy has shape \(3, 3\)"):
        load_illuminants(tmp_path, names)


@pytest.mark.parametrize("transfer", TRANSFERS)
def test_a_transfer_from_a_region_onto_itself_is_the_identity(transfer):
    picture, mask = pictures(), half_mask()
    new = transfer(picture, mask, picture, mask)
    torch.testing.assert_close(new * mask, picture * mask, atol=2e-3, rtol=0)


def test_moments_become_the_donor_s():
    picture, donor, mask = pictures(seed=1), pictures(seed=2), half_mask()
    new = transfer_moments(picture, mask, donor, 1 - mask)
    torch.testing.assert_close(
        weighted_mean(srgb_to_lab(new), mask), weighted_mean(srgb_to_lab(donor), 1 - mask), atol=0.5, rtol=0
    )


def test_covariances_become_the_donor_s():
    picture, donor, mask = pictures(seed=1), pictures(seed=2), half_mask()
    new = transfer_covariance(picture, mask, donor, mask)

    def covariance(values):
        inside = values[:, :, :, :8].flatten(2)
        centred = inside - inside.mean(2, keepdim=True)
        return centred @ centred.transpose(1, 2) / inside.shape[2]

    assert float((covariance(new) - covariance(donor)).abs().max()) < 3e-3  # the floor of 1e-3 remains
    torch.testing.assert_close(weighted_mean(new, mask), weighted_mean(donor, mask), atol=5e-3, rtol=0)


def test_quantiles_become_the_donor_s_and_a_region_of_few_pixels_stays():
    picture, donor, mask = pictures(seed=1), pictures(seed=2), half_mask()
    new = transfer_quantiles(picture, mask, donor, mask)
    for c in range(3):
        own, other = (torch.quantile(x[0, c, :, :8].flatten(), 0.5) for x in (new, donor))
        assert float(own) == pytest.approx(float(other), abs=0.01)
    tiny = torch.zeros_like(mask)
    tiny[..., 0, :5] = 1
    assert torch.equal(transfer_quantiles(picture, tiny, donor, mask), picture)


def test_a_light_field_is_smooth_and_nothing_at_no_spread():
    picture = torch.full((4, 3, 32, 32), 0.4)
    torch.testing.assert_close(light_field(picture, g(), spread=0.0), picture, atol=1e-6, rtol=0)
    lit = srgb_to_linear(light_field(picture, g())) / srgb_to_linear(picture)
    assert float((lit[..., 1:] - lit[..., :-1]).abs().max()) < 0.25 * float(lit.max())
    assert float(lit.amax((1, 2, 3)).max() / lit.amin((1, 2, 3)).min()) > 1.5
    assert torch.equal(light_field(picture, g(3)), light_field(picture, g(3)))
    assert float(linear_to_srgb(srgb_to_linear(picture)).max()) <= 1


def test_a_flat_photo_is_darker_duller_and_lower_in_contrast_on_average():
    picture = pictures(1, seed=3).expand(200, -1, -1, -1).contiguous()
    new = flatten(picture, torch.Generator().manual_seed(0))
    assert new.shape == picture.shape
    assert float(new.min()) >= 0
    assert float(new.max()) <= 1
    before, after = srgb_to_lab(picture), srgb_to_lab(new)
    assert float((before[:, 0] - after[:, 0]).mean()) > 5
    chroma = [float(x[:, 1:].square().sum(1).sqrt().mean()) for x in (before, after)]
    assert chroma[1] < 0.95 * chroma[0]
    assert float(after[:, 0].std((1, 2)).mean()) < float(before[:, 0].std((1, 2)).mean())
    assert torch.equal(new, flatten(picture, torch.Generator().manual_seed(0)))
