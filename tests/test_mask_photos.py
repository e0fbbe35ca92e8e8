"""train/mask_photos.py: which objects are taken for plain, what is written, and that a killed run goes on."""

import json
import shutil
import struct

import numpy as np
import pytest

from raiha_core.data.pictures import decode_mask
from raiha_train.data.photos import in_validation, read_photos
from raiha_train.prepare import mask_photos
from tests.tiny_iharmony4 import save


def field(number: int, value: bytes | int) -> bytes:
    """One field of a protocol buffer: a varint below 128, or bytes."""
    if isinstance(value, int):
        return bytes([number << 3, value])
    length, head = len(value), bytes([number << 3 | 2])
    return head + (bytes([length]) if length < 128 else bytes([length & 127 | 128, length >> 7])) + value


def write_network(path, outputs=1):
    """An ONNX network: how red each pixel is, by a 1x1 convolution and a sigmoid."""
    side = mask_photos.SALIENCY_SIDE
    weight = outputs * struct.pack("<3f", 12.0, -12.0, -12.0)
    dims = b"".join(field(1, d) for d in (outputs, 3, 1, 1))
    tensor = dims + field(2, 1) + field(8, b"w") + field(9, weight)

    def value(name: bytes, channels: int) -> bytes:
        sides = struct.pack("<B", 0x08) + bytes([side & 127 | 128, side >> 7])
        shape = b"".join(field(1, d) for d in (field(1, 1), field(1, channels), sides, sides))
        return field(1, name) + field(2, field(1, field(1, 1) + field(2, shape)))

    nodes = [
        field(1, b"x") + field(1, b"w") + field(2, b"s") + field(4, b"Conv"),
        field(1, b"s") + field(2, b"y") + field(4, b"Sigmoid"),
    ]
    graph = b"".join(field(1, node) for node in nodes) + field(2, b"red") + field(5, tensor)
    graph += field(11, value(b"x", 3)) + field(12, value(b"y", outputs))
    path.write_bytes(field(1, 8) + field(7, graph) + field(8, field(2, 13)))
    return path


@pytest.fixture
def photos(tmp_path):
    """Three photos: one with a mask of its own, one with a red object, one without."""
    root = tmp_path / "photos"
    grey = np.full((90, 120, 3), 160, np.uint8)
    red = grey.copy()
    red[20:60, 30:80] = (250, 10, 10)
    mask = np.zeros((90, 120), np.uint8)
    mask[5:40, 5:40] = 255
    for name, picture in (("own", grey), ("red", red), ("plain", grey)):
        save(root / f"images/{name}.png", picture)
    save(root / "masks/own.png", mask)
    rows = [{"image": "images/own.png", "mask": "masks/own.png"}, {"image": "images/red.png"}]
    rows.append({"image": "images/plain.png", "license": "CC0"})
    (root / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


def call(photos, model):
    return mask_photos.main(["--photos", str(photos), "--model", str(model)])


def test_a_plain_object_gets_its_mask_and_the_rest_stays_as_it_was(photos, tmp_path, capsys):
    before = read_photos(photos)
    assert call(photos, write_network(tmp_path / "red.onnx")) == 0
    assert "1 photos got a mask, 1 have none; 3 rows" in capsys.readouterr().out
    after = read_photos(photos)
    assert [row.mask is None for row in after] == [False, False, True]
    assert after[0].id == before[0].id
    assert [in_validation(row, 0.5) for row in after] == [in_validation(row, 0.5) for row in before]
    found = decode_mask(after[1].mask) > 127
    truth = np.zeros((90, 120), bool)
    truth[20:60, 30:80] = True
    assert (found & truth).sum() / (found | truth).sum() > 0.95
    lines = [json.loads(line) for line in (photos / "manifest.jsonl").read_text().splitlines()]
    assert [line.get("mask_by") for line in lines] == [None, "red", None]
    assert lines[2] == {"image": "images/plain.png", "license": "CC0"}


def test_a_killed_run_goes_on_where_it_was_and_a_finished_one_asks_nothing(photos, tmp_path, monkeypatch):
    model = write_network(tmp_path / "red.onnx")
    whole = tmp_path / "whole"
    shutil.copytree(photos, whole)
    call(whole, model)
    asked = []
    real = mask_photos.Salience.__call__

    def killed(self, photo):
        asked.append(photo.shape)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return real(self, photo)

    monkeypatch.setattr(mask_photos.Salience, "__call__", killed)
    with pytest.raises(KeyboardInterrupt):
        call(photos, model)
    for _ in range(2):
        assert call(photos, model) == 0
        assert len(asked) == 3  # neither photo is asked about again
        assert (photos / "manifest.jsonl").read_text() == (whole / "manifest.jsonl").read_text()


def test_photos_of_one_name_in_two_folders_have_masks_of_their_own_without_a_manifest(tmp_path):
    root = tmp_path / "plain"
    for folder, place in (("a", slice(10, 40)), ("b", slice(50, 80))):
        picture = np.full((90, 120, 3), 160, np.uint8)
        picture[place, 30:80] = (250, 10, 10)
        save(root / folder / "1.png", picture)
    assert call(root, write_network(tmp_path / "red.onnx")) == 0
    for row, place in zip(read_photos(root), (slice(10, 40), slice(50, 80)), strict=True):
        found = decode_mask(row.mask) > 127
        assert found[place, 30:80].mean() > 0.9
        assert found.mean() < 0.2


def test_without_a_manifest_a_killed_run_takes_no_mask_for_a_photo(photos, tmp_path, monkeypatch):
    (photos / "manifest.jsonl").unlink()
    shutil.rmtree(photos / "masks")
    model = write_network(tmp_path / "red.onnx")
    write_text = mask_photos.write_text
    monkeypatch.setattr(mask_photos, "write_text", killed_at(write_text, "manifest.jsonl"))
    with pytest.raises(KeyboardInterrupt):
        call(photos, model)
    monkeypatch.setattr(mask_photos, "write_text", write_text)
    assert call(photos, model) == 0
    assert [row.image.name for row in read_photos(photos)] == ["own.png", "plain.png", "red.png"]


def killed_at(function, name):
    """The function, but for one name of a file an interrupt."""

    def call_or_die(path, text):
        if path.name == name:
            raise KeyboardInterrupt
        return function(path, text)

    return call_or_die


def test_a_photo_that_cannot_be_read_is_named_and_the_others_get_their_masks(photos, tmp_path, capsys):
    (photos / "images/plain.png").write_bytes(b"no picture")
    assert call(photos, write_network(tmp_path / "red.onnx")) == 0
    told = capsys.readouterr()
    assert "plain.png" in told.err
    assert "left without a mask" in told.err
    assert "1 photos got a mask, 1 have none" in told.out


@pytest.mark.parametrize(
    ("inside", "outside", "share"),
    [(0.95, 0.0, 0.01), (0.95, 0.0, 0.8), (0.7, 0.0, 0.2), (0.95, 0.3, 0.2)],
    ids=["too small", "too large", "unsure of the object", "unsure of the rest"],
)
def test_an_object_that_is_not_plain_has_no_mask(inside, outside, share):
    salience = np.full((100, 100), outside, np.float32)
    salience[: int(100 * share)] = inside
    assert mask_photos.plain_object(salience) is None
    salience[:] = 0.02
    salience[:20] = 0.95
    found = mask_photos.plain_object(salience)
    assert found is not None
    assert set(np.unique(found)) == {0, 255}


def test_wrong_files_are_named(photos, tmp_path, capsys):
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"no network")
    good = write_network(tmp_path / "red.onnx")
    assert call(photos, bad) == 1
    assert f"mask_photos: {bad} is no ONNX network" in capsys.readouterr().err
    assert call(photos, tmp_path / "none.onnx") == 1
    assert "none.onnx" in capsys.readouterr().err
    assert call(tmp_path / "nowhere", good) == 1
    assert "there is no folder of photos" in capsys.readouterr().err
    two = write_network(tmp_path / "two.onnx", outputs=2)
    assert call(photos, two) == 1
    assert "two.onnx answers (1, 2, 256, 256), needed is a map (1, 1, 256, 256)" in capsys.readouterr().err
    (photos / "manifest.jsonl").write_text('{"image": "images/red.png"}\n\n{"picture": 3}\n')
    assert call(photos, good) == 1
    assert "manifest.jsonl, line 3 is no photo" in capsys.readouterr().err
