"""What was begun and never ended is known per photo folder, and named with the command that ends it."""

import json
import re

import pytest

from raiha_core.gallery import journal, shards
from raiha_core.gallery.build import add, build
from raiha_core.gallery.check import check
from raiha_core.gallery.info import info
from raiha_core.gallery.remove import remove
from raiha_core.gallery.repair import repair
from raiha_core.gallery.store import open_gallery
from tests.gallery_fakes import FakeEncoder, digest, write_photo, write_photos


class StopError(Exception):
    pass


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(shards, "_MOST_PHOTOS", 2)


def interrupt(job, photos, place, after=3):
    def stop(done, _total, _name):
        if done == after:
            raise StopError

    with pytest.raises(StopError):
        job(photos, place, encoder=FakeEncoder(), progress=stop, workers=1)


def ids(place):
    return [photo.id for photo in open_gallery(place).photos]


def unfinished(place):
    return [damage.message for damage in check(place).damages if damage.kind == "unfinished"]


def test_a_build_of_one_folder_does_not_hide_an_interrupted_add_of_another(place, photos, tmp_path):
    trip = write_photos(tmp_path / "trip", 6, first_seed=50)
    before = ids(place)
    interrupt(add, trip, place)
    assert ids(place) == before
    write_photo(photos / "new.png", seed=80)
    report = build(photos, place, encoder=FakeEncoder())
    command = f"run `raiha gallery add {trip} {place}` again"
    assert len(report.unfinished) == 1
    assert report.unfinished[0].endswith(command)
    assert ids(place) == sorted([*before, "new.png"])  # the built folder is whole
    assert any(command in note for note in open_gallery(place).notes)
    assert unfinished(place) == [f"the gallery is unfinished: {report.unfinished[0]}"]
    assert not check(place).sound
    assert (info(place).finished, info(place).unfinished) == (False, report.unfinished)
    encoder = FakeEncoder()
    assert add(trip, place, encoder=encoder).unfinished == ()
    assert encoder.calls == 2  # three were kept, and the last two of the six are equal
    assert check(place).sound
    assert len(ids(place)) == 18
    assert open_gallery(place).notes == ()


@pytest.mark.parametrize("part", ["night", "night/deep", "day/new.png"])
def test_an_interrupted_add_of_a_part_is_named_as_it_was_given(place, photos, tmp_path, part):
    for name in ("night/deep/a.png", "night/deep/b.png", "day/new.png"):
        write_photo(photos / name, seed=len(name) + 60)
    interrupt(add, photos / part, place, after=1)
    (message,) = unfinished(place)
    assert message.endswith(f"run `raiha gallery add {photos / part} {place}` again")
    other = write_photos(tmp_path / "other", 3, first_seed=70)
    add(other, place, encoder=FakeEncoder())  # somewhere else: changes nothing about it
    assert unfinished(place) == [message]
    add(photos / part, place, encoder=FakeEncoder())
    assert check(place).sound


def test_a_build_of_the_whole_folder_ends_what_was_added_below_it(place, photos):
    for n in range(4):
        write_photo(photos / "night" / f"{n}.png", seed=60 + n)
    interrupt(add, photos / "night", place)
    build(photos, place, encoder=FakeEncoder())
    assert check(place).sound
    assert len(ids(place)) == 15


def test_an_add_does_not_end_an_interrupted_build(place, photos):
    (photos / "002.png").unlink()
    for n in range(4):
        write_photo(photos / f"n{n}.png", seed=60 + n)
    interrupt(build, photos, place)
    add(photos, place, encoder=FakeEncoder())  # adds all, drops nothing
    (message,) = unfinished(place)
    assert "run `raiha gallery build " in message
    build(photos, place, encoder=FakeEncoder())
    assert check(place).sound
    assert "002.png" not in ids(place)


def test_two_interrupted_folders_are_named_both(place, tmp_path):
    trips = [write_photos(tmp_path / name, 5, first_seed=seed) for name, seed in (("a b", 40), ("c", 50))]
    for trip in trips:
        interrupt(add, trip, place)
    first, second = unfinished(place)
    assert f"add '{trips[0]}' " in first  # quoted for the shell
    assert f"add {trips[1]} " in second
    for trip in trips:
        add(trip, place, encoder=FakeEncoder())
    assert check(place).sound


def test_a_folder_that_never_was_whole_is_not_seen_beside_one_that_is(photos, tmp_path):
    place, trip = tmp_path / "store", write_photos(tmp_path / "trip", 4, first_seed=50)
    interrupt(build, photos, place)
    with pytest.raises(ValueError, match=re.escape(f"run `raiha gallery build {photos} {place}` again")):
        open_gallery(place)
    add(trip, place, encoder=FakeEncoder())
    assert [name.split(":")[0] for name in ids(place)] == ["trip"] * 4
    build(photos, place, encoder=FakeEncoder())
    assert len(ids(place)) == 15
    assert check(place).sound


def test_repair_keeps_the_promise_and_what_readers_see(place, photos, tmp_path):
    trip = write_photos(tmp_path / "trip", 6, first_seed=50)
    interrupt(add, trip, place)
    remove(place, ["00[25].png", "day/*"])
    seen, message = digest(open_gallery(place)), unfinished(place)
    assert repair(place).actions
    assert digest(open_gallery(place)) == seen
    assert [text.split("; run ")[1] for text in unfinished(place)] == [
        text.split("; run ")[1] for text in message
    ]
    encoder = FakeEncoder()
    add(trip, place, encoder=encoder)
    assert encoder.calls == 2  # repair kept the three that were done
    assert check(place).sound


def test_stores_of_the_version_that_knew_one_promise_open_and_are_ended(place, photos):
    write_photo(photos / "new.png", seed=90)
    interrupt(build, photos, place, after=1)
    batches = journal.read(place / "manifest.jsonl").batches
    new = {"folder", "inside", "adding", "view", "ctime_ns"}

    def as_it_was(line):
        kept = line.keys() - (new - {"folder"} if line["kind"] == "photo" else new)
        return {key: line[key] for key in line if key in kept}

    older = [[as_it_was(line) for line in batch] for batch in batches]
    journal.rewrite(place / "manifest.jsonl", older)
    assert len(ids(place)) == 11
    assert len(unfinished(place)) == 1
    encoder = FakeEncoder()
    report = build(photos, place, encoder=encoder)
    assert (encoder.calls, report.renewed, report.photos) == (0, 12, 12)  # filled in, not encoded again
    assert check(place).sound
    lines = [json.loads(line) for line in (place / "manifest.jsonl").read_text().splitlines()]
    last = {line["id"]: line for line in lines if line["kind"] == "photo"}
    assert all(line["view"] and line["ctime_ns"] for line in last.values())
    assert build(photos, place, encoder=encoder).unchanged == 12
