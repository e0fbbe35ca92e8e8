"""How the pack's nodes refuse: one sentence each, naming the node and the value."""

import pytest

from tests.node_cases import ENCODER, HARMONIZER, PAIR, make_host, node, search, small_gallery
from workflows.run import pack

PromptError = pack("workflows.host").PromptError


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    return make_host(tmp_path_factory.mktemp("host"))


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
    (harmonizing(strength=2.5), "Value 2.5 bigger than max of 2.0"),
    (picture("gone.png"), "image - there is no picture 'gone.png'"),
    (picture("../x.png"), "'../x.png' lies outside the input folder"),
    (picture("example: demo/no.png"), "there is no picture 'example: demo/no.png' in this version"),
    (built(encoder="lite0"), "'encoder' must come from Load Encoder"),
    (built(photos="(example photos)", name="../x"), "'../x' cannot name a gallery"),
    (built(), "type the photo folder's path into 'folder'"),
    (built(folder="/no/such"), r"\Wno\Wsuch does not exist"),
    (opened(), "type the gallery's path"),
    (opened(path="/no/g"), r"gallery \Wno\Wg does not exist"),
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
    build = small_gallery()
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
    build = small_gallery("stopped")
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


def test_dialogs_on_galleries_speak_of_nodes(tmp_path):
    load = pack("nodes.gallery").LoadGallery
    with pytest.raises(ValueError, match=r"does not exist; make it with Build Gallery \(Raiha\)$"):
        load.execute("(path below)", str(tmp_path / "gone"))
    told = pack("nodes.wording").of_nodes
    from raiha_core.gallery.layout import Layout, cure

    assert "`" not in told(f"the gallery is damaged: {cure(Layout(tmp_path))}")
    assert told("3 of 5 photos; run `raiha gallery build PHOTOS /x` again") == (
        "3 of 5 photos; run Build Gallery (Raiha) again"
    )
