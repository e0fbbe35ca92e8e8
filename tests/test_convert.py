"""The authors' weights: equal to their own code's output, converted strictly, no pickle run."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from raiha_core import checkpoint
from raiha_core.cli import main
from raiha_core.convert import convert, convert_state
from raiha_core.features.references import ReferenceBatch
from raiha_core.models.cost import parameters
from tests.network_cases import SPEC
from tests.public_weights import G, inputs, state

GOLDEN = Path(__file__).parent / "golden/public.safetensors"
PRESET = {"hdnet": "hdnet", "raiha": "raiha-released"}
TENSORS = {"hdnet": 65, "raiha": 58}


def guided(x):
    return ReferenceBatch(
        images=x["reference"][:, None],
        present=torch.ones(2, 1, dtype=torch.bool),
        weight=torch.ones(2, 1),
        content=x["reference_content"][:, None],
        spec=SPEC,
    )


@pytest.mark.parametrize("kind", PRESET)
def test_converted_networks_say_what_the_public_code_says(kind):
    # Oracle: the authors' own code on the same weights and inputs, run by golden/make_public.py.
    golden, x = load_file(GOLDEN), inputs()
    preset, network = convert_state(state(kind), "made up")
    assert preset == PRESET[kind]
    content = x["content"] if kind == "raiha" else None
    with torch.no_grad():
        said = 2 * network(x["image"], x["mask"], content).dense - 1
        torch.testing.assert_close(said, golden[kind], rtol=0, atol=2e-5)
        if kind == "raiha":
            said = 2 * network(x["image"], x["mask"], content, guided(x)).dense - 1
            torch.testing.assert_close(said, golden["raiha_reference"], rtol=0, atol=2e-5)
            assert (golden["raiha"] - golden["raiha_reference"]).abs().max() > 0.01
    assert golden[kind].std() > 0.05


@pytest.mark.parametrize("kind", PRESET)
def test_the_file_round_trips_through_the_command_line(kind, tmp_path, capsys):
    source, out = tmp_path / "60_net_G.pth", tmp_path / "out.safetensors"
    torch.save(state(kind), source)
    assert main(["convert", str(source), "-o", str(out), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["preset"] == PRESET[kind]
    assert said["tensors"] == TENSORS[kind] == len(state(kind))  # conv_guide, never used, is kept too
    assert said["parameters"] == sum(t.numel() for t in state(kind).values())
    loaded = checkpoint.load(out, expect=PRESET[kind])
    assert loaded.config.width == G
    assert loaded.metadata.notes["converted_from"] == "60_net_G.pth"
    direct = convert_state(state(kind), "made up")[1]
    for name, tensor in direct.state_dict().items():
        assert torch.equal(loaded.network.state_dict()[name], tensor), name


def test_published_sizes(tmp_path):
    for kind, count in (("hdnet", 10_414_389), ("raiha", 11_461_173)):
        assert parameters(convert_state(state(kind, 32), "made up")[1]) == count


def test_hdnet_without_local_dynamic_and_prefixed_keys():
    plain = {key: value for key, value in state("hdnet").items() if not key.startswith("LD.")}
    preset, network = convert_state({f"module.{key}": value for key, value in plain.items()}, "made up")
    assert preset == "hdnet"
    assert network.local is None


def damaged(how):
    found = state("raiha")
    if how == "missing":
        del found["model_layer9.1.weight"]
    elif how == "unknown":
        found["model_layer99.1.weight"] = torch.zeros(1)
    elif how == "shape":
        found["model_out.1.bias"] = torch.zeros(4)
    elif how == "nan":
        found["model_out.1.bias"] = torch.full((3,), float("nan"))
    else:
        del found["model_layer0.weight"]
    return found


@pytest.mark.parametrize(
    ("how", "named"),
    [
        ("missing", "missing: model_layer9.1.weight"),
        ("unknown", "unknown: model_layer99.1.weight"),
        ("shape", r"model_out.1.bias \(4,\) for \(3,\)"),
        ("nan", "not finite: model_out.1.bias"),
        ("other", "neither HDNet nor Raiha"),
    ],
)
def test_what_differs_is_listed(how, named, tmp_path, capsys):
    source = tmp_path / "net.pth"
    torch.save(damaged(how), source)
    with pytest.raises(ValueError, match=named):
        convert(source)
    assert main(["convert", str(source), "-o", str(tmp_path / "out.safetensors")]) == 1
    assert not (tmp_path / "out.safetensors").exists()
    assert "net.pth" in capsys.readouterr().err


class Bomb:
    """A pickle that would write a file if it were run."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_code_in_a_file_is_never_run(tmp_path, capsys):
    source, mark = tmp_path / "net.pth", tmp_path / "ran"
    torch.save({"model_layer0.weight": Bomb(mark)}, source)
    with pytest.raises(ValueError, match=r"net\.pth"):
        convert(source)
    source.write_bytes(pickle.dumps(Bomb(mark), protocol=2))
    with pytest.raises(ValueError, match=r"net\.pth"):
        convert(source)
    source.write_bytes(b"not a file of weights")
    assert main(["convert", str(source), "-o", str(tmp_path / "o.safetensors")]) == 1
    assert not mark.exists()


def test_a_wrong_call(tmp_path, capsys):
    source = tmp_path / "net.pth"
    torch.save(state("hdnet"), source)
    assert main(["convert", str(source), "-o", str(tmp_path / "out.pth")]) == 1
    assert ".safetensors" in capsys.readouterr().err
    assert main(["convert", str(tmp_path / "none.pth"), "-o", str(tmp_path / "o.safetensors")]) == 1
    with pytest.raises(SystemExit, match="2"):
        main(["convert", str(source)])
