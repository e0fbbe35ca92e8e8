"""The smoke recipe on the shipped photos, cut short: it works, it helps, and it is the same twice.

The whole recipe (120 steps) is measured by hand; its figures stand in the config.
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from raiha_core import checkpoint
from raiha_train.data.synthesis import SynthesisConfig
from raiha_train.experiment import load_experiment
from raiha_train.loop import train
from tests.network_cases import small_config

SMOKE = Path(__file__).parents[1] / "train" / "configs" / "smoke.py"


pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_short_smoke_run_beats_the_composite_twice_with_the_same_weights(tmp_path, monkeypatch, capsys):
    # The schedule of the short run is its own; batch, network, photos, families and loss are the recipe's.
    short = replace(load_experiment(SMOKE), steps=12, validate_every=12, sample_every=12, save_every=12)
    monkeypatch.setattr(train, "load_stages", lambda path: [short])
    hashes = []
    for turn in ("first", "second"):
        output = tmp_path / turn
        call = [str(SMOKE), "--output", str(output), "--cache", str(tmp_path / "cache"), "--tracker", "none"]
        assert train.main(call) == 0
        points = [json.loads(line) for line in (output / "validation.jsonl").read_text().splitlines()]
        assert points[-1]["fmse"] < 0.9 * points[-1]["fmse_composite"]
        assert points[-1]["fmse"] != points[0]["fmse"]  # something was learnt
        said = capsys.readouterr().out
        hashes.append(next(line for line in said.splitlines() if line.startswith("weights hash: ")))
    assert hashes[0] == hashes[1]


@pytest.mark.parametrize("name", ["pctnet_cnn", "issam256", "rainnet"])
def test_recipes_of_published_methods_run(tmp_path, monkeypatch, name, capsys):
    # Narrow networks, made composites and five steps; optimiser, rates, loss and crops are the recipe's.
    recipe = load_experiment(SMOKE.with_name(f"{name}.py"))
    size = 64
    short = replace(
        recipe,
        network=small_config(recipe.preset),
        source="synthesis",
        synthesis=SynthesisConfig(illuminant=0),
        size=size,
        packed=96,
        batch=4,
        micro_batch=4,
        steps=5,
        validation_share=0.4,
        validation_pictures=4,
        validate_every=5,
        sample_every=5,
        save_every=5,
    )
    monkeypatch.setattr(train, "load_stages", lambda path: [short])
    output = tmp_path / "run"
    call = [str(SMOKE), "--output", str(output), "--cache", str(tmp_path / "cache"), "--tracker", "none"]
    assert train.main(call) == 0
    points = [json.loads(line) for line in (output / "validation.jsonl").read_text().splitlines()]
    assert points[-1]["fmse"] != points[0]["fmse"]  # something was learnt
    assert checkpoint.load(output / "last.safetensors").preset == recipe.preset
    capsys.readouterr()
