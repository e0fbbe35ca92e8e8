"""The fast path returns the oracle's set: random galleries, ties, values one step beside the threshold."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from raiha_core.retrieval import oracle
from raiha_core.retrieval.exact import appearance_of_pairs
from raiha_core.retrieval.explain import explain
from raiha_core.retrieval.search import Exclusion, search_many
from tests.retrieval_cases import make_gallery, make_query, make_spec, random_patches, true_set

BY = ("both", "content", "illumination")


def found_ids(gallery, query, by, eps_c, eps_a, **options):
    answer = search_many(
        gallery, [query], by=by, top_k=None, content_threshold=eps_c, appearance_threshold=eps_a, **options
    )[0]
    assert answer.qualified == len(answer)
    return sorted(item.photo.id for item in answer.items)


def same_bytes(first, second):
    """Everything in two answers, as text: floats print all their digits."""
    return [repr(a.items) + repr(a.notes) for a in first] == [repr(b.items) + repr(b.notes) for b in second]


@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize("seed", range(4))
def test_the_fast_path_returns_the_oracles_set(by, seed):
    spec = make_spec()
    content, histogram = random_patches(spec, 40, seed)
    gallery = make_gallery(spec, content[1:], histogram[1:])
    query = make_query(spec, content[0], histogram[0], [0, 4, 5])
    sizes = set()
    for eps_c in (0.2, 0.6, 0.8, 0.9, 0.97):
        truth = true_set(query, gallery, by, eps_c, 0.7)
        assert found_ids(gallery, query, by, eps_c, 0.7) == truth
        sizes.add(len(truth))
    assert len(sizes) > 2, "the thresholds must separate photos, or the test shows nothing"


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    by=st.sampled_from(BY),
    dim=st.sampled_from([2, 5, 64]),
    pick=st.integers(0, 10**6),
    step=st.sampled_from([-1, 0, 1]),
    block=st.sampled_from([1, 3, 32]),
)
def test_thresholds_on_and_beside_a_true_value(seed, by, dim, pick, step, block):
    # The threshold is a cosine that occurs, or the next float64 above or below it.
    spec = make_spec(grid=2, dim=dim)
    content, histogram = random_patches(spec, 9, seed)
    gallery = make_gallery(spec, content[1:], histogram[1:])
    query = make_query(spec, content[0], histogram[0], [1])
    pairs = [(r, j) for r in range(8) for j in range(4)]
    r, j = pairs[pick % len(pairs)]
    i = 0 if by == "illumination" else 1  # a background patch, or the object's
    eps_c = oracle.content_cosine(content[0, i], content[1 + r, j])
    eps_a = oracle.appearance_cosine(histogram[0, 2], histogram[1 + r, (j + 1) % 4])
    eps_c, eps_a = (float(np.nextafter(x, 2 * step * np.inf if step else x)) for x in (eps_c, eps_a))
    if not (0 < eps_c <= 1 and 0 < eps_a <= 1):
        return
    assert found_ids(gallery, query, by, eps_c, eps_a, block=block) == true_set(
        query, gallery, by, eps_c, eps_a
    )


def axis(spec, *values):
    vector = torch.zeros(spec.dim)
    vector[: len(values)] = torch.tensor(values)
    return vector


def test_a_tie_in_float16_qualifies_and_one_step_below_does_not():
    # Closed comparison. 0.5 and its neighbours are float16 numbers, so the cosines are exact.
    spec = make_spec(grid=2, dim=320)
    below = float(np.nextafter(np.float16(0.5), np.float16(0)))
    above = float(np.nextafter(np.float16(0.5), np.float16(1)))
    content = torch.zeros(3, 4, 320)
    for row, value in enumerate((below, 0.5, above)):
        content[row, 3] = axis(spec, value)
    histogram = torch.ones(3, 4, 9)
    gallery = make_gallery(spec, content, histogram, ids=["below", "equal", "above"])
    query = make_query(spec, axis(spec, 1.0).expand(4, -1), torch.ones(4, 9), [0])
    for by in BY:
        assert found_ids(gallery, query, by, 0.5, 0.9) == ["above", "equal"]
        assert found_ids(gallery, query, by, float(np.nextafter(0.5, 1)), 0.9) == ["above"]
        assert found_ids(gallery, query, by, below, 0.9) == ["above", "below", "equal"]


def test_float32_alone_would_decide_wrongly():
    # 0.5 + 320 terms of 2^-40: float32 drops them all when it starts from 0.5, float64 does not.
    dim = 320
    spec = make_spec(grid=2, dim=dim)
    tiny = torch.full((dim,), 2.0**-20)
    tiny[0] = 0.5
    photo = tiny.expand(1, 4, dim)
    query = torch.full((dim,), 2.0**-20)
    query[0] = 1.0
    truth = 0.5 + 319 * 2.0**-40
    assert np.float32(0.5) + np.float32(2.0**-40) == np.float32(0.5)
    wanted = make_query(spec, query.expand(4, -1), torch.ones(4, 9), [0])
    gallery = make_gallery(spec, photo, torch.ones(1, 4, 9))
    assert found_ids(gallery, wanted, "both", truth, 0.9) == ["0000.png"]
    assert found_ids(gallery, wanted, "both", float(np.nextafter(truth, 1)), 0.9) == []


def test_an_appearance_tie_is_settled_in_whole_numbers():
    # (3, 4, 0..) and (5, 0..) have cosine 3/5; the float64 nearest to 0.6 lies below it, the next above.
    spec = make_spec(grid=2)
    photo_histogram = torch.zeros(1, 4, 9)
    photo_histogram[..., 0], photo_histogram[..., 1] = 3, 4
    query_histogram = torch.zeros(4, 9)
    query_histogram[:, 0] = 5
    content = axis(spec, 1.0).expand(1, 4, -1)
    gallery = make_gallery(spec, content, photo_histogram)
    query = make_query(spec, content[0], query_histogram, [0])
    for eps_a in (0.6, float(np.nextafter(0.6, 1)), float(np.nextafter(0.6, 0))):
        truth = true_set(query, gallery, "both", 0.9, eps_a)
        assert found_ids(gallery, query, "both", 0.9, eps_a) == truth
        assert bool(truth) == (eps_a <= 0.6)


def test_appearance_decisions_are_the_oracles_where_float64_rounds():
    # The threshold is the rounded cosine of each pair itself: about half of them lie just below it.
    generator = torch.Generator().manual_seed(0)
    pairs = torch.randint(0, 256, (200, 2, 9), generator=generator).to(torch.uint8)
    truth = []
    for first, second in pairs:
        eps_a = oracle.appearance_cosine(first, second)
        cosine, reaches = appearance_of_pairs(first[None], second[None], eps_a)
        truth.append(oracle.appearance_reaches(first, second, eps_a))
        assert (cosine.item(), reaches.item()) == (eps_a, truth[-1])
    assert 50 < sum(truth) < 150


def test_both_halves_of_eq_5_are_asked_of_one_pair():
    # Patch 1 agrees in content only, patch 2 in appearance only: no single pair meets both.
    spec = make_spec(grid=2)
    content, histogram = torch.zeros(2, 4, 8), torch.zeros(2, 4, 9)
    content[:, 1], histogram[:, 1] = axis(spec, 1.0), torch.eye(9)[1]
    content[:, 2], histogram[:, 2] = axis(spec, 0.0, 1.0), torch.eye(9)[0]
    content[1, 3], histogram[1, 3] = axis(spec, 1.0), torch.eye(9)[0]
    gallery = make_gallery(spec, content, histogram, ids=["halves", "pair"])
    query = make_query(spec, axis(spec, 1.0).expand(4, -1), torch.eye(9)[0].expand(4, -1), [0])
    assert found_ids(gallery, query, "content", 0.9, 0.9) == ["halves", "pair"]
    assert found_ids(gallery, query, "illumination", 0.9, 0.9) == ["pair"]
    assert found_ids(gallery, query, "both", 0.9, 0.9) == ["pair"]


def test_content_looks_at_the_object_and_illumination_at_the_background():
    spec = make_spec(grid=2)
    content = torch.stack([axis(spec, 1.0), axis(spec, 0.0, 1.0)])[:, None].expand(2, 4, -1)
    gallery = make_gallery(spec, content, torch.ones(2, 4, 9), ids=["like object", "like ground"])
    patches = torch.stack([axis(spec, 1.0), *[axis(spec, 0.0, 1.0)] * 3])
    query = make_query(spec, patches, torch.ones(4, 9), [0])
    assert found_ids(gallery, query, "content", 0.9, 0.9) == ["like object"]
    assert found_ids(gallery, query, "illumination", 0.9, 0.9) == ["like ground"]
    assert found_ids(gallery, query, "both", 0.9, 0.9) == []


def test_zero_vectors_and_empty_histograms_never_qualify():
    spec = make_spec(grid=2)
    one, flat = axis(spec, 1.0).expand(1, 4, -1), torch.zeros(1, 4, 8)
    full, empty = torch.ones(1, 4, 9), torch.zeros(1, 4, 9)
    gallery = make_gallery(
        spec, torch.cat([flat, one, one]), torch.cat([full, empty, full]), ids=["flat", "no colours", "whole"]
    )
    smallest = 1e-300  # any threshold above 0
    query = make_query(spec, one[0], full[0], [0])
    assert found_ids(gallery, query, "content", smallest, smallest) == ["no colours", "whole"]
    assert found_ids(gallery, query, "illumination", smallest, smallest) == ["whole"]
    assert found_ids(gallery, query, "both", smallest, smallest) == ["whole"]
    nothing = make_query(spec, flat[0], empty[0], [0])
    for by in BY:
        assert found_ids(gallery, nothing, by, smallest, smallest) == []


def test_duplicates_and_a_single_patch():
    spec = make_spec(grid=1, dim=5)
    content, histogram = random_patches(spec, 1, 3)
    gallery = make_gallery(spec, content.expand(50, -1, -1), histogram.expand(50, -1, -1))
    query = make_query(spec, content[0], histogram[0], [0])
    own = oracle.content_cosine(content[0, 0], content[0, 0])
    assert len(found_ids(gallery, query, "content", min(own, 1.0), 0.9)) == 50
    if own < 1:
        assert found_ids(gallery, query, "content", float(np.nextafter(own, 2)), 0.9) == []
    assert found_ids(gallery, query, "both", 0.5, 0.9) == [], "one patch is object, so no background is left"


def test_a_gallery_that_sits_on_the_threshold_is_rechecked_in_pieces(monkeypatch):
    # Every pair is inside the band: all of them are computed again, here five at a time.
    spec = make_spec(grid=2)
    content = axis(spec, 0.5).expand(12, 4, -1)
    gallery = make_gallery(spec, content, torch.ones(12, 4, 9))
    query = make_query(spec, axis(spec, 1.0).expand(4, -1), torch.ones(4, 9), [0])
    monkeypatch.setattr("raiha_core.retrieval.exact.PAIRS_AT_ONCE", 5)
    for by in BY:
        assert len(found_ids(gallery, query, by, 0.5, 0.9)) == 12
        assert found_ids(gallery, query, by, float(np.nextafter(0.5, 1)), 0.9) == []


@pytest.mark.parametrize("by", BY)
def test_block_size_threads_and_batching_change_no_byte(by):
    spec = make_spec(grid=4, dim=64)
    content, histogram = random_patches(spec, 60, 5)
    gallery = make_gallery(spec, content[4:], histogram[4:])
    queries = [make_query(spec, content[n], histogram[n], [n, 7, 9]) for n in range(4)]
    options = {"by": by, "content_threshold": 0.7, "appearance_threshold": 0.6, "top_k": None}
    whole = search_many(gallery, queries, **options)
    assert any(0 < len(answer) < len(gallery) for answer in whole)
    for block in (1, 7, len(gallery)):
        assert same_bytes(whole, search_many(gallery, queries, block=block, **options))
    assert same_bytes(whole, [search_many(gallery, [query], **options)[0] for query in queries])
    before, options["top_k"] = torch.get_num_threads(), 3
    ranked = search_many(gallery, queries[:1], **options)
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            assert same_bytes(ranked, search_many(gallery, queries[:1], **options))
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("by", BY)
def test_many_queries_need_several_products(by, monkeypatch):
    monkeypatch.setattr("raiha_core.retrieval.scan.COLUMNS", 5)
    spec = make_spec()
    content, histogram = random_patches(spec, 30, 8)
    gallery = make_gallery(spec, content, histogram)
    queries = [make_query(spec, content[n], histogram[n], range(1 + n % 4)) for n in range(7)]
    answers = search_many(
        gallery, queries, by=by, top_k=None, content_threshold=0.85, appearance_threshold=0.6
    )
    for query, answer in zip(queries, answers, strict=True):
        assert sorted(c.photo.id for c in answer.items) == true_set(query, gallery, by, 0.85, 0.6)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), by=st.sampled_from(BY), split=st.integers(1, 19))
def test_adding_photos_removes_none_and_order_of_rows_is_irrelevant(seed, by, split):
    spec = make_spec(grid=2)
    content, histogram = random_patches(spec, 21, seed)
    query = make_query(spec, content[20], histogram[20], [0])
    ids = [f"{n:02d}" for n in range(20)]

    def ids_of(rows):
        gallery = make_gallery(spec, content[rows], histogram[rows], ids=[ids[n] for n in rows])
        return found_ids(gallery, query, by, 0.7, 0.6)

    everything = ids_of(list(range(20)))
    assert ids_of(list(range(split))) == [name for name in everything if name < f"{split:02d}"]
    shuffled = torch.randperm(20, generator=torch.Generator().manual_seed(seed)).tolist()
    assert ids_of(shuffled) == everything


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), low=st.floats(0.05, 0.95), by=st.sampled_from(BY))
def test_a_higher_threshold_keeps_a_subset(seed, low, by):
    spec = make_spec(grid=2)
    content, histogram = random_patches(spec, 15, seed)
    gallery = make_gallery(spec, content[1:], histogram[1:])
    query = make_query(spec, content[0], histogram[0], [3])
    assert set(found_ids(gallery, query, by, low + 0.05, 0.6)) <= set(found_ids(gallery, query, by, low, 0.6))


def test_nan_in_a_gallery_is_refused():
    spec = make_spec(grid=2)
    content, histogram = random_patches(spec, 3, 1)
    query = make_query(spec, content[0], histogram[0], [0])
    bad = content.clone()
    bad[2, 3, 1] = torch.nan
    with pytest.raises(ValueError, match="NaN"):
        search_many(make_gallery(spec, bad, histogram), [query], exclude=Exclusion())


def test_a_search_within_an_answer_explains_only_what_it_returns(monkeypatch):
    spec = make_spec()
    content, histogram = random_patches(spec, 12, 5)
    gallery = make_gallery(spec, content, histogram)
    query = make_query(spec, content[0], histogram[0], [0, 1])
    explained = []
    monkeypatch.setattr(
        "raiha_core.retrieval.answer.explain", lambda *args: explained.append(1) or explain(*args)
    )
    first = search_many(gallery, [query], by="content", top_k=None, content_threshold=0.3)[0]
    assert len(first) > 4
    second = search_many(gallery, [query], by="illumination", top_k=2, within=[first], content_threshold=0.3)[
        0
    ]
    assert not explained
    both = search_many(gallery, [query], by="both", top_k=2, content_threshold=0.3)[0]
    assert repr(second.items[:]) == repr(both.items) == repr(second.items)
    assert len(explained) == 4
    assert first.items[-1].row == first.rows[-1]
