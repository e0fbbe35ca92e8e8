"""An open gallery: found again after moves, one consistent view, one writer."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from raiha_core.gallery import journal
from raiha_core.gallery.build import add, build
from raiha_core.gallery.info import info
from raiha_core.gallery.listing import read_groups
from raiha_core.gallery.lock import is_being_written, writer_lock
from raiha_core.gallery.remove import remove
from raiha_core.gallery.repair import repair
from raiha_core.gallery.store import open_gallery
from tests.gallery_fakes import FakeEncoder, digest, write_photo, write_photos

pytestmark = pytest.mark.usefixtures("small_shards")


def groups_of(place):
    return {photo.id: photo.group for photo in open_gallery(place).photos}


def test_a_moved_store_still_finds_its_photos(place, tmp_path):
    whole = digest(open_gallery(place))
    shutil.move(place, tmp_path / "far" / "away" / "renamed")
    moved = open_gallery(tmp_path / "far" / "away" / "renamed")
    assert (digest(moved), moved.name) == (whole, "renamed")
    assert moved.load(0).shape[:2] == (1, 3)


def test_store_and_photos_that_move_together_find_each_other(place, photos, tmp_path):
    pixels = open_gallery(place).load(3)
    (tmp_path / "disk").mkdir()
    shutil.move(place, tmp_path / "disk" / "store")
    shutil.move(photos, tmp_path / "disk" / "photos")
    assert torch.equal(open_gallery(tmp_path / "disk" / "store").load(3), pixels)


def test_moved_photos_are_found_where_one_says(place, photos, tmp_path):
    pixels = open_gallery(place).load(3)
    shutil.move(photos, tmp_path / "new place")
    gallery = open_gallery(place)  # searching needs no photos
    with pytest.raises(ValueError, match=r"is gone; build .* where its `photos` are"):
        gallery.load(3)
    assert torch.equal(open_gallery(place, photos=tmp_path / "new place").load(3), pixels)
    with pytest.raises(ValueError, match="nowhere does not exist"):
        open_gallery(place, photos="nowhere")
    encoder = FakeEncoder()
    assert build(tmp_path / "new place", place, encoder=encoder).unchanged == 11  # the old folder is gone
    assert encoder.calls == 0
    assert torch.equal(open_gallery(place).load(3), pixels)


def test_another_folder_is_not_taken_for_the_first(place, photos, tmp_path):
    other = write_photos(tmp_path / "other", 3)
    with pytest.raises(ValueError, match=r"was built from .*photos; to add the photos of"):
        build(other, place, encoder=FakeEncoder())
    assert len(open_gallery(place)) == 11
    shutil.copytree(photos, tmp_path / "copy")
    encoder = FakeEncoder()
    assert build(tmp_path / "copy", place, encoder=encoder, moved=True).photos == 11
    assert encoder.calls == 0
    assert open_gallery(place).photos[0].path.startswith(str(tmp_path / "copy"))


def test_a_photo_that_changed_is_not_loaded(place, photos):
    gallery = open_gallery(place)
    row = [photo.id for photo in gallery.photos].index("005.png")
    pixels = gallery.load(row)
    os.utime(photos / "005.png")  # another time, the same bytes
    assert torch.equal(gallery.load(row), pixels)
    write_photo(photos / "005.png", seed=99)
    os.utime(photos / "005.png", ns=(0, 1))
    with pytest.raises(ValueError, match=r"005\.png has changed since gallery store was built"):
        gallery.load(row)


def test_what_is_no_gallery_is_said_so(tmp_path, place):
    with pytest.raises(ValueError, match="gone does not exist; make it with `raiha gallery build`"):
        open_gallery(tmp_path / "gone")
    (tmp_path / "plain").mkdir()
    with pytest.raises(ValueError, match="plain is not a gallery"):
        open_gallery(tmp_path / "plain")
    with pytest.raises(ValueError, match="plain is not a gallery"):
        remove(tmp_path / "plain", ["a"])
    assert list((tmp_path / "plain").iterdir()) == []
    spec = json.loads((place / "spec.json").read_text())
    (place / "spec.json").write_text(json.dumps(spec | {"format": 99}))
    with pytest.raises(ValueError, match="has format 99, and this version reads 1"):
        open_gallery(place)
    with pytest.raises(ValueError, match="has format 99"):
        repair(place)


def test_calibrated_thresholds_hold_for_the_gallery(place):
    assert open_gallery(place).spec.content_threshold == 0.7
    before = open_gallery(place).fingerprint
    found = {"content_threshold": 0.42, "appearance_threshold": 0.8, "threshold_source": "5 % of 11 photos"}
    (place / "calibration.json").write_text(json.dumps(found))
    gallery = open_gallery(place)
    assert (gallery.spec.content_threshold, gallery.spec.appearance_threshold) == (0.42, 0.8)
    assert gallery.spec.threshold_source == "5 % of 11 photos"
    assert gallery.fingerprint == before
    assert info(place).calibration == found
    for text in ("{", "[]", json.dumps(found | {"content_threshold": 7})):
        (place / "calibration.json").write_text(text)
        with pytest.raises(ValueError, match="run `raiha calibrate` again"):
            open_gallery(place)


def test_groups_by_folder_are_remembered(photos, tmp_path):
    build(photos, tmp_path / "store", encoder=FakeEncoder(), group_by="folder")
    write_photo(photos / "night" / "deep" / "new.png", seed=50)
    build(photos, tmp_path / "store", encoder=FakeEncoder())
    groups = groups_of(tmp_path / "store")
    assert groups["night/deep/new.png"] == groups["night/deep/001.png"] == "night/deep"
    assert (groups["day/000.png"], groups["002.png"]) == ("day", "")
    assert (info(tmp_path / "store").groups, info(tmp_path / "store").grouped) == (2, 9)


def test_a_new_grouping_encodes_nothing(place, photos, tmp_path):
    before = open_gallery(place).fingerprint
    encoder = FakeEncoder()
    groups = {"002.png": "cat", "day/000.png": "cat"}
    report = build(photos, place, encoder=encoder, groups=groups)
    assert (encoder.calls, report.renewed, report.unchanged) == (0, 2, 9)
    assert {name: group for name, group in groups_of(place).items() if group} == groups
    assert open_gallery(place).fingerprint != before
    build(photos, place, encoder=encoder)  # without a table, groups stay
    assert groups_of(place)["002.png"] == "cat"
    with pytest.raises(ValueError, match=r"none of the 1 grouped names is a photo, such as '002\.png'"):
        build(photos, place, encoder=encoder, groups={"typo.png": "cat"})


def test_tables_of_groups(tmp_path):
    (tmp_path / "g.csv").write_text('id,group,note\na.png,x,1\n"b, c.png",y,2\n', encoding="utf-8-sig")
    (tmp_path / "g.jsonl").write_text('{"id":"a.png","group":"x"}\n\n{"id":"b, c.png","group":"y"}\n')
    expected = {"a.png": "x", "b, c.png": "y"}
    assert read_groups(tmp_path / "g.csv") == read_groups(tmp_path / "g.jsonl") == expected
    (tmp_path / "bad.csv").write_text("photo,group\na.png,x\n")
    with pytest.raises(ValueError, match=r"bad\.csv: row 1 has no id and group"):
        read_groups(tmp_path / "bad.csv")
    for text in ("{", "[1]", "\xff\xfe"):
        (tmp_path / "bad.jsonl").write_bytes(text.encode("latin-1"))
        with pytest.raises(ValueError, match=r"bad\.jsonl"):
            read_groups(tmp_path / "bad.jsonl")


def test_adding_drops_nothing(place, photos, tmp_path):
    trip = write_photos(tmp_path / "trip", 3)
    write_photo(trip / "day" / "000.png", seed=60)  # the same name as a photo of the first folder
    (photos / "002.png").unlink()
    report = add(trip, place, encoder=FakeEncoder())
    assert (report.photos, report.removed) == (14, 0)
    ids = [photo.id for photo in open_gallery(place).photos]
    assert "trip:day/000.png" in ids
    assert "002.png" in ids
    gallery = open_gallery(place)
    row = ids.index("trip:day/000.png")
    assert gallery.photos[row].path == str(trip / "day" / "000.png")
    assert gallery.load(row).shape[:2] == (1, 3)
    assert build(photos, place, encoder=FakeEncoder()).removed == 1  # of the first folder only
    (trip / "002.png").unlink()
    assert build(trip, place, encoder=FakeEncoder()).removed == 1  # a known folder can be built by itself
    assert len(open_gallery(place)) == 12
    assert info(place).folders == (str(photos), str(trip))


def test_adding_from_inside_gives_the_ids_of_a_build(photos, tmp_path):
    build(photos, tmp_path / "fresh", encoder=FakeEncoder())
    shutil.copytree(photos / "night", tmp_path / "night")
    shutil.rmtree(photos / "night")
    place = tmp_path / "store"
    build(photos, place, encoder=FakeEncoder())
    shutil.copytree(tmp_path / "night", photos / "night")
    add(photos / "night" / "deep" / "001.png", place, encoder=FakeEncoder())
    assert len(open_gallery(place)) == 8
    add(photos / "night", place, encoder=FakeEncoder())
    assert digest(open_gallery(place)) == digest(open_gallery(tmp_path / "fresh"))


def test_folders_of_the_same_name_stay_apart(place, tmp_path):
    for parent in ("a", "b"):
        write_photo(tmp_path / parent / "trip" / "1.png", seed=ord(parent))
        add(tmp_path / parent / "trip", place, encoder=FakeEncoder())
    ids = {photo.id for photo in open_gallery(place).photos}
    assert {"trip:1.png", "trip-2:1.png"} <= ids


@pytest.mark.parametrize(
    ("patterns", "groups", "gone"),
    [
        (["002.png"], [], {"002.png"}),
        (["night/*"], [], {f"night/deep/{n:03d}.png" for n in (1, 4, 7, 10)}),
        (["00[25].png", "008.png"], [], {"002.png", "005.png", "008.png"}),
        ([], ["cat"], {"002.png", "day/000.png"}),
        (["FILE"], [], {"005.png"}),
    ],
)
def test_removed_photos_stay_out(place, photos, patterns, groups, gone):
    build(photos, place, encoder=FakeEncoder(), groups={"002.png": "cat", "day/000.png": "cat"})
    before = {photo.id for photo in open_gallery(place).photos}
    patterns = [str(photos / "005.png") if pattern == "FILE" else pattern for pattern in patterns]
    assert set(remove(place, patterns, groups=groups)) == gone
    assert {photo.id for photo in open_gallery(place).photos} == before - gone
    report = build(photos, place, encoder=FakeEncoder())  # the files are still there
    assert (report.excluded, report.photos) == (len(gone), 11 - len(gone))
    repair(place)
    assert build(photos, place, encoder=FakeEncoder()).photos == 11 - len(gone)
    assert add(photos, place, encoder=FakeEncoder()).photos == 11  # asked for by name, they come back


def test_removing_what_is_not_there_removes_nothing(place):
    for patterns, groups, words in (
        (["002.png", "x*"], [], "fits 'x\\*'"),
        ([], ["cat"], "in group 'cat'"),
        ([], [], "name a photo"),
    ):
        with pytest.raises(ValueError, match=words):
            remove(place, patterns, groups=groups)
    assert len(open_gallery(place)) == 11


HOLD = """
import sys, pathlib
from raiha_core.gallery.lock import writer_lock
with writer_lock(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_writer_is_told_and_a_killed_one_locks_nobody_out(place, photos):
    command = [sys.executable, "-c", HOLD, str(place / "lock")]
    root = Path(__file__).parents[1]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root) as other:
        assert other.stdout.readline().strip() == b"held"
        for write in (lambda: build(photos, place, encoder=FakeEncoder()), lambda: repair(place)):
            with pytest.raises(ValueError, match="store is being written by another process"):
                write()
        assert is_being_written(place / "lock")
        assert info(place).being_written
        assert len(open_gallery(place)) == 11  # readers read on
        other.kill()
        other.wait()
    assert not is_being_written(place / "lock")
    assert build(photos, place, encoder=FakeEncoder()).unchanged == 11


def test_readers_asking_do_not_disturb_a_writer(place):
    started = time.monotonic()
    with writer_lock(place / "lock"):
        assert is_being_written(place / "lock")
    assert time.monotonic() - started < 5
    with writer_lock(place / "lock"):
        pass


def test_readers_see_the_last_whole_gallery_while_one_is_written(place, photos, tmp_path):
    whole = digest(open_gallery(place))
    write_photos(photos / "more", 9, first_seed=30)
    seen = []

    def look(done, total, _name):
        if done == total - 1:  # shards and lines of the new photos are on the disk already
            assert info(place).photos > 11
            seen.append(digest(open_gallery(place)))

    build(photos, place, encoder=FakeEncoder(), progress=look)
    assert seen == [whole]
    assert len(open_gallery(place)) == 20

    def look_at_first(done, _total, _name):
        if done == 6:
            with pytest.raises(ValueError, match="being built by another process: 4 of 20 photos so far"):
                open_gallery(tmp_path / "first")
            seen.append(done)

    build(photos, tmp_path / "first", encoder=FakeEncoder(), progress=look_at_first)
    assert seen == [whole, 6]


def test_an_open_gallery_outlives_changes(place, photos):
    gallery = open_gallery(place)
    whole = digest(gallery)
    for name in ("002.png", "005.png", "008.png", "day/000.png"):
        (photos / name).unlink()
    build(photos, place, encoder=FakeEncoder())
    assert digest(gallery) == whole
    assert any("merged" in action for action in repair(place).actions)
    if os.name != "nt":  # Windows does not delete what is mapped
        assert digest(gallery) == whole
    assert len(open_gallery(place)) == 7


def test_a_reader_looks_again_where_repair_replaced_the_shards(place, photos, monkeypatch):
    for name in ("002.png", "005.png", "008.png", "day/000.png"):
        (photos / name).unlink()
    build(photos, place, encoder=FakeEncoder())
    whole, real, repaired = digest(open_gallery(place)), journal.read_raw, []

    def late(path):
        found = real(path)
        if not repaired:
            repaired.append(None)
            repaired[0] = repair(place)  # between our look at the manifest and at the shards
        return found

    monkeypatch.setattr(journal, "read_raw", late)
    assert digest(open_gallery(place)) == whole
    assert repaired[0].actions


def test_features_of_fifty_shards_are_mapped_not_read(place):
    psutil = pytest.importorskip("psutil")
    gallery = open_gallery(place)
    before = psutil.Process().num_fds() if hasattr(psutil.Process(), "num_fds") else 0
    others = [open_gallery(place) for _ in range(20)]  # sixty shards
    after = psutil.Process().num_fds() if before else 0
    assert after == before  # no file stays open, so that the number of shards is not limited
    assert digest(others[-1]) == digest(gallery)
