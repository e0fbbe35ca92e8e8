"""Building: what is stored is what the encoder gives, and only what changed is encoded again."""

import os
import re
import shutil
import struct
import threading
import time
import zlib

import pytest
import torch
from PIL import Image

from raiha_core.features.patches import store as round_features
from raiha_core.gallery import reading
from raiha_core.gallery.build import build
from raiha_core.gallery.store import open_gallery
from raiha_core.images import read_picture
from raiha_core.regular import file_digest
from tests.gallery_fakes import FakeEncoder, digest, fake_spec, tree, write_photo

pytestmark = pytest.mark.usefixtures("small_shards")


def touch(path):
    os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns + 1_000_000_000))


def test_the_store_holds_what_the_encoder_gives(photos, tmp_path):
    report = build(photos, tmp_path / "store", encoder=FakeEncoder())
    assert (report.photos, report.added, report.bad, report.duplicates) == (11, 11, (), 1)
    gallery = open_gallery(tmp_path / "store")
    files = sorted(path.relative_to(photos).as_posix() for path in photos.rglob("*.png"))
    assert [photo.id for photo in gallery.photos] == files
    for row, photo in enumerate(gallery.photos):  # oracle: one photo at a time, nothing in between
        pixels = read_picture(photos / photo.id).pixels
        expected = round_features(FakeEncoder().encode(pixels))
        block = gallery.gather([row])
        assert torch.equal(block.content, expected.content)
        assert torch.equal(block.histogram, expected.histogram)
        assert (photo.height, photo.width) == tuple(pixels.shape[2:])
        assert torch.equal(gallery.load(row), pixels)
    assert [tuple(gallery.photos[row].id[-7:] for row in same) for same in gallery.duplicates()] == [
        ("009.png", "010.png")
    ]


def test_blocks_and_gather_agree(photos, tmp_path):
    build(photos, tmp_path / "store", encoder=FakeEncoder())
    write_photo(photos / "day" / "0005.png", seed=90)  # comes between photos of older shards
    build(photos, tmp_path / "store", encoder=FakeEncoder())
    gallery = open_gallery(tmp_path / "store")
    whole = gallery.gather(range(12))
    assert whole.content.shape == (12, 9, 8)
    for size in (1, 3, 4, 100):
        blocks = list(gallery.blocks(size))
        assert torch.equal(torch.cat([block.rows for block in blocks]), torch.arange(12))
        assert torch.equal(torch.cat([block.content for block in blocks]), whole.content)
        assert torch.equal(torch.cat([block.histogram for block in blocks]), whole.histogram)
    mixed = gallery.gather([9, 1, 1, 4])
    assert torch.equal(mixed.content, whole.content[[9, 1, 1, 4]])
    with pytest.raises(IndexError):
        gallery.gather([12])
    with pytest.raises(ValueError, match="at least 1 photo"):
        next(gallery.blocks(0))


def test_the_files_are_the_same_for_any_number_of_workers(photos, tmp_path):
    stores = []
    for workers in (1, 2, 7):
        build(photos, tmp_path / f"store{workers}", encoder=FakeEncoder(), workers=workers)
        stores.append({name: data for name, (data, _) in tree(tmp_path / f"store{workers}").items()})
    assert len([name for name in stores[0] if name.startswith("shards/")]) == 3
    assert len([name for name in stores[0] if name.startswith("index/")]) == 5  # and rotation, catalogue
    assert stores[0] == stores[1] == stores[2]


def test_threads_are_given_back_also_after_an_error(photos, tmp_path):
    before, running = torch.get_num_threads(), threading.active_count()
    torch.set_num_threads(3)
    try:
        build(photos, tmp_path / "store", encoder=FakeEncoder())
        assert torch.get_num_threads() == 3

        def stop(*_):
            raise StopError

        with pytest.raises(StopError) as told:  # its traceback keeps the frames of the build alive
            build(photos, tmp_path / "second", encoder=FakeEncoder(), progress=stop)
        assert torch.get_num_threads() == 3
        assert threading.active_count() == running
        del told
    finally:
        torch.set_num_threads(before)


def test_a_second_build_encodes_and_writes_nothing(photos, tmp_path):
    build(photos, tmp_path / "store", encoder=FakeEncoder())
    before = tree(tmp_path / "store")
    encoder = FakeEncoder()
    report = build(photos, tmp_path / "store", encoder=encoder)
    assert (encoder.calls, report.unchanged, report.added) == (0, 11, 0)
    assert tree(tmp_path / "store") == before


def test_only_changed_bytes_are_encoded_again(photos, tmp_path):
    build(photos, tmp_path / "store", encoder=FakeEncoder())
    touch(photos / "day" / "000.png")  # another time, the same bytes
    (photos / "002.png").rename(photos / "renamed.png")
    write_photo(photos / "005.png", seed=77)
    touch(photos / "005.png")
    (photos / "008.png").unlink()
    write_photo(photos / "new.png", seed=78)
    encoder = FakeEncoder()
    report = build(photos, tmp_path / "store", encoder=encoder)
    assert encoder.calls == 2
    assert (report.renewed, report.changed, report.added) == (2, 1, 1)
    assert (report.removed, report.unchanged, report.photos) == (2, 7, 11)
    build(photos, tmp_path / "fresh", encoder=FakeEncoder())  # oracle: from nothing
    assert digest(open_gallery(tmp_path / "store")) == digest(open_gallery(tmp_path / "fresh"))
    encoder = FakeEncoder()
    build(photos, tmp_path / "store", encoder=encoder)
    assert encoder.calls == 0


def test_the_fingerprint_follows_the_photos_not_their_place(photos, tmp_path):
    build(photos, tmp_path / "store", encoder=FakeEncoder())
    first = open_gallery(tmp_path / "store").fingerprint
    shutil.copytree(photos, tmp_path / "elsewhere")
    build(tmp_path / "elsewhere", tmp_path / "second", encoder=FakeEncoder())
    assert open_gallery(tmp_path / "second").fingerprint == first
    write_photo(photos / "005.png", seed=77)
    touch(photos / "005.png")
    build(photos, tmp_path / "store", encoder=FakeEncoder())
    assert open_gallery(tmp_path / "store").fingerprint != first


def png_of_size(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 99)), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def test_bad_files_are_named_and_skipped(photos, tmp_path):
    whole = (photos / "002.png").read_bytes()
    bad = {
        "cut.png": whole[: len(whole) // 2],
        "empty.jpg": b"",
        "letter.png": b"Dear reader, this is no picture.",
        "bomb.png": png_of_size(30_000, 30_000),
    }
    for name, data in bad.items():
        (photos / name).write_bytes(data)
    Image.new("RGB", (8, 8), (255, 0, 0)).save(photos / "nan.png")  # the fake network answers NaN
    report = build(photos, tmp_path / "store", encoder=FakeEncoder())
    reasons = {file.id: file.reason for file in report.bad}
    assert sorted(reasons) == sorted([*bad, "nan.png"])
    assert "NaN" in reasons["nan.png"]
    assert all(reasons.values())
    assert not any(str(photos) in reason for reason in reasons.values())  # said once, not twice
    assert report.photos == len(open_gallery(tmp_path / "store")) == 11
    before = tree(tmp_path / "store")
    assert build(photos, tmp_path / "store", encoder=FakeEncoder()).bad == report.bad  # told again
    assert tree(tmp_path / "store") == before
    for name in reasons:
        write_photo(photos / name, seed=len(name) + 100)
    assert build(photos, tmp_path / "store", encoder=FakeEncoder()).added == 5


def test_a_photo_that_is_spoilt_later_leaves_the_gallery(photos, tmp_path):
    build(photos, tmp_path / "store", encoder=FakeEncoder())
    (photos / "005.png").write_bytes(b"oops")
    report = build(photos, tmp_path / "store", encoder=FakeEncoder())
    assert ([file.id for file in report.bad], report.removed, report.photos) == (["005.png"], 1, 10)


def test_nothing_but_bad_files_is_an_error(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"none of the 1 files can be used; a\.png: "):
        build(tmp_path / "photos", tmp_path / "store", encoder=FakeEncoder())


def test_a_photo_without_permission_is_skipped(photos, tmp_path, monkeypatch):
    def refuse(path):  # a stand-in that works for root too
        if path.name == "005.png":
            raise PermissionError(13, "Permission denied", str(path))
        return file_digest(path)

    monkeypatch.setattr(reading, "file_digest", refuse)
    report = build(photos, tmp_path / "store", encoder=FakeEncoder())
    assert [(file.id, file.reason) for file in report.bad] == [("005.png", "Permission denied")]
    assert report.photos == 10


def test_photos_of_a_closed_subfolder_are_kept(photos, tmp_path, monkeypatch):
    build(photos, tmp_path / "store", encoder=FakeEncoder())
    whole, real = digest(open_gallery(tmp_path / "store")), os.scandir

    def scandir(path):  # a stand-in for missing permission that works for root too
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    report = build(photos, tmp_path / "store", encoder=FakeEncoder())
    assert [(file.id, file.reason) for file in report.bad] == [
        ("night/deep", "the folder cannot be read: Permission denied")
    ]
    assert (report.removed, report.photos) == (0, 11)
    monkeypatch.undo()
    assert digest(open_gallery(tmp_path / "store")) == whole


def test_the_photo_folder_is_only_read(photos, tmp_path):
    before = tree(photos)
    folders = [photos, *(path for path in photos.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        assert build(photos, tmp_path / "store", encoder=FakeEncoder()).photos == 11
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert tree(photos) == before


def test_a_store_in_a_wrong_place_is_refused(photos, tmp_path):
    before = tree(tmp_path)
    for place in (photos, photos / "store", photos / "day" / "store"):
        with pytest.raises(ValueError, match="inside the photo folder"):
            build(photos, place, encoder=FakeEncoder())
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(ValueError, match=r"mine holds other files \(thesis\.txt\)"):
        build(photos, tmp_path / "mine", encoder=FakeEncoder())
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="a file has this name"):
        build(photos, tmp_path / "file", encoder=FakeEncoder())
    added = tree(tmp_path).keys() - before.keys()
    assert added == {"mine/thesis.txt", "file"}


def test_wrong_calls_leave_nothing_behind(photos, tmp_path):
    (tmp_path / "none").mkdir()
    for folder, words in (("missing", "does not exist"), ("none", "holds no photos")):
        with pytest.raises(ValueError, match=words):
            build(tmp_path / folder, tmp_path / "store", encoder=FakeEncoder())
    with pytest.raises(ValueError, match="at least 1 worker is needed, got 0"):
        build(photos, tmp_path / "store", encoder=FakeEncoder(), workers=0)
    with pytest.raises(ValueError, match="got 'camera'"):
        build(photos, tmp_path / "store", encoder=FakeEncoder(), group_by="camera")
    assert not (tmp_path / "store").exists()


def test_an_emptied_folder_does_not_empty_the_gallery(photos, tmp_path):
    build(photos, tmp_path / "store", encoder=FakeEncoder())
    photos.rename(tmp_path / "away")
    photos.mkdir()  # as a mount point without its disk
    with pytest.raises(ValueError, match="holds no photos; nothing was changed"):
        build(photos, tmp_path / "store", encoder=FakeEncoder())
    assert len(open_gallery(tmp_path / "store")) == 11


def test_another_feature_space_is_refused_naming_both(photos, tmp_path):
    build(photos, tmp_path / "store", encoder=FakeEncoder())
    other = FakeEncoder(fake_spec(name="other-space", weights="ffff"))
    with pytest.raises(ValueError, match=re.escape("'fake-3-8'") + ".*'other-space'"):
        build(photos, tmp_path / "store", encoder=other)
    looser = FakeEncoder(fake_spec(content_threshold=0.5))  # thresholds do not make another space
    assert build(photos, tmp_path / "store", encoder=looser).unchanged == 11


def test_progress_counts_every_photo_in_order(photos, tmp_path):
    seen = []
    build(photos, tmp_path / "store", encoder=FakeEncoder(), progress=lambda *step: seen.append(step))
    names = sorted(path.relative_to(photos).as_posix() for path in photos.rglob("*.png"))
    assert seen == [(n, 11, name) for n, name in enumerate(names, 1)]


class StopError(Exception):
    pass


@pytest.mark.parametrize("error", [StopError, KeyboardInterrupt])
def test_an_interrupted_build_keeps_what_was_done(photos, tmp_path, error):
    build(photos, tmp_path / "whole", encoder=FakeEncoder())
    done = 0

    def count(now, _total, _name):
        nonlocal done
        done = now

    def interrupted():
        if done == 6:
            raise error

    with pytest.raises(error):
        build(photos, tmp_path / "store", encoder=FakeEncoder(), progress=count, interrupted=interrupted)
    with pytest.raises(
        ValueError, match=r"is unfinished: 6 of 11 photos; run `raiha gallery build .*photos .*store` again"
    ):
        open_gallery(tmp_path / "store")
    partial = open_gallery(tmp_path / "store", allow_partial=True)
    assert (len(partial), partial.unfinished) == (6, True)
    encoder = FakeEncoder()
    report = build(photos, tmp_path / "store", encoder=encoder)
    assert (encoder.calls, report.added, report.unchanged) == (5, 5, 6)
    assert digest(open_gallery(tmp_path / "store")) == digest(open_gallery(tmp_path / "whole"))
    assert not open_gallery(tmp_path / "store").unfinished


def test_a_broken_encoder_is_not_a_bad_photo(photos, tmp_path):
    class Broken(FakeEncoder):
        def encode(self, images):
            if self.calls == 5:
                raise RuntimeError("out of memory")
            return super().encode(images)

    with pytest.raises(RuntimeError, match="out of memory"):
        build(photos, tmp_path / "store", encoder=Broken(), workers=1)
    assert len(open_gallery(tmp_path / "store", allow_partial=True)) == 5


def test_a_photo_that_changes_under_our_hands_is_not_stored(photos, tmp_path, monkeypatch):
    def meddle(path, **options):
        picture = read_picture(path, **options)
        if path.name == "005.png":  # the bytes that were hashed are gone now
            write_photo(path, seed=55)
            touch(path)
        return picture

    monkeypatch.setattr(reading, "open_picture", meddle)
    report = build(photos, tmp_path / "store", encoder=FakeEncoder())
    assert [(file.id, file.reason) for file in report.bad] == [
        ("005.png", "changed while it was read; build again")
    ]
    monkeypatch.undo()
    assert build(photos, tmp_path / "store", encoder=FakeEncoder()).added == 1
