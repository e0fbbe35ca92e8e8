"""A gallery opens by its catalogue as by its manifest, and believes it only where it is of that manifest."""

import pytest

from raiha_core.gallery import journal, store
from raiha_core.gallery.build import build
from raiha_core.gallery.catalogue import catalogue_of, read_catalogue, write_catalogue
from raiha_core.gallery.check import check
from raiha_core.gallery.layout import Layout
from raiha_core.gallery.manifest import replay
from raiha_core.gallery.protocol import rows_of_photos
from raiha_core.gallery.remove import remove
from raiha_core.gallery.repair import repair
from raiha_core.gallery.store import open_gallery
from tests.gallery_fakes import FakeEncoder, digest, write_photos


@pytest.fixture
def gallery(tmp_path):
    photos = write_photos(tmp_path / "photos")
    build(photos, tmp_path / "store", encoder=FakeEncoder(), workers=1, group_by="folder")
    return tmp_path / "store"


def test_a_gallery_opens_by_its_catalogue_as_by_its_manifest(gallery, monkeypatch):
    layout = Layout(gallery)
    monkeypatch.setattr(store.journal, "parse", None)  # would fail where the manifest is parsed
    fast = open_gallery(gallery)
    monkeypatch.undo()
    layout.catalogue.unlink()
    plain = open_gallery(gallery)
    assert list(fast.photos) == list(plain.photos)
    assert digest(fast) == digest(plain)
    assert fast.photos[-1] == plain.photos[len(plain) - 1]
    assert fast.photos[1:3] == plain.photos[1:3]


def test_photos_are_found_by_name_as_by_looking_at_each(gallery):
    photos = open_gallery(gallery).photos
    for kind in ("id", "group", "sha256"):
        names = {getattr(photo, kind) for photo in photos} | {"none", "00" * 32, "zz"}
        assert photos.rows_of(kind, names) == rows_of_photos(photos, kind, names)


def test_a_catalogue_of_another_manifest_is_passed_over(gallery):
    layout = Layout(gallery)
    old, before = layout.catalogue.read_bytes(), len(open_gallery(gallery))
    name = open_gallery(gallery).photos[0].id
    remove(gallery, [name])
    assert read_catalogue(layout, layout.manifest.read_bytes()) is not None
    layout.catalogue.write_bytes(old)
    assert read_catalogue(layout, layout.manifest.read_bytes()) is None
    assert len(open_gallery(gallery)) == before - 1
    layout.catalogue.write_bytes(b"nothing of the kind")
    assert len(open_gallery(gallery)) == before - 1


@pytest.mark.parametrize("at", [-1, -300])
def test_changed_bytes_are_passed_over(gallery, at):
    layout = Layout(gallery)
    raw = bytearray(layout.catalogue.read_bytes())
    raw[at] ^= 1
    layout.catalogue.write_bytes(raw)
    assert read_catalogue(layout, layout.manifest.read_bytes()) is None
    assert len(open_gallery(gallery)) > 0


def test_a_catalogue_that_lies_is_found_and_repaired(gallery, monkeypatch):
    # One that names this manifest and adds up, and yet tells of other photos: nothing of ours writes it.
    layout = Layout(gallery)
    state = replay(journal.read(layout.manifest).batches)
    state.live.popitem()
    layout.catalogue.unlink()
    monkeypatch.setattr("raiha_core.gallery.catalogue.catalogue_of", lambda _: lie)
    lie = catalogue_of(state)
    write_catalogue(layout, state)
    monkeypatch.undo()
    assert [damage.where for damage in check(gallery).damages] == ["index/catalogue"]
    assert repair(gallery).actions == ("deleted the catalogue, which told of other photos",)
    assert check(gallery).sound
