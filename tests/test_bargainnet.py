"""BargainNet's two files, and its encoder, which scores."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from raiha_core import checkpoint
from raiha_core.adoption import adopt
from raiha_core.cli import main
from raiha_core.convert import blob_digest, convert
from raiha_core.harmonizer import load_harmonizer
from raiha_core.models.bargainnet import BargainNetConfig
from raiha_core.models.presets import PRESETS, SCORERS, filed
from raiha_core.models.style_code import StyleCodeConfig, StyleEncoder, distance, harmony
from tests.network_cases import fill, pairs
from tests.published_weights import state

FILES = {"G": "latest_net_G.pth", "E": "latest_net_E.pth"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The authors' folder, narrow."""
    narrow = replace(PRESETS["bargainnet"], config=BargainNetConfig(width=4))
    monkeypatch.setitem(PRESETS, "bargainnet", narrow)
    scorer = replace(SCORERS["bargainnet-encoder"], config=StyleCodeConfig(width=4))
    monkeypatch.setitem(SCORERS, "bargainnet-encoder", scorer)
    path = tmp_path / "bargainnet"
    path.mkdir()
    for part, name in FILES.items():
        own = {k.removeprefix(f"{part}."): v for k, v in state("bargainnet").items() if k[0] == part}
        torch.save(own, path / name)
    return path


def test_a_folder_and_the_generator_beside_its_encoder_are_the_network(folder, tmp_path, capsys):
    out = tmp_path / "out.safetensors"
    assert main(["convert", str(folder), "-o", str(out)]) == 0
    assert "MIT, allows commercial use" in capsys.readouterr().out
    loaded = checkpoint.load(out, expect="bargainnet")
    assert loaded.metadata.notes["git_blob"].split(" ") == [blob_digest(folder / n) for n in FILES.values()]
    beside = convert(folder / FILES["G"])[0]
    for name, tensor in loaded.network.state_dict().items():
        assert torch.equal(tensor, beside.state_dict()[name]), name
    # what they are is told from their tensors, and a discriminator beside them is no part
    (folder / FILES["G"]).rename(folder / "a.pth")
    torch.save({"model.0.weight": torch.zeros(4)}, folder / "latest_net_D.pth")
    assert convert(folder)[1].preset == "bargainnet"


def test_known_parts_are_told_apart_from_unknown_ones(folder, monkeypatch):
    card = replace(SCORERS["bargainnet-encoder"].published, blob=blob_digest(folder / FILES["E"]))
    monkeypatch.setitem(SCORERS, "bargainnet-encoder", replace(SCORERS["bargainnet-encoder"], published=card))
    notes = convert(folder)[1].notes
    assert notes["verified"].startswith("in part: latest_net_E.pth is the authors' own file")
    assert convert(folder / FILES["E"])[1].notes["verified"] == "the authors' own file, by its digest"


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("no encoder", "are 2 files: give the folder with all of them"),
        ("twice", "holds one part twice: 5_net_G.pth and latest_net_G.pth"),
        ("nothing", "there is no .pth file in"),
        ("strange", "holds no method of several files"),
    ],
)
def test_a_folder_that_lacks_a_part_is_one_sentence(folder, how, said):
    if how == "twice":
        torch.save(torch.load(folder / FILES["G"]), folder / "5_net_G.pth")
    else:
        for path in folder.iterdir():
            if how != "no encoder" or path.name == FILES["E"]:
                path.unlink()
        for name in ("a.pth", "b.pth") if how == "strange" else ():
            torch.save({"a": torch.zeros(2)}, folder / name)
    with pytest.raises(ValueError, match=said):
        convert(folder)
    if how == "no encoder":
        with pytest.raises(ValueError, match=said):
            convert(folder / FILES["G"])


def test_a_generator_is_adopted_with_its_encoder_and_once(folder):
    first = adopt(folder / FILES["G"])
    assert "BargainNet" in first.line
    kept = folder / "latest_net_G.safetensors"
    written = kept.stat().st_mtime_ns
    assert adopt(folder / FILES["G"]).loaded.preset == "bargainnet"
    assert kept.stat().st_mtime_ns == written


def test_the_encoder_alone_scores_and_harmonizes_nothing(folder, tmp_path):
    out = tmp_path / "encoder.safetensors"
    assert main(["convert", str(folder / FILES["E"]), "-o", str(out)]) == 0
    loaded = checkpoint.load(out, expect="bargainnet-encoder")
    assert set(loaded.network.state_dict()) < set(convert(folder)[0].state_dict())
    with pytest.raises(ValueError, match=r"scores composites .* and harmonizes none"):
        load_harmonizer(out)
    image, mask, _ = pairs(1)
    with pytest.raises(ValueError, match="scores composites and harmonizes none"):
        loaded.network(image, mask)


def test_the_encoders_file_can_be_brought():
    card = filed()["bargainnet-encoder"].published
    assert card.can_be_fetched
    assert card.blob == "a205bed800e8fdc6bdeb44bb47a023f20a38dddf"


def test_the_encoder_sees_its_region_alone():
    # Oracle: whatever stands outside the region, its code is the same; of a picture of one colour both are.
    encoder = fill(StyleEncoder(4, 16)).eval()
    image, mask, _ = pairs(1, 64, 64)
    hard = (mask > 0.5).float()
    code = encoder(image, hard)
    assert torch.equal(code, encoder(torch.where(hard > 0, image, 0.9), hard))
    assert (code - encoder(torch.where(hard > 0, 0.9, image), hard)).abs().max() > 1e-3
    assert distance(encoder, image, hard) > 0
    assert harmony(torch.tensor([0.0])) == 1


def test_partial_convolution_against_its_definition():
    # Oracle: arXiv:1804.07723, eq. 1, pixel by pixel: the window's mean over the region, times its size.
    encoder = fill(StyleEncoder(4, 16)).eval()
    layer = encoder.convs[0]
    image, mask, _ = pairs(1, 64, 64)
    region = (mask > 0.5).float()
    seen = F.unfold(image * region, 3, stride=2).unflatten(1, (3, 9))
    count = F.unfold(region, 3, stride=2).sum(1)
    wanted = torch.einsum("ock,bckl->bol", layer.weight.flatten(2), seen) * (9 / count.clamp_min(1))[:, None]
    wanted = torch.where(count[:, None] > 0, wanted + layer.bias[:, None], 0)
    from raiha_core.models.style_code import _partial

    found, reached = _partial(layer, image, region)
    torch.testing.assert_close(found.flatten(2), wanted, rtol=0, atol=1e-5)
    assert torch.equal(reached.flatten(), (count > 0).float().flatten())
