"""What of a picture is the object, from every way it is brought; the command and the node that paste."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from raiha_core.cli import main
from raiha_core.cutout import object_alpha
from raiha_core.images import read_picture
from raiha_core.paste import Placement, paste_object
from tests.golden.make_node_ids import ROOT
from tests.node_cases import make_host

CUTOUT = ROOT / "assets/scenes/cutouts/palapeli_grapefruit_slice.png"


def test_auto_knows_the_object_from_what_surrounds_it():
    # Oracle: one object, brought as alpha, as a drawn mask, and as LoadImage's 1 - alpha.
    image, alpha = torch.rand(1, 3, 20, 30), torch.zeros(1, 1, 20, 30)
    alpha[..., 5:15, 8:22] = 1
    alpha[..., 5, 8:22] = 0.5
    for own, mask, means in (
        (alpha, None, "auto"),
        (None, alpha, "auto"),
        (None, 1 - alpha, "auto"),
        (None, alpha, "object"),
        (None, 1 - alpha, "transparent"),
        (alpha, torch.ones_like(alpha), "object"),
    ):
        assert torch.equal(object_alpha(image, own, mask, means), alpha)
    assert (
        object_alpha(image, None, torch.zeros(1, 1, 20, 30)).eq(1).all()
    )  # LoadImage of an opaque RGBA file
    assert object_alpha(image, None, 1 - alpha, "object")[0, 0, 0, 0] == 1  # what is said holds


@pytest.mark.parametrize(
    "path", sorted((ROOT / "assets/scenes/cutouts").iterdir()), ids=lambda path: path.stem
)
def test_auto_is_right_for_every_shipped_cutout_both_ways(path):
    picture = read_picture(path)
    for mask in (picture.alpha, 1 - picture.alpha):
        found = object_alpha(picture.pixels, None, mask)
        torch.testing.assert_close(
            found, object_alpha(picture.pixels, None, picture.alpha, "object"), rtol=0, atol=0.01
        )


@pytest.mark.parametrize(
    ("mask", "means", "sentence"),
    [
        (None, "auto", "the object needs a mask"),
        (torch.zeros(1, 1, 64, 64), "auto", "no mask was given"),
        (torch.ones(1, 1, 10, 30), "auto", "mask is 30x10 but the object is 30x20"),
        (torch.ones(1, 1, 20, 30), "both", "mask_means must be one of auto, object, transparent"),
    ],
)
def test_what_says_nothing_is_refused(mask, means, sentence):
    with pytest.raises(ValueError, match=sentence):
        object_alpha(torch.rand(1, 3, 20, 30), None, mask, means)


def test_command_node_and_python_paste_alike(tmp_path, capsys):
    scene = ROOT / "assets/scenes/photos/skimage_coffee.jpg"
    Image.open(scene).resize((160, 120)).save(tmp_path / "scene.png")
    call = ["paste", tmp_path / "scene.png", CUTOUT, "-x", 11.5, "--scale", 0.4, "--rotation", 20]
    call += ["--flip", "horizontal", "-o", tmp_path / "out.png", "--mask-out", tmp_path / "m.png", "--json"]
    assert main([str(part) for part in call]) == 0
    report = json.loads(capsys.readouterr().out)
    background, thing = read_picture(tmp_path / "scene.png").pixels, read_picture(CUTOUT)
    placement = Placement(x=11.5, scale=0.4, rotation=20, flip="horizontal")
    done = paste_object(background, thing.pixels, thing.alpha, placement)
    written = np.asarray(Image.open(tmp_path / "out.png"))
    assert np.abs(written / 255 - done.composite[0].permute(1, 2, 0).numpy()).max() < 0.003
    assert report["share"] == pytest.approx(float((done.mask > 0).float().mean()), abs=1e-3)
    assert (
        np.abs(np.asarray(Image.open(tmp_path / "m.png"))[..., 0] / 255 - done.mask[0, 0].numpy()).max()
        < 0.003
    )

    (tmp_path / "host").mkdir()
    host = make_host(tmp_path / "host")
    with host.session():
        node = host.nodes["Raiha_PasteObject"]
        settings = {"x": 11.5, "y": 0.0, "scale": 0.4, "rotation": 20.0, "flip": "horizontal"}
        settings |= {"anchor": "centre", "feather": 0, "mask_means": "auto"}
        image, clear = thing.pixels.permute(0, 2, 3, 1), 1 - thing.alpha[:, 0]
        found = node.execute(**settings, background=background.permute(0, 2, 3, 1), object=image, mask=clear)
        layers = {
            "version": 1,
            "layers": [
                {"image": background.permute(0, 2, 3, 1), "z_index": 0},
                {"image": image, "mask": clear, "z_index": 1, "x": 40, "y": 12},
            ],
        }
        still = {**settings, "x": 0.0, "scale": 1.0, "rotation": 0.0, "flip": "none", "anchor": "top left"}
        stacked = node.execute(**still, layers=layers)
        with pytest.raises(ValueError, match="connect 'background' and 'object'"):
            node.execute(**settings)
    torch.testing.assert_close(found.args[0], done.composite.permute(0, 2, 3, 1), rtol=0, atol=1e-5)
    torch.testing.assert_close(found.args[1], done.mask[:, 0], rtol=0, atol=1e-5)
    shown = found.ui["raiha_paste"][0]
    assert (shown["width"], shown["height"]) == (160, 120)
    assert stacked.args[1].max() == 1
