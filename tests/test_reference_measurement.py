"""What is measured of a reference: pairs, light, quality and place, on pictures of known colours."""

import math

import pytest
import torch

from raiha_core.color import srgb_to_lab
from raiha_core.features.match_quality import match_quality
from raiha_core.features.references import Match, Reference
from raiha_core.models.reference_measurement import (
    ALIKE,
    ENOUGH,
    LIGHT,
    LIGHT_SPREAD,
    LIGHT_TOLD,
    NUMBERS,
    PATTERN,
    PLACE,
    SPREAD,
    measure_references,
    reference_quality,
)
from raiha_core.models.statistics import measure_object
from tests.statistics_cases import GREEN, GREY, GRID, RED, box, lab_colour, match, painted, reference

MASK = box((64, 64), (0.25, 0.75))  # patches 5, 6, 9, 10 of 4 x 4


def measured(image, mask=MASK):
    return measure_object(image, mask)


def test_the_kinds_of_numbers_are_all_of_them_in_order():
    kinds = (ALIKE, PATTERN, SPREAD, LIGHT_TOLD, LIGHT, LIGHT_SPREAD, PLACE)
    assert [place for kind in kinds for place in range(NUMBERS)[kind]] == list(range(NUMBERS))


def test_pairs_of_patches_say_how_the_object_and_the_light_differ():
    image = painted(MASK, lab_colour(40, 10, 0), lab_colour(60))
    photo = lab_colour(70).expand(1, 3, 64, 64).clone()
    photo[..., :32, :] = lab_colour(55, 20, 5)  # its upper half shows the object
    shown = reference(photo, (match(5, 0, 0.9), match(6, 1, 0.7)), (match(0, 12, 0.8),))
    found = measure_references([shown], measured(image))
    # squares of the cosines weigh, but both say the same
    torch.testing.assert_close(found.difference, torch.tensor([[15.0, 10.0, 5.0]]), atol=0.05, rtol=0)
    numbers = found.numbers[0].tolist()
    assert len(numbers) == NUMBERS
    softly = sum(1 / (1 + math.exp(-(c - ENOUGH) / 0.05)) for c in (0.9, 0.7)) / 2
    assert numbers[ALIKE] == pytest.approx([0.9, 0.8, softly, math.log(3), 1.0, 0.95, 0.95])
    assert numbers[PATTERN] == pytest.approx([0, 0], abs=0.01)  # flat colours have none
    assert numbers[SPREAD] == pytest.approx([0, 0, 0], abs=0.01)
    assert reference_quality(shown, 4) == pytest.approx(match_quality(0.9, 0.5, 0.95))
    assert found.deviation.abs().max() < 0.1  # a flat colour


def test_pairs_that_disagree_have_a_spread_and_surer_ones_weigh_more():
    image = painted(MASK, GREY, GREY)
    photo = lab_colour(60).expand(1, 3, 64, 64).clone()
    photo[..., :16, :16] = lab_colour(80)
    found = measure_references([reference(photo, (match(5, 0, 0.9), match(6, 15, 0.3)))], measured(image))
    assert float(found.difference[0, 0]) == pytest.approx(20 * 0.9 / 1.2, abs=0.05)
    share = 0.9**2 / (0.9**2 + 0.3**2)
    spread = 20 * math.sqrt(share * (1 - share))
    assert found.numbers[0, SPREAD].tolist() == pytest.approx([spread / 10, 0, 0], abs=0.01)
    assert found.numbers[0, 12:].abs().max() == 0  # nothing is known of the light, nor of the place


def test_what_has_no_like_patch_is_not_measured_and_no_grid_is_named():
    image, picture = painted(MASK, RED, GREY), GREEN.expand(1, 3, 32, 32)
    assert len(measure_references([reference(picture)], measured(image))) == 0
    gridless = Reference(id="odd", image=picture, content_matches=(match(5, 0),))
    with pytest.raises(ValueError, match="'odd' has matched patches but no features"):
        measure_references([gridless], measured(image))


def test_indices_of_matches_lie_on_the_grid():
    last = Match(query_patch=GRID * GRID - 1, photo_patch=GRID * GRID - 1, content=0.9, appearance=1.0)
    image = painted(MASK, RED, GREY)
    found = measure_references([reference(GREEN.expand(1, 3, 64, 64), (last,))], measured(image))
    wanted = srgb_to_lab(GREEN).flatten() - srgb_to_lab(GREY).flatten()
    torch.testing.assert_close(found.difference[0], wanted, atol=0.2, rtol=0)
