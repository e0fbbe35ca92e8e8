"""`raiha gallery`: what it prints, where, and with which exit code."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from raiha_core.cli import gallery as command
from raiha_core.cli.main import main
from raiha_core.features.encoders import build_encoder
from raiha_core.features.patches import store as round_features
from raiha_core.gallery import shards
from raiha_core.gallery.store import open_gallery
from raiha_core.images import read_picture
from tests.gallery_fakes import FakeEncoder, fake_spec, tree, write_photo, write_photos

SCENES = Path(__file__).parent.parent / "assets/scenes/photos"


@pytest.fixture
def asked(monkeypatch):
    """The encoders asked for by name; a fake one is given each time."""
    names = []

    def fake(name, *, weights, device):
        names.append(name)
        return FakeEncoder(fake_spec(encoder=name))

    monkeypatch.setattr(command, "build_encoder", fake)
    monkeypatch.setattr(shards, "_MOST_PHOTOS", 4)
    return names


@pytest.fixture
def photos(tmp_path, asked):
    return write_photos(tmp_path / "photos")


@pytest.fixture
def place(photos, tmp_path, capsys):
    assert main(["gallery", "build", str(photos), str(tmp_path / "store")]) == 0
    capsys.readouterr()
    return tmp_path / "store"


def run(*words) -> int:
    return main(["gallery", *(str(word) for word in words)])


def test_building_says_what_was_done_and_what_was_skipped(photos, tmp_path, capsys):
    (photos / "bad.png").write_bytes(b"no picture")
    assert run("build", photos, tmp_path / "store") == 0
    printed = capsys.readouterr()
    assert printed.out == f"{tmp_path / 'store'}: 11 photos (11 added, 1 skipped)\n"
    assert printed.err.startswith("skipped bad.png: ")  # and no bar: this is no terminal
    assert printed.err.count("\n") == 1
    assert run("build", photos, tmp_path / "store", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["unchanged"], report["added"], report["bad"][0]["id"]) == (11, 0, "bad.png")
    assert run("build", photos, tmp_path / "store", "--quiet") == 0
    assert capsys.readouterr().out == ""


def test_a_later_build_takes_the_stores_own_encoder(photos, tmp_path, asked):
    run("build", photos, tmp_path / "store", "--encoder", "lite0-pca64")
    run("build", photos, tmp_path / "store")
    run("add", photos, tmp_path / "store")
    run("build", photos, tmp_path / "other")
    assert asked == ["lite0-pca64", "lite0-pca64", "lite0-pca64", "lite0"]


def test_another_encoder_is_one_sentence(place, photos, capsys):
    before = tree(place)
    assert run("build", photos, place, "--encoder", "lite0-fast") == 1
    error = capsys.readouterr().err
    assert error.startswith(f"raiha: gallery {place} has features 'fake-3-8' but the encoder has")
    assert error.count("\n") == 1
    assert tree(place) == before


def test_groups_adding_and_removing(place, photos, tmp_path, capsys):
    (tmp_path / "groups.csv").write_text("id,group\n002.png,cat\nday/000.png,cat\n")
    assert run("build", photos, place, "--groups", tmp_path / "groups.csv") == 0
    write_photo(tmp_path / "trip" / "1.png", seed=50)
    assert run("add", tmp_path / "trip", place) == 0
    assert "12 photos (1 added)" in capsys.readouterr().out
    assert run("remove", place, "night/*", "--group", "cat") == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{place}: 6 photos removed\n002.png\n")
    assert run("remove", place, "typo.png") == 1
    assert "fits 'typo.png'" in capsys.readouterr().err
    assert run("info", place) == 0
    out = capsys.readouterr().out
    assert f"{place}: 6 photos, finished" in out
    assert "excluded    6 (removed on request)" in out
    assert f"photos in   {tmp_path / 'trip'}" in out


def test_grouping_by_folder(photos, tmp_path, capsys):
    assert run("build", photos, tmp_path / "store", "--group-by", "folder") == 0
    assert run("info", tmp_path / "store") == 0
    assert "groups      2, with 8 photos" in capsys.readouterr().out


def test_info_shows_the_calibration(place, capsys):
    found = {"content_threshold": 0.42, "appearance_threshold": 0.8, "threshold_source": "5 % of 11 photos"}
    (place / "calibration.json").write_text(json.dumps(found))
    assert run("info", place) == 0
    assert "thresholds  content 0.42, appearance 0.8: 5 % of 11 photos" in capsys.readouterr().out
    assert run("info", place, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["calibration"], report["spec"]["name"]) == (found, "fake-3-8")


def test_check_and_repair(place, photos, tmp_path, capsys):
    assert run("check", place) == 0
    assert capsys.readouterr().out == f"{place}: 11 photos, sound\n"
    (place / "shards" / "000000.safetensors").unlink()
    assert run("check", place) == 1
    out = capsys.readouterr().out
    assert "shard-missing: 000000.safetensors is missing; it holds 4 photos" in out
    assert "1 damage, not readable as a whole" in out
    assert run("check", place, "--json") == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["readable_as_whole"], report["damages"][0]["kind"]) == (False, "shard-missing")
    assert run("repair", place) == 0
    out = capsys.readouterr().out
    assert "dropped 002.png: its features were in shard 000000: missing" in out
    assert "run `raiha gallery build` again" in out
    assert run("check", place) == 0
    photos.rename(tmp_path / "away")
    assert run("check", place) == 1
    assert run("check", place, "--no-photos") == 0
    assert run("check", place, "--photos", tmp_path / "away") == 0
    capsys.readouterr()
    assert run("repair", place, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "store": str(place),
        "photos": 7,
        "recovered": [],
        "dropped": [],
        "actions": [],
    }


def test_an_interrupted_build_keeps_what_was_done(photos, tmp_path, monkeypatch, capsys):
    class Interrupted(FakeEncoder):
        def encode(self, images):
            if self.calls == 6:
                raise KeyboardInterrupt
            return super().encode(images)

    with monkeypatch.context() as patch:
        patch.setattr(command, "build_encoder", lambda name, **_: Interrupted(fake_spec(encoder=name)))
        assert run("build", photos, tmp_path / "store", "--workers", "1") == 1
    assert capsys.readouterr().err == "raiha: interrupted; what was finished is kept\n"
    assert run("info", tmp_path / "store") == 0
    assert "6 photos, unfinished: 6 of 11 photos" in capsys.readouterr().out
    assert run("build", photos, tmp_path / "store") == 0
    assert "11 photos (5 added, 6 unchanged)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("build", "missing", "store"), "missing does not exist"),
        (("build", "photos", "photos/store"), "would lie inside the photo folder"),
        (("build", "photos", "store", "--groups", "missing.csv"), "missing.csv"),
        (("info", "nothing"), "gallery nothing does not exist"),
        (("check", "photos"), "photos is not a gallery"),
        (("repair", "photos"), "photos is not a gallery"),
        (("remove", "nothing", "a"), "gallery nothing does not exist"),
    ],
)
def test_errors_are_one_sentence(photos, tmp_path, monkeypatch, capsys, words, sentence):
    monkeypatch.chdir(tmp_path)
    assert run(*words) == 1
    printed = capsys.readouterr()
    assert sentence in printed.err
    assert printed.err.startswith("raiha: ")
    assert printed.err.count("\n") == 1
    assert printed.out == ""


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("build",),
        ("build", "a"),
        ("build", "a", "b", "--encoder", "x"),
        ("build", "a", "b", "--workers", "0"),
    ],
)
def test_wrong_calls_exit_with_two(words, capsys):
    with pytest.raises(SystemExit) as ended:
        run(*words)
    assert ended.value.code == 2
    printed = capsys.readouterr().err
    assert "raiha gallery" in printed
    assert printed.count("\n") == 1


def test_on_a_terminal_there_is_a_bar(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command.sys.stderr, "isatty", lambda: True, raising=False)
    assert run("build", photos, tmp_path / "store") == 0
    assert "11/11" in capsys.readouterr().err


def test_the_embedded_encoder_on_shipped_scenes(tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    for path in sorted(SCENES.iterdir())[:3]:
        shutil.copy(path, tmp_path / "photos")
    encoder = build_encoder("lite0")
    monkeypatch.setattr(command, "build_encoder", lambda name, **_: encoder)
    for workers in (1, 2):
        assert run("build", tmp_path / "photos", tmp_path / f"s{workers}", "--workers", workers) == 0
    one, two = (
        {name: data for name, (data, _) in tree(tmp_path / f"s{workers}").items()} for workers in (1, 2)
    )
    assert one == two  # byte for byte
    gallery = open_gallery(tmp_path / "s1")
    for row, photo in enumerate(gallery.photos):  # other thread counts may round another way
        expected = round_features(encoder.encode(read_picture(photo.path).pixels))
        block = gallery.gather([row])
        torch.testing.assert_close(block.content, expected.content, atol=1e-3, rtol=0)
        assert (block.histogram.int() - expected.histogram.int()).abs().max() <= 1
