"""Galleries of galleries. Oracle: the same photos built into one gallery, which answers the same."""

import json
import shutil

import pytest
import torch

from raiha_core.gallery.build import build
from raiha_core.gallery.store import open_gallery
from raiha_core.gallery.united import open_united, unite
from raiha_core.retrieval.search import Exclusion, query_from_patches, search_many
from tests.gallery_fakes import FakeEncoder, digest, fake_spec, write_photo

PARTS = ("a", "a-b", "c")  # "a-b/..." sorts before "a/...": parts lie between each other


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """(united, whole): three folders built one by one and united, and their parent built in one go."""
    root = tmp_path_factory.mktemp("united")
    for number, name in enumerate(PARTS):
        for n in range(5 + number):
            write_photo(root / "photos" / name / ("deep" if n % 2 else "") / f"{n}.png", seed=7 * number + n)
    shutil.copy(root / "photos/a/0.png", root / "photos/c/copy.png")
    encoder = FakeEncoder()
    for name in PARTS:
        build(root / "photos" / name, root / "all/parts" / name, encoder=encoder)
    unite(root / "all", [(name, root / "all/parts" / name) for name in PARTS])
    build(root / "photos", root / "whole", encoder=encoder)
    return root / "all", root / "whole"


def queries_of(gallery, count=4):
    mask = torch.zeros(1, 1, 12, 12)
    mask[..., 4:8, 4:8] = 1
    stored = gallery.gather(range(count))
    return [
        query_from_patches(stored.content[n], stored.histogram[n], mask, gallery.spec, query_id=f"q{n}")
        for n in range(count)
    ]


def assert_same_answers(one, other, searcher=None):
    """Every way to ask, of two galleries of the same photos."""
    queries = queries_of(other)
    first = other.photos[0]
    ways = [
        {"by": by, "top_k": top_k, "seed": seed, "exclude": exclude, "appearance_threshold": 0.5}
        for by in ("content", "illumination", "both", "likeness")
        for top_k, seed in ((3, None), (None, None), (4, 5))
        for exclude in (None, Exclusion(ids=[other.photos[2].id], sha256=[first.sha256]))
        if by != "likeness" or seed is None
    ]
    for way in ways:
        found = search_many(one, queries, content_threshold=0.3, searcher=searcher, **way)
        truth = search_many(other, queries, content_threshold=0.3, **way)
        for mine, real in zip(found, truth, strict=True):
            assert [(i.photo.id, i.row, i.score, i.content) for i in mine.items] == [
                (i.photo.id, i.row, i.score, i.content) for i in real.items
            ], way
            assert (mine.considered, mine.qualified, mine.excluded) == (
                (real.considered, real.qualified, real.excluded)
            )
    before = [search_many(g, queries, by="content", top_k=None, content_threshold=0.3) for g in (one, other)]
    chained = [
        search_many(
            gallery, queries, by="illumination", content_threshold=0.3, within=earlier, searcher=with_searcher
        )
        for gallery, earlier, with_searcher in zip((one, other), before, (searcher, None), strict=True)
    ]
    assert [found.rows for found in chained[0]] == [found.rows for found in chained[1]]
    assert any(found.rows for found in before[0])  # the thresholds leave something to compare


def test_united_parts_are_the_whole(stores):
    one, other = (open_united(store) for store in stores)
    assert len(one) == len(other) == 19
    assert one.fingerprint == other.fingerprint  # ids, contents and groups, in order
    assert digest(one) == digest(other)  # features too
    assert one.rows_of("id", ["a/0.png", "none"]) == other.rows_of("id", ["a/0.png", "none"])
    sha = other.photos[0].sha256
    assert one.rows_of("sha256", [sha]) == other.rows_of("sha256", [sha])
    for row in range(len(one)):
        assert one.photos[row] == other.photos[row]
        assert torch.equal(one.load(row), other.load(row))
    with pytest.raises(IndexError, match="19"):
        one.gather([19])


def test_searches_answer_as_those_of_the_whole(stores):
    assert_same_answers(*(open_united(store) for store in stores))


def test_progress_covers_all_photos_and_may_end_a_search(stores):
    gallery = open_united(stores[0])
    seen = []
    search_many(gallery, queries_of(gallery, 1), progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert seen[-1] == (19, 19)


def test_united_folder_moves_with_its_parts(stores, tmp_path):
    shutil.copytree(stores[0], tmp_path / "moved")
    shutil.copytree(stores[0].parent / "photos", tmp_path / "photos")
    assert open_united(tmp_path / "moved").fingerprint == open_united(stores[1]).fingerprint


def test_what_cannot_be_united_is_refused(stores, tmp_path):
    united, whole = stores
    part = united / "parts/a"
    with pytest.raises(ValueError, match="two parts are called 'x'"):
        unite(tmp_path / "u", [("x", part), ("x", whole)])
    with pytest.raises(ValueError, match="one word without '/', not 'x/y'"):
        unite(tmp_path / "u", [("x/y", part)])
    with pytest.raises(ValueError, match="at least one part"):
        unite(tmp_path / "u", [])
    with pytest.raises(ValueError, match="is a gallery of its own"):
        unite(whole, [("x", part)])
    write_photo(tmp_path / "p/1.png", 1)
    build(tmp_path / "p", tmp_path / "other", encoder=FakeEncoder(fake_spec(weights="f" * 16)))
    with pytest.raises(ValueError, match="the part 'y'"):
        unite(tmp_path / "u", [("x", part), ("y", tmp_path / "other")])
    assert not (tmp_path / "u").exists()


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"format": 2, "parts": []}',
        '{"format": 1, "parts": []}',
        '{"format": 1, "parts": [{"name": 3}]}',
    ],
)
def test_a_damaged_list_is_named(tmp_path, text):
    (tmp_path / "united.json").write_text(text)
    with pytest.raises(ValueError, match=r"damaged: united\.json"):
        open_united(tmp_path)


def test_a_part_that_is_gone_is_named_and_no_search_goes_on_without_it(stores, tmp_path):
    listed = json.loads((stores[0] / "united.json").read_text())
    for part in listed["parts"]:
        part["store"] = str(stores[0] / part["store"])
    listed["parts"][1]["store"] = str(tmp_path / "gone")
    (tmp_path / "united.json").write_text(json.dumps(listed))
    with pytest.raises(ValueError, match="gone does not exist"):
        open_united(tmp_path)


def test_parts_calibrated_apart_go_by_the_spaces_own_thresholds(stores, tmp_path):
    shutil.copytree(stores[0], tmp_path / "u")
    shutil.copytree(stores[0].parent / "photos", tmp_path / "photos")
    own = open_gallery(stores[1]).spec
    (tmp_path / "u/parts/a/calibration.json").write_text(
        json.dumps({"content_threshold": 0.9, "appearance_threshold": 0.8})
    )
    found = open_united(tmp_path / "u")
    assert (found.spec.content_threshold, found.spec.appearance_threshold) == (
        (own.content_threshold, own.appearance_threshold)
    )
    assert any("calibrated apart" in note for note in found.notes)
