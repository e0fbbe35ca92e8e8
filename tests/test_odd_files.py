"""Files as people and machines leave them: odd metadata, a full disk, paths that are no UTF-8, lists with a
byte-order mark, pictures one pixel wide. Each is read, or refused in one sentence.
"""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from raiha_core.cli import main
from raiha_core.data.iharmony4 import read_list
from raiha_core.data.raharmony4 import read_references
from raiha_core.opening import openable, read_list_text
from tests.public_weights import state

posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no such paths and no such limit")
ODD = b"odd \xff name"  # no UTF-8


def refused(capsys, call):
    """The one sentence with which a call ends."""
    assert main([os.fsdecode(part) for part in call]) == 1
    error = capsys.readouterr().err
    assert error.startswith("raiha: ")
    assert error.count("\n") == 1
    return error


def picture(path, width, height, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """A converted weight file: its tensors and its metadata."""
    folder = tmp_path_factory.mktemp("weights")
    torch.save(state("hdnet"), folder / "net.pth")
    assert main(["convert", str(folder / "net.pth"), "-o", str(folder / "net.safetensors")]) == 0
    with safe_open(folder / "net.safetensors", "pt") as file:
        return load_file(folder / "net.safetensors"), json.loads(file.metadata()["raiha"])


# ---- weights


def changed(about, name, value):
    return json.dumps({**about, name: value})


def config(**changes):
    return lambda about: changed(about, "config", {**about["config"], **changes})


ODD_METADATA = [
    (lambda about: "", "cannot be used"),
    (lambda about: "[]", "cannot be used"),
    (lambda about: "null", "cannot be used"),
    (lambda about: "[" * 100_000, "nested without end"),
    (lambda about: json.dumps({"format": 1}), "it lacks"),
    (lambda about: changed(about, "format", 99), "it has format 99"),
    (lambda about: changed(about, "preset", ["hdnet"]), "'preset', must be"),
    (lambda about: changed(about, "preset", "raiha-xl"), "raiha-xl"),
    (lambda about: changed(about, "scores", [1, 2]), "'scores', must be"),
    (lambda about: changed(about, "licence", None), "'licence', must be"),
    (lambda about: changed(about, "notes", "x"), "'notes', must be"),
    (lambda about: changed(about, "feature_spec", {"encoder": ["x"]}), "cannot be used: it, 'spec'"),
    (lambda about: changed(about, "config", []), "cannot be used"),
    (config(width=10**9), "'width' 1000000000, more than any network has"),
    (config(width=10**400), "'width' 1000"),
    (config(size=float("inf")), "'size' inf"),
    (config(width="wide"), "width"),
    (config(width=True), "width"),
    (config(width=-3), "width must be >= 1"),
    (config(depth=3), "depth"),
    (config(head={"a": 1}), "head"),
]


@pytest.mark.parametrize(("make", "named"), ODD_METADATA)
@pytest.mark.parametrize("command", ["models", "harmonize"])
def test_odd_metadata_is_one_sentence(converted, tmp_path, capsys, make, named, command):
    tensors, about = converted
    path = tmp_path / "odd.safetensors"
    save_file(tensors, path, metadata={"raiha": make(about)})
    picture(tmp_path / "c.png", 20, 20)
    Image.new("L", (20, 20), 255).save(tmp_path / "m.png")
    call = ["models", path]
    if command == "harmonize":
        mask = ["--mask", tmp_path / "m.png", "-o", tmp_path / "o.png", "--model", path]
        call = ["harmonize", tmp_path / "c.png", *mask]
    assert named in refused(capsys, call)


FULL = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # writing beyond the limit is then an error, as on a full disk
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
from raiha_core.cli import main
sys.exit(main(sys.argv[1:]))
"""


@posix
def test_convert_onto_a_full_disk_is_one_sentence_and_keeps_what_was_there(tmp_path):
    # a limit on the size of files stands in for the disk: the system's own error in the same place
    torch.save(state("hdnet"), tmp_path / "net.pth")
    out = tmp_path / "out.safetensors"
    out.write_bytes(b"what was there")
    call = [sys.executable, "-c", FULL, "convert", str(tmp_path / "net.pth"), "-o", str(out)]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == f"raiha: {out}: File too large\n"
    assert out.read_bytes() == b"what was there"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.pth", "out.safetensors"]


# ---- paths


@posix
def test_a_path_that_is_no_utf8_opens_under_its_handle(tmp_path):
    odd = tmp_path / os.fsdecode(ODD)
    odd.write_bytes(b"content")
    with openable(odd) as name:
        assert name.isascii()
        with open(name, "rb") as file:
            assert file.read() == b"content"
    with openable(tmp_path / "bäh") as name:
        assert name == str(tmp_path / "bäh")  # every other path is itself
    with pytest.raises(FileNotFoundError), openable(tmp_path / os.fsdecode(b"gone \xff")):
        pass


@posix
def test_every_file_of_a_run_may_have_a_path_that_is_no_utf8(tmp_path, capsys):
    folder = os.fsencode(tmp_path) + b"/" + ODD
    os.mkdir(folder)
    photos = folder + b"/photos"
    os.mkdir(photos)
    for number in range(3):
        picture(os.fsdecode(photos + b"/p%d \xfe.png" % number), 96, 64, number)
    mask = folder + b"/mask.png"
    Image.fromarray((np.arange(96)[None] < np.full((64, 1), 40)).astype(np.uint8) * 255).save(
        os.fsdecode(mask)
    )
    composite, store = photos + b"/p0 \xfe.png", folder + b"/store"
    pair = [composite, b"--mask", mask]
    weights = [folder + b"/net.pth", folder + b"/net.safetensors"]
    torch.save(state("hdnet"), tmp_path / "net.pth")
    os.rename(tmp_path / "net.pth", weights[0])
    calls = [
        [b"gallery", b"build", photos, store, b"--encoder", b"lite0-fast"],
        [b"gallery", b"info", store],
        [b"gallery", b"check", store],
        [b"retrieve", *pair, b"--gallery", store, b"--sheet", folder + b"/sheet.png", b"--json"],
        [b"harmonize", *pair, b"--gallery", store, b"-o", folder + b"/out.png"],
        [b"convert", weights[0], b"-o", weights[1]],
        [b"models", weights[1]],
        [b"harmonize", *pair, b"--model", weights[1], b"-o", folder + b"/net.png"],
        [b"gallery", b"repair", store],
    ]
    for call in calls:
        assert main([os.fsdecode(part) for part in call]) == 0, (call[:2], capsys.readouterr().err)
    for name in (b"/sheet.png", b"/out.png", b"/net.png"):
        assert os.path.getsize(folder + name) > 100


# ---- lists


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_list_may_begin_with_a_mark(tmp_path, mark):
    plain = tmp_path / "list.txt"
    plain.write_bytes(mark + b"HCOCO/composite_images/c1_1_1.jpg\n")
    assert read_list(plain) == ["HCOCO/composite_images/c1_1_1.jpg"]
    own = tmp_path / "list.jsonl"
    entry = {
        "input": "HCOCO/composite_images/c1_1_1.jpg",
        "mask": "HCOCO/masks/c1_1.png",
        "refs": ["HCOCO/real_images/c2.jpg"],
    }
    own.write_bytes(mark + json.dumps(entry).encode() + b"\n")
    (found,) = read_references(own)
    assert found.input == entry["input"]


@pytest.mark.parametrize("content", ["ä".encode("latin-1"), "a\n".encode("utf-16"), b"\xff"])
def test_a_list_in_another_encoding_is_one_sentence(tmp_path, content):
    path = tmp_path / "list.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"list\.txt is no UTF-8 text; save it as UTF-8"):
        read_list_text(path)


# ---- pictures


@pytest.mark.parametrize("size", [(1, 40), (40, 1), (2, 1), (1, 700)])
@pytest.mark.parametrize("model", ["statistics", "raiha-plus"])
def test_a_picture_one_pixel_wide_is_harmonized(tmp_path, size, model):
    before = picture(tmp_path / "c.png", *size)
    mask = np.zeros(before.shape[:2], np.uint8)
    mask.reshape(-1)[: mask.size // 2] = 255
    Image.fromarray(mask).save(tmp_path / "m.png")
    call = ["harmonize", tmp_path / "c.png", "--mask", tmp_path / "m.png", "--model", model]
    assert main([*map(str, call), "-o", str(tmp_path / "o.png")]) == 0
    after = np.asarray(Image.open(tmp_path / "o.png"))
    assert after.shape == before.shape
    assert (after[mask == 0] == before[mask == 0]).all()


def test_a_gallery_of_pictures_one_pixel_wide_is_built_and_searched(tmp_path, capsys):
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, size in enumerate([(1, 40), (40, 1), (1, 1), (90, 60)]):
        picture(photos / f"{number}.png", *size, seed=number)
    picture(tmp_path / "c.png", 1, 40, seed=9)  # another than any photo, which would be left out
    mask = np.zeros((40, 1), np.uint8)
    mask[:20] = 255
    Image.fromarray(mask).save(tmp_path / "m.png")
    store = str(tmp_path / "store")
    assert main(["gallery", "build", str(photos), store, "--encoder", "lite0-fast", "--quiet"]) == 0
    capsys.readouterr()
    call = [
        "retrieve",
        str(tmp_path / "c.png"),
        "--mask",
        str(tmp_path / "m.png"),
        "--gallery",
        store,
        "--json",
    ]
    assert main([*call, "--sheet", str(tmp_path / "sheet.png")]) == 0
    assert json.loads(capsys.readouterr().out)["considered"] == 4
