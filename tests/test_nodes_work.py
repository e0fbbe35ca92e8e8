"""What the pack's nodes do, in the embedded host: the whole road, and node by node against the core."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from raiha_core import checkpoint
from raiha_core.harmonizer import load_harmonizer
from raiha_core.models.presets import PRESETS, config_to_json
from raiha_core.pipeline import harmonize
from tests.golden.make_node_ids import ROOT
from tests.node_cases import ENCODER, HARMONIZER, PAIR, make_host, node, saved, search, small_gallery
from workflows.run import pack

NODES = pack("nodes").NODES


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    return make_host(tmp_path_factory.mktemp("host"))


def test_the_whole_road_from_photos_to_a_picture(host):
    prompt = {
        **PAIR,
        **ENCODER,
        **HARMONIZER,
        "4": small_gallery(),
        "5": search("Content", exclude="skimage_coffee.png"),
        "6": search("Illumination", appearance_threshold=0.05, within=["5", 1]),
        "8": node(
            "Raiha_Harmonize",
            composite=["1", 0],
            mask=["2", 0],
            harmonizer=["7", 0],
            strength=1.0,
            references=["6", 0],
        ),
        "9": node("Raiha_SavePicture", images=["8", 0], filename_prefix="a/b", bit_depth="16"),
        "10": node("Raiha_Compare", before=["1", 0], after=["8", 0]),
        "11": node(
            "Raiha_ReferencesToImages",
            references=["6", 0],
            composite=["1", 0],
            mask=["2", 0],
            size=64,
            frames=True,
        ),
        "12": node("PreviewImage", images=["11", 0]),
        "13": node("PreviewAny", source=["11", 2]),
        "14": node("PreviewAny", source=["4", 1]),
        "15": node("SaveImage", images=["11", 1], filename_prefix="sheet"),
        "16": node("SaveImage", images=["10", 0], filename_prefix="beside"),
    }
    history = host.run(prompt)
    (path,) = saved(host, history, "9")
    assert path.name == "b_00001_.png"
    before = np.asarray(Image.open(host.folder("input") / "composite.png")).astype(int)
    with host.session():
        after = pack("raiha_core.images").read_picture(path)
    assert after.bit_depth == 16
    inside = np.asarray(Image.open(host.folder("input") / "mask.png")) > 0
    codes = (after.pixels[0].movedim(0, -1).numpy() * 255).round().astype(int)
    assert (codes[~inside] == before[~inside]).all()  # outside the mask nothing changes
    assert codes[inside].mean() > before[inside].mean() + 10  # the darkened object becomes lighter
    scores = history.outputs["13"]["text"][0]
    assert "palapeli_citrus-fruits.png" in scores
    assert "skimage_coffee.png" not in scores  # it was excluded
    assert len(history.outputs["12"]["images"]) == scores.count("score")
    assert history.outputs["14"]["text"][0].startswith("3 photos (3 added")
    (beside,) = saved(host, history, "16")
    assert Image.open(beside).size == (192, 64)
    assert [len(history.outputs["10"][kind]) for kind in ("a_images", "b_images")] == [1, 1]
    again = host.run({**ENCODER, "4": prompt["4"], "14": prompt["14"]})
    assert "3 unchanged" in again.outputs["14"]["text"][0]
    assert host.folder("user").joinpath("raiha", "galleries", "small").is_dir()


def test_the_node_gives_what_the_core_gives(host):
    prompt = {
        **PAIR,
        **HARMONIZER,
        "8": node("Raiha_Harmonize", composite=["1", 0], mask=["2", 0], harmonizer=["7", 0], strength=0.6),
        "9": node("Raiha_SavePicture", images=["8", 0], filename_prefix="core", bit_depth="8"),
    }
    (path,) = saved(host, host.run(prompt), "9")
    images = pack("raiha_core.images")
    folder = host.folder("input")
    composite, mask = (
        images.read_picture(folder / "composite.png").pixels,
        images.read_mask(folder / "mask.png"),
    )
    expected = harmonize(composite, mask, model=load_harmonizer("statistics"), strength=0.6)
    codes = (expected[0].movedim(0, -1) * 255).round().to(torch.uint8).numpy()
    assert (np.asarray(Image.open(path)) == codes).all()


def test_options_as_they_stand_are_the_preset_and_others_differ(host, schemas):
    options = {entry.id: entry.default for entry in schemas["Raiha_StatisticsOptions"].inputs}

    def run(**changes):
        prompt = {
            **PAIR,
            "7": node("Raiha_StatisticsOptions", **{**options, **changes}),
            "8": node(
                "Raiha_Harmonize", composite=["1", 0], mask=["2", 0], harmonizer=["7", 0], strength=1.0
            ),
            "9": node("Raiha_SavePicture", images=["8", 0], filename_prefix="options", bit_depth="8"),
        }
        return Image.open(saved(host, host.run(prompt), "9")[0]).tobytes(), prompt

    usual, prompt = run()
    preset = host.run({**prompt, **HARMONIZER})
    assert Image.open(saved(host, preset, "9")[0]).tobytes() == usual
    for changes in ({"lightness": 0.2}, {"deviation": 1.0}, {"contrast": 1.0}, {"ring": 0.2}):
        assert run(**changes)[0] != usual, changes


def test_defaults_of_the_options_are_the_presets_own(schemas):
    defaults = {entry.id: entry.default for entry in schemas["Raiha_StatisticsOptions"].inputs}
    usual = pack("raiha_core.models.statistics").StatisticsConfig()
    assert defaults == {
        "lightness": usual.lightness,
        "chroma": usual.chroma,
        "deviation": usual.deviation,
        "contrast": usual.contrast,
        "reference_trust": 0.7,
        "ring": usual.rings[0],
        "cautious": True,
    }


def test_an_image_batch_is_a_gallery_too_and_a_stored_one_can_be_opened(host):
    build = small_gallery()
    host.run({**ENCODER, "4": build})
    folder = host.folder("input")
    Image.open(folder / "photos" / "sklearn_flower.png").save(folder / "other.png")
    prompt = {
        **PAIR,
        **ENCODER,
        "19": node("LoadImage", image="other.png"),
        "20": node("ImageBatch", image1=["1", 0], image2=["19", 0]),
        "21": node("Raiha_ImagesToGallery", images=["20", 0], encoder=["3", 0]),
        "5": search("Content", gallery="21"),
        "13": node("PreviewAny", source=["5", 2]),
        "4": node("Raiha_LoadGallery", gallery="small"),
        "6": search("Content"),
        "14": node("PreviewAny", source=["6", 2]),
    }
    outputs = host.run(prompt).outputs
    first = outputs["13"]["text"][0].splitlines()
    assert first[0].startswith("1 of 1 photos")
    assert first[1].startswith("1. 000001: ")  # the composite itself, 000000, is left out
    assert "skimage_coffee.png" in outputs["14"]["text"][0]
    outside = str(host.folder("user") / "raiha" / "galleries" / "small")
    prompt["4"] = node("Raiha_LoadGallery", gallery="(path below)", path=outside)
    assert host.run(prompt).outputs["14"] == outputs["14"]


def test_moved_photos_are_found_where_load_gallery_is_told(host):
    folder = host.folder("input") / "moving"
    shutil.copytree(host.folder("input") / "photos", folder)
    build = node("Raiha_BuildGallery", encoder=["3", 0], photos="input: moving", name="moving")
    host.run({**ENCODER, "4": build})
    prompt = {
        **PAIR,
        **ENCODER,
        "4": node("Raiha_LoadGallery", gallery="moving"),
        "5": search("Content"),
        "14": node("PreviewAny", source=["5", 2]),
    }
    prompt["5"]["inputs"]["top_k"] = 4
    before = host.run(prompt).outputs["14"]["text"][0]
    assert before.startswith("3 of 3 photos")
    folder.rename(host.folder("input") / "elsewhere")
    prompt["5"]["inputs"]["top_k"] = 5  # else the host keeps the answer
    lost = host.run(prompt).outputs["14"]["text"][0]
    assert lost.startswith("0 of 3 photos")
    assert "passed over: photo " in lost
    assert "--" not in lost
    prompt["4"]["inputs"]["photos"] = str(host.folder("input") / "elsewhere")
    assert host.run(prompt).outputs["14"]["text"][0].splitlines()[1:] == before.splitlines()[1:]


@pytest.mark.parametrize("batches", [[2, 1], [1, 1, 1], [3]])
def test_a_list_of_images_becomes_one_gallery(host, batches):
    nodes = pack("nodes.gallery")
    assert nodes.ImagesToGallery.define_schema().is_input_list
    with host.session():
        encoder = nodes.LoadEncoder.execute("lite0-fast").args[0]
        sizes = [(40, 30), (24, 50), (32, 32)]
        images = [torch.rand(count, *size, 3) for count, size in zip(batches, sizes, strict=False)]
        (gallery,) = nodes.ImagesToGallery.execute(images=images, encoder=[encoder]).args
    assert [photo.id for photo in gallery.photos] == ["000000", "000001", "000002"]
    pictures = [one.movedim(-1, 0)[None] for batch in images for one in batch]
    assert all(torch.equal(gallery.load(n), pictures[n]) for n in range(3))


def test_encoders_of_two_kinds_make_no_gallery(host):
    nodes = pack("nodes.gallery")
    with host.session():
        encoders = [nodes.LoadEncoder.execute(name).args[0] for name in ("lite0-fast", "lite0")]
        with pytest.raises(ValueError, match="a gallery has one encoder"):
            nodes.ImagesToGallery.execute(images=[torch.rand(1, 8, 8, 3)], encoder=encoders)


def test_a_random_draw_depends_on_its_seed_only(host):
    build = small_gallery()
    draws = []
    for seed in (1, 1, 2, 3, 4):
        found = search("Content")
        found["inputs"].update(order="random", seed=seed, top_k=1)
        prompt = {**PAIR, **ENCODER, "4": build, "5": found, "13": node("PreviewAny", source=["5", 2])}
        draws.append(host.run(prompt).outputs["13"]["text"][0].splitlines()[1])
    assert draws[0] == draws[1]
    assert len(set(draws)) > 1


def test_examples_of_the_pack_load_by_name_and_are_shown(host):
    prompt = {
        "1": node("Raiha_LoadPicture", image="example: demo/truck.png"),
        "2": node("SaveImage", images=["1", 0], filename_prefix="example"),
    }
    history = host.run(prompt)
    source = np.asarray(Image.open(ROOT / "assets" / "demo" / "truck.png").convert("RGB"))
    assert (np.asarray(Image.open(saved(host, history, "2")[0])) == source).all()
    assert history.outputs["1"]["images"][0]["type"] == "temp"


def test_alpha_of_a_cutout_is_its_object_and_travels_through_harmonize_and_save(host):
    pixels = np.zeros((40, 50, 4), np.uint8)
    pixels[..., :3] = np.random.default_rng(0).integers(0, 256, (40, 50, 3))
    pixels[10:30, 10:30, 3] = 255
    pixels[30:35, :, 3] = 128
    Image.fromarray(pixels).save(host.folder("input") / "cutout.png")
    prompt = {
        "1": node("Raiha_LoadPicture", image="cutout.png"),
        "2": node(
            "Raiha_SavePicture", images=["1", 0], alpha=["1", 1], filename_prefix="rgba", bit_depth="8"
        ),
    }
    assert (np.asarray(Image.open(saved(host, host.run(prompt), "2")[0])) == pixels).all()


def test_a_network_of_the_users_runs_and_leaves_the_background_alone(host):
    torch.manual_seed(0)
    preset = PRESETS["hdnet-lite"]
    about = checkpoint.Metadata(preset=preset.name, config=config_to_json(preset.config))
    folder = host.folder("models") / "raiha"
    folder.mkdir(exist_ok=True)
    checkpoint.save(folder / "mine.safetensors", preset.build(pretrained=False), about)
    prompt = {
        **PAIR,
        "7": node("Raiha_LoadHarmonizer", harmonizer="mine.safetensors"),
        "8": node("Raiha_Harmonize", composite=["1", 0], mask=["2", 0], harmonizer=["7", 0], strength=1.0),
        "9": node("Raiha_SavePicture", images=["8", 0], filename_prefix="net", bit_depth="8"),
    }
    (path,) = saved(host, host.run(prompt), "9")
    before, after = (np.asarray(Image.open(p)) for p in (host.folder("input") / "composite.png", path))
    inside = np.asarray(Image.open(host.folder("input") / "mask.png")) > 0
    assert (before[~inside] == after[~inside]).all()
    assert (before[inside] != after[inside]).any()
