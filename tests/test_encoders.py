"""The encoders: lite0 against golden numbers and ImageNet's names, transformers against timm itself."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from raiha_core.features import encoders
from raiha_core.features.centring import read_centring
from raiha_core.features.denoiser import Denoiser
from raiha_core.features.encoders import ENCODERS, Encoder, build_encoder
from raiha_core.features.patches import normalise
from raiha_core.features.spec import require_same_space
from raiha_core.images import read_picture
from tests.golden.make_lite0 import classify

ROOT = Path(__file__).parents[1]
PHOTOS = ROOT / "assets" / "scenes" / "photos"
GOLDEN_PATCHES = list(range(3, 144, 7))


@pytest.fixture(scope="module")
def lite0() -> Encoder:
    return build_encoder("lite0")


@pytest.fixture(scope="module")
def golden() -> dict[str, torch.Tensor]:
    return load_file(ROOT / "tests" / "golden" / "lite0.safetensors")


def images(batch: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))


def centre_crop(pixels: torch.Tensor) -> torch.Tensor:
    """ImageNet's usual view: short side 256, the middle 224 pixels."""
    scale = 256 / min(pixels.shape[-2:])
    size = [round(side * scale) for side in pixels.shape[-2:]]
    pixels = F.interpolate(pixels, size=size, mode="bicubic", antialias=True).clamp(0, 1)
    top, left = (size[0] - 224) // 2, (size[1] - 224) // 2
    return pixels[..., top : top + 224, left : left + 224]


# ---- lite0


@pytest.mark.parametrize(
    ("photo", "name"),
    [
        ("skimage_coffee", 967),  # espresso
        ("palapeli_european-honey-bee", 309),  # bee
        ("palapeli_citrus-fruits", 951),  # lemon
        ("palapeli_cincinnati-bridge", 839),  # suspension bridge; efficientnet_lite0 says pier
        ("lomiri_picosdeeuropa_by_Aitzol_Berasategi", 970),  # alp
        ("lomiri_friends_by_Aitzol_Berasategi", 219),  # cocker spaniel; efficientnet_lite0 says Sussex
        ("lomiri_seeding_by_Clements_Engelhardt", 985),  # daisy; efficientnet_lite0 says cardoon
        ("sklearn_china", 698),  # palace
    ],
)
def test_the_network_names_what_photos_show(photo, name):
    # Oracle: ImageNet's class numbers, and what a person sees.
    logits = classify(2 * centre_crop(read_picture(PHOTOS / f"{photo}.jpg").pixels) - 1)
    assert logits[0].argmax() == name


def test_logits_are_the_golden_ones(golden):
    logits = classify(golden["image"][..., :160, :192].float() / 127.5 - 1)[0]
    best = logits.topk(10)
    assert best.indices.tolist() == golden["classes"].tolist()
    torch.testing.assert_close(best.values, golden["logits"], atol=2e-3, rtol=0)


def test_features_are_the_golden_ones(lite0, golden):
    features = lite0.encode(golden["image"].float() / 255)
    content = features.content[0].flatten(1).T[GOLDEN_PATCHES]
    torch.testing.assert_close(content, golden["content"], atol=1e-3, rtol=0)
    torch.testing.assert_close(features.appearance[0], golden["appearance"], atol=1e-4, rtol=0)


def test_features_of_a_file_are_the_golden_ones_within_decoders_rounding(lite0, golden):
    content = lite0.encode(read_picture(PHOTOS / "skimage_coffee.jpg").pixels).content[0]
    cosine = (content.flatten(1).T[GOLDEN_PATCHES] * golden["photo_content"]).sum(1)
    assert cosine.min() > 0.99


def test_the_spec_says_what_comes_out(lite0):
    spec = lite0.spec
    assert (spec.name, spec.encoder) == ("lite0-384-s32-c320", "lite0")
    assert (spec.input_size, spec.grid, spec.dim, spec.histogram.bins) == (384, 12, 320, 60)
    assert (spec.content_threshold, spec.appearance_threshold) == (0.60, 0.9)
    features = lite0.encode(images(2, 40, 60))
    assert features.content.shape == (2, 320, 12, 12)
    assert features.appearance.shape == (2, 60, 12, 12)
    assert features.content.dtype == features.appearance.dtype == torch.float32
    torch.testing.assert_close(features.content.norm(dim=1), torch.ones(2, 12, 12))


def test_encoding_follows_its_recipe_step_by_step(lite0):
    # Oracle: the recipe in plain steps, with numpy where the core uses torch.
    picture = images(1, 50, 70)
    square = F.interpolate(picture, size=(384, 384), mode="bicubic", antialias=True).clamp(0, 1)
    with torch.no_grad():
        raw = lite0.network((square - 0.5) / 0.5)[0].double().numpy().reshape(320, 144)
    mean = read_centring("lite0-384-s32").mean.double().numpy()
    for patch in (0, 71, 143):
        vector = raw[:, patch] / np.linalg.norm(raw[:, patch]) - mean
        expected = vector / np.linalg.norm(vector)
        found = lite0.encode(picture).content[0].flatten(1)[:, patch].double().numpy()
        np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(lite0.tokens(picture)[0].reshape(320, 144).numpy(), raw, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "grid", "dim", "threshold"),
    [("lite0-fast", 8, 320, 0.54), ("lite0-pca128", 12, 128, 0.67), ("lite0-pca64", 12, 64, 0.75)],
)
def test_variants(lite0, name, grid, dim, threshold):
    encoder = build_encoder(name)
    features = encoder.encode(images(1, 64, 64))
    assert features.content.shape == (1, dim, grid, grid)
    assert encoder.spec.encoder == name
    assert encoder.spec.content_threshold == threshold
    assert encoder.spec.content_threshold < encoders.STRICT_THRESHOLDS[name] < 1
    assert len({encoder.spec.name, encoder.spec.centring} & {lite0.spec.name, lite0.spec.centring}) == 0


def test_fewer_numbers_are_a_projection_of_all(lite0):
    picture = images(1, 64, 64)
    constants = read_centring("lite0-384-s32", 64)
    centred = normalise(lite0.tokens(picture), 1)[0].flatten(1) - constants.mean[:, None]
    expected = normalise(constants.basis @ centred, 0)
    found = build_encoder("lite0-pca64").encode(picture).content[0].flatten(1)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_same_image_same_bits_in_every_batch_and_run(lite0):
    batch = images(3, 33, 47)
    together = lite0.encode(batch)
    for i in range(3):
        alone = lite0.encode(batch[i : i + 1])
        assert torch.equal(together.content[i], alone.content[0])
        assert torch.equal(together.appearance[i], alone.appearance[0])
    strided = batch.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)  # as from (B, H, W, C)
    assert torch.equal(lite0.encode(strided).content, together.content)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_floating_type_gives_float32(lite0, dtype):
    picture = images(1, 30, 40).to(dtype)
    features = lite0.encode(picture)
    assert features.content.dtype == torch.float32
    assert torch.equal(features.content, lite0.encode(picture.float()).content)


def test_autocast_changes_nothing(lite0):
    picture = images(1, 30, 40)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(lite0.encode(picture).content, build_encoder("lite0").encode(picture).content)


@pytest.mark.parametrize(("height", "width"), [(1, 9), (16, 16), (17, 300), (997, 3), (1201, 1603)])
def test_any_size(lite0, height, width):
    features = lite0.encode(images(1, height, width))
    torch.testing.assert_close(features.content.norm(dim=1), torch.ones(1, 12, 12))


def test_one_colour_shows_nothing_and_other_images_of_the_batch_are_untouched(lite0):
    batch = torch.cat([torch.full((1, 3, 20, 30), 0.3), images(1, 20, 30)])
    batch[0, 2] = 0.7
    features = lite0.encode(batch)
    assert not features.content[0].any()
    assert torch.isfinite(features.appearance).all()
    torch.testing.assert_close(features.content[1].norm(dim=0), torch.ones(12, 12))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(lite0, bad):
    picture = images(1, 900, 700)
    picture[0, 1, 898, 3] = bad
    with pytest.raises(ValueError, match="NaN or infinite"):
        lite0.encode(picture)


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 4, 8, 8), (0, 3, 8, 8), (1, 3, 0, 8)])
def test_other_shapes_are_refused_with_theirs(lite0, shape):
    with pytest.raises(ValueError, match=str(shape[-1])):
        lite0.encode(torch.zeros(shape))
    with pytest.raises(ValueError, match="uint8"):
        lite0.encode(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))


def test_frozen_and_still_usable_in_training(lite0):
    assert not lite0.train().training
    assert not any(p.requires_grad for p in lite0.parameters())
    content = lite0.encode(images(1, 16, 16)).content
    weight = torch.ones(320, 1, 1, requires_grad=True)
    (content * weight).sum().backward()  # features of inference mode would fail here
    assert weight.grad is not None


def test_like_things_are_alike(lite0):
    # A mirrored photo has the same things in mirrored places; two other photos have other things.
    bee, bridge = (
        lite0.encode(read_picture(PHOTOS / f"palapeli_{n}.jpg").pixels).content[0].flatten(1)
        for n in ("european-honey-bee", "cincinnati-bridge")
    )
    pixels = read_picture(PHOTOS / "palapeli_european-honey-bee.jpg").pixels
    mirrored = lite0.encode(pixels.flip(3)).content[0].flip(2).flatten(1)
    assert (bee * mirrored).sum(0).median() > 0.8
    assert (bee.T @ bridge).flatten().median() < 0.2


# ---- weights that are missing or wrong


def test_unknown_names_list_the_known():
    with pytest.raises(ValueError, match=r"no encoder 'resnet'.*lite0.*dvt-b14"):
        build_encoder("resnet")
    with pytest.raises(ValueError, match="CLIP_VISION"):
        build_encoder("comfy")


def test_other_weights_for_lite0_are_refused_by_name(tmp_path):
    path = tmp_path / "mine.pth"
    torch.save({"a": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match=r"mine\.pth is not the EfficientNet-Lite0 weights file"):
        build_encoder("lite0", weights=path)


def test_without_network_one_sentence_says_what_to_fetch(monkeypatch):
    def offline(*args: object, **kwargs: object) -> None:
        raise ConnectionError("[Errno -2] Name or service not known")

    monkeypatch.setattr(encoders._timm().models, "load_state_dict_from_hf", offline)
    with pytest.raises(
        ValueError, match=r"fetch model\.safetensors of .*vit_small_patch14_dinov2.* `weights`"
    ):
        build_encoder("dinov2-s14")


def test_dvt_says_which_two_files_it_needs(tmp_path):
    with pytest.raises(ValueError, match=r"denoiser's checkpoint.*backbone\.safetensors"):
        build_encoder("dvt-b14")
    with pytest.raises(ValueError, match=r"holds no weights of the encoder 'dvt-b14'; it must hold denoiser"):
        build_encoder("dvt-b14", weights=tmp_path)


# ---- transformers, on random weights


def random_transformer(recipe: encoders.Transformer, **changes: int) -> torch.nn.Module:
    torch.manual_seed(0)
    return encoders._timm().create_model(recipe.model, pretrained=False, num_classes=0, **changes).eval()


def shorten(monkeypatch: pytest.MonkeyPatch, depth: int) -> None:
    """timm's transformers with their real width and fewer blocks, so that the test stays quick."""
    timm = encoders._timm()
    monkeypatch.setattr(timm, "create_model", partial(timm.create_model, depth=depth))


def test_dinov2_s14_gives_timms_patch_tokens(tmp_path, monkeypatch):
    shorten(monkeypatch, 3)
    recipe = encoders.TRANSFORMERS["dinov2-s14"]
    reference = random_transformer(recipe, dynamic_img_size=True)
    save_file(reference.state_dict(), tmp_path / "model.safetensors")
    encoder = build_encoder("dinov2-s14", weights=tmp_path / "model.safetensors")
    picture = images(1, 60, 90)
    square = F.interpolate(picture, size=(448, 448), mode="bicubic", antialias=True).clamp(0, 1)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        tokens = reference.forward_features((square - mean[:, None, None]) / std[:, None, None])
    assert tokens.shape == (1, 1 + 32 * 32, 384)  # one class token before the patches
    expected = tokens[0, 1:].reshape(32, 32, 384).permute(2, 0, 1)
    torch.testing.assert_close(encoder.tokens(picture)[0], expected, atol=1e-4, rtol=1e-4)
    features = encoder.encode(picture)
    assert features.content.shape == (1, 384, 32, 32)
    torch.testing.assert_close(features.content[0], normalise(expected, 0), atol=1e-5, rtol=0)
    assert len(encoder.spec.weights) == 16
    assert "not measured" in encoder.spec.threshold_source


def test_dinov3_has_five_tokens_before_its_patches(tmp_path, monkeypatch):
    shorten(monkeypatch, 2)
    recipe = encoders.TRANSFORMERS["dinov3-s16"]
    reference = random_transformer(recipe, dynamic_img_size=True)
    torch.save(reference.state_dict(), tmp_path / "model.pth")
    encoder = build_encoder("dinov3-s16", weights=tmp_path / "model.pth")
    picture = images(1, 60, 90)
    with torch.no_grad():
        tokens = reference.forward_features(encoder.preprocessing.apply(picture))
    assert tokens.shape == (1, 5 + 28 * 28, 384)
    expected = normalise(tokens[0, 5:].reshape(28, 28, 384).permute(2, 0, 1), 0)
    torch.testing.assert_close(encoder.encode(picture).content[0], expected, atol=1e-5, rtol=0)


@pytest.fixture
def dvt_folder(tmp_path, monkeypatch) -> Path:
    shorten(monkeypatch, 1)
    torch.save(
        random_transformer(encoders._DVT, dynamic_img_size=True).state_dict(), tmp_path / "backbone.pth"
    )
    denoiser = Denoiser()
    torch.nn.init.normal_(denoiser.pos_embed)
    torch.save({"denoiser": denoiser.state_dict(), "optimizer": {}, "step": 7}, tmp_path / "denoiser.pth")
    return tmp_path


def test_dvt_is_the_backbone_then_the_denoiser(dvt_folder):
    encoder = build_encoder("dvt-b14", weights=dvt_folder)
    spec = encoder.spec
    assert (spec.content_threshold, spec.appearance_threshold) == (0.7, 0.9)  # the paper's, for DVT only
    assert "paper" in spec.threshold_source
    assert (spec.grid, spec.dim) == (32, 768)
    picture = images(1, 100, 80)
    square = F.interpolate(picture, size=(448, 448), mode="bilinear", antialias=True)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        tokens = encoder.network.transformer.forward_features(
            (square - mean[:, None, None]) / std[:, None, None]
        )
        assert tokens.shape == (1, 5 + 32 * 32, 768)  # class token and 4 registers
        denoiser = Denoiser()
        denoiser.load_state_dict(torch.load(dvt_folder / "denoiser.pth", weights_only=True)["denoiser"])
        expected = denoiser(tokens[:, 5:].reshape(1, 32, 32, 768).permute(0, 3, 1, 2))
    torch.testing.assert_close(encoder.tokens(picture), expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(encoder.encode(picture).content, normalise(expected, 1), atol=1e-5, rtol=0)


def test_dvt_weights_are_in_the_spec_and_checked(dvt_folder):
    first = build_encoder("dvt-b14", weights=dvt_folder).spec
    path = dvt_folder / "denoiser.pth"
    state = torch.load(path, weights_only=True)["denoiser"]
    torch.save(state, path)  # bare, as a converted file: the same numbers, so the same space
    assert build_encoder("dvt-b14", weights=dvt_folder).spec == first
    state["denoiser.norm1.bias"][0] += 1
    torch.save(state, path)
    assert build_encoder("dvt-b14", weights=dvt_folder).spec.weights != first.weights
    torch.save({**state, "more": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match=r"denoiser\.pth does not fit the network: 1 unknown \(more\)"):
        build_encoder("dvt-b14", weights=dvt_folder)


def test_dvts_backbone_has_its_published_size():
    with torch.device("meta"):
        model = encoders._timm().create_model(encoders._DVT.model, pretrained=False, num_classes=0)
    assert sum(p.numel() for p in model.parameters()) == 86_582_016
    assert model.num_prefix_tokens == 5
    assert tuple(model.pos_embed.shape) == (1, 37 * 37, 768)


@pytest.mark.parametrize("name", [n for n in ENCODERS if n.startswith("dino")])
def test_recipes_agree_with_timms_networks(name):
    recipe = encoders.TRANSFORMERS[name]
    with torch.device("meta"):
        model = encoders._timm().create_model(recipe.model, pretrained=False, num_classes=0)
    assert model.embed_dim == recipe.width
    assert model.patch_embed.patch_size == (recipe.patch, recipe.patch)
    assert recipe.size % recipe.patch == 0
    assert tuple(model.pretrained_cfg["mean"]) == encoders._IMAGENET_MEAN
    assert tuple(model.pretrained_cfg["std"]) == encoders._IMAGENET_STD


def test_a_file_of_another_network_is_refused_by_name(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"other\.safetensors does not fit the network: .* missing"):
        build_encoder("dinov2-s14", weights=tmp_path / "other.safetensors")


def test_two_encoders_cannot_be_mistaken_for_each_other(lite0):
    with pytest.raises(ValueError, match=r"lite0-384-s32-c320.*lite0-256-s32-c320"):
        require_same_space(lite0.spec, build_encoder("lite0-fast").spec, "the gallery", "the query")
    require_same_space(lite0.spec, replace(lite0.spec, content_threshold=0.7), "one", "other")
