"""The statistics preset against closed forms, and on everything that has no statistics to speak of."""

from dataclasses import replace

import pytest
import torch

from raiha_core.color import srgb_to_lab
from raiha_core.masked_statistics import measure
from raiha_core.models.statistics import (
    Statistics,
    StatisticsConfig,
    distance_to_ring,
    reinhard,
    ring_statistics_transfer,
)
from raiha_core.render import apply
from tests.statistics_cases import (
    DARK,
    FULL_SHARE,
    GREEN,
    GREY,
    RED,
    box,
    lab_colour,
    lab_mean,
    painted,
)


def test_reinhard_takes_over_mean_and_deviation_of_the_whole_background():
    mask = box()
    image = painted(mask, lab_colour(40, 5, -5), lab_colour(60, -5, 10), 0.05)
    background = measure(srgb_to_lab(image), 1 - mask)
    result = apply(Statistics(reinhard(1.0)).predict(image, mask), image, mask)
    found = measure(srgb_to_lab(result), mask)
    torch.testing.assert_close(found.mean, background.mean, atol=0.05, rtol=0)
    torch.testing.assert_close(found.variance.sqrt(), background.variance.sqrt(), atol=0.1, rtol=0)
    half = apply(Statistics(reinhard(0.5)).predict(image, mask), image, mask)
    middle = (lab_mean(image, mask) + background.mean) / 2
    torch.testing.assert_close(lab_mean(half, mask), middle, atol=0.05, rtol=0)


def test_the_nearest_ring_counts_and_not_what_lies_behind_it():
    mask = box((128, 128))
    near = box((128, 128), (0.2, 0.8))
    image = torch.where(mask > 0, DARK, torch.where(near > 0, GREEN, RED))
    transfer = ring_statistics_transfer(image, mask, FULL_SHARE)
    torch.testing.assert_close(transfer.shift, lab_mean(GREEN, torch.ones(1, 1, 1, 1)) - transfer.centre)


@pytest.mark.parametrize("hole", ["one pixel", "thinner than the gap"])
def test_where_the_ring_is_empty_the_whole_background_is_asked(hole):
    mask = torch.ones(1, 1, 64, 64)
    config = FULL_SHARE
    if hole == "one pixel":
        mask[..., 0, 0] = 0
    else:
        mask[..., :2] = 0
        config = replace(FULL_SHARE, gap=0.05, rings=(0.06, 0.11))
    image = painted(mask, DARK, GREY)
    transfer = ring_statistics_transfer(image, mask, config)
    torch.testing.assert_close(transfer.shift, torch.tensor([[30.0, 0, 0]]), atol=1e-2, rtol=0)


def test_means_move_their_share_of_the_way_and_never_past_the_limit():
    # Oracle: flat regions 20 apart in lightness and (6, -8) in chroma, closed by half.
    mask = box()
    config = replace(FULL_SHARE, lightness=0.5, chroma=0.5)
    image = painted(mask, lab_colour(40), lab_colour(60, 6, -8))
    shift = ring_statistics_transfer(image, mask, config).shift
    torch.testing.assert_close(shift, torch.tensor([[10.0, 3.0, -4.0]]), atol=0.01, rtol=0)
    short = replace(config, lightness_limit=4.0, chroma_limit=2.0)
    limited = ring_statistics_transfer(image, mask, short).shift[0]
    assert limited[0] == pytest.approx(4 * torch.tensor(10 / 4).tanh().item(), abs=0.01)
    assert limited[1:].norm() == pytest.approx(2 * torch.tensor(5 / 2).tanh().item(), abs=0.01)
    assert torch.cosine_similarity(limited[1:], torch.tensor([3.0, -4.0]), dim=0) > 0.9999


def test_contrast_follows_lightness_as_light_does():
    # Oracle: with power 1, an object lit k times as strongly is k times as strong in linear light, so a
    # grey that was L + 16 = 56 beside one of 66 keeps the ratio.
    config = replace(FULL_SHARE, contrast=1.0)
    mask = box((64, 64))
    image = painted(mask, lab_colour(40), lab_colour(54))
    image[..., 30, 30] = lab_colour(50)[0, :, 0, 0]
    transfer = ring_statistics_transfer(image, mask, config)
    lab = srgb_to_lab(transfer(image))
    ratio = (lab[0, 0, 30, 30] + 16) / (lab[0, 0, 25, 25] + 16)
    assert ratio == pytest.approx(66 / 56, abs=1e-3)


def test_strength_scales_the_change_and_zero_returns_the_bits():
    mask, image = box(), painted(box(), RED, GREY, 0.1)
    whole, none, half = (
        Statistics(replace(StatisticsConfig(), strength=s)).predict(image, mask).lab for s in (1.0, 0.0, 0.5)
    )
    assert whole is not None
    assert none is not None
    assert half is not None
    torch.testing.assert_close(half.shift, whole.shift / 2)
    torch.testing.assert_close(half.scale - 1, (whole.scale - 1) / 2)
    still = Statistics(replace(StatisticsConfig(), strength=0.0)).predict(image, mask)
    assert torch.equal(apply(still, image, mask), image)


def test_a_red_object_before_a_grey_wall_stays_red():
    mask = box()
    image = painted(mask, lab_colour(50, 70, 50), GREY, 0.02)
    result = apply(Statistics().predict(image, mask), image, mask)
    before, after = lab_mean(image, mask)[0, 1:], lab_mean(result, mask)[0, 1:]
    assert after.norm() > 0.7 * before.norm()  # half the way to grey without the limit
    assert torch.cosine_similarity(before, after, dim=0) > 0.99


@pytest.mark.parametrize("colour", [0.0, 1.0, 0.5])
def test_black_white_and_grey_objects_move_their_share_and_stay_grey(colour):
    mask = box()
    image = painted(mask, torch.full((1, 3, 1, 1), colour), torch.full((1, 3, 1, 1), 0.6))
    result = apply(Statistics().predict(image, mask), image, mask)
    change = (lab_mean(result, mask) - lab_mean(image, mask))[0]
    gap = (lab_mean(image, 1 - mask) - lab_mean(image, mask))[0, 0]
    assert change[0] == pytest.approx(StatisticsConfig().lightness * gap.item(), abs=0.05)
    assert change[1:].abs().max() < 1e-3
    assert ((result >= 0) & (result <= 1)).all()


def test_one_pixel_of_a_large_photo_is_measured_exactly():
    image = painted(torch.zeros(1, 1, 1200, 1600), RED, GREY, 0.05)
    mask = torch.zeros_like(image[:, :1])
    mask[..., 700, 301] = 1
    image[..., 700, 301] = RED[0, :, 0, 0]
    found = Statistics().predict(image, mask).lab
    assert found is not None
    torch.testing.assert_close(found.centre, torch.tensor([[50.0, 60.0, 40.0]]), atol=0.05, rtol=0)
    assert found.shift.isfinite().all()
    assert found.shift[0, 1] < 0  # towards the grey


def test_soft_edges_and_fringes_do_not_count():
    # The fringe is white, half transparent; neither object nor ring may see it, at full size or reduced.
    for size in ((90, 120), (900, 1200)):
        mask = box(size)
        fringe = torch.nn.functional.max_pool2d(mask, 5, 1, 2) - mask
        image = torch.where(mask > 0, RED, torch.where(fringe > 0, torch.ones(1, 3, 1, 1), GREEN))
        transfer = Statistics(FULL_SHARE).predict(image, mask + 0.5 * fringe).lab
        assert transfer is not None
        torch.testing.assert_close(transfer.centre, torch.tensor([[50.0, 60.0, 40.0]]), atol=0.05, rtol=0)
        moved = transfer.centre + transfer.shift
        torch.testing.assert_close(moved, torch.tensor([[55.0, -30.0, 30.0]]), atol=0.05, rtol=0)


@pytest.mark.parametrize(
    "where", [(slice(0, 9), slice(0, 9)), (slice(0, 40), slice(None)), (slice(None), slice(1, None))]
)
def test_masks_at_the_frame(where):
    mask = torch.zeros(1, 1, 40, 50)
    mask[0, 0, where[0], where[1]] = 1
    if bool(mask.all()):
        mask[..., -1, -1] = 0
    if where[0] == slice(0, 40) and where[1] == slice(None):
        mask[..., -3:, :] = 0
    transfer = ring_statistics_transfer(painted(mask, DARK, GREY, 0.02), mask)
    assert 0 < transfer.shift[0, 0] < 20
    assert (transfer.scale > 0).all()


@pytest.mark.parametrize("side", [16, 17, 31])
def test_smallest_pictures_give_finite_answers(side):
    generator = torch.Generator().manual_seed(side)
    image = torch.rand(3, 3, side, side, generator=generator)
    mask = torch.zeros(3, 1, side, side)
    mask[0, 0, 3, 4] = 1
    mask[1, 0, :, : side // 2] = 0.3  # soft everywhere
    result = apply(Statistics().predict(image, mask), image, mask)
    assert result.isfinite().all()
    assert not torch.equal(result[:2], image[:2])
    assert torch.equal(result[2], image[2])  # an empty mask


def test_an_empty_mask_is_the_identity_and_a_full_one_asks_for_references():
    image = painted(torch.zeros(1, 1, 32, 32), RED, GREEN, 0.1)
    for mask in (torch.zeros(1, 1, 32, 32), torch.ones(1, 1, 32, 32)):
        transfer = ring_statistics_transfer(image, mask)
        assert (transfer.scale == 1).all()
        assert (transfer.shift == 0).all()
    without_background = Statistics().predict(image, torch.ones(1, 1, 32, 32)).lab
    assert (without_background.shift == 0).all()
    assert (without_background.scale == 1).all()


def test_batches_equal_single_images_and_runs_repeat():
    masks = torch.cat([box((80, 60), rows) for rows in ((0.1, 0.3), (0.3, 0.9), (0.45, 0.5))])
    images = torch.cat([painted(m[None], RED, GREEN, 0.1, i) for i, m in enumerate(masks)])
    model = Statistics()
    together = model.predict(images, masks).lab
    again = model.predict(images, masks).lab
    assert together is not None
    assert again is not None
    assert torch.equal(together.shift, again.shift)
    for i in range(3):
        alone = model.predict(images[i : i + 1], masks[i : i + 1]).lab
        assert alone is not None
        torch.testing.assert_close(together.shift[i : i + 1], alone.shift, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(together.scale[i : i + 1], alone.scale, atol=1e-4, rtol=1e-4)


def test_a_squashed_picture_has_the_same_answer():
    y, x = torch.meshgrid(torch.linspace(0, 1, 200), torch.linspace(0, 1, 400), indexing="ij")
    outside = torch.stack((0.3 + 0.4 * x, 0.5 - 0.3 * y, 0.4 + 0 * x))[None]
    mask = box((200, 400))
    image = torch.where(mask > 0, RED, outside)
    wide = ring_statistics_transfer(image, mask)
    square = ring_statistics_transfer(image[..., ::2], mask[..., ::2])
    torch.testing.assert_close(square.shift, wide.shift, atol=0.3, rtol=0.05)


def test_the_network_call_equals_predict_on_small_pictures():
    mask, image = box(), painted(box(), RED, GREEN, 0.1)
    called, predicted = Statistics()(image, mask).lab, Statistics().predict(image, mask).lab
    ring = ring_statistics_transfer(image, mask)
    for name in ("centre", "scale", "shift"):
        torch.testing.assert_close(getattr(called, name), getattr(predicted, name), atol=1e-5, rtol=1e-5)
        assert torch.equal(getattr(called, name), getattr(ring, name))


def test_gradients_agree_with_finite_differences():
    mask, image = box((24, 24)), painted(box((24, 24)), RED, GREEN, 0.05)
    image.requires_grad_()
    ring_statistics_transfer(image, mask).shift[0, 0].backward()
    assert image.grad is not None
    with torch.no_grad():
        direction = torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
        step = 1e-3
        ends = [ring_statistics_transfer(image + s * step * direction, mask).shift[0, 0] for s in (1, -1)]
    slope = (ends[0] - ends[1]) / (2 * step)
    assert (image.grad * direction).sum().item() == pytest.approx(slope.item(), rel=2e-2, abs=1e-2)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("strength", 1.5),
        ("lightness", -0.1),
        ("gap", 0.04),
        ("rings", (0.1, 0.05)),
        ("ratio", (1.2, 2.0)),
        ("chroma_limit", 0.0),
        ("variance_floor", 0.0),
        ("working_side", 8),
    ],
)
def test_settings_out_of_range_are_named(field, value):
    with pytest.raises(ValueError, match=field if field != "gap" else "rings"):
        replace(StatisticsConfig(), **{field: value})


def test_the_distance_to_the_ring_is_that_of_the_colours_and_0_where_there_is_none():
    mask = box()
    far = distance_to_ring(painted(mask, lab_colour(70), lab_colour(50)), mask)
    near = distance_to_ring(painted(mask, lab_colour(55), lab_colour(50)), mask)
    assert float(far) == pytest.approx(20 * 6.2**0.5, rel=0.01)
    assert float(near) == pytest.approx(5 * 6.2**0.5, rel=0.02)
    assert float(distance_to_ring(painted(mask, RED, RED), mask)) == pytest.approx(0, abs=0.1)
    assert float(distance_to_ring(painted(mask, RED, GREY), torch.ones_like(mask))) == 0
