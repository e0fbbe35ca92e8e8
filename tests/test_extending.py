"""docs/extending.md is true: the network that it shows becomes one of ours by its file and its line."""

import ast
import json
import re
import sys
import types
from pathlib import Path

import pytest
import torch

from raiha_core import checkpoint, models, render
from raiha_core.cli.models import entries
from raiha_core.harmonizer import load_harmonizer
from raiha_core.models.cost import macs
from raiha_core.models.presets import PRESETS, Preset, config_from_json, config_to_json
from raiha_core.pipeline import harmonize
from tests.network_cases import pairs

PAGE = Path(__file__).parents[1] / "docs/extending.md"
FILE, LINE = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)


@pytest.fixture
def added(monkeypatch):
    """The page's file beside ours, and its line in the list."""
    module = types.ModuleType("raiha_core.models.gain")
    module.__package__ = models.__name__
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(FILE, str(PAGE), "exec"), module.__dict__)
    preset = eval(LINE, {"Preset": Preset, "GainConfig": module.GainConfig})
    monkeypatch.setitem(PRESETS, preset.name, preset)
    return preset


def test_the_network_takes_twenty_lines():
    first = next(node for node in ast.parse(FILE).body if isinstance(node, ast.ClassDef))
    code = [line for line in FILE.splitlines()[first.lineno - 2 :] if line.strip()]
    assert len(code) <= 20


def test_its_file_opens_by_name_and_harmonizes(added, tmp_path):
    torch.manual_seed(0)
    network = added.build()
    checkpoint.save(tmp_path / "mine.safetensors", network, checkpoint.describe(network, "gain"))
    image, mask, _ = pairs(1, 40, 56)
    mask = (mask > 0.5).float()  # the pipeline drops values too small to be meant
    result = harmonize(image, mask, model=load_harmonizer(tmp_path / "mine.safetensors"))
    inside = mask.expand_as(image) > 0
    assert torch.equal(result[~inside], image[~inside])
    with torch.no_grad():
        small = network(render.shrink(image, (256, 256)), render.shrink(mask, (256, 256)))
    torch.testing.assert_close(result, render.apply(small, image, mask))


def test_it_is_listed_with_its_cost_and_its_config_survives_json(added):
    (entry,) = entries("gain")
    assert entry["parameters"] == (6 + 1) * 16 + (16 + 1) * 12
    assert macs(added, 256) == 6 * 16 + 16 * 12
    data = json.loads(json.dumps(config_to_json(added.config)))
    assert config_from_json("gain", data) == added.config
    with pytest.raises(ValueError, match="the config of 'gain' has unknown fields: depth"):
        config_from_json("gain", {**data, "depth": 3})


def test_it_learns(added):
    torch.manual_seed(0)
    network = added.build().train()
    image, mask, truth = pairs(8, 32, 32)
    optimiser = torch.optim.Adam(network.parameters(), 0.01)
    errors = []
    for _ in range(60):
        error = ((render.apply(network(image, mask), image, mask) - truth) ** 2).mean()
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
        errors.append(float(error.detach()))
    assert errors[-1] < 0.5 * ((image - truth) ** 2).mean()
