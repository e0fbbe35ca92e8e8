"""train/make_real_masked.py: recoloured triples, the same bytes each time."""

import json

import numpy as np
import pytest
import torch

from raiha_core.data.layout import read_root
from raiha_core.data.pictures import decode_mask, decode_rgb
from raiha_train.data.batch import as_batch
from raiha_train.evaluation.metrics import foreground_mse
from raiha_train.prepare import make_real_masked
from tests.tiny_iharmony4 import photo, save


@pytest.fixture
def folders(tmp_path):
    photos, lights = tmp_path / "photos", tmp_path / "lights"
    rows = []
    for n in range(3):
        save(photos / f"images/p{n}.jpg", photo(n, (40, 30)))
        mask = np.zeros((30, 40), np.uint8)
        mask[5:20, 8:30] = 255
        save(photos / f"masks/p{n}.png", mask)
        rows.append(json.dumps({"image": f"images/p{n}.jpg", "mask": f"masks/p{n}.png", "area": 0.3}))
    (photos / "manifest.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    matrices = lights / "polynomial_matching_coefficients"
    matrices.mkdir(parents=True)
    for n, gain in enumerate((0.5, 0.8, 1.0)):
        forward = np.zeros((3, 11))
        forward[:, :3] = np.diag([gain, 1.0, 1.2 - gain / 4])
        back = np.zeros((3, 11))
        back[:, :3] = np.linalg.inv(forward[:, :3])
        np.save(matrices / f"light{n}.npy", forward)
        np.save(matrices / f"light{n}_reverse.npy", back)
    (lights / "test_list.txt").write_text("light0_a\nlight0_b\nlight1_a\nlight2_a\n", encoding="utf-8")
    return photos, lights


def test_triples_keep_the_background_and_the_range(folders, tmp_path):
    photos, lights = folders
    done = make_real_masked.make_recoloured(photos, lights, tmp_path / "out")
    items = read_root(tmp_path / "out")
    assert [item.id for item in items] == ["p0", "p1", "p2"]
    for item, found in zip(items, done, strict=True):
        composite, real = decode_rgb(item.composite_path), decode_rgb(item.real_path)
        mask = decode_mask(item.mask_path)
        assert np.array_equal(composite[mask == 0], real[mask == 0])
        fmse = float(foreground_mse(*(as_batch(x) for x in (composite, real, mask))))
        assert fmse == pytest.approx(found.fmse)
        assert 100 <= fmse <= 6000
        assert found.clipped < 0.15
        assert found.first != found.second  # the same light twice changes nothing, and is drawn again
    assert (tmp_path / "out/real/p0.jpg").read_bytes() == (photos / "images/p0.jpg").read_bytes()
    make_real_masked.make_recoloured(photos, lights, tmp_path / "again")
    for item in items:
        again = (tmp_path / "again" / item.composite).read_bytes()
        assert again == item.composite_path.read_bytes()


def test_newly_clipped_values_are_counted():
    old = torch.tensor([[255, 100, 100, 3]], dtype=torch.uint8).expand(1, 3, 1, 4).clone()
    new = torch.tensor([[255, 255, 101, 0]], dtype=torch.uint8).expand(1, 3, 1, 4)
    mask = torch.full((1, 1, 1, 4), 255, dtype=torch.uint8)
    assert make_real_masked.newly_clipped(new, old, mask) == 0.5


def test_wrong_calls(folders, tmp_path, capsys):
    photos, lights = folders
    command = ["--photos", str(photos), "--illuminants", str(lights), "--out", str(tmp_path / "out")]
    assert make_real_masked.main(command) == 0
    (photos / "masks/p1.png").unlink()
    assert make_real_masked.main(command) == 1
    assert "p1.png' does not exist" in capsys.readouterr().err
    (photos / "manifest.jsonl").write_text('{"image": 1}\n', encoding="utf-8")
    assert make_real_masked.main(command) == 1
    assert "manifest.jsonl, line 1 is no photo" in capsys.readouterr().err
    (photos / "manifest.jsonl").write_text('{"image": "images/p1.jpg"}\n', encoding="utf-8")
    assert make_real_masked.main(command) == 1
    assert "names no mask for 'images/p1.jpg'" in capsys.readouterr().err
    (photos / "manifest.jsonl").unlink()
    assert make_real_masked.main(command) == 1
    assert "does not exist" in capsys.readouterr().err
    black = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    full = torch.full((1, 1, 4, 4), 255, dtype=torch.uint8)
    with pytest.raises(ValueError, match="'black': none of 500 pairs"):
        make_real_masked.recolour_object("black", black, full, torch.zeros(2, 2, 3, 11), ["a", "b"], 0)
