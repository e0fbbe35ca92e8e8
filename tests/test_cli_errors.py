"""The command line when something is wrong: one sentence, the right exit code, and nothing of value lost."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from raiha_core.cli import harmonize as command
from raiha_core.cli import main, tools
from raiha_core.cli.errors import sentence
from raiha_core.harmonizer import Harmonizer
from raiha_core.models.statistics import Statistics

ROOT = Path(__file__).parent.parent
SIZE = (64, 48)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A composite c.png with its mask m.png, in the current folder."""
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(90, 220, (48, 64, 3), dtype=np.uint8)
    mask = np.zeros((48, 64), np.uint8)
    mask[12:30, 16:40] = 255
    pixels[mask > 0] //= 3
    Image.fromarray(pixels).save("c.png")
    Image.fromarray(mask).save("m.png")
    return tmp_path


def fails(capsys, code, *arguments):
    """Run a command that must fail with `code`. Returns: its one sentence."""
    try:
        found = main(list(arguments))
    except SystemExit as stop:
        found = stop.code
    printed = capsys.readouterr()
    assert (found, printed.out, printed.err.count("\n")) == (code, "", 1), printed
    assert printed.err.startswith("raiha: ")
    return printed.err


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--strength", "7", "--strength: must lie in 0..2, got 7"),
        ("--strength", "nan", "--strength: must lie in 0..2, got nan"),
        ("--strength", "much", "--strength: must be a number, got 'much'"),
        ("--top-k", "0", "--top-k: must be a whole number of at least 1, got '0'"),
        ("--top-k", "2.5", "--top-k: must be a whole number of at least 1, got '2.5'"),
        ("--device", "toaster", "--device: this machine has no device 'toaster'"),
        ("--device", "meta", "--device: this machine has no device 'meta'"),  # holds no numbers
        ("--by", "luck", "--by"),
    ],
)
def test_a_wrong_value_is_a_wrong_call(here, capsys, option, value, said):
    assert said in fails(capsys, 2, "harmonize", "c.png", "--mask", "m.png", "-o", "x.png", option, value)
    assert not Path("x.png").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
@pytest.mark.parametrize(
    "call",
    [
        ("harmonize", "c.png", "--mask", "m.png", "-o", "x.png"),
        ("retrieve", "c.png", "--mask", "m.png", "--gallery", "g"),
        ("gallery", "build", ".", "g"),
    ],
)
def test_a_device_that_is_not_there(here, capsys, call):
    assert "no device 'cuda'" in fails(capsys, 2, *call, "--device", "cuda")


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("c.png", "would replace c.png"),
        ("./m.png", "would replace m.png"),
        ("nowhere/x.png", "nowhere/x.png cannot be written: nowhere does not exist"),
        ("c.png/x.png", "c.png/x.png cannot be written: c.png is not a folder"),
        (".", ". is a folder"),
    ],
)
def test_where_a_result_cannot_go(here, capsys, output, said):
    before = {path.name: path.read_bytes() for path in here.iterdir()}
    assert said in fails(capsys, 1, "harmonize", "c.png", "--mask", "m.png", "-o", output)
    assert before == {path.name: path.read_bytes() for path in here.iterdir()}


def folders(here, **masks):
    """c/ with the same composite under several names, m/ with a mask for each: a grey level, or a picture."""
    (here / "c").mkdir()
    (here / "m").mkdir()
    for name, mask in masks.items():
        Image.open("c.png").save(f"c/{name}.png")
        (Image.open(mask) if isinstance(mask, str) else Image.new("L", SIZE, mask)).save(f"m/{name}.png")


@pytest.mark.parametrize("output", ["c", "c/results", "m", "m/deep/results"])
def test_results_of_a_folder_stay_out_of_what_is_read(here, capsys, output):
    # the results would be the next run's composites; and c/a.png itself would pass for finished
    folders(here, a="m.png")
    assert "lies in" in fails(capsys, 1, "harmonize", "c", "--mask", "m", "-o", output)
    assert not Path("c/results").exists()


def test_a_folder_names_the_file_of_every_trouble(here, capsys):
    folders(here, a="m.png", empty1=0, empty2=0, full=255)
    assert main(["harmonize", "c", "--mask", "m", "-o", "out", "--json"]) == 1
    printed = capsys.readouterr()
    report = json.loads(printed.out)
    assert [Path(entry["output"]).name for entry in report["done"]] == ["a.png", "empty1.png", "empty2.png"]
    assert report["failed"][0]["error"].startswith("c/full.png: the mask covers the whole picture")
    for name in ("empty1", "empty2"):  # a warning of Python's own would be shown once
        assert f"m/{name}.png is empty: c/{name}.png comes back unchanged" in printed.err
        assert (np.asarray(Image.open(f"out/{name}.png")) == np.asarray(Image.open("c.png"))).all()


def test_folders_that_are_missing_or_hold_nothing(here, capsys):
    (here / "none").mkdir()
    assert "nowhere does not exist" in fails(capsys, 1, "harmonize", "nowhere", "--mask", "m.png", "-o", "x")
    assert "folder none holds no picture" in fails(
        capsys, 1, "harmonize", "none", "--mask", "none", "-o", "x"
    )


def test_a_full_disk_ends_the_folder_and_keeps_what_was_done(here, capsys, monkeypatch):
    write, written = command.write_picture, []

    def full(path, *arguments, **options):
        if written:
            raise OSError(28, "No space left on device", str(path))
        written.append(path)
        write(path, *arguments, **options)

    monkeypatch.setattr(command, "write_picture", full)
    folders(here, a="m.png", b="m.png", c="m.png")
    said = fails(capsys, 1, "harmonize", "c", "--mask", "m", "-o", "out")
    assert said == "raiha: out/b.png: No space left on device\n"
    assert [path.name for path in Path("out").iterdir()] == ["a.png"]


class Choosy(Harmonizer):
    """Takes at most `most` references, and remembers how many it got."""

    def __init__(self, most):
        self.name, self.max_references, self.got = "choosy", most, []

    def predict(self, composite, mask, references, *, encoder=None, features=None):
        self.got = [len(row) for row in references]
        return Statistics().predict(composite, mask)


def test_a_model_gets_no_more_references_than_it_takes(here, capsys, monkeypatch):
    call = ("harmonize", "c.png", "--mask", "m.png", "-o", "x.png")
    monkeypatch.setattr(tools, "load_harmonizer", lambda name, device: Choosy(2))
    assert "takes at most 2" in fails(capsys, 1, *call, "--gallery", "g", "--top-k", "3")
    assert [tools._top_k(Choosy(most), None) for most in (0, 2, 9)] == [4, 2, 4]


@pytest.mark.parametrize(
    "content", [b"", b"hello this is no picture", b"\x80\x02garbage", b"\x89PNG\r\n\x1a\n"]
)
def test_what_is_no_weight_file(here, capsys, content):
    Path("x.pth").write_bytes(content)
    assert "x.pth is not a weights file" in fails(capsys, 1, "convert", "x.pth", "-o", "y.safetensors")
    Path("x.safetensors").write_bytes(content)
    said = fails(
        capsys, 1, "harmonize", "c.png", "--mask", "m.png", "-o", "x.png", "--model", "x.safetensors"
    )
    assert "x.safetensors is no whole safetensors file" in said


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(13, "Permission denied", "a.png"), "a.png: Permission denied"),
        (OSError(18, "Invalid cross-device link", "a", None, "b"), "a -> b: Invalid cross-device link"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (OSError("the disk is full; gallery g keeps"), "the disk is full; gallery g keeps"),
        (ValueError("two\n  lines"), "two lines"),
    ],
)
def test_a_systems_error_is_told_without_its_number(error, said):
    assert sentence(error) == said


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")]
)
def test_no_memory_is_one_sentence(here, capsys, monkeypatch, error):
    def harmonize(*_, **__):
        raise error

    monkeypatch.setattr(tools, "harmonize_with_beliefs", harmonize)
    assert "not enough memory" in fails(capsys, 1, "harmonize", "c.png", "--mask", "m.png", "-o", "x.png")


def test_a_bug_of_ours_is_not_passed_off_as_the_users(here, monkeypatch):
    def harmonize(*_, **__):
        raise RuntimeError("shapes disagree")

    monkeypatch.setattr(tools, "harmonize_with_beliefs", harmonize)
    with pytest.raises(RuntimeError, match="shapes disagree"):
        main(["harmonize", "c.png", "--mask", "m.png", "-o", "x.png"])


def python(code, **options):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    call = [sys.executable, "-c", code]
    return subprocess.run(call, capture_output=True, text=True, check=False, env=environment, **options)


def test_the_entry_point_imports_nothing_slow():
    # Ctrl-C while torch is imported, for seconds, must end in the entry point's sentence
    done = python("import raiha_core.cli, sys; print('torch' in sys.modules)")
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_ctrl_c_during_the_imports(tmp_path):
    (tmp_path / "torch.py").write_text("raise KeyboardInterrupt\n")
    shadowed = f"import sys; sys.path.insert(0, {str(tmp_path)!r})"
    done = python(f"{shadowed}; from raiha_core.cli import main; sys.exit(main(['models']))")
    assert (done.returncode, done.stderr) == (1, "raiha: interrupted; what was finished is kept\n")


@pytest.mark.skipif(os.name == "nt", reason="Windows refuses such names")
def test_a_name_that_the_terminal_cannot_show_loses_no_result(here):
    Path("c.png").rename("写真.png")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"}
    code = "import sys; from raiha_core.cli import main; sys.exit(main(sys.argv[1:]))"
    call = [sys.executable, "-c", code, "harmonize", "写真.png", "--mask", "m.png", "-o", "結果.png"]
    done = subprocess.run(call, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(r"\u7d50\u679c.png")
    assert Path("結果.png").exists()
