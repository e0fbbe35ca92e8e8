"""`raiha models`: every preset with its published count, every weight file with what it says of itself."""

import json

import pytest

from raiha_core import checkpoint, harmonizer
from raiha_core.cli import main
from raiha_core.models.presets import filed
from tests.network_cases import SPEC, small

FIELDS = {"name", "preset", "parameters", "macs_256", "file", "feature_spec", "licence", "scores"}


def listed(capsys, *arguments):
    assert main(["models", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_every_preset_is_listed_with_its_cost(capsys):
    found = {entry["name"]: entry for entry in listed(capsys) if entry["file"] is None}
    assert set(found) == {"statistics", "seam", *filed()}
    assert all(set(entry) >= FIELDS for entry in found.values())
    assert (found["hdnet"]["parameters"], found["hdnet"]["macs_256"]) == (10_414_389, 28_959_917_824)
    assert found["raiha-released"]["parameters"] == 11_461_173
    assert found["statistics"]["parameters"] == 0


def test_a_weight_file_is_listed_beside_its_preset(tmp_path, monkeypatch, capsys):
    network = small("raiha")
    path = tmp_path / "mine.safetensors"
    said = checkpoint.describe(
        network, "raiha", spec=SPEC, licence="CC0", scores={"psnr, protocol A": 30.5}, data="made up"
    )
    checkpoint.save(path, network, said)
    monkeypatch.setattr(harmonizer, "WEIGHTS", tmp_path)
    entry = next(e for e in listed(capsys) if e["file"])
    assert (entry["name"], entry["preset"]) == ("mine", "raiha")
    assert entry["parameters"] == sum(p.numel() for p in network.parameters())
    assert entry["feature_spec"]["name"] == SPEC.name
    assert entry["scores"] == {"psnr, protocol A": 30.5}
    assert entry["licence"] == "CC0"
    assert listed(capsys, "mine") == [entry]
    assert listed(capsys, str(path)) == [entry]
    assert main(["models", "mine"]) == 0
    assert "CC0" in capsys.readouterr().out


def test_a_name_that_is_nothing_lists_what_there_is(capsys):
    assert main(["models", "nonsense", "--json"]) == 1
    said = capsys.readouterr().err
    assert "nonsense" in said
    assert "raiha-plus" in said


def test_a_wrong_call_is_a_wrong_call():
    with pytest.raises(SystemExit, match="2"):
        main(["models", "--nonsense"])
