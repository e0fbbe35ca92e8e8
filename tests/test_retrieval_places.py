"""One shot, one place; the composite itself is left out; photos that are gone or changed are passed over."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from raiha_core.features.encoders import build_encoder
from raiha_core.gallery.build import build
from raiha_core.gallery.memory import memory_gallery
from raiha_core.gallery.store import open_gallery
from raiha_core.retrieval.search import references, search

SCENES = Path(__file__).parent.parent / "assets" / "scenes" / "photos"
SHOTS = ("lomiri_picosdeeuropa_by_Aitzol_Berasategi.jpg", "lomiri_sunset_by_Aitzol_Berasategi.jpg")


@pytest.fixture(scope="module")
def encoder():
    return build_encoder("lite0-fast")


def shot(number, side=200):
    photo = Image.open(SCENES / SHOTS[number]).convert("RGB")
    photo.thumbnail((side, side))
    return photo


def tensor(photo):
    return torch.from_numpy(np.asarray(photo).copy()).permute(2, 0, 1)[None] / 255


def relit(photo):
    """The same view under a blue dusk."""
    return Image.fromarray((np.asarray(photo) * [0.35, 0.45, 0.75]).astype(np.uint8))


COPIES = {
    "bytes": lambda photo, path: shutil.copy(path, path.with_name("other (1).png")),
    "jpeg": lambda photo, path: photo.save(path.with_name("other.jpg"), quality=70),
    "smaller": lambda photo, path: photo.resize((120, 90)).save(path.with_name("other.png")),
    "burst": lambda photo, path: photo.crop((2, 2, *photo.size)).save(path.with_name("other.png")),
    "brighter": lambda photo, path: photo.point(lambda v: min(255, v * 1.1)).save(
        path.with_name("other.png")
    ),
}


def ask(gallery, encoder, composite=None, **options):
    composite = tensor(shot(0, 190)) if composite is None else composite
    mask = torch.zeros_like(composite[:, :1])
    mask[..., 60:110, 60:120] = 1
    options = {"by": "content", "content_threshold": 0.01, **options}
    return search(gallery, composite, mask, encoder=encoder, **options)


def ids(answer):
    return [item.photo.id for item in answer.items]


@pytest.mark.parametrize("kind", COPIES)
def test_copies_of_one_shot_share_one_place(encoder, tmp_path, kind):
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(2):
        shot(number).save(photos / f"{number}.png")
    COPIES[kind](shot(0), photos / "0.png")
    build(photos, tmp_path / "store", encoder=encoder)
    gallery = open_gallery(tmp_path / "store")
    found = ask(gallery, encoder)
    assert found.qualified == 3
    assert len(found) == 2
    assert "1.png" in ids(found)
    assert ids(found)[0] == ids(ask(gallery, encoder, one_place=False))[0]  # the best of the shot
    assert len(ask(gallery, encoder, one_place=False)) == 3
    assert len(ask(gallery, encoder, seed=0)) == 3  # a draw is the paper's
    assert len(ask(gallery, encoder, top_k=None)) == 3  # the first of two searches keeps all


@pytest.mark.parametrize("kind", ["mirrored", "relit", "turned"])
def test_other_shots_keep_their_places(encoder, kind):
    photo = shot(0)
    other = {
        "mirrored": lambda: photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        "relit": lambda: relit(photo),  # one view, another light: another reference
        "turned": lambda: photo.transpose(Image.Transpose.ROTATE_90),
    }[kind]()
    gallery = memory_gallery([tensor(photo), tensor(other), tensor(shot(1))], encoder)
    assert len(ask(gallery, encoder)) == 3


@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_composite_itself_is_left_out_of_an_image_batch(encoder, place):
    composite = tensor(shot(0))
    others = [tensor(shot(1)), tensor(relit(shot(0)))]
    pictures = [*others[:place], composite, *others[place:]]
    gallery = memory_gallery(pictures, encoder)
    found = ask(gallery, encoder, composite.clone())
    assert sorted(ids(found)) == sorted(f"{n:06d}" for n in range(3) if n != place)
    assert found.excluded == 1
    changed = composite.clone()
    changed[..., 0, 0] = 1 - changed[..., 0, 0]  # another picture, though nearly the same
    assert f"{place:06d}" in ids(ask(gallery, encoder, changed))


def spoil_missing(path):
    path.unlink()


def spoil_changed(path):
    Image.new("RGB", (30, 30), (9, 80, 200)).save(path)


def spoil_in_place(path):
    """Other bytes of the same size, and the time of writing as it was."""
    state, raw = path.stat(), bytearray(path.read_bytes())
    raw[-20] ^= 0xFF
    path.write_bytes(raw)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def spoil_folder(path):
    path.unlink()
    path.mkdir()


def spoil_pipe(path):
    path.unlink()
    os.mkfifo(path)


SPOILS = [spoil_missing, spoil_changed, spoil_folder]
if os.name != "nt":
    SPOILS += [spoil_in_place, spoil_pipe]


@pytest.mark.parametrize("spoil", SPOILS)
def test_a_photo_that_cannot_be_had_gives_its_place_to_the_next_best(encoder, tmp_path, spoil):
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(2):
        shot(number).save(photos / f"{number}.png")
    relit(shot(0)).save(photos / "2.png")
    build(photos, tmp_path / "store", encoder=encoder)
    gallery = open_gallery(tmp_path / "store")
    before = ids(ask(gallery, encoder))
    assert len(before) == 3
    spoil(photos / before[0])
    found = ask(gallery, encoder, top_k=2)
    assert ids(found) == before[1:]
    assert any(note.startswith("passed over: ") and before[0] in note for note in found.notes)
    assert len(references(found)) == 2
    assert ids(ask(gallery, encoder, available=False)) == before  # the caller needs no photos


def test_a_touched_or_moved_photo_is_taken_all_the_same(encoder, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(2):
        shot(number).save(photos / f"{number}.png")
    build(photos, tmp_path / "store", encoder=encoder)
    os.utime(photos / "0.png")
    (photos / "1.png").chmod(0o640)
    assert len(references(ask(open_gallery(tmp_path / "store"), encoder))) == 2
    shutil.copytree(photos, tmp_path / "copy")
    shutil.rmtree(photos)
    found = ask(open_gallery(tmp_path / "store"), encoder)
    assert (len(found), found.qualified) == (0, 2)
    assert any("`photos`" in note for note in found.notes)
    moved = open_gallery(tmp_path / "store", photos=tmp_path / "copy")
    assert len(references(ask(moved, encoder))) == 2
