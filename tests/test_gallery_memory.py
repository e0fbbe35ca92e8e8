"""A gallery of pictures in memory has the same face and the same numbers as one on disk."""

import pytest
import torch

from raiha_core.features.patches import store
from raiha_core.gallery.build import build
from raiha_core.gallery.memory import memory_gallery
from raiha_core.gallery.store import open_gallery
from raiha_core.images import read_picture
from tests.gallery_fakes import FakeEncoder, write_photos


def test_it_agrees_with_a_gallery_on_disk(tmp_path):
    write_photos(tmp_path / "photos", 7)
    build(tmp_path / "photos", tmp_path / "store", encoder=FakeEncoder())
    stored = open_gallery(tmp_path / "store")
    pictures = [read_picture(photo.path).pixels for photo in stored.photos]
    ids = [photo.id for photo in stored.photos]
    order = torch.randperm(7, generator=torch.Generator().manual_seed(1)).tolist()
    memory = memory_gallery([pictures[n] for n in order], FakeEncoder(), ids=[ids[n] for n in order])
    assert [photo.id for photo in memory.photos] == ids  # sorted, whatever the order given
    for mine, theirs in zip(memory.blocks(3), stored.blocks(3), strict=True):
        assert torch.equal(mine.rows, theirs.rows)
        assert torch.equal(mine.content, theirs.content)
        assert torch.equal(mine.histogram, theirs.histogram)
    assert torch.equal(memory.gather([5, 0, 5]).content, stored.gather([5, 0, 5]).content)
    assert all(torch.equal(memory.load(row), stored.load(row)) for row in range(7))
    assert [(p.width, p.height) for p in memory.photos] == [(p.width, p.height) for p in stored.photos]


def test_a_batch_gives_what_its_pictures_give_alone():
    batch = torch.rand(3, 3, 8, 9, generator=torch.Generator().manual_seed(0))
    gallery = memory_gallery(batch, FakeEncoder())
    assert [photo.id for photo in gallery.photos] == ["000000", "000001", "000002"]
    for n in range(3):
        assert torch.equal(gallery.gather([n]).content, store(FakeEncoder().encode(batch[n : n + 1])).content)


def test_the_fingerprint_follows_the_content():
    batch = torch.rand(3, 3, 8, 9, generator=torch.Generator().manual_seed(0))
    first = memory_gallery(batch, FakeEncoder()).fingerprint
    assert memory_gallery(batch.clone(), FakeEncoder(), name="other").fingerprint == first
    assert memory_gallery(batch[:2], FakeEncoder()).fingerprint != first
    assert memory_gallery(batch, FakeEncoder(), ids=["a", "b", "c"]).fingerprint != first
    batch[1, 0, 0, 0] += 0.01
    assert memory_gallery(batch, FakeEncoder()).fingerprint != first


def test_equal_pictures_are_known_as_such():
    gallery = memory_gallery(torch.zeros(2, 3, 4, 5), FakeEncoder())
    assert gallery.photos[0].sha256 == gallery.photos[1].sha256
    other = memory_gallery(torch.zeros(1, 3, 5, 4), FakeEncoder())  # same bytes, another shape
    assert other.photos[0].sha256 != gallery.photos[0].sha256


def test_no_pictures_are_an_empty_gallery():
    gallery = memory_gallery([], FakeEncoder())
    assert len(gallery) == 0
    assert list(gallery.blocks(4)) == []
    assert gallery.gather([]).content.shape == (0, 9, 8)


def test_bad_input_is_named():
    encoder = FakeEncoder()
    with pytest.raises(ValueError, match="picture 'b' must be"):
        memory_gallery([torch.rand(1, 3, 4, 4), torch.rand(1, 4, 4, 4)], encoder, ids=["a", "b"])
    with pytest.raises(ValueError, match="2 pictures need as many different ids, got 1"):
        memory_gallery(torch.rand(2, 3, 4, 4), encoder, ids=["a", "a"])
    broken = torch.rand(1, 3, 4, 4)
    broken[:, 0] = 1  # the fake network answers NaN
    with pytest.raises(ValueError, match="picture '000000': the features hold NaN"):
        memory_gallery(broken, encoder)
    gallery = memory_gallery(torch.rand(2, 3, 4, 4), encoder)
    with pytest.raises(IndexError, match=r"not all in 0\.\.1"):
        gallery.gather([0, 2])
    with pytest.raises(ValueError, match="at least 1 photo"):
        list(gallery.blocks(0))
