"""`raiha retrieve` on a small store of shipped photos."""

import argparse
import json
from pathlib import Path

import pytest

from raiha_core.cli.retrieve import add_parser
from raiha_core.features.encoders import build_encoder
from raiha_core.gallery.build import build
from raiha_core.gallery.store import open_gallery
from raiha_core.images import read_mask, read_picture
from raiha_core.retrieval.search import search

ASSETS = Path(__file__).parent.parent / "assets"
PHOTOS = ("lomiri_picosdeeuropa_by_Aitzol_Berasategi", "lomiri_sunset_by_Aitzol_Berasategi", "skimage_coffee")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("retrieve")
    photos = folder / "photos"
    photos.mkdir()
    for name in PHOTOS:
        (photos / f"{name}.jpg").write_bytes((ASSETS / f"scenes/photos/{name}.jpg").read_bytes())
    (photos / "own.png").write_bytes((ASSETS / "demo/tree.png").read_bytes())
    build(photos, folder / "store", encoder=build_encoder("lite0"))
    return folder / "store"


def run(store, *words):
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    arguments = parser.parse_args(
        [
            "retrieve",
            str(ASSETS / "demo/tree.png"),
            "--mask",
            str(ASSETS / "demo/tree_mask.png"),
            "--gallery",
            str(store),
            "--content-threshold",
            "0.35",
            *words,
        ]
    )
    return arguments.run(arguments)


def test_json_lists_photos_scores_and_pairs(store, capsys):
    assert run(store, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["excluded"], report["considered"], report["grid"]) == (1, 3, 12)  # the composite itself
    assert report["photos"][0]["id"] == f"{PHOTOS[0]}.jpg"  # the composite's own background
    for photo in report["photos"]:
        assert 0.35 <= photo["content"] <= 1
        assert 0.9 <= photo["light"] <= 1
        assert 0 < photo["score"] <= 1
        for pair in photo["content_matches"] + photo["illumination_matches"]:
            assert pair["content"] >= 0.35
            assert min(pair["query_patch"], pair["photo_patch"]) >= 0
            assert max(pair["query_patch"], pair["photo_patch"]) < 144


def test_a_table_for_people_and_a_sheet(store, capsys, tmp_path):
    sheet = tmp_path / "why.png"
    assert run(store, "--by", "content", "--top-k", "2", "--sheet", str(sheet)) == 0
    out = capsys.readouterr().out
    assert "photos qualify by content (content 0.35)" in out
    assert PHOTOS[0] in out
    assert f"sheet: {sheet}" in out
    assert read_picture(sheet).pixels.shape[-1] > 900


def test_nothing_found_says_why_and_succeeds(store, capsys):
    assert run(store, "--content-threshold", "1") == 0
    assert "none of 3 photos reaches content 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--mask", str(ASSETS / "demo/pie_mask.png")), "pie_mask.png is .* they must have the same size"),
        (("--gallery", str(ASSETS)), "assets"),
        (("--sheet", "nowhere/there.png"), "nowhere"),
    ],
)
def test_wrong_calls_name_the_value(store, words, message):
    with pytest.raises((ValueError, OSError), match=message):
        run(store, *words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--content-threshold", "0"), "--content-threshold: must lie in (0, 1], got 0"),
        (("--appearance-threshold", "nan"), "--appearance-threshold: must lie in (0, 1], got nan"),
        (("--top-k", "0"), "--top-k: must be a whole number of at least 1, got '0'"),
    ],
)
def test_wrong_values_are_wrong_calls(words, message, capsys):
    with pytest.raises(SystemExit) as ended:
        run(ASSETS, *words)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_without_an_encoder_the_gallerys_own_is_used(store):
    picture, mask = read_picture(ASSETS / "demo/tree.png").pixels, read_mask(ASSETS / "demo/tree_mask.png")
    gallery = open_gallery(store)
    named = search(gallery, picture, mask, by="content", content_threshold=0.3)
    given = search(
        gallery, picture, mask, by="content", content_threshold=0.3, encoder=build_encoder("lite0")
    )
    assert [item.content for item in named.items] == [item.content for item in given.items] != []
