"""Old files open by one mapping: the shipped weights as they lie here, small ones in the former format."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from raiha_core import checkpoint
from raiha_core.features.encoders import build_encoder
from raiha_core.features.spec import differences
from raiha_core.harmonizer import shipped_weights
from raiha_core.models import former_names
from raiha_core.models.presets import PRESETS, config_from_json, config_to_json
from raiha_train.experiment import load_experiment
from raiha_train.loop.state import LoopState, load_state, save_state, weights_hash
from tests.network_cases import fill, pairs, small

FORMER = {  # now -> before, written out by hand
    "from_references.attention.sharpness": "evidence.sharpness",
    "from_references.attention.nothing": "evidence.nothing",
    "from_references.attention.quality": "evidence.quality",
    "from_references.to_summary.weight": "from_evidence.weight",
    "learned_shrinkage.weight": "doubt.weight",
    "learned_shrinkage.bias": "doubt.bias",
}
WEIGHTS_BEFORE = "2b34e8d0a66f7c708f4f3e82b5642ad9e1bf04b52c9d9e580d2b28f77d191781"
NETWORK = {"shrinkage": 9.0, "learned_shrinkage": True}


def rename(path, names, change_config):
    """The file as an earlier version wrote it."""
    with safe_open(path, "pt") as file:
        about = json.loads(file.metadata()["raiha"])
    state = {names.get(name, name): value for name, value in load_file(path).items()}
    about["config"] = change_config(about["config"])
    save_file(state, path, metadata={"raiha": json.dumps(about)})


def former_config(config):
    names = {"shrinkage": "hesitation", "learned_shrinkage": "doubt", "region_colour": "look"}
    values = {"gated": "judged"}
    return {names.get(k, k): values.get(v, v) if isinstance(v, str) else v for k, v in config.items()}


def test_the_shipped_file_has_todays_names_and_loads_strictly():
    path = shipped_weights()["raiha-plus"]
    with safe_open(path, "pt") as file:
        names, about = set(file.keys()), json.loads(file.metadata()["raiha"])
    assert not names & set(FORMER.values())
    assert {"shrinkage", "learned_shrinkage", "region_colour"} <= set(about["config"])
    loaded = checkpoint.load(path)
    assert loaded.config.shrinkage == about["config"]["shrinkage"] == 12.0
    assert loaded.config.learned_shrinkage
    assert loaded.config.region_colour
    assert loaded.config.references == "gated"
    stored = load_file(path)
    assert torch.equal(loaded.gate.gate.to_belief.weight, stored["reference_gate.to_belief.weight"].float())
    assert torch.equal(loaded.gate.gate.light_share, stored["reference_gate.light_share"].float())
    assert differences(loaded.gate.spec, build_encoder("lite0").spec) == []
    assert torch.equal(loaded.network.learned_shrinkage.weight, stored["learned_shrinkage.weight"].float())


def test_a_former_weight_file_is_the_same_network(tmp_path):
    network = fill(small("raiha-plus", **NETWORK)).eval()
    path = tmp_path / "old.safetensors"
    checkpoint.save(path, network, checkpoint.describe(network, "raiha-plus"))
    rename(path, FORMER, former_config)
    assert set(FORMER.values()) <= set(load_file(path))
    loaded = checkpoint.load(path)
    assert loaded.config == network.config
    assert loaded.metadata.config == config_to_json(network.config)  # what is saved again has today's names
    for name, value in network.state_dict().items():
        assert torch.equal(loaded.network.state_dict()[name], value)
    image, mask, _ = pairs(1)
    with torch.no_grad():
        assert torch.equal(network(image, mask).lab.shift, loaded.network(image, mask).lab.shift)


def test_a_former_training_state_goes_on(tmp_path):
    network = fill(small("raiha-plus", **NETWORK))
    whole = torch.nn.ModuleDict({"network": network})  # as the objective holds it
    average = {name: 2 * value.float() for name, value in whole.state_dict().items()}
    optimizer = torch.optim.Adam(whole.parameters())
    place = save_state(tmp_path, LoopState(step=3), whole, average, optimizer, keep=2)
    for name in ("network", "average"):
        old = {FORMER.get(k.removeprefix("network."), k.removeprefix("network.")): v
               for k, v in load_file(place / f"{name}.safetensors").items()}  # fmt: skip
        save_file({f"network.{k}": v for k, v in old.items()}, place / f"{name}.safetensors")
    fresh = torch.nn.ModuleDict({"network": small("raiha-plus", **NETWORK)})
    kept = {name: torch.zeros_like(value) for name, value in average.items()}
    assert load_state(place, fresh, kept, torch.optim.Adam(fresh.parameters())).step == 3
    for name, value in whole.state_dict().items():
        assert torch.equal(fresh.state_dict()[name], value)
        assert torch.equal(kept[name], average[name])


def test_a_digest_of_weights_outlives_the_renaming():
    # The digest of the weights when their gate was shipped, over former names and float32 bytes.
    loaded = checkpoint.load(shipped_weights()["raiha-plus"])
    assert weights_hash(loaded.network, loaded.gate.gate) == WEIGHTS_BEFORE


def test_a_former_config_is_read_and_a_mixed_one_is_refused():
    config = config_to_json(PRESETS["raiha-plus"].config)
    assert config_from_json("raiha-plus", former_config(config)) == PRESETS["raiha-plus"].config
    assert config_from_json("raiha-plus", {**config, "references": "judged"}).references == "gated"
    assert config_from_json("raiha-plus", {**config, "references": "measured"}).references == "gated"
    trust = {"reference_trust": 0.6, "reference_power": 4.0, "reference_whole": True}
    older = {**config, "statistics": {**config["statistics"], **trust}}
    assert config_from_json("raiha-plus", older) == PRESETS["raiha-plus"].config
    with pytest.raises(ValueError, match="unknown fields: hesitation"):
        config_from_json("raiha-plus", {**config, "hesitation": 3.0})
    assert former_names.config(None) is None  # its reader says what is wrong with it


def test_a_former_config_in_python_is_the_same_experiment(tmp_path):
    text = """
from raiha_core.models.plus import PlusConfig
from raiha_core.models.statistics import StatisticsConfig
from raiha_train.experiment import Experiment

EXPERIMENT = Experiment(
    name="{name}", preset="raiha-plus", source="synthesis", size=64,
    network=PlusConfig(size=64, {fields}),
)
"""
    former = 'look=False, hesitation=3.0, doubt=True, references="measured", '
    former += "statistics=StatisticsConfig(lightness=0.4, reference_trust=0.6, reference_whole=True)"
    now = 'region_colour=False, shrinkage=3.0, learned_shrinkage=True, references="gated", '
    now += "statistics=StatisticsConfig(lightness=0.4)"
    for name, fields in (("former", former), ("now", now)):
        (tmp_path / f"{name}.py").write_text(text.format(name=name, fields=fields))
    before, after = (load_experiment(tmp_path / f"{name}.py") for name in ("former", "now"))
    assert before.network == after.network
    assert after.network.shrinkage == 3.0
    (tmp_path / "typo.py").write_text(text.format(name="typo", fields="hesitatoin=3.0"))
    with pytest.raises(ValueError, match="hesitatoin"):
        load_experiment(tmp_path / "typo.py")


def test_every_name_has_a_way_back():
    names = [f"{part}{name}x" for part in former_names.PREFIXES for name in former_names.TENSORS]
    for before in names:
        now = former_names.tensor_name(before)
        assert now != before
        assert former_names.former_tensor_name(now) == before
        assert former_names.tensor_name(now) == now
