"""The statistics preset guided by references: who is listened to, how far, and what is refused."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from raiha_core.features.references import Match, Reference, collate
from raiha_core.models.matched_colours import LIGHT_SHARE, UNMATCHED
from raiha_core.models.statistics import (
    Statistics,
    StatisticsConfig,
)
from raiha_core.render import apply
from tests.statistics_cases import (
    DARK,
    DIM,
    FULL_SHARE,
    GREEN,
    GREY,
    GRID,
    RED,
    box,
    features,
    lab_colour,
    lab_mean,
    match,
    painted,
    reference,
)


def half_red_half_green() -> Tensor:
    """A reference whose left two columns of patches are red, the others green."""
    image = GREEN.expand(1, 3, 40, 40).clone()
    image[..., :20] = RED
    return image


def test_matched_patches_with_the_right_colour_beat_a_ring_with_the_wrong_one():
    mask = box()
    image = painted(mask, lab_colour(50, 40, 20), GREEN, 0.02)
    right = tuple(match(5, cell) for cell in (0, 5, 9))  # all in the red half
    wrong = tuple(match(5, cell) for cell in (2, 7, 11))
    truth = torch.tensor([[50.0, 60.0, 40.0]])

    def distance(matches: tuple[Match, ...], weight: float) -> float:
        rows = [[reference(half_red_half_green(), weight, matches)]]
        return float(
            (lab_mean(apply(Statistics().predict(image, mask, rows), image, mask), mask) - truth).norm()
        )

    by_weight = [distance(right, weight) for weight in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert all(a > b + 0.1 for a, b in pairwise(by_weight))
    assert by_weight[-1] < float((lab_mean(image, mask) - truth).norm())  # better than the untouched one
    assert distance(wrong, 1.0) > distance(right, 1.0) + 5


def test_no_reference_and_a_weightless_one_are_exactly_the_ring():
    mask, image = box(), painted(box(), DARK, GREEN, 0.1)
    ring = Statistics().predict(image, mask).lab
    assert ring is not None
    nothing = reference(half_red_half_green(), 0.0, (match(5, 0),), (match(0, 3),))
    for rows in ([[]], [[nothing]], [[nothing, nothing]]):
        found = Statistics().predict(image, mask, rows).lab
        assert found is not None
        for name in ("centre", "scale", "shift"):
            assert torch.equal(getattr(found, name), getattr(ring, name))


def test_each_composite_listens_to_its_own_references_in_any_order():
    masks = box().expand(2, -1, -1, -1)
    images = painted(masks, DARK, GREEN, 0.05)
    red = reference(half_red_half_green(), 0.8, (match(5, 0),))
    green = reference(half_red_half_green(), 0.5, (match(5, 3),))
    both = Statistics().predict(images, masks, [[red, green], []]).lab
    swapped = Statistics().predict(images, masks, [[green, red], []]).lab
    ring = Statistics().predict(images, masks).lab
    assert both is not None
    assert swapped is not None
    assert ring is not None
    torch.testing.assert_close(both.shift, swapped.shift)
    torch.testing.assert_close(both.shift[1], ring.shift[1], atol=1e-5, rtol=1e-5)
    assert (both.shift[0] - ring.shift[0]).abs().max() > 1


def test_matched_backgrounds_carry_over_the_difference_of_light():
    # Oracle: the composite's matched background is 10 lighter than the reference's, so its object should
    # be LIGHT_SHARE * 10 lighter than the reference's too.
    mask = box()
    image = painted(mask, lab_colour(40), lab_colour(60))
    picture = lab_colour(45).expand(1, 3, 40, 40).clone()
    picture[..., :20] = lab_colour(50)
    config = replace(FULL_SHARE, reference_trust=1.0)
    plain, lit = (
        Statistics(config).predict(image, mask, [[reference(picture, 1.0, (match(5, 3),), light)]]).lab
        for light in ((), (match(0, 0),))
    )
    assert plain is not None
    assert lit is not None
    assert plain.shift[0, 0] == pytest.approx(5, abs=0.02)
    assert lit.shift[0, 0] == pytest.approx(5 + LIGHT_SHARE * 10, abs=0.02)


def test_the_network_call_finds_the_same_matches_by_content():
    # The object's patches and the reference's red half share a direction; the rest is orthogonal.
    mask = box((64, 64), (0.25, 0.75))
    image = painted(mask, DARK, GREEN)
    content = torch.zeros(1, DIM, GRID, GRID)
    content[:, 0] = 1
    content[:, :, 1:3, 1:3] = 0
    content[:, 1, 1:3, 1:3] = 1
    shown = torch.zeros(1, DIM, GRID, GRID)
    shown[:, 1, :, :2] = 1
    shown[:, 2, :, 2:] = 1
    cells = [row * GRID + column for row in range(GRID) for column in (0, 1)]
    matched = replace(
        reference(half_red_half_green(), 0.6, tuple(match(5, cell) for cell in cells)),
        features=features(shown),
    )
    batch = collate([[matched]], (40, 40), True)
    by_content = Statistics()(image, mask, content, batch).lab
    by_matches = Statistics().predict(image, mask, [[matched]]).lab
    assert by_content is not None
    assert by_matches is not None
    torch.testing.assert_close(by_content.shift, by_matches.shift, atol=1e-3, rtol=1e-3)
    blind = Statistics()(image, mask, None, collate([[matched]], (40, 40), False)).lab
    whole = replace(matched, content_matches=())
    assert blind is not None
    as_a_whole = Statistics().predict(image, mask, [[whole]]).lab
    assert as_a_whole is not None
    torch.testing.assert_close(blind.shift, as_a_whole.shift, atol=1e-2, rtol=1e-2)
    assert 0 < UNMATCHED < 1


def test_broken_references_are_named():
    mask, image = box(), painted(box(), DARK, GREEN)
    loose = replace(reference(half_red_half_green(), 0.5, (match(0, 0),)), features=None)
    with pytest.raises(ValueError, match="'photo' has matched patches but no features"):
        Statistics().predict(image, mask, [[loose]])
    with pytest.raises(ValueError, match=r"'photo' must lie in 0..1, got 1.5"):
        Statistics().predict(image, mask, [[reference(half_red_half_green(), 1.5)]])
    with pytest.raises(ValueError, match="2 rows of references for 1"):
        Statistics().predict(image, mask, [[], []])


def test_guiding_its_own_answer_is_the_guided_answer():
    mask = box()
    image = painted(mask, RED, GREY, noise=0.05)
    rows = [[Reference(id="a", image=painted(mask, GREEN, DARK), weight=0.8)]]
    preset = Statistics()
    moved = preset.guide(preset.predict(image, mask), image, mask, rows)
    wanted = preset.predict(image, mask, rows)
    for name in ("centre", "scale", "shift"):
        torch.testing.assert_close(getattr(moved.lab, name), getattr(wanted.lab, name))
    alone = preset.predict(image, mask)
    assert preset.guide(alone, image, mask, [[]]) is alone


def test_a_power_of_the_match_quality_and_the_whole_way_to_the_reference():
    mask = box()
    image = painted(mask, lab_colour(40), lab_colour(60))
    photo = painted(mask, lab_colour(70), lab_colour(70))

    def lightness(weight: float, **changes: object) -> float:
        config = StatisticsConfig(reference_trust=1.0, **changes)  # type: ignore[arg-type]
        rows = [[reference(photo, weight, (match(5, 0),))]]
        new = apply(Statistics(config).predict(image, mask, rows), image, mask)
        return float(lab_mean(new, mask)[0, 0])

    assert lightness(1.0) == pytest.approx(55, abs=0.2)  # half of the way from 40 to 70
    assert lightness(1.0, reference_whole=True) == pytest.approx(70, abs=0.2)
    # the ring alone gives 50; a weight of a half counts a sixteenth by its fourth power
    assert lightness(0.5, reference_whole=True, reference_power=4.0) == pytest.approx(50 + 20 / 16, abs=0.2)
    with pytest.raises(ValueError, match="reference_power must be above 0, got 0"):
        StatisticsConfig(reference_power=0)
