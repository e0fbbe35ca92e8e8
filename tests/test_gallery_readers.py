"""Readers in processes of their own beside writers that live, and that are killed: they see whole states."""

import errno
import json
import os
import signal
import time

import pytest

from raiha_core.gallery import shards
from raiha_core.gallery.build import add, build
from raiha_core.gallery.check import check
from raiha_core.gallery.remove import remove
from raiha_core.gallery.repair import repair
from raiha_core.gallery.store import open_gallery
from tests.gallery_fakes import FakeEncoder, digest, write_photos

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def start(job):
    """Run `job` in a process of its own. Returns: its id."""
    child = os.fork()
    if child:
        return child
    try:
        job()
    except BaseException:
        os._exit(1)
    os._exit(0)


def read_on(store, ends, report):
    """Open the store again and again until `ends` exists; note what was seen, and every error."""
    seen, errors, reads = [], [], 0
    while not ends.exists():
        try:
            found = digest(open_gallery(store))
            seen += [found] if found not in seen else []
        except Exception as error:
            errors.append(f"{type(error).__name__}: {error}")
        reads += 1
    report.write_text(json.dumps({"seen": seen, "errors": errors, "reads": reads}))


def write_on(store, trip, rounds, begun):
    """Add, remove and repair, with shards of two photos; each step is one whole state."""
    shards._MOST_PHOTOS = 2
    for _ in range(rounds):
        add(trip, store, encoder=FakeEncoder())
        time.sleep(0.05)  # long enough for a reader to come by
        remove(store, ["trip:*"])
        repair(store)
        begun.touch()


class Readers:
    """Some readers of one store, and what they saw."""

    def __init__(self, store, tmp_path, count=2):
        self.ends, self.reports = tmp_path / "ends", [tmp_path / f"report{n}" for n in range(count)]
        self.children = [
            start(lambda report=report: read_on(store, self.ends, report)) for report in self.reports
        ]

    def end(self):
        self.ends.touch()
        assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in self.children] == [
            0 for _ in self.children
        ]
        return [json.loads(report.read_text()) for report in self.reports]


@pytest.fixture
def place(tmp_path):
    build(write_photos(tmp_path / "photos"), tmp_path / "store", encoder=FakeEncoder())
    write_photos(tmp_path / "trip", 7, first_seed=40)
    return tmp_path / "store"


def whole_states(place, tmp_path):
    """Digests of the gallery without and with the trip. Leaves it without."""
    without = digest(open_gallery(place))
    add(tmp_path / "trip", place, encoder=FakeEncoder())
    both = digest(open_gallery(place))
    remove(place, ["trip:*"])
    return {without, both}


def test_readers_beside_a_writer_always_see_a_whole_state(place, tmp_path):
    states = whole_states(place, tmp_path)
    readers = Readers(place, tmp_path)
    writer = start(lambda: write_on(place, tmp_path / "trip", 12, tmp_path / "begun"))
    assert os.waitstatus_to_exitcode(os.waitpid(writer, 0)[1]) == 0
    reports = readers.end()
    for report in reports:
        assert report["errors"] == []
        assert set(report["seen"]) <= states
        assert report["reads"] > 5
    assert {seen for report in reports for seen in report["seen"]} == states  # the writer was really at work


def test_a_killed_writer_leaves_the_last_whole_state_readable(place, tmp_path):
    states = whole_states(place, tmp_path)
    readers = Readers(place, tmp_path, 1)
    for n in range(12):
        begun = tmp_path / f"begun{n}"
        writer = start(lambda begun=begun: write_on(place, tmp_path / "trip", 999, begun))
        while not begun.exists():
            time.sleep(0.005)
        time.sleep(0.007 * n)
        os.kill(writer, signal.SIGKILL)
        os.waitpid(writer, 0)
        assert digest(open_gallery(place)) in states  # nobody writes, and nobody has cleared up
        assert check(place).readable_as_whole
    (report,) = readers.end()
    assert report["errors"] == []
    assert set(report["seen"]) <= states
    add(tmp_path / "trip", place, encoder=FakeEncoder())
    assert check(place).sound
    assert digest(open_gallery(place)) in states


def test_a_frozen_writer_does_not_stop_readers(place, tmp_path):
    states = whole_states(place, tmp_path)

    def look(done, _total, _name):
        assert digest(open_gallery(place)) in states
        assert not open_gallery(place).notes  # someone is at it: nothing to advise
        looks.append(done)

    looks = []
    add(tmp_path / "trip", place, encoder=FakeEncoder(), progress=look)
    assert looks == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_disk_without_locks_is_said_and_still_read(place, tmp_path, monkeypatch, number):
    import fcntl

    def fail(*_):
        raise OSError(number, os.strerror(number))

    before = digest(open_gallery(place))
    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(OSError, match=r"^gallery .*store cannot be locked .* a disk whose locks work$"):
        add(tmp_path / "trip", place, encoder=FakeEncoder())
    assert digest(open_gallery(place)) == before
    assert check(place).sound
