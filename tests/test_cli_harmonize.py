"""`raiha harmonize` on files and folders: results, skipping, pairing, one sentence per error."""

import json
import warnings

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from raiha_core.cli import main
from tests.golden.make_node_ids import ROOT


@pytest.fixture
def pair(tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(90, 220, (48, 64, 3), dtype=np.uint8)
    mask = np.zeros((48, 64), np.uint8)
    mask[12:30, 16:40] = 255
    pixels[mask > 0] //= 3
    Image.fromarray(pixels).save(tmp_path / "c.png")
    Image.fromarray(mask).save(tmp_path / "m.png")
    return tmp_path


def run(*arguments):
    return main([str(argument) for argument in arguments])


def test_one_picture(pair, capsys):
    assert run("harmonize", pair / "c.png", "--mask", pair / "m.png", "-o", pair / "out.png", "--json") == 0
    before, after = (np.asarray(Image.open(pair / name)) for name in ("c.png", "out.png"))
    mask = np.asarray(Image.open(pair / "m.png")) > 0
    assert (before[~mask] == after[~mask]).all()
    assert after[mask].mean() > before[mask].mean() + 5  # the dark object becomes lighter
    report = json.loads(capsys.readouterr().out)
    assert report["model"] == "raiha-plus"
    assert report["references"] == []


def test_sixteen_bits_stay_sixteen(pair):
    import tifffile

    deep = np.asarray(Image.open(pair / "c.png")).astype(np.uint16) * 257 + 3
    tifffile.imwrite(pair / "deep.tif", deep, photometric="rgb")
    assert run("harmonize", pair / "deep.tif", "--mask", pair / "m.png", "-o", pair / "deep_out.tif") == 0
    result = tifffile.imread(pair / "deep_out.tif")
    assert result.dtype == np.uint16
    mask = np.asarray(Image.open(pair / "m.png")) > 0
    assert (result[~mask] == deep[~mask]).all()


def test_a_folder_skips_what_is_done_and_goes_on_after_a_bad_file(pair, capsys):
    composites, masks, out = pair / "composites", pair / "masks", pair / "out"
    composites.mkdir()
    masks.mkdir()
    for name in ("a_1_1", "a_1_2", "b"):
        Image.open(pair / "c.png").save(composites / f"{name}.png")
    (composites / "bad.png").write_bytes((composites / "b.png").read_bytes()[:200])
    for name in ("a_1", "b", "bad"):
        Image.open(pair / "m.png").save(masks / f"{name}.png")
    call = ("harmonize", composites, "--mask", masks, "-o", out, "--json")
    assert run(*call) == 1
    first = json.loads(capsys.readouterr().out)
    assert [len(first["done"]), first["skipped"], len(first["failed"])] == [3, 0, 1]
    assert "bad.png" in first["failed"][0]["error"]
    (composites / "bad.png").unlink()
    assert run(*call) == 0
    assert json.loads(capsys.readouterr().out)["skipped"] == 3
    assert run(*call, "--overwrite") == 0
    assert len(json.loads(capsys.readouterr().out)["done"]) == 3
    assert sorted(path.name for path in out.iterdir()) == ["a_1_1.png", "a_1_2.png", "b.png"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["missing.png", "--mask", "m.png"], "missing.png"),
        (["c.png", "--mask", "small.png"], "small.png is 10x10 but"),
        (["c.png", "--mask", "m.png", "--model", "nobody"], "no model 'nobody'"),
        (["c.png", "--mask", "m.png", "--gallery", "nowhere"], "nowhere"),
        (["c.png", "--mask", "full.png"], "covers the whole picture"),
        (["text.png", "--mask", "m.png"], "text.png"),
    ],
)
def test_errors_are_one_sentence(pair, capsys, monkeypatch, arguments, sentence):
    monkeypatch.chdir(pair)
    Image.new("L", (10, 10), 255).save("small.png")
    Image.new("L", (64, 48), 255).save("full.png")
    (pair / "text.png").write_text("not a picture")
    assert run("harmonize", *arguments, "-o", "x.png") == 1
    error = capsys.readouterr().err.strip()
    assert sentence in error
    assert "\n" not in error
    assert not (pair / "x.png").exists()


def test_an_empty_mask_copies_the_picture_with_a_warning(pair, capsys):
    Image.new("L", (64, 48), 0).save(pair / "empty.png")
    assert run("harmonize", pair / "c.png", "--mask", pair / "empty.png", "-o", pair / "same.png") == 0
    assert "empty.png is empty" in capsys.readouterr().err
    assert (np.asarray(Image.open(pair / "same.png")) == np.asarray(Image.open(pair / "c.png"))).all()


def test_a_wrong_call_exits_with_2(pair):
    with pytest.raises(SystemExit) as stop:
        run("harmonize", pair / "c.png")
    assert stop.value.code == 2


@pytest.mark.parametrize(
    "option", [("--top-k", "2"), ("--by", "content"), ("--random", "1"), ("--photos", ".")]
)
def test_options_of_a_search_need_a_gallery(pair, capsys, option):
    assert run("harmonize", pair / "c.png", "--mask", pair / "m.png", "-o", pair / "x.png", *option) == 1
    assert f"{option[0]} belongs to a search" in capsys.readouterr().err


def test_pictures_as_references_say_how_far_they_were_followed_and_why_not(tmp_path, capsys):
    demo, photos = ROOT / "assets/demo", ROOT / "assets/scenes/photos"
    fruit = next(photos.glob("palapeli_citrus*"))
    other = next(path for path in sorted(photos.iterdir()) if "citrus" not in path.name)
    call = [
        "harmonize",
        demo / "grapefruit.png",
        "--mask",
        demo / "grapefruit_mask.png",
        "-o",
        tmp_path / "x.png",
    ]
    assert run(*call, "--json", "--references", fruit, other) == 0
    first, second = json.loads(capsys.readouterr().out)["references"]
    assert (first["id"], first["score"]) == (fruit.name, None)
    assert set(first["belief"]) == {"lightness", "colour", "contrast"}
    assert max(first["belief"].values()) > 0.05
    assert "reason" not in first
    assert second == {
        "id": other.name,
        "score": None,
        "belief": {"lightness": 0.0, "colour": 0.0, "contrast": 0.0},
        "reason": "no patch matched the object",
    }
    assert run(*call, "--references", fruit) == 0
    assert f"references: {fruit.name} (followed " in capsys.readouterr().out


# --- what a composite's file carries, and what is wrong with it ---


def test_a_declared_space_and_alpha_survive_the_command(pair):
    stored = np.dstack((np.asarray(Image.open(pair / "c.png")), np.full((48, 64), 200, np.uint8)))
    profile = imagecodecs.cms_profile("adobergb")
    Image.fromarray(stored).save(pair / "wide.png", icc_profile=profile, dpi=(240, 240))
    for ending in ("png", "tif", "webp"):
        out = pair / f"wide_out.{ending}"
        assert run("harmonize", pair / "wide.png", "--mask", pair / "m.png", "-o", out) == 0
        written, mask = Image.open(out), np.asarray(Image.open(pair / "m.png")) > 0
        assert written.info["icc_profile"] == profile
        assert (np.asarray(written)[~mask] == stored[~mask]).all()
        assert (np.asarray(written)[..., 3] == 200).all()
        assert (np.asarray(written)[mask] != stored[mask]).any()


def test_damage_is_refused_until_it_is_allowed(pair, capsys):
    Image.open(pair / "c.png").save(pair / "c.jpg", quality=95)
    data = bytearray((pair / "c.jpg").read_bytes())
    lost = len(data) // 3
    data[-lost:-2] = b"\x55" * (lost - 2)
    (pair / "c.jpg").write_bytes(data)
    call = ("harmonize", pair / "c.jpg", "--mask", pair / "m.png", "-o", pair / "out.png")
    assert run(*call) == 1
    said = capsys.readouterr().err
    assert "c.jpg is damaged" in said
    assert "--allow-damaged" in said
    assert not (pair / "out.png").exists()
    with warnings.catch_warnings():
        warnings.simplefilter("always")  # the tests make errors of warnings
        assert run(*call, "--allow-damaged") == 0
    assert "c.jpg is damaged" in capsys.readouterr().err


def test_the_largest_picture_is_an_option(pair, capsys):
    call = ("harmonize", pair / "c.png", "--mask", pair / "m.png", "-o", pair / "out.png")
    assert run(*call, "--max-pixels", 48 * 64) == 0
    assert run(*call, "--max-pixels", 48 * 64 - 1) == 1
    assert "c.png is 64x48" in capsys.readouterr().err


def test_a_jpeg_says_that_it_is_encoded_again(pair, capsys):
    Image.open(pair / "c.png").save(pair / "c.jpg", quality=95)
    assert run("harmonize", pair / "c.jpg", "--mask", pair / "m.png", "-o", pair / "out.jpg") == 0
    assert "outside the mask are encoded again" in capsys.readouterr().err


def test_files_of_a_folder_that_are_passed_over_are_named(pair, capsys):
    (pair / "in").mkdir()
    (pair / "masks").mkdir()
    Image.open(pair / "c.png").convert("RGB").save(pair / "in" / "a.jfif", "JPEG")
    (pair / "in" / "b.psd").write_bytes(b"8BPS")
    Image.open(pair / "m.png").save(pair / "masks" / "a.png")
    assert run("harmonize", pair / "in", "--mask", pair / "masks", "-o", pair / "out", "--json") == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["passed_over"] == {".psd": 1}
    assert "1 file was passed over: 1 .psd" in said.err
