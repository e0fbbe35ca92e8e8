"""train/compare_models.py and ship.py: what is compared with what, and what a shipped file says it scores."""

import csv
import re

import numpy as np
import pytest
import torch

from raiha_core import checkpoint
from raiha_train.evaluation import compare_models, summary
from raiha_train.weights import ship
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
    assert compare_models.main(command) == 0
    page = capsys.readouterr().out
    scores = {}
    for model in compare_models.BASES:
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
    assert f"brought into 1 composites that were right: statistics {brought:.0f}, mkl " in page
    asked = []
    monkeypatch.setattr(compare_models.evaluate, "evaluate", lambda todo, *_: asked.extend(todo) or [])
    assert compare_models.main(command) == 0
    assert not asked
    assert capsys.readouterr().out == page


def test_scores_of_other_weights_or_pictures_are_not_taken_for_these(triples, tmp_path, capsys):
    network = small("raiha-plus", references="gated", local_map=False).eval()
    about = checkpoint.describe(network, "raiha-plus", data="toys", licence="none")
    weights = tmp_path / "toy.safetensors"
    checkpoint.save(weights, network, about)
    out = tmp_path / "out"
    command = ["--sets", f"t={triples}", "--models", str(weights), "--out", str(out)]
    assert compare_models.main(command) == 0
    before = (out / "t_A_toy" / "per_image.csv").read_text(encoding="utf-8")
    with torch.no_grad():
        network.colour.bias += 0.3
    checkpoint.save(weights, network, about)
    assert ship.main([str(weights), "--out", str(tmp_path / "s.safetensors"), "--scores", str(out)]) == 1
    assert "scored another file than" in capsys.readouterr().err
    assert compare_models.main(command) == 1
    assert "model_digest" in capsys.readouterr().err
    assert compare_models.main([*command, "--overwrite"]) == 0
    assert (out / "t_A_toy" / "per_image.csv").read_text(encoding="utf-8") != before
    other = tmp_path / "other" / "toy.safetensors"
    other.parent.mkdir()
    checkpoint.save(other, network, about)
    assert compare_models.main([*command[:4], str(other), *command[4:]]) == 1
    assert "would share the name 'toy'" in capsys.readouterr().err


def test_a_shipped_file_is_half_as_large_and_states_what_was_measured_with_it(triples, tmp_path):
    network = small("raiha-plus", references="gated", local_map=False).eval()
    about = checkpoint.describe(network, "raiha-plus", data="toys", licence="none", notes={"step": "3"})
    checkpoint.save(tmp_path / "full.safetensors", network, about)
    shipped = tmp_path / "toy.safetensors"
    assert (
        ship.main([str(tmp_path / "full.safetensors"), "--out", str(shipped), "--note", "revision=abc"]) == 0
    )
    assert shipped.stat().st_size < 0.6 * (tmp_path / "full.safetensors").stat().st_size
    out = tmp_path / "out"
    assert compare_models.main(["--sets", f"t={triples}", "--models", str(shipped), "--out", str(out)]) == 0
    before = checkpoint.load(shipped).network.state_dict()
    assert ship.main([str(shipped), "--out", str(shipped), "--scores", str(out)]) == 0
    loaded = checkpoint.load(shipped)
    assert all(torch.equal(before[name], tensor) for name, tensor in loaded.network.state_dict().items())
    assert loaded.metadata.notes == {"step": "3", "revision": "abc"}
    with (out / "t_A_toy" / "per_image.csv").open(encoding="utf-8") as file:
        mean = np.mean([float(row["psnr"]) for row in csv.DictReader(file)])
    assert loaded.metadata.scores["t, protocol A, PSNR"] == pytest.approx(mean, abs=1e-3)


def test_another_size_makes_the_scores_void_but_those_of_training(tmp_path, capsys):
    network = small("raiha-plus", references="gated", local_map=False).eval()
    scores = {"validation fpsnr": 25.0, "held, protocol A, PSNR": 30.0}
    about = checkpoint.describe(network, "raiha-plus", data="toys", licence="none", scores=scores)
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    checkpoint.save(first, network, about)
    assert ship.main([str(first), "--out", str(second)]) == 0
    assert checkpoint.load(second).metadata.scores == scores
    assert ship.main([str(first), "--out", str(second), "--size", "96"]) == 0
    assert checkpoint.load(second).metadata.scores == {"validation fpsnr": 25.0}
    assert ship.main([str(first), "--out", str(second), "--size", "96", "--scores", str(tmp_path)]) == 1
    assert "set those first, then score" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "scene"),
    [
        ("f418_1_2", "f418"),
        ("d90000008-13_1_5", "d90000008"),
        ("d18963-20120922-011605", "d18963"),
        ("r_d18997-10__fg_17", "d18997"),
        ("syco_f3017_1_1", "syco_f3017"),
        ("light-0647", "light-0647"),
    ],
)
def test_intervals_draw_photos_and_webcams_not_their_composites(name, scene):
    assert summary.scene(name) == scene


def test_what_cannot_be_shipped_or_scored_is_named(tmp_path, capsys):
    (tmp_path / "a.safetensors").write_bytes(b"nothing")
    assert ship.main([str(tmp_path / "a.safetensors"), "--out", str(tmp_path / "b.safetensors")]) == 1
    assert "a.safetensors" in capsys.readouterr().err
    assert compare_models.main(["--sets", f"x={tmp_path / 'none'}", "--out", str(tmp_path / "o")]) == 1
    assert "could not be scored" in capsys.readouterr().err
