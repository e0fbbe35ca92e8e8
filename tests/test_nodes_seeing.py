"""Pictures that carry their workflow, the slider of Compare, and the pack without its requirements."""

import json
import sys
import types

import numpy as np
import pytest
import torch
from PIL import Image

from raiha_core.images import write_picture
from tests.node_cases import HARMONIZER, PAIR, make_host, node, saved
from workflows.run import pack


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    return make_host(tmp_path_factory.mktemp("host"))


def prompt_saving(**inputs):
    return {
        **PAIR,
        **HARMONIZER,
        "8": node("Raiha_Harmonize", composite=["1", 0], mask=["2", 0], harmonizer=["7", 0], strength=1.0),
        "9": node("Raiha_SavePicture", images=["8", 0], filename_prefix="kept", source=["1", 2], **inputs),
    }


@pytest.mark.parametrize("depth", ["8", "16"])
def test_a_saved_picture_carries_the_prompt_unless_told_otherwise(host, depth):
    prompt = prompt_saving(bit_depth=depth)
    (path,) = saved(host, host.run(prompt), "9")
    kept = json.loads(Image.open(path).text["prompt"])
    assert kept["9"]["inputs"]["filename_prefix"] == "kept"
    assert set(kept) == set(prompt)
    (plain,) = saved(host, host.run(prompt_saving(bit_depth=depth, keep_workflow=False)), "9")
    assert "prompt" not in getattr(Image.open(plain), "text", {})
    assert (np.asarray(Image.open(path)) == np.asarray(Image.open(plain))).all()


def test_texts_take_the_place_of_those_of_before_and_need_a_png(tmp_path):
    pixels = torch.rand(1, 3, 8, 9)
    write_picture(tmp_path / "a.png", pixels, texts={"prompt": "ä {}", "workflow": "1"})
    assert Image.open(tmp_path / "a.png").text == {"prompt": "ä {}", "workflow": "1"}
    with pytest.raises(ValueError, match="only a PNG holds texts"):
        write_picture(tmp_path / "a.tif", pixels, texts={"prompt": "x"})


def test_compare_shows_both_and_maps_what_changed(host):
    compare = pack("nodes.compare")
    before = torch.full((1, 3, 40, 3000), 0.4)
    after = before.clone()
    after[..., :100] += 0.2
    after[..., 100:200] -= 0.2
    gain = compare.gain_map(before, after)
    assert not gain[..., 200:].any()
    assert gain[0, 0, 0, 0] > 0.3
    assert gain[0, 2, 0, 150] > 0.3
    assert gain[:, 1].max() < 1e-3  # greys keep their colour
    with host.session():
        done = host.nodes["Raiha_Compare"].execute(before.movedim(1, -1), after.movedim(1, -1))
    assert done.args[0].shape == (1, 40, 6000, 3)
    assert [len(done.ui[key]) for key in ("a_images", "b_images", "images")] == [1, 1, 2]
    shown = host.folder("temp") / done.ui["a_images"][0]["filename"]
    assert Image.open(shown).size == (2048, 27)


def test_without_requirements_there_is_one_node_with_the_command(monkeypatch):
    import asyncio

    host_io = pack("workflows.host_io")
    latest = types.SimpleNamespace(ComfyExtension=host_io.ComfyExtension, io=host_io)
    monkeypatch.setitem(sys.modules, "comfy_api", types.ModuleType("comfy_api"))
    monkeypatch.setitem(sys.modules, "comfy_api.latest", latest)
    extension = asyncio.run(pack("nodes.missing").entrypoint_without("simplejpeg")())
    (found,) = asyncio.run(extension.get_node_list())
    schema = found.define_schema()
    assert "simplejpeg" in schema.description
    command = schema.inputs[0].default
    assert sys.executable in command
    assert command.endswith('requirements.txt"')
    with pytest.raises(ValueError, match="Close ComfyUI, run this"):
        found.execute(command)


@pytest.mark.parametrize("text", ['"/a b/c"', " '/a b/c' ", "/a b/c", '" /a b/c"'])
def test_pasted_paths_may_stand_between_quotes(text):
    assert pack("nodes.gallery").unquoted(text) == "/a b/c"


def test_the_pack_is_found_by_the_words_that_artists_search(host):
    with host.session():
        schemas = [found.define_schema() for found in host.nodes.values() if hasattr(found, "define_schema")]
    words = {
        word.lower() for schema in schemas for word in (*schema.search_aliases, schema.display_name or "")
    }
    for word in ("paste object", "match lighting", "relight", "color match", "harmonise", "composite"):
        assert any(word in known for known in words), word


def look_prompt(harmonizer, **controls):
    return {
        **PAIR,
        "7": node("Raiha_LoadHarmonizer", harmonizer=harmonizer),
        "8": node(
            "Raiha_Harmonize",
            **{"composite": ["1", 0], "mask": ["2", 0], "harmonizer": ["7", 0], "strength": 0.8},
            **controls,
        ),
        "9": node("Raiha_SaveLook", look=["8", 2], filename_prefix="raiha/mine", size="17"),
        "10": node("Raiha_SavePicture", images=["8", 0], filename_prefix="graded", bit_depth="8"),
    }


def test_a_look_is_saved_as_the_table_that_makes_the_picture(host):
    # Oracle: the colours of the saved picture, looked up in the file between the lattice points around them.
    history = host.run(look_prompt("statistics"))
    assert history.outputs["9"]["text"] == ["written to raiha/mine_00001_.cube in the output folder"]
    lines = (host.folder("output") / "raiha" / "mine_00001_.cube").read_text(encoding="utf-8").splitlines()
    assert "LUT_3D_SIZE 17" in lines
    rows = np.array([[float(v) for v in line.split()] for line in lines if line[0].isdigit()])
    table = rows.reshape(17, 17, 17, 3).transpose(2, 1, 0, 3)
    before = np.asarray(Image.open(host.folder("input") / "composite.png")) / 255
    (path,) = saved(host, history, "10")
    after = np.asarray(Image.open(path)) / 255
    inside = np.asarray(Image.open(host.folder("input") / "mask.png")) > 0
    low = np.clip((before[inside] * 16).astype(int), 0, 15)
    share, found = before[inside] * 16 - low, 0
    for corner in np.ndindex(2, 2, 2):
        weight = np.prod(np.where(corner, share, 1 - share), 1, keepdims=True)
        found = found + weight * table[tuple((low + corner).T)]
    assert np.abs(found - after[inside]).max() < 4 / 255
    assert np.abs(before - after)[inside].mean() > 8 / 255


def test_a_look_that_no_table_can_hold_says_why(host):
    with pytest.raises(Exception, match=r"no \.cube can hold this change: strength above 1"):
        host.run(look_prompt("statistics", light=0.5))


def test_load_clip_offers_the_example_and_refuses_what_is_not_there(host):
    with host.session():
        (entry,) = host.nodes["Raiha_LoadClip"].define_schema().inputs
        assert "example: demo/pan.mp4" in entry.options
        clip = host.nodes["Raiha_LoadClip"].execute("example: demo/pan.mp4").args[0]
        assert clip.get_stream_source().endswith("pan.mp4")
        said = host.nodes["Raiha_LoadClip"].validate_inputs("gone.mp4")
    assert said == "there is no clip 'gone.mp4' in ComfyUI's input folder"
