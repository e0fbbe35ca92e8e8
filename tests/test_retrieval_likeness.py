"""The order without thresholds is its slow twin's, whatever bounds it is settled by."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from raiha_core.retrieval import oracle
from raiha_core.retrieval.likeness import content_bounds, in_order, light_of_photo
from raiha_core.retrieval.search import Exclusion, search_many
from tests.retrieval_cases import make_gallery, make_query, make_spec, random_patches


@pytest.fixture(scope="module")
def toy():
    """A gallery of 60 photos with ties, a query of its own, and the slow twin's order."""
    spec = make_spec()
    content, histogram = random_patches(spec, 61, 5)
    content[31], histogram[31] = content[30], histogram[30]  # one photo twice: the id decides
    content[7] = 0  # a constant picture
    gallery = make_gallery(spec, content[1:], histogram[1:])
    query = make_query(spec, content[0], histogram[0], [0, 1, 4])
    stored = gallery.gather(range(len(gallery)))
    slow = []
    for photo, patches, colours in zip(gallery.photos, stored.content, stored.histogram, strict=True):
        score, shown, light = oracle.likeness(query, patches, colours)
        slow.append((-score, -shown, photo.id, light))
    return gallery, query, sorted(slow)


def test_the_order_and_its_numbers_are_the_slow_twins(toy):
    gallery, query, slow = toy
    found = search_many(gallery, [query], by="likeness", top_k=None)[0]
    assert [item.photo.id for item in found.items] == [name for *_, name, _ in slow]
    for item, (score, shown, _, light) in zip(found.items, slow, strict=True):
        assert item.score == pytest.approx(-score, abs=1.5e-6)
        assert item.content == -shown
        assert item.illumination == pytest.approx(light, abs=1e-12)
    assert (found.by, found.qualified, found.considered) == ("likeness", 60, 60)


@pytest.mark.parametrize("slack", [0.0, 0.05, 2.0])
def test_no_bound_changes_the_order(toy, slack):
    gallery, query, slow = toy
    allowed = torch.ones(1, len(gallery), dtype=torch.bool)
    bounds = content_bounds(gallery, [query], allowed, block=7)[0]

    noise = np.random.default_rng(0).random(len(bounds)) * slack
    got = [hit.id for hit in in_order(gallery, query, bounds + noise, 0.6)]
    assert got == [name for *_, name, _ in slow]


def test_the_first_few_are_the_first_of_all_and_exclusion_comes_first(toy):
    gallery, query, slow = toy
    best = [name for *_, name, _ in slow]
    found = search_many(gallery, [query], by="likeness", top_k=3, exclude=Exclusion(ids=best[:2]))[0]
    assert [item.photo.id for item in found.items if item.photo.id != best[31]][:3] == best[2:5]


def test_where_nothing_reaches_the_threshold_the_best_pair_is_shown(toy):
    gallery, query, _ = toy
    found = search_many(gallery, [query], by="likeness", top_k=1, content_threshold=1.0)[0]
    item = found.items[0]
    assert [match.content for match in item.content_matches] == [item.content]
    assert (len(item.object_pairs), len(item.background_pairs)) == (3, 6)


def test_dark_or_flat_backgrounds_prove_nothing():
    spec = make_spec()
    content, histogram = random_patches(spec, 2, 9)
    query = make_query(spec, content[0], histogram[0], [0])
    told = abs(light_of_photo(query, content[0], histogram[0]) - 0.5)
    flat = histogram[0, :1].expand(spec.patches, -1)
    assert light_of_photo(replace(query, histogram=flat), content[0], flat) == pytest.approx(0.5)
    dark = histogram[0].clone()
    dark[:, 6:] = torch.tensor([255, 0, 0], dtype=torch.uint8)  # all of the value in the lowest bin
    assert abs(light_of_photo(replace(query, histogram=dark), content[0], dark) - 0.5) < told


def test_without_a_clear_background_the_light_is_not_known(toy):
    gallery, query, _ = toy
    whole = replace(
        query, foreground=torch.ones(9, dtype=torch.bool), background=torch.zeros(9, dtype=torch.bool)
    )
    item = search_many(gallery, [whole], by="likeness", top_k=1)[0].items[0]
    assert math.isnan(item.light)
    assert item.score == pytest.approx(max(item.content, 0) * 0.75, abs=1e-6)


def test_a_random_draw_needs_photos_that_qualify(toy):
    gallery, query, _ = toy
    with pytest.raises(ValueError, match="there is none to draw from"):
        search_many(gallery, [query], by="likeness", seed=1)
