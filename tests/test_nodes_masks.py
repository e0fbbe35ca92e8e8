"""Masks as they reach the nodes: from ComfyUI's mask editor and loaders, from label tools, resampled, none.

Oracle: the object is a rectangle drawn here, so what may change and what a mask holds is known.
"""

import numpy as np
import pytest
import torch
from PIL import Image

from tests.node_cases import HARMONIZER, Host, node, saved

OBJECT = np.zeros((48, 72), bool)
OBJECT[12:30, 20:50] = True
COVER = torch.from_numpy(OBJECT.astype(np.float32))[None]


@pytest.fixture
def host(tmp_path):
    host = Host(tmp_path / "base")
    folder = host.folder("input")
    rng = np.random.default_rng(0)
    pixels = rng.integers(110, 200, (*OBJECT.shape, 3), dtype=np.uint8)
    pixels[OBJECT] //= 2
    Image.fromarray(pixels).save(folder / "c.png")
    write(folder / "m.png", np.where(OBJECT, 255, 0))
    for alpha, name in ((OBJECT, "cutout.png"), (~OBJECT, "clipspace/clipspace-painted-masked-17.png")):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(np.dstack([pixels, np.where(alpha, 255, 0).astype(np.uint8)])).save(folder / name)
    for name in ("clipspace-mask-17.png", "clipspace-paint-17.png"):
        which = OBJECT if "paint-" in name else ~OBJECT
        alpha = np.where(which, 255, 0).astype(np.uint8)
        Image.fromarray(np.dstack([pixels, alpha])).save(folder / "clipspace" / name)
    return host


def write(path, codes):
    Image.fromarray(codes.astype(np.uint8)).save(path)


EDITED = "clipspace/clipspace-painted-masked-17.png [input]"


def harmonized(host, mask_nodes, slot=0, **widgets):
    """The history, and which pixels of c.png have changed, after Harmonize with the mask of node "m"."""
    harmonize = node(
        "Raiha_Harmonize", composite=["1", 0], mask=["m", slot], harmonizer=["7", 0], strength=1.0, **widgets
    )
    save = node("Raiha_SavePicture", images=["h", 0], filename_prefix="x", bit_depth="8")
    prompt = {
        "1": node("Raiha_LoadPicture", image="c.png"),
        **HARMONIZER,
        **mask_nodes,
        "h": harmonize,
        "s": save,
    }
    history = host.run(prompt)
    result = np.asarray(Image.open(saved(host, history, "s")[0]))
    return history, (result != np.asarray(Image.open(host.folder("input") / "c.png"))).any(-1)


def read_by_the_host(image):
    """A grey file as a mask, through ComfyUI's own loader."""
    return {"l": node("LoadImage", image=image), "m": node("ImageToMask", image=["l", 0], channel="red")}


def is_object(changed):
    return not changed[~OBJECT].any() and changed[OBJECT].mean() > 0.95


def load(host, kind, slot, **inputs):
    with host.session():
        return host.nodes[kind].execute(**inputs).args[slot]


@pytest.mark.parametrize(("kind", "slot"), [("Raiha_LoadPicture", 1), ("Raiha_LoadMask", 0)])
@pytest.mark.parametrize(
    ("image", "mask_means", "expected"),
    [
        (EDITED, "automatic", COVER),
        ("clipspace/clipspace-mask-17.png [input]", "automatic", COVER),
        ("clipspace/clipspace-mask-17.png", "automatic", COVER),
        ("clipspace/clipspace-paint-17.png", "automatic", COVER),  # paint is opaque where there is some
        ("cutout.png", "automatic", COVER),
        (EDITED, "opaque", 1 - COVER),
        (EDITED, "transparent", COVER),
        ("cutout.png", "transparent", 1 - COVER),
    ],
)
def test_what_was_painted_or_cut_out_is_the_object(host, kind, slot, image, mask_means, expected):
    assert torch.equal(load(host, kind, slot, image=image, mask_means=mask_means), expected)


@pytest.mark.parametrize(
    "mask",
    [
        {"m": node("Raiha_LoadMask", image=EDITED)},
        {"l": node("LoadImage", image=EDITED), "i": node("MaskToImage", mask=["l", 1]),
         "m": node("ImageToMask", image=["i", 0], channel="red")},
        {"l": node("LoadImage", image=EDITED), "m": node("InvertMask", mask=["n", 0]),
         "n": node("InvertMask", mask=["l", 1])},
    ],
)  # fmt: skip
def test_a_mask_painted_in_the_editor_changes_what_was_painted(host, mask):
    _, changed = harmonized(host, mask)
    assert is_object(changed)


def test_a_cutout_behind_load_image_is_inverted_said_and_turned_round(host):
    behind = {"m": node("LoadImage", image="cutout.png")}
    history, changed = harmonized(host, behind, slot=1)
    assert changed[~OBJECT].any()
    assert not changed[OBJECT].any()
    (said,) = history.outputs["h"]["text"]
    assert "looks inverted" in said
    assert "set invert_mask" in said
    history, changed = harmonized(host, behind, slot=1, invert_mask=True)
    assert is_object(changed)
    assert "h" not in history.outputs


@pytest.mark.parametrize("scale", [1, 2, 13])
def test_labels_are_scaled_and_said_where_they_are_read(host, scale):
    write(host.folder("input") / "l.png", OBJECT * scale)
    history, changed = harmonized(host, {"m": node("Raiha_LoadMask", image="l.png")})
    assert is_object(changed)
    assert f"value {scale} is taken as the object" in history.outputs["m"]["text"][0]
    history, changed = harmonized(host, read_by_the_host("l.png"))
    assert is_object(changed)
    assert f"value {scale} is taken as the object" in history.outputs["h"]["text"][0]


def test_one_of_several_labels_is_chosen_by_a_widget(host):
    codes = OBJECT * 2
    codes[40:] = 1
    write(host.folder("input") / "l.png", codes)
    _, changed = harmonized(host, {"m": node("Raiha_LoadMask", image="l.png", label=2)})
    assert is_object(changed)
    for mask, where in (
        ({"m": node("Raiha_LoadMask", image="l.png")}, "choose the object's label"),
        (read_by_the_host("l.png"), "choose the object's label in Load Mask"),
        (
            {"m": node("Raiha_LoadMask", image="l.png", label=9)},
            "no pixel of label 9; its values are 0, 1, 2",
        ),
    ):
        with pytest.raises(ValueError, match=where) as refused:
            harmonized(host, mask)
        assert "--" not in str(refused.value)


@pytest.mark.parametrize("method", ["bicubic", "area", "bilinear"])
def test_a_mask_that_was_resampled_is_taken(host, method):
    half = {"width": 36, "height": 24, "crop": "disabled"}
    whole = {"width": 72, "height": 48, "crop": "disabled"}
    mask = {
        "a": node("Raiha_LoadMask", image="m.png"),
        "b": node("MaskToImage", mask=["a", 0]),
        "c": node("ImageScale", image=["b", 0], upscale_method=method, **half),
        "d": node("ImageScale", image=["c", 0], upscale_method=method, **whole),
        "m": node("ImageToMask", image=["d", 0], channel="red"),
    }
    _, changed = harmonized(host, mask)
    assert changed[OBJECT].mean() > 0.95
    assert not changed[:6].any()  # far from the object


@pytest.mark.parametrize("size", [(36, 24), (144, 96), (720, 480)])
def test_a_mask_of_the_pictures_shape_is_resized_and_said(host, size):
    Image.fromarray(OBJECT).resize(size).save(host.folder("input") / "s.png")
    history, changed = harmonized(host, {"m": node("Raiha_LoadMask", image="s.png")})
    assert changed[OBJECT].mean() > 0.95
    assert f"is {size[0]}x{size[1]} but the composite is 72x48" in history.outputs["h"]["text"][0]


@pytest.mark.parametrize(
    ("mask", "sentence"),
    [
        (
            {"l": node("LoadImage", image="c.png"), "m": node("InvertMask", mask=["l", 1])},
            "no mask was given",
        ),
        (
            {
                "l": node("LoadImage", image="c.png"),
                "n": node("InvertMask", mask=["l", 1]),
                "m": node("InvertMask", mask=["n", 0]),
            },
            "no mask was given",
        ),
        ({"m": node("SolidMask", value=0.00390625, width=72, height=48)}, "no mask was given"),
        ({"m": node("SolidMask", value=1.0, width=48, height=72)}, "lies on its side"),
        ({"m": node("SolidMask", value=1.0, width=48, height=48)}, "must have the same size"),
    ],
)
def test_no_mask_and_other_shapes_are_one_sentence_without_options(host, mask, sentence):
    with pytest.raises(ValueError, match=sentence) as refused:
        harmonized(host, mask)
    assert "--" not in str(refused.value)


def test_an_empty_mask_is_said_on_the_node_and_changes_nothing(host):
    history, changed = harmonized(host, {"m": node("SolidMask", value=0.0, width=72, height=48)})
    assert not changed.any()
    assert history.outputs["h"]["text"] == ["the mask is empty: nothing to harmonize, the input comes back"]


def test_notes_go_to_the_page_too(host, monkeypatch):
    from tests.node_cases import pack

    said = []
    services = pack("workflows.host_services")
    monkeypatch.setattr(
        services.PromptServer, "send_progress_text", lambda self, text, node_id: said.append((node_id, text))
    )
    harmonized(host, {"m": node("SolidMask", value=0.0, width=72, height=48)})
    assert said == [("h", "the mask is empty: nothing to harmonize, the input comes back")]
