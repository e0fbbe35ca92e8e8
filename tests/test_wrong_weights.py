"""Files that are no weights, at every door that opens weights: one sentence, and nothing is left behind."""

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from raiha_core import model_folders
from raiha_core.adoption import adopt
from raiha_core.cli import main
from raiha_core.harmonizer import load_harmonizer
from raiha_train.evaluation import evaluate
from tests.node_cases import PAIR, make_host, node
from tests.published_weights import state
from tests.tiny_iharmony4 import make


class Bomb:
    """A pickle that would make a file if it were run."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


def _archive(path, compression):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data/0", bytes(1 << 20))


def _spoiled(path, change):
    given = state("pctnet-cnn")
    change(given)
    torch.save(given, path)


def _cut(path):
    _spoiled(path, lambda given: None)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _renamed(given):
    tensors = list(given.items())
    given.clear()
    given.update({f"net.{name}": tensor for name, tensor in tensors})


# What people really hold in their hands, and what somebody may hand them.
FILES = {
    "nothing": lambda path, mark: path.write_bytes(b""),
    "a page of the cloud drive": lambda path, mark: path.write_bytes(b"<!DOCTYPE html><html></html>"),
    "a pointer to a large file": lambda path, mark: path.write_bytes(
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    ),
    "half of it": lambda path, mark: _cut(path),
    "another archive": lambda path, mark: _archive(path, zipfile.ZIP_STORED),
    "an archive that grows": lambda path, mark: _archive(path, zipfile.ZIP_DEFLATED),
    "code in an archive": lambda path, mark: torch.save({"a": Bomb(mark)}, path),
    "code": lambda path, mark: path.write_bytes(pickle.dumps(Bomb(mark), protocol=2)),
    "a whole network": lambda path, mark: torch.save(torch.nn.Linear(2, 2), path),
    "another network": lambda path, mark: torch.save({"a": torch.zeros(3)}, path),
    "other names": lambda path, mark: _spoiled(path, _renamed),
    "one tensor less": lambda path, mark: _spoiled(path, lambda given: given.popitem()),
}


@pytest.fixture(params=FILES)
def wrong(request, tmp_path, monkeypatch):
    """A wrong net.pth alone in a folder of its own; afterwards the folder is as it was, and no code ran."""
    folder, mark = tmp_path / "weights", tmp_path / "ran"
    folder.mkdir()
    path = folder / "net.pth"
    FILES[request.param](path, mark)
    monkeypatch.setenv(model_folders.VARIABLE, str(tmp_path / "models"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "data"))
    before = path.read_bytes()
    yield path
    assert [entry.name for entry in folder.iterdir()] == [path.name]
    assert path.read_bytes() == before
    assert not mark.exists()
    models = tmp_path / "models"
    assert not models.exists() or not list(models.iterdir())


def one_sentence(capsys, name="net.pth"):
    error = capsys.readouterr().err
    assert name in error
    assert error.count("\n") == 1
    assert "Traceback" not in error
    return error


def test_the_converter(wrong, tmp_path, capsys):
    out = tmp_path / "out.safetensors"
    assert main(["convert", str(wrong), "-o", str(out)]) == 1
    one_sentence(capsys)
    assert not out.exists()


def test_fetch_from_a_file(wrong, capsys):
    assert main(["fetch", "pctnet-cnn", "--from", str(wrong)]) == 1
    assert "another file than the authors'" in one_sentence(capsys)


def test_python(wrong):
    with pytest.raises(ValueError, match=r"net\.pth"):
        adopt(wrong)
    with pytest.raises(ValueError, match="`raiha convert` opens it"):
        load_harmonizer(wrong)


def test_renamed_to_what_it_is_not(wrong, tmp_path, capsys):
    # At the doors that read our own files only: the command, the list, and Python.
    ours = tmp_path / "elsewhere" / "net.safetensors"
    ours.parent.mkdir()
    ours.write_bytes(wrong.read_bytes())
    Image.new("RGB", (8, 8)).save(tmp_path / "c.png")
    Image.fromarray(np.pad(np.full((4, 4), 255, np.uint8), 2)).save(tmp_path / "m.png")
    places = [str(tmp_path / name) for name in ("c.png", "m.png", "out.png")]
    call = ["harmonize", places[0], "--mask", places[1], "-o", places[2], "--model", str(ours)]
    assert main(call) == 1
    one_sentence(capsys, "net.safetensors")
    assert not (tmp_path / "out.png").exists()
    assert main(["models", str(ours)]) == 1
    one_sentence(capsys, "net.safetensors")
    with pytest.raises(ValueError, match=r"net\.safetensors is no whole safetensors file"):
        load_harmonizer(ours)
    assert [entry.name for entry in ours.parent.iterdir()] == ["net.safetensors"]


def test_the_evaluator(wrong, tmp_path, capsys):
    root = make(tmp_path / "set")
    call = ["--data", str(root), "--model", str(wrong), "--out", str(tmp_path / "run"), "--no-plots"]
    assert evaluate.main(call) == 1
    one_sentence(capsys)
    assert not (tmp_path / "run").exists()


def test_the_node(tmp_path):
    # One host for all of them: what one leaves behind would disturb the next.
    host, mark = make_host(tmp_path), tmp_path / "ran"
    folder = host.folder("models") / "raiha"
    folder.mkdir(exist_ok=True)
    names = []
    for number, write in enumerate(FILES.values()):
        for ending in ("pth", "safetensors"):
            path = folder / f"net{number}{ending[0]}.{ending}"
            write(path, mark)
            names.append(path.name)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with host.session():
        (entry,) = host.nodes["Raiha_LoadHarmonizer"].define_schema().inputs
    assert set(names) <= set(entry.options)  # the list itself opens nothing
    for name in names:
        prompt = {
            **PAIR,
            "7": node("Raiha_LoadHarmonizer", harmonizer=name),
            "8": node(
                "Raiha_Harmonize", composite=["1", 0], mask=["2", 0], harmonizer=["7", 0], strength=1.0
            ),
            "9": node("Raiha_SavePicture", images=["8", 0], filename_prefix="out", bit_depth="16"),
        }
        with pytest.raises(Exception, match=name.replace(".", r"\.")) as said:
            host.run(prompt)
        assert "--" not in str(said.value)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert not mark.exists()


def test_a_wrong_file_among_the_users_weights_spoils_no_list(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "models"
    folder.mkdir()
    monkeypatch.setenv(model_folders.VARIABLE, str(folder))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "data"))
    (folder / "pctnet-cnn.safetensors").write_bytes(b"<!DOCTYPE html>")
    assert main(["models"]) == 0
    said = capsys.readouterr()
    assert "pctnet-vit" in said.out
    assert "pctnet-cnn" in said.out
    assert "pctnet-cnn.safetensors is no whole safetensors file" in said.err
    assert main(["models", "pctnet-cnn"]) == 1
    one_sentence(capsys, "pctnet-cnn.safetensors")
