"""Order, random draws and match quality."""

import hashlib
import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raiha_core.retrieval.ranking import Hit, best_first, draw, rank_light, rank_score

NAN = math.nan


def hit(name, coverage=1.0, illumination=NAN, content=0.9):
    return Hit(row=0, id=name, coverage=coverage, illumination=illumination, content=content)


def names(hits):
    return [h.id for h in hits]


def test_coverage_then_illumination_then_id():
    hits = [
        hit("d", 0.5, 0.99),
        hit("c", 1.0, 0.91),
        hit("b", 1.0, 0.95),
        hit("a", 1.0, 0.91),
        hit("B", 1.0, 0.91),
    ]
    for permutation in itertools.permutations(hits):
        assert names(best_first(permutation)) == ["b", "B", "a", "c", "d"]


@pytest.mark.parametrize("light", [NAN, 0.93, 1.0])
def test_content_decides_where_coverage_and_light_tie_and_the_id_last_of_all(light):
    hits = [hit("a", 1, light, 0.7), hit("z", 1, light, 0.99), hit("y", 1, light, 0.99), hit("x", 0.25)]
    for permutation in itertools.permutations(hits):
        assert names(best_first(permutation)) == ["y", "z", "a", "x"]


def test_lights_that_differ_by_less_than_a_thousandth_tie():
    # Saturated light: 0.9997 and 0.9999 are one light, and the name must not hide the better content.
    hits = [hit("a", 1, 0.9999, 0.6), hit("b", 1, 0.9997, 0.95), hit("c", 1, 0.9981, 0.99)]
    assert names(best_first(hits)) == ["b", "a", "c"]
    assert [rank_light(h.illumination) for h in hits] == [1.0, 1.0, 0.998]
    assert math.isnan(rank_light(NAN))


@pytest.mark.parametrize(
    ("coverage", "light", "content", "patches", "expected"),
    [
        (1, 1.0, 1.0, 7, 1.0),
        (1, NAN, 1.0004, 1, 1.0),  # rounded vectors may be a little longer than 1
        (1, NAN, 0.5, 1, 0.75),
        (0.5, 0.9, 0.8, 2, (1 + 900.8 / 1001) / 3),
        (0, 0.95, -0.2, 4, 950 / 1001 / 5),  # found by its light alone
    ],
)
def test_the_score_by_hand(coverage, light, content, patches, expected):
    assert rank_score(coverage, light, content, patches) == pytest.approx(expected, abs=1e-12)


@given(
    st.integers(1, 144),
    st.lists(st.tuples(st.integers(0, 144), st.floats(0, 1), st.floats(-1, 1)), min_size=2, max_size=8),
    st.booleans(),
)
def test_the_score_never_rises_along_the_order(patches, photos, asked):
    hits = [
        hit(f"{n}", min(k, patches) / patches, light if asked else NAN, content)
        for n, (k, light, content) in enumerate(photos)
    ]
    scores = [rank_score(h.coverage, h.illumination, h.content, patches) for h in best_first(hits)]
    assert all(0 <= score <= 1 for score in scores)
    assert all(later <= earlier for earlier, later in itertools.pairwise(scores))


def test_a_draw_follows_the_stated_rule():
    # Oracle: the rule written out again, for one photo and for the seed of another query.
    hits = [hit(f"{n:03d}") for n in range(100)]
    for query_id in ("a", "b"):
        digest = hashlib.sha256(f"7:{query_id}".encode()).digest()
        index = np.random.Generator(np.random.PCG64(int.from_bytes(digest[:8], "big"))).integers(100)
        assert names(draw(hits, 1, 7, query_id)) == [f"{index:03d}"]
    assert names(draw(hits, 9, 7, "a")) != names(draw(hits, 9, 7, "b"))
    assert names(draw(hits, 9, 7, "a")) != names(draw(hits, 9, 8, "a"))


def test_a_draw_is_frozen():
    # Written down once: a reference list must be the same on every machine and in every version.
    assert names(draw([hit(c) for c in "abcdefgh"], 4, 0, "composite.png")) == ["c", "e", "f", "d"]


@given(st.permutations("abcdefgh"), st.integers(0, 99), st.integers(1, 8))
def test_a_draw_ignores_the_order_of_hits_and_grows_by_appending(letters, seed, count):
    hits = [hit(c) for c in letters]
    drawn = names(draw(hits, None, seed, "q"))
    assert sorted(drawn) == list("abcdefgh")
    assert names(draw(sorted(hits, key=lambda h: h.id), count, seed, "q")) == drawn[:count]


def test_a_draw_is_uniform():
    # 4,000 draws of one out of 4: each count within 5 standard deviations (27) of 1,000.
    counts = {c: 0 for c in "abcd"}
    for query in range(4000):
        counts[draw([hit(c) for c in "abcd"], 1, 0, str(query))[0].id] += 1
    assert all(abs(count - 1000) < 137 for count in counts.values())


def test_drawing_from_nothing_gives_nothing():
    assert draw([], 4, 0, "q") == []
