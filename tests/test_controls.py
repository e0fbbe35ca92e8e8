"""What every control does to pixels, and that nothing happens where none was touched."""

import pytest
import torch

from raiha_core import render
from raiha_core.color import lab_to_srgb, srgb_to_lab
from raiha_core.controls import Controls, adjusted
from raiha_core.harmonizer import load_harmonizer
from raiha_core.mask_shape import shaped
from raiha_core.network_view import LEAST_MARGIN, painted_over, window_around, window_by_share
from raiha_core.pipeline import harmonize, harmonize_with_beliefs
from tests.test_pipeline import scene

LIGHT, GAIN, COLOUR = 6.0, 1.3, (5.0, -4.0)


@pytest.fixture(scope="module")
def known():
    """An answer whose light, contrast and colour are known: lightness moved, and stretched about its mean."""
    generator = torch.Generator().manual_seed(4)
    lab = torch.rand(1, 3, 40, 50, generator=generator) * 20 + torch.tensor([38.0, 4, 2]).view(1, 3, 1, 1)
    composite = lab_to_srgb(lab)
    mask = torch.zeros(1, 1, 40, 50)
    mask[..., 8:30, 10:40] = 1
    mask[..., 30, 10:40] = 0.5
    mean = (lab[:, 0] * mask[:, 0]).sum() / mask.sum()
    return composite, lab, mask, mean


def answer_of(lab, mean, light=LIGHT, gain=GAIN, colour=COLOUR):
    lightness = mean + gain * (lab[:, :1] - mean) + light
    return lab_to_srgb(torch.cat((lightness, lab[:, 1:] + torch.tensor(colour).view(1, 2, 1, 1)), 1))


@pytest.mark.parametrize(("light", "contrast", "colour"), [(0, 1, 1), (1, 0, 1), (1, 1, 0), (2, 0.5, 1.5)])
def test_light_contrast_and_colour_are_changed_apart(known, light, contrast, colour):
    # Oracle: the same answer made with less or more of each part.
    composite, lab, mask, mean = known
    controls = Controls(light=light, contrast=contrast, colour=colour)
    expected = answer_of(lab, mean, LIGHT * light, 1 + (GAIN - 1) * contrast, [c * colour for c in COLOUR])
    result = adjusted(composite, answer_of(lab, mean), mask, 1.0, controls)
    torch.testing.assert_close(result, render.paste(composite, expected, mask), rtol=0, atol=2e-4)
    assert torch.equal(result[..., :8, :], composite[..., :8, :])


def test_strength_continues_beyond_the_answer(known):
    composite, lab, mask, mean = known
    answer = answer_of(lab, mean)
    full = adjusted(composite, answer, mask, 1.0, Controls()) - composite
    for strength in (0.0, 0.3, 1.7, 2.0):
        change = adjusted(composite, answer, mask, strength, Controls()) - composite
        torch.testing.assert_close(change, strength * full, rtol=0, atol=1e-6)


def test_no_pixel_moves_further_than_the_limit(known):
    composite, lab, mask, mean = known
    answer = answer_of(lab, mean, light=25)
    for strength in (1.0, 2.0):
        result = adjusted(composite, answer, mask, strength, Controls(limit=7.0))
        moved = (srgb_to_lab(result) - srgb_to_lab(composite)).square().sum(1, keepdim=True).sqrt()
        assert moved.max() < 7.01
        assert moved[mask == 1].median() > 6.9
    near = adjusted(
        composite, answer_of(lab, mean, light=1, gain=1.0, colour=(1, 1)), mask, 1.0, Controls(limit=7)
    )
    free = adjusted(composite, answer_of(lab, mean, light=1, gain=1.0, colour=(1, 1)), mask, 1.0, Controls())
    torch.testing.assert_close(near, free, rtol=0, atol=1e-6)  # what is nearer is left alone


def test_hues_are_kept_and_greys_stay_nearly_grey(known):
    composite, lab, mask, mean = known
    result = adjusted(composite, answer_of(lab, mean, colour=(-3, 12)), mask, 1.0, Controls(keep_hue=True))
    before, after = (srgb_to_lab(x)[:, 1:] for x in (composite, result))
    inside = mask[:, 0] == 1
    turn = (torch.atan2(after[:, 1], after[:, 0]) - torch.atan2(before[:, 1], before[:, 0]))[inside]
    assert turn.abs().max() < 0.02
    assert (after - before)[:, :, inside[0]].abs().max() > 1  # colours became stronger or weaker
    grey = torch.full((1, 3, 8, 8), 0.5)
    tinted = lab_to_srgb(srgb_to_lab(grey) + torch.tensor([5.0, 20, 20]).view(1, 3, 1, 1))
    kept = adjusted(grey, tinted, torch.ones(1, 1, 8, 8), 1.0, Controls(keep_hue=True))
    assert srgb_to_lab(kept)[:, 1:].abs().max() < 0.1


def test_strips_are_the_whole_picture(known, monkeypatch):
    composite, lab, mask, mean = known
    controls = Controls(light=0.4, contrast=1.6, limit=9, keep_hue=True)
    whole = adjusted(composite, answer_of(lab, mean), mask, 1.2, controls)
    monkeypatch.setattr("raiha_core.controls.STRIP_PIXELS", 130)
    torch.testing.assert_close(
        adjusted(composite, answer_of(lab, mean), mask, 1.2, controls), whole, rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("model", ["statistics", "raiha-plus"])
def test_untouched_controls_change_no_bit_and_touched_ones_work_on_every_network(model):
    composite, mask = scene(60, 80)
    plain = harmonize(composite, mask, model=model)
    assert torch.equal(harmonize(composite, mask, model=model, controls=Controls()), plain)
    # all parts at 1, but through the other road: the answer as it is
    by_parts = harmonize(composite, mask, model=model, controls=Controls(limit=99.0))
    torch.testing.assert_close(by_parts, plain, rtol=0, atol=1e-5)
    nothing = Controls(light=0, colour=0, contrast=0)
    same = harmonize(composite, mask, model=model, controls=nothing)
    torch.testing.assert_close(same, composite, rtol=0, atol=1e-4)


def test_the_shaped_mask_is_the_one_outside_which_nothing_changes():
    composite, mask = scene(60, 80)
    border = shaped(mask, 3, 6)
    result = harmonize(composite, mask, controls=Controls(grow=3, feather=6))
    assert torch.equal(result, harmonize(composite, border, as_stored=True))
    outside = (border == 0).expand_as(result)
    assert torch.equal(result[outside], composite[outside])
    done = harmonize_with_beliefs(composite, mask, controls=Controls(grow=-40))
    assert torch.equal(done.image, composite)
    assert "shrunk by 40 pixels the mask is empty" in done.notes[0]


def test_context_is_a_crop_around_the_object():
    composite, mask = scene(120, 160)
    window = window_around(mask, 0.5)
    assert window_around(mask, 0) == (slice(0, 120), slice(0, 160))
    assert (window.rows.start, window.rows.stop, window.columns.start) == (10, 81, 20)
    part = (..., window.rows, window.columns)
    result = harmonize(composite, mask, controls=Controls(context=0.5))
    expected = composite.clone()
    expected[part] = harmonize(composite[part], mask[part])
    assert torch.equal(result, expected)
    assert not torch.equal(result, harmonize(composite, mask))


def test_a_share_is_what_the_object_has_of_the_window_or_the_picture_has_no_smaller_one():
    # Oracle: every margin, counted.
    for top, height in ((2, 30), (50, 8), (0, 3)):
        mask = torch.zeros(1, 1, 120, 160)
        mask[..., top : top + height, 40:60] = 1
        areas = {}
        for margin in range(LEAST_MARGIN, 161):
            rows = min(120, top + height + margin) - max(0, top - margin)
            areas[margin] = rows * (min(160, 60 + margin) - max(0, 40 - margin))
        for least in (0.0, 0.01, 0.05, 0.15, 0.5):
            window = window_by_share(mask, least)
            found = (window.rows.stop - window.rows.start) * (window.columns.stop - window.columns.start)
            fitting = [area for area in areas.values() if height * 20 >= least * area]
            assert found == max(fitting, default=areas[LEAST_MARGIN])


def test_a_harmonizer_that_sees_better_so_looks_closer_at_small_objects_alone():
    composite, mask = scene(120, 160)
    harmonizer = load_harmonizer("raiha-plus")
    share = float(mask.mean())
    answers = {}
    for least in (0.0, 0.9 * share, 3 * share):
        harmonizer.least_share = least
        answers[least] = harmonize(composite, mask, model=harmonizer)
    whole, large_enough, small = answers.values()
    assert torch.equal(whole, large_enough)
    assert not torch.equal(whole, small)
    assert torch.equal(whole, harmonize(composite, mask, model=harmonizer, controls=Controls(context=0)))
    window = window_by_share(mask, 3 * share)
    part = (..., window.rows, window.columns)
    harmonizer.least_share = 0.0
    assert torch.equal(small[part], harmonize(composite[part], mask[part], model=harmonizer))


@pytest.mark.parametrize("model", ["statistics", "raiha-plus"])
def test_only_the_chosen_background_counts(model):
    # Oracle: blue at the left, red at the right; with the left alone the answer is nearly that of all blue.
    generator = torch.Generator().manual_seed(1)
    noise = 0.1 * torch.rand(1, 3, 64, 96, generator=generator)
    blue = noise + torch.tensor([0.2, 0.3, 0.7]).view(1, 3, 1, 1)
    both = blue.clone()
    both[..., 48:] = noise[..., 48:] + torch.tensor([0.8, 0.3, 0.1]).view(1, 3, 1, 1)
    mask = torch.zeros(1, 1, 64, 96)
    mask[..., 20:44, 36:60] = 1
    thing = (noise * 2 + 0.4).expand(1, 3, -1, -1)
    blue, both = (torch.where(mask > 0, thing, picture) for picture in (blue, both))
    left = torch.zeros_like(mask)
    left[..., :46] = 1
    wanted = harmonize(blue, mask, model=model)
    usual = harmonize(both, mask, model=model)
    chosen = harmonize(both, mask, model=model, background=left)
    distance = [((picture - wanted) * mask).abs().mean() for picture in (usual, chosen)]
    assert distance[1] < 0.3 * distance[0]
    assert torch.equal(chosen[..., :20, :], both[..., :20, :])
    with pytest.raises(ValueError, match="leaves no background"):
        painted_over(both, mask, mask)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"light": 2.1}, "light must lie in 0..2, got 2.1"),
        ({"reference_strength": -0.5}, "by the gate, or lie in 0..1, got -0.5"),
        ({"limit": -1.0}, "limit must not be negative"),
        ({"grow": 600}, "grow must lie in"),
        ({"feather": -1}, "feather must lie in"),
        ({"context": float("nan")}, "context must lie in"),
    ],
)
def test_what_cannot_be_is_named(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        Controls(**wrong)


# ---- references


def test_reference_strength_overrides_the_gate():
    from pathlib import Path

    from raiha_core.features.encoders import build_encoder
    from raiha_core.features.references import Reference
    from raiha_core.images import read_mask, read_picture

    assets = Path(__file__).parents[1] / "assets"
    composite = read_picture(assets / "demo/grapefruit.png").pixels
    mask = read_mask(assets / "demo/grapefruit_mask.png")
    photo = next((assets / "scenes/photos").glob("palapeli_citrus*"))
    given = [Reference(id="fruit", image=read_picture(photo).pixels)]
    assert build_encoder("lite0")
    done = {
        share: harmonize_with_beliefs(
            composite, mask, given, "statistics", controls=Controls(reference_strength=share)
        )
        for share in (-1.0, 0.0, 0.5, 1.0)
    }
    without = harmonize(composite, mask, (), "statistics")
    assert torch.equal(done[0.0].image, without)
    assert torch.equal(done[-1.0].image, harmonize(composite, mask, given, "statistics"))
    for share in (0.5, 1.0):
        assert done[share].beliefs[0][0].lightness == pytest.approx(share)
    # the transfer is linear in the share, so half way is half the way, up to Lab's curve
    half, whole = (done[share].image - without for share in (0.5, 1.0))
    assert (half - whole / 2).abs().mean() < 0.1 * whole.abs().mean()
