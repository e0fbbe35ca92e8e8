"""Photos edited behind the gallery's back: `check` reads their bytes, `build` their time of change."""

import os

import pytest
from PIL import Image

from raiha_core.cli import main
from raiha_core.gallery import journal, reading
from raiha_core.gallery.build import build
from raiha_core.gallery.check import check
from raiha_core.gallery.store import open_gallery
from tests.gallery_fakes import FakeEncoder, write_photo

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows tells when a file was made, not changed")


def keeping_times(path, change):
    state = path.stat()
    change(path)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (state.st_size, state.st_mtime_ns)


def swap_a_byte(path):
    raw = bytearray(path.read_bytes())
    raw[-6] ^= 1  # of a checksum of the PNG
    path.write_bytes(raw)


def repaint(path):
    """Another picture in as many bytes: uncompressed."""
    with Image.open(path) as old:
        size = old.size
    whole = path.stat().st_size
    Image.new("RGB", size, (40, 90, 30)).save(path)
    path.write_bytes(path.read_bytes().ljust(whole, b"\0"))


def replace_the_file(path):
    other = path.with_name("fresh")
    raw = bytearray(path.read_bytes())
    raw[-6] ^= 1
    other.write_bytes(raw)
    os.replace(other, path)


@pytest.mark.parametrize("change", [swap_a_byte, repaint, replace_the_file])
def test_an_edit_that_keeps_size_and_time_is_found(photos, place, change):
    keeping_times(photos / "005.png", change)
    for fast in (False, True):  # the time of change betrays it also to the fast look
        damages = check(place, fast=fast).damages
        assert [(damage.kind, damage.where) for damage in damages] == [("photo-changed", "005.png")]
    encoder = FakeEncoder()
    report = build(photos, place, encoder=encoder)
    assert report.unchanged == 10
    assert report.changed + len(report.bad) == 1


def test_check_reads_the_bytes_and_the_fast_look_says_that_it_does_not(photos, place, capsys):
    state = (photos / "005.png").stat()
    raw = bytearray((photos / "005.png").read_bytes())
    raw[-6] ^= 1
    (photos / "005.png").write_bytes(raw)
    os.utime(photos / "005.png", ns=(state.st_atime_ns, state.st_mtime_ns))
    manifest = place / "manifest.jsonl"
    changed = (photos / "005.png").stat().st_ctime_ns
    _replace_time(manifest, state.st_ctime_ns, changed)  # as if even the time of change were the same
    assert check(place).damages[0].kind == "photo-changed"
    assert check(place, fast=True).sound
    assert check(place, fast=True).unchecked
    assert not check(place).unchecked
    assert main(["gallery", "check", str(place)]) == 1
    assert main(["gallery", "check", str(place), "--fast"]) == 0
    assert "not checked: photo files whose size and times" in capsys.readouterr().out


def _replace_time(manifest, old, new):
    batches = [
        [{**line, "ctime_ns": new} if line.get("ctime_ns") == old else line for line in batch]
        for batch in journal.read(manifest).batches
    ]
    journal.rewrite(manifest, batches)


@pytest.mark.parametrize("touch", ["chmod", "utime", "link"])
def test_a_changed_time_alone_encodes_nothing(photos, place, touch):
    path = photos / "005.png"
    before = open_gallery(place).fingerprint
    if touch == "chmod":
        path.chmod(0o600)
    elif touch == "utime":
        os.utime(path)
    else:
        os.link(path, photos.parent / "second name")
    assert check(place).sound
    encoder = FakeEncoder()
    report = build(photos, place, encoder=encoder)
    assert (encoder.calls, report.renewed, report.unchanged) == (0, 1, 10)
    assert open_gallery(place).fingerprint == before
    assert build(photos, place, encoder=encoder).unchanged == 11


def test_unchanged_photos_are_not_read(photos, place, monkeypatch):
    read = []
    real = reading.file_digest
    monkeypatch.setattr(reading, "file_digest", lambda path: read.append(path.name) or real(path))
    write_photo(photos / "new.png", seed=70)
    build(photos, place, encoder=FakeEncoder())
    assert read == ["new.png"]
