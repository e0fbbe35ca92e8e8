"""The scores and the order of what is found are the oracle's, to the last bit of a float32 product."""

import math

import numpy as np
import pytest
import torch

from raiha_core.retrieval import oracle
from raiha_core.retrieval.exact import band, similarities, vectors
from raiha_core.retrieval.search import search_many
from tests.retrieval_cases import make_gallery, make_query, make_spec, random_patches

BY = ("both", "content", "illumination")


def test_the_scores_are_the_oracles():
    spec = make_spec()
    content, histogram = random_patches(spec, 30, 11)
    gallery = make_gallery(spec, content[1:], histogram[1:])
    query = make_query(spec, content[0], histogram[0], [0, 4, 5])
    answer = search_many(gallery, [query], top_k=None, content_threshold=0.8, appearance_threshold=0.6)[0]
    assert len(answer) > 3
    for item in answer.items:
        photo, colours = content[1 + item.row], histogram[1 + item.row]
        cosines = {
            (i, j): oracle.content_cosine(query.content[i], photo[j]) for i in (0, 4, 5) for j in range(9)
        }
        assert item.content == max(cosines.values())
        behind = [i for i in range(9) if query.background[i]]
        assert behind
        for j in range(9):
            own = max(cosines[i, j] for i in (0, 4, 5))
            other = max(oracle.content_cosine(query.content[i], photo[j]) for i in behind)
            assert item.similarity_margin[j] == pytest.approx(own - other, abs=1e-6)
        assert item.coverage == oracle.found_share(query, photo, 0.8)
        pairs = list(oracle.illumination_pairs(query, photo, colours, 0.8, 0.6))
        assert item.illumination == max(a for _, _, a in pairs)
        assert {(m.query_patch, m.photo_patch) for m in item.illumination_matches} <= {p[:2] for p in pairs}
        assert len(item.illumination_matches) == len({i for i, _, _ in pairs})
        assert item.illumination_matches[0].appearance == item.illumination
        assert len(item.content_matches) == round(item.coverage * 3)
        for match in item.content_matches:
            row = [cosines[match.query_patch, j] for j in range(9)]
            assert (match.content, match.photo_patch) == (max(row), row.index(max(row)))
            assert match.appearance == oracle.appearance_cosine(
                query.histogram[match.query_patch], colours[match.photo_patch]
            )


def test_without_a_background_patch_nobody_knows_what_is_likelier_the_object():
    spec = make_spec()
    content, histogram = random_patches(spec, 5, 1)
    query = make_query(spec, content[0], histogram[0], range(spec.patches))
    answer = search_many(make_gallery(spec, content, histogram), [query], by="content")[0]
    assert answer.items[0].similarity_margin == ()


def test_content_alone_has_no_illumination_score():
    spec = make_spec()
    content, histogram = random_patches(spec, 5, 1)
    query = make_query(spec, content[0], histogram[0], [0])
    answer = search_many(make_gallery(spec, content, histogram), [query], by="content")[0]
    assert math.isnan(answer.items[0].illumination)
    assert answer.items[0].illumination_matches == ()
    assert len(answer.items[0].similarity_margin) == spec.patches


def exact_matrix(a, b):
    return torch.tensor([[oracle.content_cosine(x, y) for y in b] for x in a])


def ranked_ids(gallery, query, by, eps_c, eps_a):
    block = gallery.gather(range(len(gallery)))
    ids = [photo.id for photo in gallery.photos]
    return oracle.ranked(query, block.content, block.histogram, ids, by, eps_c, eps_a)


@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize("foreground", [[4], [0, 4, 5]])
def test_the_order_is_the_oracles(by, foreground):
    spec = make_spec()
    content, histogram = random_patches(spec, 40, 11)
    gallery = make_gallery(spec, content[1:], histogram[1:])
    query = make_query(spec, content[0], histogram[0], foreground)
    for eps_c in (0.3, 0.8):
        options = {"by": by, "content_threshold": eps_c, "appearance_threshold": 0.7}
        answer = search_many(gallery, [query], top_k=None, **options)[0]
        truth = ranked_ids(gallery, query, by, eps_c, 0.7)
        assert [item.photo.id for item in answer.items] == truth
        assert len(truth) > 3
        scores = [item.score for item in answer.items]
        assert scores == sorted(scores, reverse=True)
        best = search_many(gallery, [query], top_k=2, **options)[0]
        assert [item.photo.id for item in best.items] == truth[:2]


@pytest.mark.parametrize("name", ["a.png", "m.png", "zz.png"])
def test_the_photo_that_shows_a_small_object_best_is_kept_whatever_its_name(name):
    # One patch of object, eight photos that all cover it: only the best cosine tells them apart.
    spec = make_spec()
    content, histogram = random_patches(spec, 9, 3)
    content[1:, 2] = (content[0, 4].float() + 0.2 * content[1:, 2].float()).to(content.dtype)
    content[1:] = torch.nn.functional.normalize(content[1:].float(), dim=2)
    content[5, 7] = content[0, 4]  # the very same thing
    ids = [f"{c}.png" for c in "bcdefghi"]
    ids[4] = name
    gallery = make_gallery(spec, content[1:], histogram[1:].clone().fill_(9), ids=ids)
    query = make_query(spec, content[0], histogram[0].clone().fill_(9), [4])
    for by in ("content", "both"):
        answer = search_many(gallery, [query], by=by, top_k=2, content_threshold=0.5)[0]
        assert answer.qualified >= 8
        assert answer.items[0].photo.id == name
        assert answer.items[0].score > answer.items[1].score


@pytest.mark.parametrize("dim", [5, 64, 320])
@pytest.mark.parametrize("precision", ["highest", "medium"])
def test_the_best_content_is_exact_where_float32_cannot_tell(dim, precision):
    # Photos hold neighbours of one vector in float16: float32 sums may take any of them for the best.
    spec = make_spec(grid=3, dim=dim)
    content, histogram = random_patches(spec, 8, dim)
    content[1:, 3:] = content[0, 4] + (content[1:, 3:] * 2**-9).to(torch.float16)
    query = make_query(spec, content[0], histogram[0], [2, 4, 6])
    objects, rest = content[0][[2, 4, 6]], content[1:].flatten(0, 1)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision(precision)
        compared = similarities(vectors(objects), vectors(rest), spec.patches)
        found = compared.best_content(slice(0, 3), np.array([6, 0, 3]))
    finally:
        torch.set_float32_matmul_precision(before)
    assert found.tolist() == [oracle.best_content(query, content[1 + n]) for n in (6, 0, 3)]


def test_the_band_covers_a_float32_product_and_bfloat16():
    # The proven bound against products in the worst order numpy can be asked for.
    generator = torch.Generator().manual_seed(0)
    random = torch.randn(2000, 2, 768, generator=generator)
    a, b = (random / random.norm(dim=2, keepdim=True)).to(torch.float16).unbind(1)
    exact = (a.double() * b.double()).sum(1)
    step = torch.zeros(2000)
    for d in range(768):
        step = step + a[:, d].float() * b[:, d].float()
    assert (step.double() - exact).abs().max() < band(768, torch.device("cpu")) / 2
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        rough = (a.bfloat16().float() * b.bfloat16().float()).sum(1)
        assert (rough.double() - exact).abs().max() < band(768, torch.device("cpu"))
        assert (
            similarities(vectors(a[:4]), vectors(b[:6]), 1).partners(0.01).tolist()
            == (exact_matrix(a[:4], b[:6]) >= 0.01).tolist()
        )
    finally:
        torch.set_float32_matmul_precision(before)
