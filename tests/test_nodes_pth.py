"""Load Harmonizer and the files of published networks' authors, in the embedded host."""

import logging

import pytest
import torch

from raiha_core.images import read_picture
from tests.node_cases import PAIR, make_host, node, saved
from tests.published_weights import state


@pytest.fixture
def host(tmp_path):
    made = make_host(tmp_path)
    (made.folder("models") / "raiha").mkdir(exist_ok=True)
    return made


def options(host):
    with host.session():
        (entry,) = host.nodes["Raiha_LoadHarmonizer"].define_schema().inputs
    return entry.options


def harmonized(host, name):
    prompt = {
        **PAIR,
        "7": node("Raiha_LoadHarmonizer", harmonizer=name),
        "8": node("Raiha_Harmonize", composite=["1", 0], mask=["2", 0], harmonizer=["7", 0], strength=1.0),
        "9": node("Raiha_SavePicture", images=["8", 0], filename_prefix="out", bit_depth="16"),
    }
    history = host.run(prompt)
    # the pixels: the file also tells the workflow, in which the harmonizer's name stands
    return read_picture(saved(host, history, "9")[0]).pixels.numpy().tobytes()


def test_a_pth_is_offered_once_told_and_converted_on_first_use(host, caplog):
    folder = host.folder("models") / "raiha"
    torch.save(state("pctnet-cnn"), folder / "PCTNet_CNN.pth")
    assert "PCTNet_CNN.pth" in options(host)
    with caplog.at_level(logging.INFO, logger="raiha"):
        first = harmonized(host, "PCTNet_CNN.pth")
    (line,) = [r.message for r in caplog.records if "PCTNet_CNN.pth" in r.message]
    assert "PCT-Net (CNN)" in line
    assert "allows commercial use" in line
    assert "--" not in line
    # what it was converted to takes its place, and a workflow that names the .pth runs on
    assert [name for name in options(host) if "PCTNet" in name] == ["PCTNet_CNN.safetensors"]
    assert harmonized(host, "PCTNet_CNN.pth") == first
    assert harmonized(host, "PCTNet_CNN.safetensors") == first


@pytest.mark.parametrize("name", ["wrong.pth", "hostile.pth"])
def test_a_wrong_pth_is_one_sentence(host, name):
    folder = host.folder("models") / "raiha"
    torch.save({"a": torch.zeros(3)}, folder / "wrong.pth")
    torch.save(torch.nn.Linear(2, 2), folder / "hostile.pth")
    with pytest.raises(Exception, match=r"(belongs to no network|not tensors alone)"):
        harmonized(host, name)
    assert sorted(p.name for p in folder.iterdir()) == ["hostile.pth", "wrong.pth"]


@pytest.mark.parametrize("name", ["pctnet-vit", "pctnet-vit.safetensors"])
def test_a_network_that_is_not_here_is_answered_by_what_brings_it(host, name):
    with pytest.raises(Exception, match="`raiha fetch pctnet-vit` brings them"):
        harmonized(host, name)
