"""The one call: queries from pictures, exclusions, chaining, notes, errors, references."""

import math

import pytest
import torch

from raiha_core.features.patches import PatchFeatures, normalise
from raiha_core.gallery.memory import memory_gallery
from raiha_core.retrieval.query import make_query as query_of
from raiha_core.retrieval.query import query_from_patches
from raiha_core.retrieval.search import Exclusion, references, search, search_many
from tests.retrieval_cases import make_gallery, make_query, make_spec, random_patches

SPEC = make_spec(grid=4, dim=6, content_threshold=0.9, appearance_threshold=0.8)


class ToyEncoder:
    """Content: the patch's mean colour and its spread; appearance: crude channel histograms."""

    spec = SPEC

    def encode(self, images):
        cells = torch.nn.functional.adaptive_avg_pool2d(images, 4)
        squares = torch.nn.functional.adaptive_avg_pool2d(images.square(), 4)
        content = normalise(torch.cat([cells - 0.5, squares - cells.square()], 1), 1)
        return PatchFeatures(content, torch.cat([cells] * 3, 1), SPEC)


def picture(seed, size=32):
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 4, 4, generator=generator)
    return torch.nn.functional.interpolate(coarse, size=(size, size), mode="bilinear")


def nearly(seed):
    """A picture, but for one pixel that changes nothing that is found: the picture itself is left out."""
    altered = picture(seed)
    altered[..., -1, -1] += 1e-5
    return altered


def square_mask(size=32):
    mask = torch.zeros(1, 1, size, size)
    mask[..., : size // 4, : size // 2] = 1  # patches 0 and 1
    return mask


@pytest.fixture(scope="module")
def gallery():
    return memory_gallery(torch.cat([picture(n) for n in range(24)]), ToyEncoder())


def ask(gallery, composite=None, mask=None, **options):
    composite = picture(100) if composite is None else composite
    mask = square_mask(composite.shape[-1]) if mask is None else mask
    return search(gallery, composite, mask, encoder=ToyEncoder(), **options)


def ids(answer):
    return [item.photo.id for item in answer.items]


def scores(answer):
    return [(i.photo.id, i.content, i.coverage, i.illumination, i.illumination_matches) for i in answer.items]


def test_a_photo_is_found_first_by_its_like(gallery):
    answer = ask(gallery, nearly(3))
    assert ids(answer)[0] == "000003"
    assert answer.items[0].coverage == 1
    assert answer.items[0].content == pytest.approx(1, abs=1e-3)
    assert answer.items[0].illumination == 1
    assert [(m.query_patch, m.photo_patch) for m in answer.items[0].content_matches] == [(0, 0), (1, 1)]


@pytest.mark.parametrize("first", ["content", "illumination"])
@pytest.mark.parametrize("thresholds", [(0.95, 0.995), (0.98, 0.9), (0.9, 0.99)])
def test_two_chained_calls_are_the_joint_call(gallery, first, thresholds):
    options = dict(zip(("content_threshold", "appearance_threshold"), thresholds, strict=True))
    second = {"content": "illumination", "illumination": "content"}[first]
    for seed in (None, 5):
        joint = ask(gallery, top_k=7, seed=seed, **options)
        half = ask(gallery, by=first, top_k=None, seed=None, **options)
        if second == "content":  # asks no light: the appearance threshold is the first call's
            chained = ask(
                gallery, by=second, top_k=7, seed=seed, within=half, content_threshold=thresholds[0]
            )
        else:
            chained = ask(gallery, by=second, top_k=7, seed=seed, within=half, **options)
        assert 0 < joint.qualified < half.qualified
        assert scores(chained) == scores(joint)
        assert (chained.by, chained.qualified) == ("both", joint.qualified)
        assert chained.appearance_threshold == thresholds[1]


def test_chained_within_few_chooses_among_those_only(gallery):
    half = ask(gallery, by="content", top_k=3)
    chained = ask(gallery, by="illumination", top_k=None, within=half)
    assert chained.considered == 3
    assert set(ids(chained)) <= set(ids(half))


def test_within_another_composites_answer_the_scores_are_not_mixed(gallery):
    half = ask(gallery, picture(50), by="illumination", top_k=None)
    chained = ask(gallery, by="content", top_k=None, within=half)
    assert chained.by == "content"
    assert all(math.isnan(item.illumination) for item in chained.items)


def test_the_threshold_of_the_gallery_is_the_default(gallery):
    answer = ask(gallery)
    assert (answer.content_threshold, answer.appearance_threshold) == (0.9, 0.8)
    assert ids(answer) == ids(ask(gallery, content_threshold=0.9, appearance_threshold=0.8))
    assert ask(gallery, content_threshold=0.5).qualified > answer.qualified


@pytest.mark.parametrize("name", ["content_threshold", "appearance_threshold"])
@pytest.mark.parametrize("value", [0.0, -0.1, 1.0000001, math.nan, math.inf])
def test_thresholds_outside_0_1_are_refused(gallery, name, value):
    with pytest.raises(ValueError, match=f"{name} must lie in"):
        ask(gallery, **{name: value})
    assert ask(gallery, **{name: 1.0}).notes  # 1 is allowed, and finds nothing here


def test_exclusions_come_before_ranking_and_drawing(gallery):
    best = ids(ask(gallery, top_k=None, by="content"))
    assert len(best) > 4
    sha = {photo.id: photo.sha256 for photo in gallery.photos}
    without = ask(gallery, top_k=2, by="content", exclude_ids=best[:1], exclude_sha256=[sha[best[1]]])
    assert ids(without) == best[2:4]
    assert (without.excluded, without.considered) == (2, len(gallery) - 2)
    drawn = ask(gallery, top_k=None, by="content", seed=1, exclude_ids=best[:1])
    assert sorted(ids(drawn)) == sorted(best[1:])


def test_groups_are_excluded_as_a_whole_and_no_group_is_no_group():
    spec = make_spec()
    content, histogram = random_patches(spec, 6, 0)
    gallery = make_gallery(spec, content, histogram, groups=["cam1", "cam1", "cam2", "", "", "cam2"])
    query = make_query(spec, content[0], histogram[0], [0])
    options = {"by": "content", "content_threshold": 0.01, "top_k": None}
    answers = search_many(
        gallery,
        [query] * 3,
        exclude=[Exclusion(), Exclusion(groups=["cam1"]), Exclusion(groups=["cam2", "", "none"])],
        **options,
    )
    assert [sorted(item.row for item in a.items) for a in answers] == [
        [0, 1, 2, 3, 4, 5],
        [2, 3, 4, 5],
        [0, 1, 3, 4],
    ]
    assert answers[2].notes == ("no photo of the gallery has the group 'none', which was to be excluded",)


def test_a_single_string_is_not_a_list_of_names(gallery):
    with pytest.raises(ValueError, match="exclude groups"):
        ask(gallery, exclude_groups="cam1")


def test_empty_answers_say_why(gallery):
    full = torch.ones(1, 1, 32, 32)
    everything = [photo.id for photo in gallery.photos]
    empty = memory_gallery([], ToyEncoder(), name="nothing yet")
    nothing = ask(gallery, content_threshold=1.0)
    for answer, reason in (
        (ask(empty), "the gallery 'nothing yet' is empty"),
        (ask(gallery, exclude_ids=everything), "all photos of the gallery 'images' are excluded (24)"),
        (ask(gallery, mask=full), "the mask touches every patch"),
        (ask(gallery, mask=full, by="illumination"), "the mask touches every patch"),
        (nothing, "none of 24 photos reaches content 1 on the object"),
        (ask(gallery, by="illumination", within=nothing), "the earlier search found nothing"),
    ):
        assert (len(answer), answer.qualified) == (0, 0)
        assert any(note.startswith(reason) for note in answer.notes), answer.notes
        assert references(answer) == ()
    assert len(ask(gallery, mask=full, by="content")) == 4, "content needs no background"


@pytest.mark.filterwarnings("ignore::raiha_core.mask_meaning.MaskWarning")
@pytest.mark.parametrize(
    "spoil", [lambda m: m / 255, lambda m: m.clamp_min(2 / 255), lambda m: m * 1.2 - 0.1]
)
def test_a_search_understands_masks_as_harmonize_does(gallery, spoil):
    expected, found = ask(gallery, mask=square_mask()), ask(gallery, mask=spoil(square_mask()))
    assert torch.equal(found.query.foreground, expected.query.foreground)
    assert torch.equal(found.query.background, expected.query.background)


def test_wrong_queries_are_refused(gallery):
    composite, mask = picture(1), square_mask()
    for arguments, message in (
        ((composite, torch.zeros(1, 1, 32, 32)), "the mask is empty"),
        ((composite, torch.zeros(1, 1, 16, 24)), "must have the same size"),
        ((composite * torch.nan, mask), "NaN"),
        ((composite.expand(2, -1, -1, -1), mask), "one composite at a time"),
    ):
        with pytest.raises(ValueError, match=message):
            search(gallery, *arguments, encoder=ToyEncoder())
    for options, message in (
        ({"by": "colour"}, "by must be one of"),
        ({"top_k": 0}, "top_k must be at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            ask(gallery, **options)
    with pytest.raises(ValueError, match="either an encoder or"):
        query_of(composite, mask)


def test_unnormalised_and_foreign_features_are_refused(gallery):
    features = ToyEncoder().encode(picture(1))
    long = PatchFeatures(2 * features.content, features.appearance, SPEC)
    with pytest.raises(ValueError, match="not normalised"):
        search(gallery, picture(1), square_mask(), features=long)
    other = make_spec(grid=4, dim=6, weights="other")
    foreign = PatchFeatures(features.content, features.appearance, other)
    with pytest.raises(ValueError, match=r"the composite has .* but 'images' has .*weights: other != 0"):
        search(gallery, picture(1), square_mask(), features=foreign)
    query = query_of(picture(1), square_mask(), features=foreign, query_id="me")
    with pytest.raises(ValueError, match="the query 'me' has"):
        search_many(gallery, [query])


def test_candidates_of_another_gallery_are_refused(gallery):
    other = memory_gallery(torch.cat([picture(n) for n in range(3)]), ToyEncoder(), name="other")
    with pytest.raises(ValueError, match="come from 'other'"):
        ask(gallery, within=ask(other, by="content"))


def test_features_stored_patches_and_encoder_ask_the_same_question(gallery):
    mask = square_mask()
    by_encoder = query_of(picture(3), mask, encoder=ToyEncoder())
    stored = gallery.gather([3])
    by_store = query_from_patches(stored.content[0], stored.histogram[0], mask, SPEC)
    assert by_encoder.digest == by_store.digest
    half_size = torch.nn.functional.avg_pool2d(mask, 2)  # only the share per patch matters
    assert (
        query_from_patches(stored.content[0], stored.histogram[0], half_size, SPEC).digest == by_store.digest
    )
    moved = query_from_patches(stored.content[0], stored.histogram[0], mask.flip(3), SPEC)
    assert moved.digest != by_store.digest


def test_a_random_draw_depends_on_seed_and_query_only(gallery):
    options = {"by": "content", "content_threshold": 0.3, "top_k": 3}
    draws = {
        (seed, name): ids(ask(gallery, seed=seed, query_id=name, **options))
        for seed in (0, 1)
        for name in ("a", "b")
    }
    assert len({tuple(v) for v in draws.values()}) == 4
    assert draws[0, "a"] == ids(ask(gallery, seed=0, query_id="a", **options))
    queries = [query_of(picture(100), square_mask(), encoder=ToyEncoder(), query_id=n) for n in "ba"]
    assert [ids(answer) for answer in search_many(gallery, queries, seed=0, **options)] == [
        draws[0, "b"],
        draws[0, "a"],
    ]


def test_references_carry_pixels_features_score_and_matches(gallery):
    answer = ask(gallery, nearly(3), top_k=2)
    assert torch.equal(answer.query.features.content, ToyEncoder().encode(nearly(3)).content)  # unrounded
    first, second = references(answer)
    torch.testing.assert_close(first.image, picture(3))
    expected = ToyEncoder().encode(picture(3))
    torch.testing.assert_close(first.features.content, expected.content, atol=1e-3, rtol=0)
    assert first.features.appearance.shape == expected.appearance.shape
    item = answer.items[1]
    assert second.score == item.score <= first.score
    assert (second.id, second.content_matches) == (item.photo.id, item.content_matches)
    assert second.illumination_matches == item.illumination_matches != ()
    assert second.similarity_margin == item.similarity_margin != ()


def test_references_for_a_model_of_another_space_are_encoded_anew(gallery):
    class Other(ToyEncoder):
        spec = make_spec(grid=4, dim=6, weights="other")

        def encode(self, images):
            side = self.spec.grid
            return PatchFeatures(*(torch.zeros(1, d, side, side) for d in (6, 9)), self.spec)

    answer = ask(gallery)
    anew = references(answer, encoder=Other())[0]
    assert anew.features.spec.weights == "other"
    assert anew.content_matches == answer.items[0].content_matches != ()
    Other.spec = make_spec(grid=3, dim=6, weights="other")
    coarse = references(answer, encoder=Other())[0]  # where indices of patches mean something else
    assert (coarse.content_matches, coarse.illumination_matches, coarse.similarity_margin) == ((), (), ())
    assert references(answer, encoder=ToyEncoder())[0].features.content.abs().sum() > 0


def test_progress_counts_every_photo(gallery):
    seen = []
    query = query_of(picture(1), square_mask(), encoder=ToyEncoder())
    search_many(gallery, [query], block=10, progress=lambda *step: seen.append(step))
    assert seen == [(10, 24), (20, 24), (24, 24)]
