"""`raiha gallery unite`, `raiha retrieve` on what it made, and what is said where Ray is missing."""

import json
import sys

import pytest

from raiha_core.cli import main
from raiha_core.cluster.parts_build import PartRules, build_parts
from raiha_core.gallery.build import build
from tests.gallery_fakes import FakeEncoder, write_photo


@pytest.fixture
def stores(tmp_path):
    for name in ("a", "b"):
        for n in range(3):
            write_photo(tmp_path / name / f"{n}.png", seed=10 * len(name) + n)
        build(tmp_path / name, tmp_path / f"{name}.gallery", encoder=FakeEncoder())
    return [str(tmp_path / f"{name}.gallery") for name in ("a", "b")]


def test_unite_names_parts_by_their_folders(stores, tmp_path, capsys):
    assert main(["gallery", "unite", str(tmp_path / "all"), *stores, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report == {
        "united": str(tmp_path / "all"),
        "photos": 6,
        "parts": {"a.gallery": 3, "b.gallery": 3},
    }
    assert main(["gallery", "unite", str(tmp_path / "all"), *stores]) == 0
    assert "6 photos in 2 parts" in capsys.readouterr().out
    assert main(["gallery", "unite", str(tmp_path / "all"), str(tmp_path / "nothing")]) == 1
    assert "nothing does not exist" in capsys.readouterr().err


def test_without_ray_the_extra_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    write_photo(tmp_path / "photos/a/1.png", 1)
    command = ["gallery", "build", str(tmp_path / "photos"), str(tmp_path / "all"), "--cluster", "local"]
    assert main(command) == 1
    assert "pip install raiha[ray]" in capsys.readouterr().err
    assert not (tmp_path / "all").exists()


def test_options_of_a_single_store_are_refused_with_a_cluster(tmp_path, capsys):
    command = ["gallery", "build", str(tmp_path), str(tmp_path / "all"), "--cluster", "local", "--moved"]
    assert main(command) == 1
    assert "--moved is of a single gallery" in capsys.readouterr().err


def test_photos_outside_of_subfolders_are_refused_before_any_work(tmp_path):
    write_photo(tmp_path / "photos/loose.png", 1)
    with pytest.raises(ValueError, match=r"loose\.png lies in no subfolder"):
        build_parts(tmp_path / "photos", tmp_path / "all", "local", PartRules())
