"""The pack's nodes in the embedded host: their frozen faces, what they compute, how they refuse."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from raiha_core.harmonizer import load_harmonizer
from raiha_core.pipeline import harmonize
from tests.golden.make_node_ids import GOLDEN, ROOT, describe_nodes
from tests.tools.make_node_docs import pages
from workflows.run import pack

Host = pack("workflows.host").Host
PromptError = pack("workflows.host").PromptError
Tensors = pack("nodes.tensors")
NODES = pack("nodes").NODES


def node(kind, **inputs):
    return {"class_type": kind, "inputs": inputs}


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    """A host with three small photos in input/photos, a composite and its mask in input/."""
    host = Host(tmp_path_factory.mktemp("host"))
    folder = host.folder("input") / "photos"
    folder.mkdir()
    for name in ("skimage_coffee", "sklearn_flower", "palapeli_citrus-fruits"):
        photo = Image.open(ROOT / "assets" / "scenes" / "photos" / f"{name}.jpg")
        photo.resize((96, 64)).save(folder / f"{name}.png")
    composite = np.asarray(Image.open(folder / "skimage_coffee.png")).copy()
    mask = np.zeros((64, 96), np.uint8)
    mask[20:44, 30:60] = 255
    composite[mask > 0] //= 2
    Image.fromarray(composite).save(host.folder("input") / "composite.png")
    Image.fromarray(mask).save(host.folder("input") / "mask.png")
    return host


@pytest.fixture(scope="module")
def schemas(host):
    with host.session():
        return {found.define_schema().node_id: found.define_schema() for found in NODES}


PAIR = {
    "1": node("Raiha_LoadPicture", image="composite.png"),
    "2": node("Raiha_LoadMask", image="mask.png"),
}
ENCODER = {"3": node("Raiha_LoadEncoder", encoder="lite0-fast")}
HARMONIZER = {"7": node("Raiha_LoadHarmonizer", harmonizer="statistics")}


def search(kind, gallery="4", **inputs):
    return node(
        f"Raiha_RetrieveBy{kind}",
        **{"composite": ["1", 0], "mask": ["2", 0], "gallery": [gallery, 0], "encoder": ["3", 0]},
        **{"top_k": 0, "content_threshold": 0.1, "order": "best first", "seed": 0},
        **inputs,
    )


def saved(host, history, node_id):
    return [
        host.folder("output") / e["subfolder"] / e["filename"] for e in history.outputs[node_id]["images"]
    ]


# ---- faces


def test_ids_inputs_and_their_order_are_frozen():
    # Oracle: a file. An entry may be added, and an optional input at a node's end; nothing else may change.
    frozen = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert describe_nodes() == frozen


def test_every_input_and_output_explains_itself(schemas):
    for name, schema in schemas.items():
        assert name.startswith("Raiha_")
        assert schema.category == "Raiha"
        assert schema.description
        assert schema.display_name.endswith("(Raiha)")
        assert schema.search_aliases
        for entry in (*schema.inputs, *schema.outputs):
            assert entry.tooltip, (name, entry.id)
            assert entry.id, name


def test_widgets_after_the_first_release_would_be_optional_so_defaults_agree(schemas):
    # A default that its own widget refuses would make a fresh node red.
    for name, schema in schemas.items():
        for entry in schema.inputs:
            default, options = getattr(entry, "default", None), getattr(entry, "options", None)
            if options is not None and default is not None:
                assert default in options, (name, entry.id)
            if isinstance(default, int | float) and getattr(entry, "min", None) is not None:
                assert entry.min <= default <= entry.max, (name, entry.id)


# ---- what they do


def test_the_whole_road_from_photos_to_a_picture(host):
    prompt = {
        **PAIR,
        **ENCODER,
        **HARMONIZER,
        "4": node("Raiha_BuildGallery", encoder=["3", 0], photos="input: photos", name="small"),
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
        after = pack("nodes.pictures").read_picture(path)
    assert after.bit_depth == 16
    inside = np.asarray(Image.open(host.folder("input") / "mask.png")) > 0
    codes = (after.pixels[0].movedim(0, -1).numpy() * 255).round().astype(int)
    assert (codes[~inside] == before[~inside]).all()  # outside the mask nothing changes
    assert codes[inside].mean() > before[inside].mean() + 10  # the darkened object becomes lighter
    scores = history.outputs["13"]["text"][0]
    assert "palapeli_citrus-fruits.png" in scores
    assert "skimage_coffee.png" not in scores  # it was excluded
    assert len(history.outputs["12"]["images"]) == scores.count("weight")
    assert history.outputs["14"]["text"][0].startswith("3 photos (3 added")
    (beside,) = saved(host, history, "16")
    assert Image.open(beside).size == (192, 64)
    assert len(history.outputs["10"]["images"]) == 1
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
        return saved(host, host.run(prompt), "9")[0].read_bytes(), prompt

    usual, prompt = run()
    preset = host.run({**prompt, **HARMONIZER})
    assert saved(host, preset, "9")[0].read_bytes() == usual
    for changes in ({"lightness": 0.2}, {"deviation": 1.0}, {"contrast": 0.0}, {"ring": 0.2}):
        assert run(**changes)[0] != usual, changes


def test_defaults_of_the_options_are_the_presets_own(schemas):
    defaults = {entry.id: entry.default for entry in schemas["Raiha_StatisticsOptions"].inputs}
    usual = pack("raiha_core.models.statistics").StatisticsConfig()
    assert defaults == {
        "lightness": usual.lightness,
        "chroma": usual.chroma,
        "deviation": usual.deviation,
        "contrast": usual.contrast,
        "reference_trust": usual.reference_trust,
        "ring": usual.rings[0],
        "cautious": True,
    }


def test_an_image_batch_is_a_gallery_too_and_a_stored_one_can_be_opened(host):
    build = node("Raiha_BuildGallery", encoder=["3", 0], photos="input: photos", name="small")
    host.run({**ENCODER, "4": build})
    prompt = {
        **PAIR,
        **ENCODER,
        "20": node("ImageBatch", image1=["1", 0], image2=["1", 0]),
        "21": node("Raiha_ImagesToGallery", images=["20", 0], encoder=["3", 0]),
        "5": search("Content", gallery="21"),
        "13": node("PreviewAny", source=["5", 2]),
        "4": node("Raiha_LoadGallery", gallery="small"),
        "6": search("Content"),
        "14": node("PreviewAny", source=["6", 2]),
    }
    outputs = host.run(prompt).outputs
    first = outputs["13"]["text"][0].splitlines()
    assert first[0].startswith("2 of 2 photos")
    assert "000000: content 1.000" in first[1]  # the composite itself, twice; ties go to the lower name
    assert "skimage_coffee.png" in outputs["14"]["text"][0]
    outside = str(host.folder("user") / "raiha" / "galleries" / "small")
    prompt["4"] = node("Raiha_LoadGallery", gallery="(path below)", path=outside)
    assert host.run(prompt).outputs["14"] == outputs["14"]


def test_a_random_draw_depends_on_its_seed_only(host):
    build = node("Raiha_BuildGallery", encoder=["3", 0], photos="input: photos", name="small")
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


# ---- tensors


def test_axes_come_back_and_alpha_and_grey_are_understood():
    image = torch.rand(2, 5, 7, 4)
    assert torch.equal(Tensors.to_image(Tensors.from_image(image), Tensors.alpha_of(image)), image)
    assert torch.equal(Tensors.to_image(Tensors.from_image(image)), image[..., :3])
    grey = torch.rand(1, 5, 7, 1)
    assert torch.equal(Tensors.from_image(grey), grey.movedim(-1, 1).expand(-1, 3, -1, -1))
    mask = torch.rand(5, 7)
    assert torch.equal(Tensors.to_mask(Tensors.from_mask(mask))[0], mask)


@pytest.mark.parametrize("bad", [torch.rand(5, 7, 3), torch.rand(1, 5, 7, 2), "a string", None])
def test_what_is_no_image_is_refused(bad):
    with pytest.raises(ValueError, match="an image must be"):
        Tensors.from_image(bad)


def test_pictures_of_any_size_share_a_batch():
    batch = Tensors.on_squares([torch.ones(1, 3, 10, 20), torch.ones(1, 3, 30, 10)], 20)
    assert batch.shape == (2, 3, 20, 20)
    assert batch[0].sum() == 3 * 20 * 10
    assert batch[0, :, 5:15].min() == 1  # centred
    assert not Tensors.on_squares([], 8).any()


# ---- refusals: one sentence each, naming node and value


def harmonizing(**changes):
    inputs = {"composite": ["1", 0], "mask": ["2", 0], "harmonizer": ["7", 0], "strength": 1.0, **changes}
    return {
        **PAIR,
        **HARMONIZER,
        "8": node("Raiha_Harmonize", **inputs),
        "9": node("PreviewImage", images=["8", 0]),
    }


PLACEHOLDER = {"2": node("SolidMask", value=0.0, width=64, height=64)}
OTHER_SIZE = {"2": node("SolidMask", value=1.0, width=50, height=40)}
FULL = {"2": node("SolidMask", value=1.0, width=96, height=64)}
GREY = {
    "7": node("SolidMask", value=0.5, width=9, height=9),
    "8": node("MaskToImage", mask=["7", 0]),
}


def picture(name):
    return {"1": node("Raiha_LoadPicture", image=name), "9": node("PreviewImage", images=["1", 0])}


def encoder(**inputs):
    return {"3": node("Raiha_LoadEncoder", **inputs), "9": node("PreviewAny", source=["3", 0])}


def opened(**inputs):
    shown = node("PreviewAny", source=["4", 1])
    return {"4": node("Raiha_LoadGallery", gallery="(path below)", **inputs), "9": shown}


def built(**inputs):
    usual = {"encoder": ["3", 0], "photos": "(folder below)", "name": "x"}
    return {**ENCODER, "4": node("Raiha_BuildGallery", **{**usual, **inputs})}


REFUSALS = [
    ({**harmonizing(), **PLACEHOLDER}, "no mask was given"),
    ({**harmonizing(), **OTHER_SIZE}, "the mask is 50x40 but the composite is 96x64"),
    ({**harmonizing(), **FULL}, "covers the whole picture"),
    (harmonizing(harmonizer="statistics"), "'harmonizer' must come from Load Harmonizer .*, got str"),
    (harmonizing(references=7), "'references' must come from a retrieval node, got int 7"),
    (harmonizing(strength=1.5), "Value 1.5 bigger than max of 1.0"),
    (picture("gone.png"), "image - there is no picture 'gone.png'"),
    (picture("../x.png"), "'../x.png' lies outside the input folder"),
    (picture("example: demo/no.png"), "there is no picture 'example: demo/no.png' in this version"),
    (built(encoder="lite0"), "'encoder' must come from Load Encoder"),
    (built(photos="(example photos)", name="../x"), "'../x' cannot name a gallery"),
    (built(), "type the photo folder's path into 'folder'"),
    (built(folder="/no/such"), "photo folder /no/such does not exist"),
    (opened(), "type the gallery's path"),
    (opened(path="/no/g"), "gallery /no/g does not exist"),
    (encoder(encoder="comfy"), "'comfy' needs a model from CLIPVisionLoader"),
    (encoder(encoder="lite0", clip_vision=5), "'clip_vision' is connected but the encoder is 'lite0'"),
    (encoder(encoder="comfy", clip_vision=5), "'clip_vision' must come from CLIPVisionLoader, got int"),
    (
        {**PAIR, **GREY, "9": node("Raiha_Compare", before=["1", 0], after=["8", 0])},
        "'before' is 96x64 and 'after' is 9x9",
    ),
]


@pytest.mark.parametrize(("prompt", "sentence"), REFUSALS)
def test_refusals_are_one_sentence_that_names_the_node(host, prompt, sentence):
    with pytest.raises(PromptError, match=sentence) as caught:
        host.run(prompt)
    assert str(caught.value).startswith("node ")
    assert "\n" not in str(caught.value)


def test_a_gallery_of_another_space_is_refused_naming_both(host):
    build = node("Raiha_BuildGallery", encoder=["3", 0], photos="input: photos", name="small")
    host.run({**ENCODER, "4": build})
    prompt = {
        **PAIR,
        "3": node("Raiha_LoadEncoder", encoder="lite0-pca64"),
        "4": node("Raiha_LoadGallery", gallery="small"),
        "5": search("Content"),
        "9": node("PreviewAny", source=["5", 2]),
    }
    with pytest.raises(PromptError, match=r"lite0-384-s32-pca64.*lite0-256-s32|lite0-256-s32.*pca64"):
        host.run(prompt)


def test_a_truncated_picture_is_refused_by_name(host):
    whole = (host.folder("input") / "composite.png").read_bytes()
    (host.folder("input") / "cut.png").write_bytes(whole[: len(whole) // 2])
    prompt = {"1": node("Raiha_LoadPicture", image="cut.png"), "9": node("PreviewImage", images=["1", 0])}
    with pytest.raises(PromptError, match=r"cut\.png"):
        host.run(prompt)


def test_an_interrupted_build_says_so_and_goes_on_where_it_stopped(host):
    build = node("Raiha_BuildGallery", encoder=["3", 0], photos="input: photos", name="stopped")
    with host.session() as session:
        session.on_progress = lambda *_: host.interrupt()
    try:
        with pytest.raises(PromptError, match="was interrupted"):
            host.run({**ENCODER, "4": build})
    finally:
        with host.session() as session:
            session.on_progress = None
            session.interrupted = False
    history = host.run({**ENCODER, "4": build, "9": node("PreviewAny", source=["4", 1])})
    assert history.outputs["9"]["text"][0].startswith("3 photos")


# ---- fingerprints


def fingerprint(host, kind, **inputs):
    with host.session():
        value = host.nodes[kind].fingerprint_inputs(**inputs)
    assert json.loads(json.dumps(value)) == value
    return value


def test_fingerprints_follow_the_files_and_hold_no_path(host):
    folder = host.folder("input") / "photos"
    build = {"encoder": None, "photos": "input: photos", "name": "prints", "folder": ""}
    before = fingerprint(host, "Raiha_BuildGallery", **build)
    assert before == fingerprint(host, "Raiha_BuildGallery", **build)
    Image.new("RGB", (20, 20), (9, 9, 9)).save(folder / "new.png")
    try:
        assert fingerprint(host, "Raiha_BuildGallery", **build) != before
    finally:
        (folder / "new.png").unlink()
    assert fingerprint(host, "Raiha_BuildGallery", **build) == before
    one = fingerprint(host, "Raiha_LoadPicture", image="composite.png")
    assert one != fingerprint(host, "Raiha_LoadPicture", image="mask.png")
    assert len(one) == 64


def test_every_fingerprint_and_validation_takes_every_input(schemas, host):
    # Linked inputs arrive as None; a parameter that is missing would make the host re-run or refuse.
    import inspect

    for found in NODES:
        with host.session():
            names = {entry.id for entry in found.define_schema().inputs}
        if "fingerprint_inputs" in vars(found):
            assert set(inspect.signature(found.fingerprint_inputs).parameters) == names
        if "validate_inputs" in vars(found):
            parameters = inspect.signature(found.validate_inputs).parameters
            assert set(parameters) <= names
            assert found.validate_inputs(**dict.fromkeys(parameters)) is True


def test_inputs_are_not_changed_by_any_node_that_computes(host):
    image, mask = torch.rand(1, 64, 96, 3), torch.zeros(1, 64, 96)
    mask[:, 10:30, 10:30] = 0.5
    kept = image.clone(), mask.clone()
    with host.session():
        (model,) = host.nodes["Raiha_LoadHarmonizer"].execute("statistics").args
        (out,) = host.nodes["Raiha_Harmonize"].execute(image, mask, model, 1.0).args
        host.nodes["Raiha_Compare"].execute(image, out)
    assert torch.equal(image, kept[0])
    assert torch.equal(mask, kept[1])


def test_help_pages_are_what_the_nodes_say_today():
    # Made by tests/tools/make_node_docs.py; run it again after a change of words.
    docs = ROOT / "web" / "docs"
    assert {path.name: path.read_text(encoding="utf-8") for path in docs.iterdir()} == pages()


def test_locales_name_only_what_exists(schemas):
    for path in sorted((ROOT / "locales").glob("*/nodeDefs.json")):
        translated = json.loads(path.read_text(encoding="utf-8"))
        assert set(translated) == set(schemas), path
        for name, entry in translated.items():
            assert set(entry["inputs"]) == {found.id for found in schemas[name].inputs}, (path, name)
            assert set(entry["outputs"]) == {str(n) for n in range(len(schemas[name].outputs))}, (path, name)
