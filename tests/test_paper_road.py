"""The paper's own road on a miniature iHarmony4: copies, lists by DVT, training, evaluation, tables 2 and 3.

The encoder is DVT with formula weights, one block instead of twelve, at 112 pixels; all else as documented.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from raiha_core import checkpoint
from raiha_core.cli import main as cli
from raiha_core.convert import convert
from raiha_core.data.raharmony4 import TRAIN_REFERENCES
from raiha_core.features import encoders
from raiha_core.features.denoiser import Denoiser
from raiha_core.features.encoder_files import WEIGHTS_VARIABLE, find_weights
from raiha_train.data import cache
from raiha_train.data.paper_copies import dithered, paper_copy
from raiha_train.data.photos import PhotoRow
from raiha_train.evaluation import evaluate, reproduce
from raiha_train.lists import build_raharmony4
from raiha_train.loop import train
from tests.test_encoders import random_transformer, shorten
from tests.tiny_iharmony4 import make

CONFIGS = Path(__file__).parents[1] / "train" / "configs"
SHORT = ["batch=2", "micro_batch=2", "steps=4"]
SMALL = ["size=64", "packed=64", "network.width=4"]  # or a forward pass would take a second


pytestmark = pytest.mark.usefixtures("one_thread", "no_curves")


@pytest.fixture(scope="module")
def dvt_files(tmp_path_factory) -> Path:
    """A folder with backbone.safetensors and denoiser.safetensors, which tests leave as it is."""
    folder = tmp_path_factory.mktemp("weights") / "DVT"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        shorten(patch, 1)
        backbone = random_transformer(encoders._DVT, dynamic_img_size=True)
    save_file(backbone.state_dict(), folder / "backbone.safetensors")
    denoiser = Denoiser()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        denoiser.pos_embed.normal_(generator=generator)
    save_file(denoiser.state_dict(), folder / "denoiser.safetensors")
    return folder


@pytest.fixture
def dvt(dvt_files, monkeypatch) -> Path:
    """The same folder, where the encoder is as small as its files."""
    shorten(monkeypatch, 1)
    monkeypatch.setattr(encoders, "_DVT", replace(encoders._DVT, size=112))  # 8 x 8 patches, not 32 x 32
    return dvt_files


@pytest.fixture
def root(tmp_path) -> Path:
    """Ten photos in iHarmony4's layout; what is trained on is the test list and its references."""
    root = make(tmp_path / "data")
    (root / "IHD_train.txt").write_text((root / "IHD_test.txt").read_text())
    return root


def test_weights_are_found_in_what_is_named_the_variable_and_the_models_folder(dvt, tmp_path, monkeypatch):
    monkeypatch.setenv("RAIHA_MODELS", str(tmp_path / "models"))
    assert find_weights("dvt-b14") is None
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(dvt))
    assert find_weights("dvt-b14") == dvt
    assert find_weights("lite0") is None  # its weights come with a package
    assert find_weights("lite0", dvt) is None
    first = encoders.build_encoder("dvt-b14").spec
    monkeypatch.delenv(WEIGHTS_VARIABLE)
    shutil.copytree(dvt, tmp_path / "models" / "encoders" / "dvt-b14")
    assert encoders.build_encoder("dvt-b14").spec == first
    # as the authors released it: the denoiser in its folder, timm's file beside it
    official = tmp_path / "official"
    (official / "voc_denoised").mkdir(parents=True)
    shutil.copy(dvt / "backbone.safetensors", official / "model.safetensors")
    state = {"denoiser": encoders.build_encoder("dvt-b14", weights=dvt).network.denoiser.state_dict()}
    torch.save(state, official / "voc_denoised" / "vit_base_patch14_reg4_dinov2.lvd142m.pth")
    assert encoders.build_encoder("dvt-b14", weights=official).spec == first
    with pytest.raises(ValueError, match="holds no weights of the encoder 'dvt-b14'; it must hold denoiser"):
        find_weights("dvt-b14", tmp_path)
    with pytest.raises(ValueError, match="no encoder weights"):
        find_weights("dvt-b14", tmp_path / "nowhere")


def test_the_papers_copies_are_packed_as_protocol_b_makes_them(root):
    name = "HCOCO/composite_images/c17089_1_1.jpg"
    mask = "HCOCO/masks/c17089_1.png"
    row = PhotoRow(id="a", image=root / name, mask=root / mask, group="")
    image, small = cache._decode_for_paper(row, 48)
    pixels = np.asarray(Image.open(root / name))
    assert np.array_equal(image, paper_copy(pixels, 48))
    assert not np.array_equal(image, cache._decode(row, 48)[0])
    assert set(np.unique(small)) == {0, 255}
    grey = np.full((64, 64), 90, np.uint8)
    share = (dithered(grey, 64) > 0).mean()
    assert share == pytest.approx(90 / 255, abs=0.02)  # a dithered grey keeps its mean


def test_the_authors_training_list_is_read_with_its_empty_entries(root, dvt, tmp_path, capsys):
    lines = (root / "refs.jsonl").read_text().splitlines()
    first = json.loads(lines[0])
    (root / TRAIN_REFERENCES).write_text("\n".join([json.dumps({**first, "refs": []}), *lines[1:]]) + "\n")
    call = [str(CONFIGS / "raiha_paper_data.py"), "--data", str(root), "--encoder-weights", str(dvt)]
    call += ["--output", str(tmp_path / "run"), "--dry-run", "--set", *SHORT]
    assert train.main(call) == 0
    assert "none more held out" in capsys.readouterr().out


def test_the_whole_road(root, dvt, tmp_path, monkeypatch, capsys):
    weights = ["--encoder-weights", str(dvt)]
    data = ["--data", str(root)]
    # lists by DVT, over the training split
    out = tmp_path / "lists"
    call = [*data, "--out", str(out), "--encoder", "dvt-b14", *weights, "--device", "cpu"]
    call += ["--list", "IHD_train.txt", "--content-threshold", "0.01", "--appearance-threshold", "0.01"]
    assert build_raharmony4.main([*call, "--mode", "paper"]) == 0
    made = out / "references.jsonl"
    assert made.read_text()
    scores = json.loads((out / "scores.json").read_text())
    assert scores["feature_spec"]["encoder"] == "dvt-b14"
    # training; the paper's own data path is walked in test_reproduce_commands.py
    run = tmp_path / "runs" / "raiha"
    call = [str(CONFIGS / "raiha.py"), *data, "--lists", str(made), *weights]
    call += ["--output", str(run), "--tracker", "none", "--set", *SHORT, *SMALL, "validation_share=0.4"]
    assert train.main(call) == 0
    last = run / "last.safetensors"
    about = checkpoint.read_metadata(last)
    assert about.spec is not None
    assert about.spec.encoder == "dvt-b14"
    assert (run / "best.safetensors").exists()
    # evaluation with references, and table 2 and 3, over three items
    three = tmp_path / "three.jsonl"
    three.write_text("".join(line + "\n" for line in (root / "refs.jsonl").read_text().splitlines()[1:4]))
    call = [*data, "--model", str(last), "--protocol", "B", "--out", str(tmp_path / "b"), *weights]
    call += ["--references", str(three), "--seeds", "2", "--no-plots", "--quiet"]
    assert evaluate.main(call) == 0
    assert "runs" in json.loads((tmp_path / "b" / "scores.json").read_text())
    for table, rows in (("2", ["raiha"]), ("3", ["raiha", "raiha_no_augmentation"])):
        call = ["--table", table, *data, "--out", str(tmp_path / f"table{table}"), *weights, "--seeds", "2"]
        call += ["--references", str(three), "--protocols", "B"]
        for row in rows:
            call += ["--checkpoint", f"{row}={last}"]
        if table == "3":
            call += ["--other-light", f"light_07={made}"]
        assert reproduce.main(call) == 0
        page = (tmp_path / f"table{table}" / f"table{table}.md").read_text()
        ours = [line for line in page.splitlines() if "Raiha (ours)" in line or "without augmented" in line]
        assert ours
        assert not any("no checkpoint" in line for line in ours)
    # harmonize, with a reference and without, by the variable
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(dvt))
    picture = root / "HCOCO" / "composite_images" / "c17089_1_1.jpg"
    mask = root / "HCOCO" / "masks" / "c17089_1.png"
    call = ["harmonize", str(picture), "--mask", str(mask), "--model", str(last), "-o"]
    assert cli([*call, str(tmp_path / "plain.png")]) == 0
    photo = root / "HCOCO" / "real_images" / "c437938.jpg"
    assert cli([*call, str(tmp_path / "guided.png"), "--references", str(photo)]) == 0
    said = capsys.readouterr().out
    assert "references: none" in said
    assert "references: c437938.jpg" in said
    for name in ("plain.png", "guided.png"):
        assert Image.open(tmp_path / name).size == Image.open(picture).size


def test_converted_weights_carry_their_feature_space(dvt, tmp_path, capsys):
    from tests.test_convert import state

    torch.save(state("raiha"), tmp_path / "60_net_G.pth")
    source = str(tmp_path / "60_net_G.pth")
    assert cli(["convert", source, "-o", str(tmp_path / "bare.safetensors")]) == 0
    assert "no feature space is kept" in capsys.readouterr().out
    call = ["convert", source, "-o", str(tmp_path / "raiha.safetensors")]
    assert cli([*call, "--encoder-weights", str(dvt)]) == 0
    spec = checkpoint.read_metadata(tmp_path / "raiha.safetensors").spec
    assert spec == encoders.build_encoder("dvt-b14", weights=dvt).spec
    network, _ = convert(tmp_path / "60_net_G.pth")
    loaded = checkpoint.load(tmp_path / "raiha.safetensors").network
    for name, value in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)
