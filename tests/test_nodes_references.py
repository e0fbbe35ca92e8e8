"""References without wires for encoders, and pictures as references with masks and without a threshold."""

import pytest
import torch

from raiha_core.images import read_mask, read_picture
from tests.golden.make_node_ids import ROOT
from tests.node_cases import PHOTOS, make_host

ASSETS = ROOT / "assets"


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    return make_host(tmp_path_factory.mktemp("host"))


@pytest.fixture(scope="module")
def fruit():
    """A composite of a grapefruit with its mask, and a photo of citrus fruits, as ComfyUI carries them."""
    composite = read_picture(ASSETS / "demo/grapefruit.png").pixels.permute(0, 2, 3, 1)
    mask = read_mask(ASSETS / "demo/grapefruit_mask.png")[:, 0]
    photo = read_picture(ASSETS / "scenes/photos/palapeli_citrus-fruits.jpg").pixels.permute(0, 2, 3, 1)
    return composite, mask, photo


def run(host, kind, **inputs):
    with host.session():
        return host.nodes[f"Raiha_{kind}"].execute(**inputs).args


def test_one_node_finds_what_the_two_searches_find_without_an_encoder(host, fruit):
    composite, mask, _ = fruit
    (encoder,) = run(host, "LoadEncoder", encoder="lite0")
    names = {"photos": "input: photos", "name": "small"}
    gallery, report = run(host, "BuildGallery", **names)
    assert f"{len(PHOTOS)} photos" in report
    pair = {"composite": composite, "mask": mask, "gallery": gallery}
    for by, kind in (("content", "RetrieveByContent"), ("illumination", "RetrieveByIllumination")):
        _, found, _ = run(host, "RetrieveReferences", **pair, by=by, top_k=2)
        more = {"appearance_threshold": 0.0} if by == "illumination" else {}
        _, expected, _ = run(
            host,
            kind,
            **pair,
            encoder=encoder,
            top_k=2,
            content_threshold=0.0,
            order="best first",
            seed=0,
            **more,
        )
        assert [item.photo.id for item in found.items] == [item.photo.id for item in expected.items]


def harmonized(host, fruit, **inputs):
    return run(host, "Harmonize", composite=fruit[0], mask=fruit[1], **inputs)[:2]


def test_composite_and_mask_are_enough(host, fruit):
    (model,) = run(host, "LoadHarmonizer", harmonizer="raiha-plus")
    expected, _ = harmonized(host, fruit, harmonizer=model, strength=1.0)
    image, report = harmonized(host, fruit)
    assert torch.equal(image, expected)
    assert report == ""


def test_a_picture_is_followed_and_its_mask_says_where_to_look(host, fruit):
    photo = fruit[2]
    (references,) = run(host, "PicturesAsReferences", images=[photo])
    image, report = harmonized(host, fruit, references=references)
    assert report.startswith("picture 1: ")
    assert not torch.equal(image, harmonized(host, fruit)[0])
    # Oracle: half of the picture is painted grey; looking at the other half alone finds the same patches.
    half = torch.zeros(photo.shape[:3])
    half[:, :, : photo.shape[2] // 2] = 1
    (left,) = run(host, "PicturesAsReferences", images=[photo], masks=[half])
    (right,) = run(host, "PicturesAsReferences", images=[photo], masks=[1 - half])
    full = {"reference_strength": 1.0}
    images = [harmonized(host, fruit, references=given, **full)[0] for given in (left, right)]
    assert not torch.equal(*images)


def test_an_unlike_picture_is_hardly_believed_but_can_be_asked_for(host, fruit):
    grey = torch.full((1, 80, 90, 3), 0.3)
    grey[..., 2] = 0.6
    (references,) = run(host, "PicturesAsReferences", images=[grey])
    alone = harmonized(host, fruit)[0]
    free = harmonized(host, fruit, references=references)[0]
    asked = harmonized(host, fruit, references=references, reference_strength=1.0)[0]
    inside = fruit[1][..., None] > 0.5
    moved = [((image - alone).abs() * inside).sum() / inside.sum() / 3 for image in (free, asked)]
    assert moved[0] < 0.02
    assert moved[1] > 0.05
    assert (harmonized(host, fruit, references=references, reference_strength=0.0)[0] == alone).all()


def test_wrong_masks_are_named(host, fruit):
    with pytest.raises(ValueError, match="1 pictures and 2 masks"):
        run(host, "PicturesAsReferences", images=[fruit[2]], masks=[torch.ones(2, 10, 10)])
    with pytest.raises(ValueError, match="mask of picture 1 is empty"):
        run(host, "PicturesAsReferences", images=[torch.rand(1, 80, 90, 3)], masks=[torch.zeros(1, 80, 90)])
