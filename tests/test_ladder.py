"""train/ladder.py and ship.py: what is compared with what, and what a shipped file says it scores."""

import csv
import re

import ladder
import numpy as np
import pytest
import ship
import torch

from raiha_core import checkpoint
from tests.network_cases import small
from tests.tiny_iharmony4 import photo, save


@pytest.fixture
def triples(tmp_path):
    """Three composites that are too bright, and one that is right already."""
    folder = tmp_path / "triples"
    for n, name in enumerate(("light-1", "light-2", "veil-3", "untouched-4")):
        real = photo(n, (64, 48))
        mask = np.zeros((48, 64), np.uint8)
        mask[12:36, 16:48] = 255
        brighter = np.clip(real.astype(int) + 40, 0, 255).astype(np.uint8)
        composite = np.where(mask[..., None] > 0, brighter, real) if n < 3 else real
        for kind, pixels in (("composite", composite), ("mask", mask), ("real", real)):
            save(folder / kind / f"{name}.png", pixels)
    return folder


def test_the_ladder_compares_pair_by_pair_and_scores_once(triples, tmp_path, monkeypatch, capsys):
    command = ["--sets", f"held={triples}", "--out", str(tmp_path / "out")]
    assert ladder.main(command) == 0
    page = capsys.readouterr().out
    scores = {}
    for model in ladder.BASES:
        with (tmp_path / "out" / f"held_A_{model}" / "per_image.csv").open(encoding="utf-8") as file:
            scores[model] = {row["id"]: row for row in csv.DictReader(file)}
    names = ["light-1", "light-2", "veil-3"]
    gains = [float(scores["statistics"][n]["psnr"]) - float(scores["composite"][n]["psnr"]) for n in names]
    found = re.search(r"\| statistics \|.*\| ([+-]\d+\.\d\d) \[.*\], (\d)/(\d)/(\d) \|", page)
    assert found is not None
    assert float(found[1]) == pytest.approx(np.mean(gains), abs=0.006)
    assert [int(found[i]) for i in (2, 3, 4)] == [
        sum(g > 0.1 for g in gains),
        sum(abs(g) <= 0.1 for g in gains),
        sum(g < -0.1 for g in gains),
    ]
    assert "(n = 3)" in page
    assert "| gain over the composite, dB | light | veil |" in page
    brought = float(scores["statistics"]["untouched-4"]["fmse"])
    assert f"brought into 1 composites that were right: statistics {brought:.0f}." in page
    monkeypatch.setattr(ladder.evaluate, "main", lambda *_: pytest.fail("scored twice"))
    assert ladder.main(command) == 0


def test_a_shipped_file_is_half_as_large_and_states_what_was_measured_with_it(triples, tmp_path):
    network = small("raiha-plus", references="measured", local_map=False).eval()
    about = checkpoint.describe(network, "raiha-plus", data="toys", licence="none", notes={"step": "3"})
    checkpoint.save(tmp_path / "full.safetensors", network, about)
    shipped = tmp_path / "toy.safetensors"
    assert (
        ship.main([str(tmp_path / "full.safetensors"), "--out", str(shipped), "--note", "revision=abc"]) == 0
    )
    assert shipped.stat().st_size < 0.6 * (tmp_path / "full.safetensors").stat().st_size
    out = tmp_path / "out"
    assert ladder.main(["--sets", f"t={triples}", "--models", str(shipped), "--out", str(out)]) == 0
    before = checkpoint.load(shipped).network.state_dict()
    assert ship.main([str(shipped), "--out", str(shipped), "--scores", str(out)]) == 0
    loaded = checkpoint.load(shipped)
    assert all(torch.equal(before[name], tensor) for name, tensor in loaded.network.state_dict().items())
    assert loaded.metadata.notes == {"step": "3", "revision": "abc"}
    with (out / "t_A_toy" / "per_image.csv").open(encoding="utf-8") as file:
        mean = np.mean([float(row["psnr"]) for row in csv.DictReader(file)])
    assert loaded.metadata.scores["t, protocol A, PSNR"] == pytest.approx(mean, abs=1e-3)


def test_what_cannot_be_shipped_or_scored_is_named(tmp_path, capsys):
    (tmp_path / "a.safetensors").write_bytes(b"nothing")
    assert ship.main([str(tmp_path / "a.safetensors"), "--out", str(tmp_path / "b.safetensors")]) == 1
    assert "a.safetensors" in capsys.readouterr().err
    assert ladder.main(["--sets", f"x={tmp_path / 'none'}", "--out", str(tmp_path / "o")]) == 1
    assert "could not be scored" in capsys.readouterr().err
