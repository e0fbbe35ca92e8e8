"""Checkpoints: every preset there and back, and each way a file can be wrong is one clear sentence."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from raiha_core import checkpoint
from raiha_core.models.presets import PRESETS, config_from_json, config_to_json
from raiha_core.models.reference_gate import ReferenceGate
from tests.network_cases import SPEC, content_for, fill, pairs, small


def describe(network, preset, **more):
    return checkpoint.describe(network, preset, **({"licence": "MIT"} | more))


@pytest.fixture
def saved(tmp_path):
    network = fill(small("hdnet"))
    path = tmp_path / "net.safetensors"
    checkpoint.save(path, network, describe(network, "hdnet"))
    return path


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_comes_back_bit_for_bit(name, tmp_path):
    network = fill(small(name)).eval()
    path = tmp_path / "net.safetensors"
    spec = SPEC if name == "raiha" else None
    said = describe(
        network,
        name,
        spec=spec,
        data="eight made-up pairs",
        scores={"psnr, protocol A": 31.5},
        notes={"step": "7"},
    )
    checkpoint.save(path, network, said)
    loaded = checkpoint.load(path, expect=name)
    assert loaded.metadata == said
    assert loaded.metadata == checkpoint.read_metadata(path)
    assert loaded.config == network.config
    assert loaded.spec == spec
    assert loaded.network.feature_spec == spec
    assert not loaded.network.training
    assert not any(p.requires_grad for p in loaded.network.parameters())
    image, mask, _ = pairs(2)
    content = content_for(network, 2)
    with torch.no_grad():
        first, second = network(image, mask, content), loaded.network(image, mask, content)
    for part in ("dense", "affine"):
        if getattr(first, part) is not None:
            assert torch.equal(getattr(first, part), getattr(second, part))
    if first.lab is not None:
        assert torch.equal(first.lab.shift, second.lab.shift)


@pytest.mark.parametrize("name", PRESETS)
def test_configs_survive_json(name):
    config = PRESETS[name].config
    assert config_from_json(name, json.loads(json.dumps(config_to_json(config)))) == config


def test_half_precision_files_load_as_float32(tmp_path):
    network = fill(small("hdnet"))
    path = tmp_path / "net.safetensors"
    checkpoint.save(path, network, describe(network, "hdnet"), dtype=torch.float16)
    assert all(t.dtype == torch.float16 for t in load_file(path).values())
    loaded = checkpoint.load(path).network
    for name, tensor in loaded.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, network.state_dict()[name].half().float())
    assert next(checkpoint.load(path, dtype=torch.bfloat16).network.parameters()).dtype == torch.bfloat16


def test_the_header_is_plain_json(saved):
    with safe_open(saved, "pt") as file:
        data = json.loads(file.metadata()["raiha"])
    assert data["preset"] == "hdnet"
    assert set(data) == {
        "format", "preset", "config", "feature_spec", "data", "scores", "licence", "code_version", "notes",
    }  # fmt: skip


@pytest.mark.parametrize("keep", [0, 4, 100, 5000, -1])
def test_a_file_cut_short_is_named(saved, keep):
    saved.write_bytes(saved.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"net\.safetensors is no whole safetensors file"):
        checkpoint.load(saved)


def test_a_flipped_header_or_another_kind_of_file_is_named(saved, tmp_path):
    data = bytearray(saved.read_bytes())
    data[20] ^= 0xFF
    saved.write_bytes(bytes(data))
    with pytest.raises(ValueError, match=r"net\.safetensors"):
        checkpoint.load(saved)
    other = tmp_path / "other.safetensors"
    torch.save({"a": torch.ones(1)}, other)
    with pytest.raises(ValueError, match="no whole safetensors file"):
        checkpoint.load(other)
    save_file({"a": torch.ones(1)}, other)
    with pytest.raises(ValueError, match=r"not written by Raiha.*raiha convert"):
        checkpoint.load(other)
    with pytest.raises(OSError, match=r"none\.safetensors"):
        checkpoint.load(tmp_path / "none.safetensors")


def rewrite(path, change_state=None, **changes):
    """The same file with another state or other metadata fields."""
    with safe_open(path, "pt") as file:
        data = json.loads(file.metadata()["raiha"])
    state = load_file(path)
    if change_state is not None:
        change_state(state)
    save_file(state, path, metadata={"raiha": json.dumps(data | changes)})


def test_another_preset_is_refused_by_both_names(saved):
    with pytest.raises(ValueError, match="'hdnet', but 'raiha' was asked for"):
        checkpoint.load(saved, expect="raiha")


def test_tensors_that_differ_are_listed(saved):
    def change(state):
        state["bottleneck.weight"] = state["bottleneck.weight"][:1].clone()
        del state["head.out.bias"]
        state["extra.weight"] = torch.ones(1)
        state["encoder.0.weight"][0] = float("nan")

    rewrite(saved, change)
    with pytest.raises(ValueError, match="does not fit") as error:
        checkpoint.load(saved)
    for part in (
        "missing: head.out.bias",
        "unknown: extra.weight",
        "of another shape: bottleneck.weight (1, 32, 3, 3) for (32, 32, 3, 3)",
        "not finite: encoder.0.weight",
    ):
        assert part in str(error.value)


def test_many_differences_are_counted(saved):
    rewrite(saved, lambda state: [state.pop(name) for name in list(state) if name.startswith("norms.")])
    with pytest.raises(ValueError, match="and 23 more"):
        checkpoint.load(saved)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"preset": "nonsense"}, "unknown preset 'nonsense'; known: hdnet"),
        ({"format": 99}, "format 99, this version reads 1"),
        ({"config": {"width": 4}}, "lacks the fields"),
        ({"config": {"wideness": 4}}, "unknown fields: wideness"),
        ({"feature_spec": {"name": "x"}}, "it, 'spec', lacks the fields"),
        ({"mood": "good"}, "it has unknown fields: mood"),
        ({"scores": {"psnr": "high"}}, "it, 'scores', 'psnr', must be float, got 'high'"),
        ({"config": None}, "it, 'config', must be .*, got None"),
    ],
)
def test_metadata_that_cannot_be_used_is_named(saved, changes, named):
    rewrite(saved, **changes)
    with pytest.raises(ValueError, match=named) as error:
        checkpoint.load(saved)
    assert "net.safetensors" in str(error.value)


def test_a_config_value_out_of_range_is_named(saved):
    config = config_to_json(checkpoint.load(saved).config) | {"width": 0}
    rewrite(saved, config=config)
    with pytest.raises(ValueError, match="width"):
        checkpoint.load(saved)


def test_nan_is_not_saved_and_the_old_file_stays(saved):
    before = saved.read_bytes()
    network = small("hdnet")
    with torch.no_grad():
        network.bottleneck.weight[0, 0] = float("inf")
    with pytest.raises(ValueError, match=r"bottleneck\.weight holds NaN or infinite"):
        checkpoint.save(saved, network, describe(network, "hdnet"))
    assert saved.read_bytes() == before


def test_metadata_must_build_the_network(saved, tmp_path):
    network = small("hdnet")
    wrong = replace(describe(network, "hdnet"), config={"width": 4})
    with pytest.raises(ValueError, match="lacks the fields"):
        checkpoint.save(tmp_path / "x.safetensors", network, wrong)
    assert not (tmp_path / "x.safetensors").exists()


def test_metadata_of_another_network_is_not_saved(saved, tmp_path):
    network = small("hdnet")
    other = describe(small("hdnet", mask_input=not network.config.mask_input), "hdnet")
    with pytest.raises(ValueError, match=r"the metadata describes .*, but the network is "):
        checkpoint.save(tmp_path / "x.safetensors", network, other)
    assert not (tmp_path / "x.safetensors").exists()


def test_a_gate_comes_back_with_the_features_it_was_fitted_on(tmp_path):
    network, gate = small("raiha-plus", references="gated").eval(), ReferenceGate()
    path = tmp_path / "gated.safetensors"
    with torch.no_grad():
        gate.to_belief.weight.normal_()
    about = describe(network, "raiha-plus", gate_spec=SPEC)
    checkpoint.save(path, network, about, gate=gate, dtype=torch.float16)
    loaded = checkpoint.load(path)
    assert loaded.gate.spec == SPEC
    assert loaded.metadata == about
    assert set(loaded.network.state_dict()) == set(network.state_dict())
    for name, value in checkpoint.load_gate(path).gate.state_dict().items():
        assert torch.equal(value, gate.state_dict()[name].half().float())
    rewrite(path, lambda state: state.pop("reference_gate.spread"))
    with pytest.raises(ValueError, match="a gate of references that does not fit: missing: spread"):
        checkpoint.load(path)
    with pytest.raises(ValueError, match="come together"):
        checkpoint.save(path, network, about)


class LazyLinear(torch.nn.Linear):
    """A host's layer that has no parameters until they are read, as ComfyUI's are in dynamic VRAM."""

    def __init__(self, into: int, out: int, bias: bool = True) -> None:
        torch.nn.Module.__init__(self)
        self.in_features, self.out_features, self.needs_bias = into, out, bias
        self.weight = self.bias = None

    def _load_from_state_dict(self, state, prefix, local, strict, missing, unexpected, errors):
        for name in ("weight", "bias"):
            if prefix + name in state:
                setattr(self, name, torch.nn.Parameter(state[prefix + name].clone(), requires_grad=False))
            elif name == "weight" or self.needs_bias:
                missing.append(prefix + name)
                setattr(self, name, torch.nn.Parameter(torch.zeros(self.out_features), requires_grad=False))


def test_layers_that_are_empty_until_they_are_read_are_read(tmp_path):
    class Lazy:
        def __getattr__(self, name):
            return LazyLinear if name == "Linear" else getattr(torch.nn, name)

    network = small("raiha-plus", shrinkage=9.0, learned_shrinkage=True).eval()
    path = tmp_path / "plus.safetensors"
    checkpoint.save(path, network, describe(network, "raiha-plus"), dtype=torch.float16)
    usual, lazy = (checkpoint.load(path, operations=o).network for o in (torch.nn, Lazy()))
    assert isinstance(lazy.learned_shrinkage, LazyLinear)
    image, mask, _ = pairs(1)
    with torch.no_grad():
        first, second = usual(image, mask).lab.shift, lazy(image, mask).lab.shift
    torch.testing.assert_close(first, second)
    assert lazy.learned_shrinkage.weight.dtype == torch.float32  # whatever the file stores
    state = {k: v for k, v in load_file(path).items() if k != "mixer.bias"}
    with safe_open(path, "pt") as file:
        about = file.metadata()
    save_file(state, path, metadata=about)
    with pytest.raises(ValueError, match=r"missing: mixer\.bias"):
        checkpoint.load(path, operations=Lazy())
