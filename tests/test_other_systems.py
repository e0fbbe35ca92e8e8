"""Systems that are not this one, modelled: names, separators, line ends, locales, homes, no fork.

What a model cannot show is left to the CI file, which runs Windows and macOS.
"""

import contextlib
import json
import locale
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raiha_core import model_folders, regular
from raiha_core.cli import main, pairs
from raiha_core.data.iharmony4 import read_iharmony4
from raiha_core.data.raharmony4 import read_references
from raiha_core.gallery.build import build
from raiha_core.gallery.check import check
from raiha_core.gallery.listing import read_groups
from raiha_core.gallery.store import open_gallery
from raiha_core.harmonizer import load_harmonizer
from raiha_train.data.photos import read_photos
from tests.gallery_fakes import FakeEncoder, digest, write_photo, write_photos

ROOT = Path(__file__).parents[1]
posix = pytest.mark.skipif(os.name == "nt", reason="these names are not possible here")


@pytest.mark.parametrize(
    ("path", "here", "windows"),
    [
        ("a/b.png", True, True),
        ("../b.png", False, False),
        ("a/../b.png", False, False),
        ("..\\b.png", True, False),
        ("a\\..\\b.png", True, False),
        ("a..b/..c.png", True, True),
        ("/b.png", False, False),
    ],
)
def test_a_backslash_leads_out_where_it_separates(monkeypatch, path, here, windows):
    if os.sep == "/":
        assert regular.stays_inside(path) == here
    monkeypatch.setattr(regular, "_SEPARATORS", regular.separators("\\"))
    assert regular.stays_inside(path) == windows


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lists_of_windows_are_the_same_lists(tmp_path, end):
    def put(name, *lines):
        (tmp_path / name).write_bytes(end.join([*lines, ""]).encode())
        return tmp_path / name

    names = ["HCOCO/composite_images/c1_1_1.jpg", "HFlickr\\composite_images\\f2_1_1.jpg"]
    put("list.txt", *names)
    found = read_iharmony4(tmp_path, "list.txt")
    assert [item.composite for item in found] == [name.replace("\\", "/") for name in names]
    entry = {"input": names[0], "mask": "HCOCO/masks/c1_1.png", "refs": ["HCOCO/real_images/c2.jpg"]}
    assert len(read_references(put("refs.jsonl", json.dumps(entry)))) == 1
    assert read_groups(put("groups.csv", "id,group", "a.png,one")) == {"a.png": "one"}
    assert read_groups(put("groups.jsonl", '{"id": "a.png", "group": "one"}')) == {"a.png": "one"}
    put("manifest.jsonl", '{"image": "a.png"}', '{"image": "b.png"}')
    assert [row.id for row in read_photos(tmp_path)] == ["a.png", "b.png"]


@pytest.mark.parametrize(
    ("names", "system", "clash"),
    [
        (("A.jpg", "a.png"), "linux", False),
        (("A.jpg", "a.png"), "win32", True),
        (("A.jpg", "a.png"), "darwin", True),
        (("\u00e9.jpg", "e\u0301.png"), "darwin", True),
        (("\u00e9.jpg", "e\u0301.png"), "linux", False),
        (("a.jpg", "b.png"), "win32", False),
    ],
)
def test_two_results_that_would_be_one_file_are_refused(monkeypatch, names, system, clash):
    monkeypatch.setattr(pairs.sys, "platform", system)
    composites = [Path("in") / name for name in names]
    if clash:
        with pytest.raises(ValueError, match="would both become"):
            pairs._outputs(composites, Path("in"), Path("out"))
    else:
        assert len(set(pairs._outputs(composites, Path("in"), Path("out")).values())) == 2


@posix
def test_names_in_other_normal_forms_with_backslashes_and_of_devices_are_photos_like_others(tmp_path):
    names = [
        "e\u0301.png",
        unicodedata.normalize("NFC", "e\u0301") + "2.png",
        "a\\b.png",
        "CON.png",
        "aux.x.png",
    ]
    names += [" spaces .png", "trailing..png", "I\u0307\u0131.png", "-rf.png", "a:b.png", "%s{}.png"]
    for seed, name in enumerate(names):
        write_photo(tmp_path / "photos" / name, seed)
    store = tmp_path / "store"
    assert build(tmp_path / "photos", store, encoder=FakeEncoder()).photos == len(names)
    gallery = open_gallery(store)
    assert {photo.id for photo in gallery.photos} == set(names)
    assert all(not gallery.trouble(row) for row in range(len(gallery)))
    assert check(store).sound


def test_paths_of_more_than_260_letters(tmp_path):
    if os.name == "nt":
        pytest.skip("Windows may be set up to refuse them")
    deep = tmp_path.joinpath(*["d" * 60] * 6)
    photos = write_photos(deep / "photos", 3)
    build(photos, deep / "store", encoder=FakeEncoder())
    assert len(str(deep / "store" / "shards")) > 360
    assert check(deep / "store").sound


def test_nothing_of_ours_forks(tmp_path, monkeypatch):
    def fork():
        raise AssertionError("this system has no fork")

    monkeypatch.setattr(os, "fork", fork, raising=False)
    photos = write_photos(tmp_path / "photos", 6)
    build(photos, tmp_path / "store", encoder=FakeEncoder(), workers=4)
    assert check(tmp_path / "store").sound


def test_a_user_without_a_home(tmp_path, monkeypatch, capsys):
    def home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(model_folders.Path, "home", home)
    monkeypatch.delenv(model_folders.VARIABLE, raising=False)
    assert model_folders.platform_folder() is None
    assert model_folders.user_weights() == {}
    with pytest.raises(ValueError, match="no model 'none such'"):
        load_harmonizer("none such")
    assert main(["fetch", "pctnet-cnn"]) == 1
    assert "no home to keep weights in: name a folder with --to" in capsys.readouterr().err


@posix
def test_in_the_c_and_the_turkish_locale_with_a_home_that_nobody_may_write(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    name = "\u0130\u0131\u00fc\u4e2d"
    Image.fromarray(rng.integers(0, 255, (20, 30, 3), dtype=np.uint8)).save(tmp_path / f"{name}.png")
    mask = np.zeros((20, 30), np.uint8)
    mask[5:15, 5:20] = 255
    Image.fromarray(mask).save(tmp_path / "m.png")
    call = ["-m", "raiha_core", "harmonize", f"{name}.png", "--mask", "m.png", "--model", "statistics"]
    environment = {key: os.environ[key] for key in ("PATH",) if key in os.environ}
    environment |= {"HOME": "/proc/nowhere", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment |= {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    started = [sys.executable, *call, "-o", "c.png"]
    done = subprocess.run(started, cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    monkeypatch.chdir(tmp_path)
    before = locale.setlocale(locale.LC_ALL)
    with contextlib.suppress(locale.Error):  # where it is not here, at least the C locale was
        locale.setlocale(locale.LC_ALL, "tr_TR.UTF-8")
    try:
        assert main([*call[2:], "-o", "tr.png"]) == 0
    finally:
        locale.setlocale(locale.LC_ALL, before)
    assert (tmp_path / "tr.png").read_bytes() == (tmp_path / "c.png").read_bytes()


def test_a_gallery_does_not_depend_on_the_order_in_which_a_folder_lists_its_files(tmp_path, monkeypatch):
    photos = write_photos(tmp_path / "photos", 9)
    build(photos, tmp_path / "one", encoder=FakeEncoder())
    walk = os.walk

    def reversed_walk(*words, **named):
        for parent, folders, names in walk(*words, **named):
            folders.reverse()
            yield parent, folders, names[::-1]

    monkeypatch.setattr(os, "walk", reversed_walk)
    build(photos, tmp_path / "two", encoder=FakeEncoder())
    assert digest(open_gallery(tmp_path / "one")) == digest(open_gallery(tmp_path / "two"))
