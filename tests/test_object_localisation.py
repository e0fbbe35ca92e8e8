"""Where a reference shows the object: against the formula written out, and on pictures where it is known."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from raiha_core.color import srgb_to_lab
from raiha_core.models.object_localisation import localise_object, object_probabilities
from raiha_core.models.reference_measurement import measure_references
from raiha_core.models.statistics import measure_object
from tests.statistics_cases import GREEN, GREY, RED, box, lab_colour, match, painted, reference

# a square of 64 px whose object is the middle quarter: 4 x 4 patches, of which the middle four
MASK = box((64, 64), (0.25, 0.75))


NOWHERE = torch.zeros(4, 4, dtype=torch.bool)


def similarity_margin(inside: float = 0.2, outside: float = -0.2) -> torch.Tensor:
    found = torch.full((4, 4), outside)
    found[1:3, 1:3] = inside
    return found


def test_probabilities_are_their_formula():
    draws = torch.Generator().manual_seed(2)
    lab = 30 + 25 * torch.rand(1, 3, 12, 12, generator=draws)
    like = 0.2 * torch.randn(3, 3, generator=draws)
    matched = torch.rand(3, 3, generator=draws) > 0.3
    place = np.zeros((12, 12))
    sigmoid = 1 / (1 + np.exp(-like.double().numpy() / 0.05))
    sigmoid = np.where(matched.numpy(), np.maximum(sigmoid, 0.8), sigmoid)
    assert (matched & (like < 0)).any()
    for y in range(12):
        for x in range(12):
            a, b = (min(max((v + 0.5) / 4 - 0.5, 0), 2) for v in (y, x))
            i, j = int(a), int(b)
            k, n = min(i + 1, 2), min(j + 1, 2)
            upper = (1 - (b - j)) * sigmoid[i, j] + (b - j) * sigmoid[i, n]
            lower = (1 - (b - j)) * sigmoid[k, j] + (b - j) * sigmoid[k, n]
            place[y, x] = (1 - (a - i)) * upper + (a - i) * lower
    bins = np.floor(lab[0].numpy() / 8)
    wanted = np.zeros((12, 12))
    for y in range(12):
        for x in range(12):
            same = (bins == bins[:, y, x][:, None, None]).all(0)
            met, p = place[same].mean(), place[y, x]
            wanted[y, x] = p * met / max(p * met + (1 - p) * (1 - met), 1e-6)
    np.testing.assert_allclose(object_probabilities(lab, like, matched)[0, 0], wanted, atol=1e-4)


def test_the_object_is_seen_to_the_pixel_though_patches_are_coarse():
    shifted = torch.roll(MASK, (5, 5), (2, 3))  # patches hold object and background
    lab = srgb_to_lab(painted(shifted, RED, GREY))
    found = object_probabilities(lab, similarity_margin(), NOWHERE) > 0.5
    assert not (found & (shifted == 0)).any()
    assert (found & (shifted > 0)).sum() > 0.8 * shifted.sum()
    seen = localise_object(lab, similarity_margin(), NOWHERE)
    assert seen.found
    torch.testing.assert_close(seen.colour.mean, srgb_to_lab(RED)[..., 0, 0], atol=0.01, rtol=0)
    assert float(seen.colour.variance.max()) < 1e-3
    assert seen.certainty == pytest.approx(
        float(object_probabilities(lab, similarity_margin(), NOWHERE)[found].mean())
    )
    assert seen.share == pytest.approx(
        float((object_probabilities(lab, similarity_margin(), NOWHERE) * found).mean())
    )


def test_what_is_nowhere_like_the_object_is_not_seen():
    seen = localise_object(srgb_to_lab(painted(MASK, RED, GREY)), similarity_margin(-0.3, -0.3), NOWHERE)
    assert not seen.found
    assert (seen.share, seen.certainty) == (0.0, 0.0)


def test_an_object_among_its_like_is_seen_where_its_patches_matched():
    lab = srgb_to_lab(painted(MASK, RED, GREY))
    matched = NOWHERE.clone()
    matched[1:3, 1:3] = True
    seen = localise_object(lab, similarity_margin(-0.05, -0.3), matched)
    torch.testing.assert_close(seen.colour.mean, srgb_to_lab(RED)[..., 0, 0], atol=0.01, rtol=0)


def test_the_colours_of_the_found_object_are_measured_and_of_the_pairs_where_none_is():
    mask = box((64, 64), (0.25, 0.75))
    image = painted(mask, lab_colour(40, 10, 0), GREY)
    own = srgb_to_lab(lab_colour(40, 10, 0)).flatten()
    photo = painted(torch.roll(MASK, (5, 5), (2, 3)), GREEN, GREY)
    pairs = reference(photo, (match(5, 5), match(10, 10)))
    seen = replace(pairs, similarity_margin=tuple(similarity_margin().flatten().tolist()))
    measured = measure_references([pairs, seen], measure_object(image, mask))
    wanted = srgb_to_lab(GREEN).flatten() - own
    torch.testing.assert_close(measured.difference[1], wanted, atol=0.05, rtol=0)
    # patches 5 and 10 of the photo hold some of the grey around it
    assert (measured.difference[0] - wanted).abs().max() > 3
    assert measured.deviation[1].max() < 0.1 < measured.deviation[0].max()
    assert measured.numbers[0, 23:].abs().max() == 0
    grey = reference(GREY.expand(1, 3, 64, 64), (match(5, 5),))  # nothing stands out by its colour
    unseen = replace(grey, similarity_margin=tuple(similarity_margin(-0.3, -0.3).flatten().tolist()))
    by_pairs = measure_references([grey, unseen], measure_object(image, mask))
    for part in by_pairs.parts:
        assert torch.equal(part[0], part[1])
    matched = NOWHERE.clone()
    matched[[1, 2], [1, 2]] = True
    of_sight = measured.numbers[1, 23:].tolist()
    assert of_sight[0] == 1
    assert of_sight[1] == pytest.approx(
        math.log(localise_object(srgb_to_lab(photo), similarity_margin(), matched).share / 0.25)
    )
    assert of_sight[2] == pytest.approx(0.2)
    apart = (measured.difference[1] - measured.difference[0]).abs() / 10
    torch.testing.assert_close(measured.numbers[1, 27:], apart, atol=1e-3, rtol=0)
    with pytest.raises(ValueError, match="'photo' has 3 similarity margins for 4 x 4 patches"):
        measure_references([replace(pairs, similarity_margin=(0.1, 0.2, 0.3))], measure_object(image, mask))
