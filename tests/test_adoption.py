"""An authors' .pth in a folder: told, converted once, kept where that can be, else held in memory."""

import torch

from raiha_core import adoption, checkpoint
from raiha_core.adoption import adopt, conversion_of
from tests.network_cases import PUBLISHED
from tests.published_weights import picture, state


def dropped(folder, name="pctnet-vit"):
    path = folder / "PCTNet_ViT.pth"
    torch.save(state(name), path)
    return path


def said(adopted):
    with torch.no_grad():
        return adopted.loaded.network(*picture(32, 32)).step.parameters


def test_it_is_kept_beside_and_converted_once(tmp_path, monkeypatch):
    assert "pctnet-vit" in PUBLISHED
    path = dropped(tmp_path)
    first = adopt(path)
    assert first.line.startswith("PCTNet_ViT.pth is PCT-Net (ViT), rakutentech/")
    assert "MPL-2.0, allows commercial use" in first.line
    assert first.line.endswith("kept as PCTNet_ViT.safetensors")
    assert first.loaded.preset == "pctnet-vit"
    assert {p.name for p in tmp_path.iterdir()} == {"PCTNet_ViT.pth", "PCTNet_ViT.safetensors"}
    monkeypatch.setattr(adoption, "convert", None)  # the second time it is not called
    torch.testing.assert_close(said(adopt(path)), said(first), rtol=0, atol=0)


def test_a_folder_that_cannot_be_written_is_no_hindrance(tmp_path, monkeypatch):
    path = dropped(tmp_path)

    def refuse(*_):
        raise PermissionError(13, "denied", str(conversion_of(path)))

    monkeypatch.setattr(checkpoint, "save", refuse)
    found = adopt(path)
    assert found.line.endswith("held in memory alone")
    assert not found.loaded.network.training
    assert torch.isfinite(said(found)).all()
    assert [p.name for p in tmp_path.iterdir()] == ["PCTNet_ViT.pth"]


def test_somebody_elses_file_of_that_name_is_left_alone(tmp_path):
    path = dropped(tmp_path)
    kept = conversion_of(path)
    kept.write_bytes(b"mine")
    assert adopt(path).line.endswith("held in memory alone")
    assert kept.read_bytes() == b"mine"


def test_a_replaced_pth_is_read_again(tmp_path):
    path = dropped(tmp_path)
    first = said(adopt(path))
    changed = {key: -value for key, value in state("pctnet-vit").items()}
    torch.save(changed, path)
    assert (said(adopt(path)) - first).abs().max() > 0.01
