"""Light across an object follows the light along its border, part of the way, and off by default."""

import pytest
import torch

from raiha_core.color import linear_to_srgb, srgb_to_linear
from raiha_core.controls import Controls
from raiha_core.local_light import FOLLOWED, border_ramp, light_across, object_place, object_ramp
from raiha_core.pipeline import harmonize
from raiha_train.prepare.make_lit_apart import KINDS, lit_apart
from raiha_train.seeds import generator

SIZE = (96, 144)


def disc():
    y, x = torch.meshgrid(*(torch.arange(side) + 0.5 for side in SIZE), indexing="ij")
    inside = ((x - 60) / 32) ** 2 + ((y - 50) / 24) ** 2 < 1
    return inside.float()[None, None], (x - 60) / 32, (y - 50) / 24


def lit_from(side, amount=0.6):
    """A grey disc in even light before a wall that gets brighter to one side."""
    mask, x, y = disc()
    stops = amount * (x if side == "right" else y)
    linear = torch.where(mask > 0, torch.full_like(mask, 0.3), 0.2 * torch.exp2(stops)[None, None])
    return linear_to_srgb(linear.expand(1, 3, -1, -1).clamp(0, 1)), mask


@pytest.mark.parametrize(("side", "axis"), [("right", 0), ("bottom", 1)])
def test_the_ramp_is_the_walls(side, axis):
    # Oracle: the wall rises by 0.6 stops per half axis of the disc, the object by nothing. The windows in
    # which the sides of the border are compared see less of it, and a half length is 0.9 half axes.
    image, mask = lit_from(side)
    ramp = border_ramp(image, mask)
    assert 0.35 < float(ramp.rise[0, axis]) < 0.6
    assert abs(float(ramp.rise[0, 1 - axis])) < 0.02
    turned = border_ramp(image.flip(-1), mask.flip(-1)).rise * torch.tensor([[-1.0, 1.0]])
    torch.testing.assert_close(turned, ramp.rise, rtol=0, atol=1e-4)
    # a gain of all moves no ramp, but in the dark
    lighter = border_ramp((image * 0.8).clamp(0, 1), mask).rise
    torch.testing.assert_close(lighter, ramp.rise, rtol=0.1, atol=0.02)


def test_an_objects_own_ramp_is_found_and_taken_back():
    # Oracle: the gain that was laid over a flat object.
    mask, x, _ = disc()
    even = torch.full((1, 3, *SIZE), 0.5)
    lit = linear_to_srgb(srgb_to_linear(even) * torch.exp2(0.5 * x))
    image = torch.where(mask > 0, lit, even)
    own = object_ramp(image, mask)
    assert float(own.rise[0, 0]) == pytest.approx(0.43, abs=0.02)  # 0.45, less the floor
    ramp = border_ramp(image, mask)
    assert float(ramp.rise[0, 0]) < -0.25  # the other way
    before, after = (
        (picture - even).square().mean() for picture in (image, light_across(image.clone(), mask, ramp, 2.0))
    )
    assert after < 0.3 * before


def test_brightness_stays_hues_stay_and_outside_no_bit_changes():
    image, mask = lit_from("right")
    image = image * torch.tensor([1.0, 0.7, 0.5]).view(1, 3, 1, 1)
    ramp = border_ramp(image, mask)
    lit = light_across(image.clone(), mask, ramp, 1.0)
    assert torch.equal(lit[..., :10, :], image[..., :10, :])
    inside = mask[0, 0] > 0
    before, after = (srgb_to_linear(picture)[0][:, inside] for picture in (image, lit))
    gain = (after / before).log2()
    assert float(gain.mean()) == pytest.approx(0, abs=5e-3)
    torch.testing.assert_close(gain[0], gain[2], rtol=0, atol=1e-3)  # the same of every channel
    steepest = FOLLOWED[0] * float(ramp.rise[0, 0]) * 32 / float(object_place(mask)[1][0, 0] * SIZE[1])
    assert float(gain.max()) == pytest.approx(steepest, rel=0.05)


def test_strips_are_the_whole_picture(monkeypatch):
    image, mask = lit_from("bottom")
    ramp = border_ramp(image, mask)
    whole = light_across(image.clone(), mask, ramp, 1.3)
    monkeypatch.setattr("raiha_core.local_light.STRIP_PIXELS", 300)
    torch.testing.assert_close(light_across(image.clone(), mask, ramp, 1.3), whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("model", ["statistics", "raiha-plus"])
def test_every_network_takes_the_control_and_without_it_no_bit_changes(model):
    image, mask = lit_from("right")
    plain = harmonize(image, mask, model=model)
    assert torch.equal(harmonize(image, mask, model=model, controls=Controls(local_light=0.0)), plain)
    lit = harmonize(image, mask, model=model, controls=Controls(local_light=1.0))
    expected = light_across(plain.clone(), mask, border_ramp(image, mask), 1.0)
    torch.testing.assert_close(lit, expected, rtol=0, atol=1e-5)
    right, left = (mask * side for side in (torch.arange(SIZE[1]) > 70, torch.arange(SIZE[1]) < 50))
    assert ((lit - plain) * right).sum() > 0 > ((lit - plain) * left).sum()
    half = harmonize(image, mask, model=model, strength=0.5, controls=Controls(local_light=1.0))
    torch.testing.assert_close(half, (image + lit) / 2, rtol=0, atol=1e-5)


def test_where_nothing_can_be_compared_nothing_is_done():
    image, mask = lit_from("right")
    for empty in (torch.ones_like(mask), torch.zeros_like(mask)):
        ramp = border_ramp(image, empty)
        assert torch.equal(ramp.rise, torch.zeros(1, 2))
        torch.testing.assert_close(light_across(image.clone(), empty, ramp, 2.0), image, rtol=0, atol=1e-6)
    speck = torch.zeros_like(mask)
    speck[..., 40, 60] = 1
    assert border_ramp(image, speck).rise.isfinite().all()
    with pytest.raises(ValueError, match=r"local_light must lie in 0\.\.2, got 2\.5"):
        Controls(local_light=2.5)


@pytest.mark.parametrize("kind", KINDS)
def test_composites_that_are_lit_apart_are_the_truth_outside_and_only_ramps_inside(kind):
    image, mask = lit_from("right", 0.3)
    photo = torch.where(mask > 0, image * 0.9, image)
    composite, truth = lit_apart(photo, mask, kind, generator("test", kind))
    again = lit_apart(photo, mask, kind, generator("test", kind))
    assert torch.equal(composite, again[0])
    outside = (mask == 0).expand_as(photo)
    assert torch.equal(composite[outside], truth[outside])
    inside = mask[0, 0] > 0
    moved = (srgb_to_linear(composite) / srgb_to_linear(truth))[0][:, inside].log2()
    assert float(moved.mean()) == pytest.approx(0, abs=0.02)
    if kind == "right":
        assert torch.equal(composite, truth)
    elif kind == "evened":  # the grey disc has no ramp to lose
        assert float(moved.abs().max()) < 0.05
    else:
        assert 0.2 < float(moved.max()) < 2.5
    assert torch.equal(truth, photo) == (kind != "scene")
