"""Killed at any write, a build leaves nothing that passes for a whole gallery, and goes on afterwards."""

import errno
import itertools
import os
import shutil
import subprocess
import sys

import pytest

from raiha_core import durable
from raiha_core.gallery.build import add, build
from raiha_core.gallery.check import check
from raiha_core.gallery.remove import remove
from raiha_core.gallery.repair import repair
from raiha_core.gallery.store import open_gallery
from raiha_core.regular import file_digest
from tests.gallery_fakes import FakeEncoder, digest, tree, write_photo, write_photos

pytestmark = pytest.mark.usefixtures("small_shards")


class Killed(BaseException):
    """Stands for the end of the process where there is no fork."""


class Writes:
    """Counts the durable writes and ends the process at one of them."""

    def __init__(self, monkeypatch, at: int, how: str, die) -> None:
        self.count, self.at, self.how, self.die = 0, at, how, die
        self._replace, self._append = os.replace, durable.append_lines
        monkeypatch.setattr(durable.os, "replace", self.replace)
        monkeypatch.setattr(durable, "append_lines", self.append)

    def due(self) -> bool:
        self.count += 1
        return self.count == self.at

    def replace(self, source, target):
        due = self.due()
        if due and self.how == "torn":  # the rename is not there yet, the part file is cut
            os.truncate(source, os.path.getsize(source) // 2)
        if due and self.how != "after":
            self.die()
        self._replace(source, target)
        if due:
            self.die()

    def append(self, path, lines):
        due = self.due()
        if due and self.how == "torn":
            raw = "".join(f"{line}\n" for line in lines).encode()
            with open(path, "ab") as file:
                file.write(raw[: len(raw) * 2 // 3])
        if due and self.how != "after":
            self.die()
        self._append(path, lines)
        if due:
            self.die()


def raise_killed():
    raise Killed


def killed_at(n, how, job) -> bool:
    """Run `job` in a child that is gone, without any clean-up, at its n-th write. False if it got through."""
    if hasattr(os, "fork"):
        child = os.fork()
        if child == 0:
            try:
                with pytest.MonkeyPatch.context() as patch:
                    Writes(patch, n, how, lambda: os._exit(9))
                    job()
            except BaseException:
                os._exit(1)
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code in (0, 9), "the job failed for another reason"
        return code == 9
    with pytest.MonkeyPatch.context() as patch:  # Windows: clean-up runs, the rest is the same
        Writes(patch, n, how, raise_killed)
        try:
            job()
        except Killed:
            return True
    return False


@pytest.mark.parametrize("how", ["before", "torn", "after"])
def test_a_build_survives_a_kill_at_every_write(photos, tmp_path, how):
    build(photos, tmp_path / "whole", encoder=FakeEncoder())
    whole = digest(open_gallery(tmp_path / "whole"))
    files = {name: data for name, (data, _) in tree(tmp_path / "whole").items()}
    for n in itertools.count(1):
        place = tmp_path / str(n)
        if not killed_at(n, how, lambda place=place: build(photos, place, encoder=FakeEncoder())):
            break
        ended = n > 9 or (how == "after" and n == 9)  # the line that declares it whole was written
        if place.exists():
            if any(place.iterdir()):
                assert check(place).readable_as_whole is ended
            if not ended:
                with pytest.raises(ValueError, match=r"is unfinished|is not a gallery"):
                    open_gallery(place)
        report = build(photos, place, encoder=FakeEncoder())
        assert report.photos == 11
        assert digest(open_gallery(place)) == whole
        assert check(place).sound
        after = {name: data for name, (data, _) in tree(place).items()}
        telling = ("manifest.jsonl", "index/catalogue.safetensors")  # of both beginnings
        same = [name for name in files if name not in telling]
        assert {name: after[name] for name in same} == {name: files[name] for name in same}
    # spec, begin, three shards and their lines, end, rotation, three indexes, catalogue: each died once
    assert n == 15


@pytest.mark.parametrize("how", ["before", "torn", "after"])
def test_an_update_survives_a_kill_at_every_write(photos, tmp_path, how):
    build(photos, tmp_path / "old", encoder=FakeEncoder())
    before = digest(open_gallery(tmp_path / "old"))
    write_photos(photos / "more", 6, first_seed=40)
    write_photo(photos / "005.png", seed=70, size=(11, 11))
    (photos / "008.png").unlink()
    build(photos, tmp_path / "whole", encoder=FakeEncoder())
    whole = digest(open_gallery(tmp_path / "whole"))
    for n in itertools.count(1):
        place = tmp_path / str(n)
        shutil.copytree(tmp_path / "old", place)
        if not killed_at(n, how, lambda place=place: build(photos, place, encoder=FakeEncoder())):
            break
        if check(place, with_photos=False).readable_as_whole:
            assert digest(open_gallery(place)) in (before, whole)  # the old one or the new one, never a mix
        else:
            with pytest.raises(ValueError, match="is unfinished"):
                open_gallery(place)
        build(photos, place, encoder=FakeEncoder())
        assert digest(open_gallery(place)) == whole
    assert n > 4


@pytest.mark.parametrize("how", ["before", "torn", "after"])
def test_a_repair_survives_a_kill_at_every_write(photos, tmp_path, how):
    build(photos, tmp_path / "old", encoder=FakeEncoder())
    remove(tmp_path / "old", ["00?.png", "night/*"])
    whole = digest(open_gallery(tmp_path / "old"))
    for n in itertools.count(1):
        place = tmp_path / str(n)
        shutil.copytree(tmp_path / "old", place)
        if not killed_at(n, how, lambda place=place: repair(place)):
            break
        assert digest(open_gallery(place)) == whole
        repair(place)
        assert digest(open_gallery(place)) == whole
        assert check(place).sound
    assert n == 4  # the merged shard, the manifest, then its catalogue


@pytest.mark.parametrize("how", ["before", "torn", "after"])
def test_an_add_that_was_killed_is_not_lost_by_building_the_other_folder(photos, tmp_path, how):
    trip = write_photos(tmp_path / "trip", 6, first_seed=40)
    build(photos, tmp_path / "old", encoder=FakeEncoder())
    before = digest(open_gallery(tmp_path / "old"))
    shutil.copytree(tmp_path / "old", tmp_path / "whole")
    add(trip, tmp_path / "whole", encoder=FakeEncoder())
    whole = digest(open_gallery(tmp_path / "whole"))
    for n in itertools.count(1):
        place = tmp_path / str(n)
        shutil.copytree(tmp_path / "old", place)
        if not killed_at(n, how, lambda place=place: add(trip, place, encoder=FakeEncoder())):
            break
        seen = digest(open_gallery(place))
        assert seen in (before, whole)
        unfinished = build(photos, place, encoder=FakeEncoder()).unfinished  # as one might be advised
        begun = n > 1 or how == "after"
        if seen == before and begun:
            assert [f"raiha gallery add {trip} {place}" in work for work in unfinished] == [True]
            assert not check(place).sound
        assert digest(open_gallery(place)) == seen
        add(trip, place, encoder=FakeEncoder())
        assert digest(open_gallery(place)) == whole
        assert check(place).sound
    assert n == 10  # begin, two shards and their lines, end, two indexes, the catalogue: nine writes


def test_two_kills_in_a_row(photos, tmp_path):
    build(photos, tmp_path / "whole", encoder=FakeEncoder())
    place = tmp_path / "store"
    for n in (6, 3, 4, 2):
        assert killed_at(n, "torn", lambda: build(photos, place, encoder=FakeEncoder()))
    build(photos, place, encoder=FakeEncoder())
    assert digest(open_gallery(place)) == digest(open_gallery(tmp_path / "whole"))


class Full:
    """A disk that takes `room` more bytes, by the calls that write galleries."""

    def __init__(self, monkeypatch, room: int) -> None:
        self.room = room
        self._write, self._append = durable.Path.write_bytes, durable.append_lines
        monkeypatch.setattr(durable.Path, "write_bytes", lambda path, data: self.write(path, data))
        monkeypatch.setattr(durable, "append_lines", self.append)

    def take(self, raw: bytes) -> bytes:
        taken = raw[: max(0, self.room)]
        self.room -= len(raw)
        return taken

    def write(self, path, data):
        self._write(path, self.take(data))
        if self.room < 0:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))

    def append(self, path, lines):
        raw = "".join(f"{line}\n" for line in lines).encode()
        with open(path, "ab") as file:
            file.write(self.take(raw))
        if self.room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("share", [0, 0.1, 0.3, 0.5, 0.8, 0.99])
def test_a_full_disk_is_one_sentence_and_finished_shards_stay(photos, tmp_path, monkeypatch, share):
    build(photos, tmp_path / "whole", encoder=FakeEncoder())
    parts = tree(tmp_path / "whole").items()
    files = {name: len(data) for name, (data, _) in parts if name != "spec.json" and "index" not in name}
    with monkeypatch.context() as patch:
        Full(patch, int(share * sum(files.values())))
        with pytest.raises(OSError, match=r"^the disk is full; gallery .* keeps what was finished$") as told:
            build(photos, tmp_path / "store", encoder=FakeEncoder())
    assert told.value.errno == errno.ENOSPC
    finished = len(list((tmp_path / "store" / "shards").glob("[0-9]*.safetensors")))
    with pytest.raises(ValueError, match="is unfinished"):
        open_gallery(tmp_path / "store")
    partial = open_gallery(tmp_path / "store", allow_partial=True)
    fits = (min(11, 4 * finished), 4 * (finished - 1))  # the last shard's lines may not have fitted
    assert len(partial) in fits
    known = {photo.sha256 for photo in partial.photos}
    encoder = FakeEncoder()
    build(photos, tmp_path / "store", encoder=encoder)
    assert encoder.calls == sum(file_digest(path) not in known for path in photos.rglob("*.png"))
    assert digest(open_gallery(tmp_path / "store")) == digest(open_gallery(tmp_path / "whole"))


@pytest.fixture
def tiny_disk(tmp_path):
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", str(place)]
    if not sys.platform.startswith("linux") or shutil.which("mount") is None:
        pytest.skip("needs Linux's tmpfs")
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("this user may not mount a file system")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_disk_that_is_really_full(photos, tmp_path, tiny_disk):
    write_photos(photos / "more", 60, first_seed=100)
    with pytest.raises(OSError, match="the disk is full"):
        build(photos, tiny_disk / "store", encoder=FakeEncoder())
    partial = open_gallery(tiny_disk / "store", allow_partial=True)
    assert 0 < len(partial) < 71
    del partial
    subprocess.run(["mount", "-o", "remount,size=10M", str(tiny_disk)], check=True)
    build(photos, tiny_disk / "store", encoder=FakeEncoder())
    build(photos, tmp_path / "whole", encoder=FakeEncoder())
    assert digest(open_gallery(tiny_disk / "store")) == digest(open_gallery(tmp_path / "whole"))


def test_a_build_that_ended_at_its_very_beginning_is_unfinished_and_not_damaged(place, tmp_path):
    begun = tmp_path / "begun"
    (begun / "shards").mkdir(parents=True)
    for name in ("spec.json", "lock"):
        shutil.copy(place / name, begun / name)
    assert [damage.kind for damage in check(begun).damages] == ["unfinished"]
    with pytest.raises(ValueError, match="is unfinished"):
        open_gallery(begun)
