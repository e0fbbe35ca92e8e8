"""Loss terms against closed forms and loops."""

import math

import pytest
import torch

from raiha_train.data.batch import Batch
from raiha_train.loop.objective import conspicuous
from raiha_train.loop.validation import foreground_errors
from raiha_train.losses.terms import LossConfig, foreground_l1, foreground_loss, gradient_difference, total


def case(size=32, side=16):
    target = torch.full((2, 3, size, size), 0.4)
    mask = torch.zeros(2, 1, size, size)
    mask[..., :side, :side] = 1
    return target, mask


@pytest.mark.parametrize("size", [32, 64])
def test_a_constant_offset_scores_its_square(size):
    # Oracle: 0.1 of span 2 is 0.2; its square is 0.04 at any size, as long as the object is not tiny.
    target, mask = case(size, size // 2)
    loss = foreground_loss(target + 0.1 * mask, target, mask)
    torch.testing.assert_close(loss, torch.full((2,), 0.04))
    torch.testing.assert_close(
        foreground_loss(target + 0.1 * mask, target, mask, span=1), torch.full((2,), 0.01)
    )
    torch.testing.assert_close(foreground_l1(target + 0.1 * mask, target, mask), torch.full((2,), 0.2))


def test_eq_11_is_its_sum():
    g = torch.Generator().manual_seed(0)
    new, target = torch.rand(2, 3, 16, 16, generator=g), torch.rand(2, 3, 16, 16, generator=g)
    mask = torch.rand(2, 1, 16, 16, generator=g)
    for b, value in enumerate(foreground_loss(new, target, mask)):
        summed = sum(
            (2 * (new[b, c, i, j] - target[b, c, i, j])) ** 2
            for c in range(3) for i in range(16) for j in range(16)
        )  # fmt: skip
        torch.testing.assert_close(value, summed / (3 * mask[b].sum()))


def test_the_whole_image_counts_so_a_leaking_blend_costs():
    target, mask = case()
    leak = target + 0.1 * (1 - mask)
    assert foreground_loss(leak, target, mask).gt(0.1).all()


@pytest.mark.parametrize("size", [256, 128])
def test_the_minimum_area_scales_with_the_picture(size):
    # 100 pixels of 256 x 256 are 25 of 128 x 128: an object of a quarter of that counts a quarter
    target = torch.zeros(1, 3, size, size)
    mask = torch.zeros(1, 1, size, size)
    side = 5 * size // 256
    mask[..., :side, :side] = 1
    loss = foreground_loss(target + mask, target, mask, span=1)
    torch.testing.assert_close(loss, torch.tensor([side**2 / (100 * size**2 / 256**2)]))


def test_gradient_difference_of_a_ramp():
    # Oracle: a ramp of 0.01 per pixel along x differs by span * 0.01 on one axis of two.
    target, mask = case()
    ramp = 0.01 * torch.arange(32.0).expand(2, 3, 32, 32)
    value = gradient_difference(target + ramp, target, mask)
    torch.testing.assert_close(value, torch.full((2,), 0.01))
    flat = gradient_difference(target + 0.3 * mask, target, mask)  # the step at the edge is eroded away
    assert (flat == 0).all()
    tiny = torch.zeros_like(mask)
    tiny[..., 3, 3] = 1
    assert (gradient_difference(target + ramp, target, tiny) == 0).all()


def test_gradients_of_the_terms():
    g = torch.Generator().manual_seed(1)
    new, target = (torch.rand(1, 3, 4, 4, generator=g, dtype=torch.float64) for _ in range(2))
    mask = torch.ones(1, 1, 4, 4, dtype=torch.float64)
    for kind in ("fmse", "root", "log"):
        config = LossConfig(kind=kind)
        assert torch.autograd.gradcheck(
            lambda x, c=config: total(x, target, mask, c)[0], new.requires_grad_()
        )


def test_total_adds_what_has_a_weight():
    target, mask = case()
    new, composite = target + 0.1 * mask, target + 0.05 * mask
    plain, terms = total(new, target, mask, LossConfig())
    assert set(terms) == {"fmse"}
    torch.testing.assert_close(plain, torch.tensor(0.04))
    config = LossConfig(gradient=0.5, harm=2.0, contrast=0.01)
    loss, terms = total(new, target, mask, config, composite=composite, contrast=torch.tensor(3.0))
    torch.testing.assert_close(terms["harm"], torch.tensor(0.03))  # 0.04 after, 0.01 before
    assert terms["gradient"] == 0
    torch.testing.assert_close(loss, torch.tensor(0.04 + 2 * 0.03 + 0.01 * 3.0))
    better, terms = total(composite, target, mask, LossConfig(harm=2.0), composite=new)
    assert terms["harm"] == 0
    torch.testing.assert_close(better, torch.tensor(0.01))


def test_root_and_log_keep_the_order_and_their_gradient_is_finite_at_zero():
    target, mask = case()
    for kind in ("root", "log"):
        values = [total(target + d * mask, target, mask, LossConfig(kind=kind))[0] for d in (0.0, 0.05, 0.2)]
        assert values[0] < values[1] < values[2]
        perfect = target.clone().requires_grad_()
        total(perfect, target, mask, LossConfig(kind=kind))[0].backward()
        assert torch.isfinite(perfect.grad).all()
    assert math.isclose(float(values[0]), math.log(4e-5), rel_tol=1e-4)


def test_what_is_missing_or_misshapen_is_named():
    target, mask = case()
    with pytest.raises(ValueError, match="composite"):
        total(target, target, mask, LossConfig(harm=1.0))
    with pytest.raises(ValueError, match="contrast"):
        total(target, target, mask, LossConfig(contrast=1.0))
    with pytest.raises(ValueError, match="32, 32"):
        foreground_loss(target, target, mask[..., :8])
    with pytest.raises(ValueError, match="negative"):
        LossConfig(harm=-1.0)
    with pytest.raises(ValueError, match="minimum_area"):
        LossConfig(minimum_area=0)


def test_weights_are_shares_and_equal_ones_change_nothing():
    truth, mask = torch.zeros(2, 3, 8, 8), torch.ones(2, 1, 8, 8)
    new = torch.stack([torch.full((3, 8, 8), 0.1), torch.full((3, 8, 8), 0.3)])
    config = LossConfig(kind="fmse", minimum_area=1)
    each = [float(total(new[i : i + 1], truth[i : i + 1], mask[:1], config)[0]) for i in range(2)]
    plain = total(new, truth, mask, config)[0]
    assert torch.equal(plain, total(new, truth, mask, config, weight=torch.full((2,), 3.0))[0])
    weighted = float(total(new, truth, mask, config, weight=torch.tensor([1.0, 3.0]))[0])
    assert weighted == pytest.approx((each[0] + 3 * each[1]) / 4)


def test_a_composite_that_moved_away_from_its_surroundings_is_conspicuous():
    mask = torch.zeros(3, 1, 32, 32)
    mask[..., 10:22, 10:22] = 1
    truth = torch.full((3, 3, 32, 32), 0.5)
    truth = torch.where(mask > 0, torch.tensor([0.5, 0.5, 0.8]).view(3, 1, 1, 1), truth)
    looks = torch.tensor([0.9, 0.5, 0.5]).view(3, 1, 1, 1)  # away, as it was, towards
    composite = torch.where(mask > 0, looks, truth)
    batch = Batch(composite=composite, mask=mask, target=truth, ids=("away", "same", "towards"))
    assert conspicuous(batch).tolist() == [1, 0, 0]


def test_runs_are_judged_by_the_metric_whatever_the_size_of_the_object():
    # Oracle: 0.1 is 25.5 grey levels, so fMSE is 25.5**2, also for four pixels; no object, no error.
    target, mask = torch.full((2, 3, 64, 64), 0.4), torch.zeros(2, 1, 64, 64)
    mask[0, :, :2, :2] = 1
    batch = Batch(composite=target, mask=mask, target=target, ids=("small", "empty"))
    torch.testing.assert_close(
        foreground_errors(target + 0.1, batch), torch.tensor([650.25], dtype=torch.float64), rtol=1e-5, atol=0
    )
