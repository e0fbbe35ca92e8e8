"""data/cache.py: packed photos are what Pillow gives; whole or not at all; the unreadable are named."""

import errno
import os
import threading
import time

import numpy as np
import pytest
import torch
from PIL import Image

from raiha_train.data import cache as module
from raiha_train.data import made_once
from raiha_train.data.cache import open_cache
from raiha_train.data.photos import PhotoRow


@pytest.fixture
def rows(tmp_path):
    rng = np.random.default_rng(1)
    made = []
    for i in range(6):
        size = (20 + i, 16 + 2 * i)
        Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), np.uint8)).save(tmp_path / f"p{i}.png")
        mask = None
        if i % 2:
            mask = tmp_path / f"m{i}.png"
            Image.fromarray((rng.random((size[1], size[0])) > 0.5).astype(np.uint8) * 255).save(mask)
        made.append(PhotoRow(id=f"p{i}", image=tmp_path / f"p{i}.png", mask=mask, group=""))
    return made


def test_packed_photos_are_what_pillow_gives(rows, tmp_path):
    cache = open_cache(rows, 12, tmp_path / "cache")
    assert (len(cache), cache.size, cache.skipped) == (6, 12, ())
    images, masks, has = cache.gather([4, 1, 1])
    assert images.dtype == masks.dtype == torch.uint8
    assert images.shape == (3, 3, 12, 12)
    assert has.tolist() == [False, True, True]
    for b, i in enumerate((4, 1, 1)):
        expected = Image.open(rows[i].image).resize((12, 12), Image.Resampling.BILINEAR)
        assert np.array_equal(images[b].permute(1, 2, 0).numpy(), np.asarray(expected))
    expected = Image.open(rows[1].mask).resize((12, 12), Image.Resampling.BILINEAR)
    assert np.array_equal(masks[1, 0].numpy(), np.asarray(expected))
    assert not masks[0].any()


def test_a_second_opening_reads_and_does_not_decode(rows, tmp_path, monkeypatch):
    first = open_cache(rows, 8, tmp_path / "cache")
    monkeypatch.setattr(module, "_decode", lambda row, size: pytest.fail("decoded again"))
    second = open_cache(rows, 8, tmp_path / "cache")
    assert torch.equal(first.gather(range(6))[0], second.gather(range(6))[0])
    with pytest.raises(pytest.fail.Exception):
        open_cache(rows, 9, tmp_path / "cache")  # another size is another folder


def test_unreadable_photos_are_skipped_up_to_the_share_and_named(rows, tmp_path):
    rows[2].image.write_bytes(b"\x89PNG and nothing more")
    Image.new("L", (5, 5)).save(rows[3].mask)  # not of its photo's size
    cache = open_cache(rows, 8, tmp_path / "cache", allowed_bad=0.4)
    assert [row.id for row in cache.rows] == ["p0", "p1", "p4", "p5"]
    assert [name for name, _ in cache.skipped] == ["p2", "p3"]
    assert "p2.png" in cache.skipped[0][1]
    assert "5x5" in cache.skipped[1][1]
    expected = Image.open(rows[4].image).resize((8, 8), Image.Resampling.BILINEAR)
    assert np.array_equal(cache.gather([2])[0][0].permute(1, 2, 0).numpy(), np.asarray(expected))
    with pytest.raises(ValueError, match=r"2 of 6 photos cannot be read \(allowed: 20\.0%\).*p2\.png"):
        open_cache(rows, 9, tmp_path / "cache", allowed_bad=0.2)
    assert not list((tmp_path / "cache").glob(".*")), "a half made cache is left"


def test_a_full_disk_leaves_nothing_half_made(rows, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full, raising=False)
        with pytest.raises(OSError, match="No space left"):
            open_cache(rows, 8, tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [made_once.LOCK]
    assert len(open_cache(rows, 8, tmp_path / "cache")) == 6


@pytest.mark.parametrize("at", [3, 5])
def test_a_killed_packing_goes_on_where_it_was(rows, tmp_path, monkeypatch, at):
    rows[1].image.write_bytes(b"no picture")
    whole = open_cache(rows, 8, tmp_path / "whole", allowed_bad=0.4)
    monkeypatch.setattr(module, "_CHUNK", 2)
    real, decoded = module._decode, []

    class Kill(BaseException):
        pass

    def counting(row, size):
        decoded.append(row.id)
        if row.id == f"p{at}":
            raise Kill
        return real(row, size)

    with monkeypatch.context() as patch:
        patch.setattr(module, "_decode", counting)
        with pytest.raises(Kill):
            open_cache(rows, 8, tmp_path / "cache", allowed_bad=0.4)
    decoded.clear()
    monkeypatch.setattr(module, "_decode", lambda row, size: decoded.append(row.id) or real(row, size))
    seen = []
    again = open_cache(
        rows, 8, tmp_path / "cache", allowed_bad=0.4, progress=lambda done, total: seen.append(done)
    )
    assert sorted(decoded) == [f"p{i}" for i in range(at // 2 * 2, 6)]  # whole pairs are not done again
    assert seen[0] == at // 2 * 2
    assert again.skipped == whole.skipped
    for one, other in zip(again.gather(range(5)), whole.gather(range(5)), strict=True):
        assert torch.equal(one, other)


def test_a_process_that_does_not_pack_waits_for_the_one_that_does(rows, tmp_path, capsys):
    found = []
    waiting = threading.Thread(target=lambda: found.append(open_cache(rows, 8, tmp_path / "c", mine=False)))
    waiting.start()
    time.sleep(0.3)
    assert waiting.is_alive()
    made = open_cache(rows, 8, tmp_path / "c")
    waiting.join(10)
    assert torch.equal(found[0].gather(range(6))[0], made.gather(range(6))[0])
    assert "waiting for another process" in capsys.readouterr().err


def test_a_second_run_waits_while_the_first_packs_and_does_not_pack_again(rows, tmp_path, monkeypatch):
    real, packed = module._make, []

    def slow(*arguments):
        time.sleep(1.5)  # longer than a lock is tried for
        packed.append(1)
        real(*arguments)

    monkeypatch.setattr(module, "_make", slow)
    both = [threading.Thread(target=open_cache, args=(rows, 8, tmp_path / "c")) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join(20)
    assert packed == [1]


def test_unpacked_photos_are_the_packed_ones(rows, tmp_path):
    cache = open_cache(rows, 8, tmp_path / "cache")
    seen = module.UnpackedPhotos(cache.rows, 8, cache.fingerprint)
    for one, other in zip(seen.gather([5, 0, 1]), cache.gather([5, 0, 1]), strict=True):
        assert torch.equal(one, other)


def test_progress_counts_to_the_end_and_no_photo_is_an_error(rows, tmp_path):
    seen = []
    open_cache(rows, 8, tmp_path / "cache", progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i, 6) for i in range(1, 7)]
    with pytest.raises(ValueError, match="no photo to pack"):
        open_cache([], 8, tmp_path / "cache")
