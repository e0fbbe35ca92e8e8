"""The authors' weights: equal to their own code's output, converted strictly, no pickle run."""

import json
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from raiha_core import checkpoint
from raiha_core.cli import main
from raiha_core.convert import blob_digest, convert, convert_state
from raiha_core.features.references import ReferenceBatch
from raiha_core.models.cost import on_meta, parameters
from raiha_core.models.presets import PRESETS
from tests import published_weights
from tests.network_cases import PUBLISHED, SPEC
from tests.public_weights import G, inputs, state

GOLDEN = Path(__file__).parent / "golden/public.safetensors"
PRESET = {"hdnet": "hdnet", "raiha": "raiha-released"}
TENSORS = {"hdnet": 65, "raiha": 58}


def guided(x):
    return ReferenceBatch(
        images=x["reference"][:, None],
        present=torch.ones(2, 1, dtype=torch.bool),
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
        ("other", "belongs to no network that opens here"),
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


SLIGHT = [name for name in PUBLISHED if parameters(on_meta(PRESETS[name])) < 10e6]  # the rest takes seconds
TWINS = {"cdtnet-512": "cdtnet", "cdtnet-sim": "cdtnet"}  # told by the digest alone: else the first is meant


@pytest.mark.parametrize("name", SLIGHT)
def test_the_fields_files_are_told_by_their_tensors(name, tmp_path, capsys):
    source, out = tmp_path / "best.pth", tmp_path / "out.safetensors"
    torch.save(published_weights.state(name), source)
    assert main(["convert", str(source), "-o", str(out), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    card = PRESETS[name].published
    name = TWINS.get(name, name)
    assert (said["preset"], said["licence"], said["citation"]) == (name, card.licence, card.citation)
    assert ("could_be" in said) == (name in TWINS.values())
    assert said["verified"].startswith("no")  # numbers by formula have not the digest of the authors' file
    loaded = checkpoint.load(out, expect=name)
    assert loaded.metadata.notes["origin"] == card.origin
    assert loaded.metadata.scores == {}  # which are those of the authors' own file
    assert main(["convert", str(source), "-o", str(out)]) == 0
    assert card.use in capsys.readouterr().out


@pytest.mark.parametrize("name", ["pctnet-vit", "harmonizer"])
@pytest.mark.parametrize("wrap", ["state_dict", "model", "module", "optimizer"])
def test_wrappers_and_prefixes_are_opened(name, wrap, tmp_path):
    given = published_weights.state(name)
    wrapped = {
        "state_dict": {"epoch": 3, "state_dict": given},
        "model": {"model": given},
        "module": {f"module.{key}": value for key, value in given.items()},
        "optimizer": {"optimizer": {"state": {0: {"step": torch.zeros(1)}}}, "state_dict": given},
    }
    torch.save(wrapped[wrap], tmp_path / "net.pth")
    assert convert(tmp_path / "net.pth")[1].preset == name


def spoiled(how):
    found = published_weights.state("pctnet-cnn")
    key = "get_params.bias"
    if how == "missing":
        del found[key]
    elif how == "unknown":
        found["more.weight"] = torch.zeros(1)
    elif how == "shape":
        found[key] = torch.zeros(9)
    elif how == "infinite":
        found[key] = torch.full((12,), float("inf"))
    elif how == "whole numbers":
        found[key] = torch.zeros(12, dtype=torch.int64)
    elif how == "huge":  # a few bytes that claim a terabyte
        found[key] = torch.zeros(1).expand(1 << 40)
    elif how == "renamed":
        found = {f"net.{name}": value for name, value in found.items()}
    elif how == "no tensors":
        found[key] = [1, 2, 3]
    elif how == "sparse":
        found[key] = torch.zeros(12).to_sparse()
    return found


@pytest.mark.parametrize(
    ("how", "named"),
    [
        ("missing", "missing: get_params.bias"),
        ("unknown", "unknown: more.weight"),
        ("shape", "get_params.bias (9,) for (12,)"),
        ("infinite", "not finite: get_params.bias"),
        ("whole numbers", "of another type: get_params.bias"),
        ("huge", "get_params.bias (1099511627776,) for (12,)"),
        ("renamed", "belongs to no network that opens here: it begins with net."),
        ("no tensors", "no plain tensors: get_params.bias"),
        ("sparse", "no plain tensors: get_params.bias"),
    ],
)
def test_each_wrong_file_gets_one_sentence(how, named, tmp_path, capsys):
    source = tmp_path / "net.pth"
    torch.save(spoiled(how), source)
    assert main(["convert", str(source), "-o", str(tmp_path / "out.safetensors")]) == 1
    error = capsys.readouterr().err
    assert named in error
    assert "net.pth" in error
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["net.pth"]


def test_cut_short_and_compressed_files_get_one_sentence(tmp_path, capsys):
    whole, cut, bomb = (tmp_path / name for name in ("whole.pth", "cut.pth", "bomb.pth"))
    torch.save(published_weights.state("pctnet-cnn"), whole)
    data = whole.read_bytes()
    for length in (0, 3, 100, len(data) // 2, len(data) - 1):
        cut.write_bytes(data[:length])
        with pytest.raises(ValueError, match=r"cut\.pth is not a weights file: it is cut short"):
            convert(cut)
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(1 << 22))
    with pytest.raises(ValueError, match="compressed as no weights file is"):
        convert(bomb)
    torch.save(torch.nn.Linear(2, 2), cut)
    with pytest.raises(ValueError, match="holds Python objects and not tensors alone"):
        convert(cut)


def test_as_names_what_it_is_to_become(tmp_path):
    source = tmp_path / "net.pth"
    torch.save(published_weights.state("pctnet-vit"), source)
    assert convert(source, "pctnet-vit")[1].preset == "pctnet-vit"
    with pytest.raises(ValueError, match="does not fit 'pctnet-cnn': missing"):
        convert(source, "pctnet-cnn")
    with pytest.raises(ValueError, match=r"holds no 'hdnet': it begins with encoder.patch"):
        convert(source, "hdnet")
    with pytest.raises(ValueError, match="no authors' file becomes 'raiha-plus'; these do: hdnet, raiha-rel"):
        convert(source, "raiha-plus")


def test_files_with_equal_tensors_are_told_by_their_digest(tmp_path, monkeypatch, capsys):
    source, out = tmp_path / "net.pth", tmp_path / "net.safetensors"
    torch.save(published_weights.state("cdtnet-512"), source)
    network, metadata = convert(source, "cdtnet-512")
    assert (metadata.preset, network.config.size) == ("cdtnet-512", 512)
    assert "could_be" not in metadata.notes  # it was said
    assert main(["convert", str(source), "-o", str(out)]) == 0
    assert "would fit cdtnet-512, cdtnet-sim as well" in capsys.readouterr().out
    entry = PRESETS["cdtnet-512"]
    card = replace(entry.published, blob=blob_digest(source))
    monkeypatch.setitem(PRESETS, "cdtnet-512", replace(entry, published=card))
    network, metadata = convert(source)
    assert (metadata.preset, network.config.size) == ("cdtnet-512", 512)
    assert metadata.notes["verified"].startswith("the authors' own")
    assert metadata.scores == card.scores


def test_tensors_that_nothing_reads_may_be_missing(tmp_path):
    source = tmp_path / "net.pth"
    whole = published_weights.state("cdtnet-sim")
    read = {key: value for key, value in whole.items() if key.startswith(("encoder.", "lut."))}
    torch.save(read, source)
    network, metadata = convert(source)
    assert metadata.preset == "cdtnet-sim"
    image, mask = published_weights.picture(48, 64)
    wanted = convert_state(whole, "whole", "cdtnet-sim")[1]
    got = [published_weights.rendered(each, image, mask) for each in (network, wanted)]
    assert torch.equal(*got)
    with pytest.raises(ValueError, match="does not fit 'cdtnet': missing"):
        convert(source, "cdtnet")
    torch.save({key: value for key, value in read.items() if key != "lut.classifier.fc.bias"}, source)
    with pytest.raises(ValueError, match=r"does not fit 'cdtnet-sim': missing.* lut\.classifier\.fc\.bias"):
        convert(source)
