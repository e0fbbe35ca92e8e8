"""Weights that are brought: verified before they are read, by servers that behave badly too."""

import json
from dataclasses import replace

import pytest
import torch

from raiha_core import checkpoint, fetch, harmonizer, model_folders
from raiha_core.cli import main
from raiha_core.convert import blob_digest
from raiha_core.models.pctnet import PCTNET_CNN, PCTNetConfig
from raiha_core.models.presets import PRESETS, Preset
from raiha_core.pipeline import harmonize
from tests.http_server import serving
from tests.published_weights import picture, state

NAME = "tiny"


@pytest.fixture
def authors_file(tmp_path, monkeypatch):
    """A small network whose authors' file has a known digest, as PRESETS tells it."""
    path = tmp_path / "elsewhere" / "PCTNet_tiny.pth"
    path.parent.mkdir()
    monkeypatch.setitem(
        PRESETS,
        NAME,
        Preset(name=NAME, config=PCTNetConfig(width=4), about="small", published=PCTNET_CNN),
    )
    torch.save(state(NAME), path)
    card = replace(PCTNET_CNN, blob=blob_digest(path))
    monkeypatch.setitem(PRESETS, NAME, replace(PRESETS[NAME], published=card))
    monkeypatch.setattr(fetch, "sleep", lambda seconds: None)
    monkeypatch.setenv(model_folders.VARIABLE, str(tmp_path / "models"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "data"))
    return path


def test_gits_digest(tmp_path):
    # Oracle: `printf 'test content\n' | git hash-object --stdin`, from the Git book.
    (tmp_path / "file").write_bytes(b"test content\n")
    assert blob_digest(tmp_path / "file") == "d670460b4b4aece5915caf5c68d12f560a9fe3e4"


@pytest.mark.parametrize(
    "mode",
    ["well", "cuts off", "claims more", "redirects", "slow", "busy once", "no resume"],
)
def test_what_can_be_brought_is(authors_file, tmp_path, mode):
    folder, seen = tmp_path / "models", []
    data = authors_file.read_bytes()
    with serving(data, mode) as (address, asked):
        found = fetch.fetch(NAME, folder, mirror=address, report=lambda have, size: seen.append((have, size)))
        again = fetch.fetch(NAME, folder, mirror=address)
    assert again.was_here
    assert not found.was_here
    assert [path.name for path in folder.iterdir()] == [f"{NAME}.safetensors"]
    assert max(have for have, _ in seen) == len(data)
    notes = checkpoint.read_metadata(found.path).notes
    assert notes["converted_from"] == "PCTNet_CNN.pth"
    assert notes["verified"].startswith("the authors' own file")
    assert notes["commercial_use"] == "allowed"
    if mode == "cuts off":  # the second try asks for what is missing, and no more
        assert asked[:2] == [None, f"bytes={len(data) // 3}-"]


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("another file", "is another file than the authors'"),
        ("claims less", "is another file than the authors'"),
        ("absent", "the server answers 404"),
        ("redirects for ever", "the server answers 302"),
        ("endless", "sends more than that file can have"),
        ("claims a terabyte", "claims 1,099,511,627,776 bytes, more than that file can have"),
        ("redirects to a file", "cannot be had: the server answers 302"),
    ],
)
def test_what_is_wrong_gets_one_sentence_and_leaves_nothing(authors_file, tmp_path, mode, said, capsys):
    folder = tmp_path / "models"
    with serving(authors_file.read_bytes(), mode) as (address, asked):
        assert main(["fetch", NAME, "--mirror", address, "--to", str(folder)]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert list(folder.iterdir()) == []
    if mode != "redirects for ever":
        assert len(asked) == 1  # no second try would mend it


def test_a_part_from_elsewhere_is_not_pieced_together(authors_file, tmp_path):
    # Asked for the rest, the server sends it as if it began at 0: as a whole it is another file, and a third
    # try asks for all.
    folder, data = tmp_path / "models", authors_file.read_bytes()
    with serving(data, "goes on elsewhere") as (address, asked):
        found = fetch.fetch(NAME, folder, mirror=address)
    assert asked == [None, f"bytes={len(data) // 3}-", None]
    assert checkpoint.read_metadata(found.path).notes["verified"].startswith("the authors' own file")
    assert [path.name for path in folder.iterdir()] == [f"{NAME}.safetensors"]


def test_a_server_that_speaks_no_http_is_given_up(authors_file, tmp_path, capsys):
    folder = tmp_path / "models"
    with serving(authors_file.read_bytes(), "talks nonsense") as (address, asked):
        assert main(["fetch", NAME, "--mirror", address, "--to", str(folder)]) == 1
    assert len(asked) == fetch.TRIES
    error = capsys.readouterr().err
    assert "could not be brought in 5 tries: the line broke" in error
    assert error.count("\n") == 1
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("given", ["from a server", "from a file"])
def test_the_right_digest_of_a_wrong_content_leaves_nothing(
    authors_file, tmp_path, monkeypatch, capsys, given
):
    # Should a repository ever hold a file that is no weights: its digest is right, and it is refused.
    folder = tmp_path / "models"
    torch.save({"a": torch.zeros(3)}, authors_file)
    card = replace(PRESETS[NAME].published, blob=blob_digest(authors_file))
    monkeypatch.setitem(PRESETS, NAME, replace(PRESETS[NAME], published=card))
    with serving(authors_file.read_bytes(), "well") as (address, _):
        where = ["--mirror", address] if given == "from a server" else ["--from", str(authors_file)]
        assert main(["fetch", NAME, *where, "--to", str(folder)]) == 1
    error = capsys.readouterr().err
    assert "does not fit 'tiny': missing: " in error
    assert (address if given == "from a server" else authors_file.name) in error
    assert error.count("\n") == 1
    assert list(folder.iterdir()) == []


def test_what_came_before_the_line_broke_is_kept_for_the_next_call(authors_file, tmp_path):
    folder, data = tmp_path / "models", authors_file.read_bytes()
    broken = pytest.raises(ValueError, match=r"could not be brought in 5 tries: the line broke after")
    with serving(data, "always cuts off") as (address, asked), broken:
        fetch.fetch(NAME, folder, mirror=address)
    assert len(asked) == fetch.TRIES
    (part,) = folder.iterdir()
    assert part.name.startswith(".")
    have = part.stat().st_size
    with serving(data, "well") as (address, asked):
        fetch.fetch(NAME, folder, mirror=address)
    assert asked == [f"bytes={have}-"]
    assert [path.name for path in folder.iterdir()] == [f"{NAME}.safetensors"]


def test_the_half_of_another_file_is_thrown_away(authors_file, tmp_path):
    folder, data = tmp_path / "models", authors_file.read_bytes()
    folder.mkdir()
    card = PRESETS[NAME].published
    (folder / f".{NAME}-{card.blob}.part").write_bytes(bytes(1000))
    with serving(data, "well") as (address, asked):
        fetch.fetch(NAME, folder, mirror=address)
    assert asked == ["bytes=1000-", None]


def test_a_server_that_falls_silent_is_given_up(authors_file, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "PATIENCE", 0.2)
    monkeypatch.setattr(fetch, "TRIES", 2)
    silent = pytest.raises(ValueError, match=r"nothing came for 0\.2 seconds")
    with serving(authors_file.read_bytes(), "stalls") as (address, _), silent:
        fetch.fetch(NAME, tmp_path / "models", mirror=address)
    with pytest.raises(ValueError, match="the server cannot be reached"):
        fetch.fetch(NAME, tmp_path / "models", mirror="http://127.0.0.1:9")


def test_a_file_that_is_here_is_verified_too(authors_file, tmp_path, capsys):
    assert main(["fetch", NAME, "--from", str(authors_file), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["licence"] == "MPL-2.0"
    assert said["commercial"] is True
    assert said["file"] == str(tmp_path / "models" / f"{NAME}.safetensors")
    assert authors_file.is_file()
    other = tmp_path / "other.pth"
    torch.save({"a": torch.zeros(3)}, other)
    assert main(["fetch", NAME, "--from", str(other), "--to", str(tmp_path / "new")]) == 1
    assert "another file" in capsys.readouterr().err
    assert not list((tmp_path / "new").iterdir())


def test_it_is_found_by_its_name_from_then_on(authors_file, tmp_path, capsys):
    with pytest.raises(
        ValueError, match=rf"not here yet: `raiha fetch {NAME}` brings them.*allows commercial"
    ):
        harmonizer.load_harmonizer(NAME)
    entry = next(e for e in _listed(capsys) if e["name"] == NAME)
    assert (entry["file"], entry["licence"], entry["commercial"]) == (None, "MPL-2.0", True)
    assert main(["fetch", NAME, "--from", str(authors_file)]) == 0
    assert "allows commercial use" in capsys.readouterr().out
    image, mask = picture(40, 56)
    new = harmonize(image, mask, model=NAME)
    assert (new - image).abs().max() > 0.01
    (entry,) = [e for e in _listed(capsys) if e["name"] == NAME]
    assert entry["file"] == str(tmp_path / "models" / f"{NAME}.safetensors")
    assert entry["scores"] == PCTNET_CNN.scores


def _listed(capsys):
    assert main(["models", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_what_cannot_be_brought_is_said(authors_file, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="nothing can be brought for 'hdnet'; these can: pctnet-cnn"):
        fetch.fetch("hdnet", tmp_path)
    with pytest.raises(ValueError, match="must be an address"):
        fetch.fetch(NAME, tmp_path, mirror="ftp://there")
    lost = replace(PCTNET_CNN, file=None, blob=None)
    monkeypatch.setitem(PRESETS, NAME, replace(PRESETS[NAME], published=lost))
    with pytest.raises(ValueError, match="are in no repository: get them from the authors"):
        fetch.fetch(NAME, tmp_path)
    with pytest.raises(ValueError, match="are in no repository: get them from the authors"):
        harmonizer.load_harmonizer(NAME)


def test_where_files_are_kept(tmp_path, monkeypatch):
    monkeypatch.delenv(model_folders.VARIABLE, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr(model_folders.sys, "platform", "linux")
    own = tmp_path / "data" / "raiha" / "models"
    assert model_folders.user_folders() == [own]
    monkeypatch.setenv(model_folders.VARIABLE, str(tmp_path / "mine"))
    assert model_folders.user_folders() == [tmp_path / "mine", own]
    pack = tmp_path / "ComfyUI" / "custom_nodes" / "raiha"
    (tmp_path / "ComfyUI" / "models").mkdir(parents=True)
    monkeypatch.setattr(model_folders, "PACK", pack)
    assert model_folders.user_folders()[0] == tmp_path / "ComfyUI" / "models" / "raiha"
