"""A store from a stranger is data: reading it ends in one sentence, and nothing outside is touched."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from raiha_core.gallery import journal
from raiha_core.gallery.build import build
from raiha_core.gallery.catalogue import read_catalogue, write_catalogue
from raiha_core.gallery.check import check
from raiha_core.gallery.layout import Layout
from raiha_core.gallery.manifest import replay
from raiha_core.gallery.remove import remove
from raiha_core.gallery.repair import repair
from raiha_core.gallery.store import open_gallery
from tests.gallery_fakes import FakeEncoder, tree, write_photos

needs_links = pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")


@pytest.fixture
def photos(tmp_path):
    return write_photos(tmp_path / "photos", 4)


@pytest.fixture
def place(photos, tmp_path):
    build(photos, tmp_path / "store", encoder=FakeEncoder())
    return tmp_path / "store"


def rewrite(place, change):
    """Change every line of the manifest and seal it again, as its author can."""
    batches = journal.read(place / "manifest.jsonl").batches
    journal.rewrite(place / "manifest.jsonl", [[change(dict(line)) for line in batch] for batch in batches])


def of_photos(**values):
    return lambda line: {**line, **values} if line["kind"] == "photo" else line


LIES = {
    "ids": of_photos(id="../../secret.png"),
    "rows": of_photos(row=10**9),
    "shards": of_photos(shard="000777"),
    "folders": of_photos(folder=5),
    "sizes": of_photos(size=-1),
    "types": of_photos(sha256=[1]),
    "shard names": lambda line: {**line, "name": "../../x"} if line["kind"] == "shard" else line,
    "shard rows": lambda line: {**line, "rows": 2} if line["kind"] == "shard" else line,
    "no lines": lambda line: {"kind": "no such thing"},
    "deep": lambda line: {**line, "more": [[[[]]]]} if line["kind"] != "photo" else {**line, "width": {}},
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lying_manifest_is_refused_in_one_sentence_and_named_by_check(place, lie):
    rewrite(place, LIES[lie])
    with pytest.raises(ValueError, match="is damaged") as told:
        open_gallery(place)
    assert "\n" not in str(told.value)
    report = check(place)
    assert not report.sound
    assert not report.readable_as_whole
    assert report.to_json()


def spec_with(place, **values):
    data = json.loads((place / "spec.json").read_text())
    data["spec"] |= values
    (place / "spec.json").write_text(json.dumps(data))


BROKEN = {
    "a spec of types": lambda place: spec_with(place, grid="3"),
    "a huge grid": lambda place: spec_with(place, grid=10**9, dim=10**9),
    "a spec of bins": lambda place: spec_with(place, histogram={"hue": 10**9}),
    "a deep spec": lambda place: (place / "spec.json").write_text("[" * 100_000),
    "a spec that is a list": lambda place: (place / "spec.json").write_text("[1]"),
    "a deep calibration": lambda place: (place / "calibration.json").write_text("[" * 100_000),
    "a large calibration": lambda place: (place / "calibration.json").write_text(" " * (2 << 20)),
    "a folder for a manifest": lambda place: _folder(place / "manifest.jsonl"),
    "a folder for a shard": lambda place: _folder(next((place / "shards").iterdir())),
    "a shard of another shape": lambda place: _reshape(next((place / "shards").iterdir())),
    "no lines at all": lambda place: (place / "manifest.jsonl").write_bytes(b"\0" * 99 + b"\n"),
}


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _reshape(path: Path) -> None:
    """The header says another shape, and no catalogue says where the numbers lie instead."""
    (path.parents[1] / "index" / "catalogue.safetensors").unlink()
    raw = path.read_bytes()
    assert b'"shape":[3,9,8]' in raw
    path.write_bytes(raw.replace(b'"shape":[3,9,8]', b'"shape":[9,3,8]'))


@pytest.mark.parametrize("kind", BROKEN)
def test_check_reports_what_it_cannot_read_and_never_raises(place, kind):
    BROKEN[kind](place)
    assert not check(place).sound
    with pytest.raises((ValueError, OSError)) as told:
        open_gallery(place)
    assert "\n" not in str(told.value)


@needs_links
@pytest.mark.parametrize("name", ["manifest.jsonl", "spec.json", "calibration.json"])
def test_devices_and_pipes_are_not_read(place, name):
    path = place / name
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    with pytest.raises(ValueError, match=r"not a regular file|is damaged"):
        open_gallery(place)
    assert not check(place).sound
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(ValueError, match=r"not a regular file|is damaged"):
        open_gallery(place)
    assert not check(place).sound


@needs_links
@pytest.mark.parametrize("what", ["device", "pipe", "folder"])
def test_a_photo_that_is_no_regular_file_is_neither_hashed_nor_loaded(place, photos, what):
    gallery = open_gallery(place)
    path = Path(gallery.photos[0].path)
    path.unlink()
    if what == "device":
        path.symlink_to("/dev/zero")
    elif what == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(ValueError, match="is not a regular file"):
        gallery.load(0)
    assert [damage.kind for damage in check(place).damages] == ["photo-unreadable"]
    report = build(photos, place, encoder=FakeEncoder())
    assert report.photos == 3


@needs_links
@pytest.mark.parametrize("part", ["shards", "manifest.jsonl", "lock", "spec.json", "calibration.json"])
def test_nothing_is_written_or_deleted_through_a_link(place, photos, tmp_path, part):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / ".000000.1-1.part.safetensors").write_text("mine")
    (outside / "000099.safetensors").write_text("mine")
    if part == "shards":
        for path in (place / part).iterdir():
            (outside / path.name).write_bytes(path.read_bytes())
        target = outside
    else:
        target = outside / "target"
        if (place / part).exists():
            target.write_bytes((place / part).read_bytes())
    before = tree(outside)
    if part == "shards":
        for path in (place / part).iterdir():
            path.unlink()
        (place / part).rmdir()
    else:
        (place / part).unlink(missing_ok=True)
    (place / part).symlink_to(target)
    (photos / "002.png").unlink()
    for write in (
        lambda: build(photos, place, encoder=FakeEncoder()),
        lambda: remove(place, ["day/*"]),
        lambda: repair(place),
    ):
        with pytest.raises(ValueError, match="is a link; nothing is written"):
            write()
    assert tree(outside) == before
    assert "link" in [damage.kind for damage in check(place).damages]


@needs_links
def test_a_dangling_lock_makes_no_file_elsewhere(place, photos, tmp_path):
    (place / "lock").unlink()
    (place / "lock").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="is a link"):
        build(photos, place, encoder=FakeEncoder())
    assert not (tmp_path / "nowhere").exists()
    assert len(open_gallery(place)) == 4  # reading asks no lock


@pytest.mark.parametrize("name", ["zz../secret.png", "z:../secret.png", "other.png", "z:/secret.png"])
def test_no_id_leads_out_of_its_folder_by_the_folder_s_name(place, tmp_path, name):
    # the first photo folder, which `photos` replaces, is given a name, and a photo that makes use of it
    first = next(photo.id for photo in open_gallery(place).photos)

    def change(line):
        if line["kind"] == "folder":
            return {**line, "name": "z"}
        return {**line, "id": name if line["id"] == first else f"z:{line['id']}"} if "id" in line else line

    rewrite(place, change)
    with pytest.raises(ValueError, match="is damaged: not a manifest line"):
        open_gallery(place, photos=tmp_path / "photos")
    assert not check(place).sound


def test_a_folder_keeps_the_name_by_which_its_photos_are_called(place):
    batches = journal.read(place / "manifest.jsonl").batches
    folder = next(line for batch in batches for line in batch if line["kind"] == "folder")
    journal.append(place / "manifest.jsonl", [{**folder, "name": "z"}])
    with pytest.raises(ValueError, match="a folder changes its name"):
        open_gallery(place)


@pytest.mark.parametrize("name", ["zz../secret.png", "z:../secret.png"])
def test_a_catalogue_lets_no_id_out_of_its_folder_either(place, name):
    # it tells of other photos than the manifest that it names, as its author can make it
    layout = Layout(place)
    state = replay(journal.read(layout.manifest).batches)
    state.folders[0] = replace(state.folders[0], name="z")
    first, entry = min(state.live.items())
    del state.live[first]
    others = {f"z:{key}": replace(e, photo=replace(e.photo, id=f"z:{key}")) for key, e in state.live.items()}
    state.live = {**others, name: replace(entry, photo=replace(entry.photo, id=name))}
    layout.catalogue.unlink()
    write_catalogue(layout, state)
    assert layout.catalogue.exists()
    assert read_catalogue(layout, journal.read_raw(layout.manifest)) is None
    assert open_gallery(place).photos[0].id == first
