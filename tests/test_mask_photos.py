"""train/mask_photos.py: which objects are taken for plain, what is written, and that a killed run goes on."""

import json
import shutil
import struct

import mask_photos
import numpy as np
import pytest

from raiha_core.data.photos import in_validation, read_photos
from raiha_core.data.pictures import decode_mask
from tests.tiny_iharmony4 import save


def field(number: int, value: bytes | int) -> bytes:
    """One field of a protocol buffer: a varint below 128, or bytes."""
    if isinstance(value, int):
        return bytes([number << 3, value])
    length, head = len(value), bytes([number << 3 | 2])
    return head + (bytes([length]) if length < 128 else bytes([length & 127 | 128, length >> 7])) + value


def write_network(path, side=mask_photos.SIDE):
    """An ONNX network: how red each pixel is, by a 1x1 convolution and a sigmoid."""
    weight = struct.pack("<3f", 12.0, -12.0, -12.0)
    dims = b"".join(field(1, d) for d in (1, 3, 1, 1))
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
    graph += field(11, value(b"x", 3)) + field(12, value(b"y", 1))
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


def call(photos, model, out):
    return mask_photos.main(["--photos", str(photos), "--model", str(model), "--out", str(out)])


def test_a_plain_object_gets_its_mask_and_the_rest_stays_as_it_was(photos, tmp_path, capsys):
    out = tmp_path / "masked"
    assert call(photos, write_network(tmp_path / "red.onnx"), out) == 0
    assert "1 photos got a mask, 1 have none; 3 rows" in capsys.readouterr().out
    before, after = read_photos(photos), read_photos(out)
    assert [row.mask is None for row in after] == [False, False, True]
    assert after[0].id == before[0].id
    assert [in_validation(row, 0.5) for row in after] == [in_validation(row, 0.5) for row in before]
    found = decode_mask(after[1].mask) > 127
    truth = np.zeros((90, 120), bool)
    truth[20:60, 30:80] = True
    assert (found & truth).sum() / (found | truth).sum() > 0.95
    lines = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    assert [line.get("mask_by") for line in lines] == [None, "u2net", None]
    assert lines[2] == {"image": "images/plain.png", "license": "CC0"}


def test_a_killed_run_goes_on_where_it_was(photos, tmp_path, monkeypatch):
    out, model = tmp_path / "masked", write_network(tmp_path / "red.onnx")
    asked = []
    real = mask_photos.Salience.__call__

    def killed(self, photo):
        asked.append(photo.shape)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return real(self, photo)

    monkeypatch.setattr(mask_photos.Salience, "__call__", killed)
    with pytest.raises(KeyboardInterrupt):
        call(photos, model, out)
    assert call(photos, model, out) == 0
    assert len(asked) == 3  # the first photo is not asked about again
    whole = tmp_path / "whole"
    monkeypatch.setattr(mask_photos.Salience, "__call__", real)
    call(photos, model, whole)
    assert (out / "manifest.jsonl").read_text() == (whole / "manifest.jsonl").read_text()
    shutil.rmtree(whole)


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
    assert call(photos, bad, tmp_path / "out") == 1
    assert f"mask_photos: {bad} is no ONNX network" in capsys.readouterr().err
    assert call(tmp_path / "nowhere", write_network(tmp_path / "red.onnx"), tmp_path / "out2") == 1
    assert "nowhere" in capsys.readouterr().err
