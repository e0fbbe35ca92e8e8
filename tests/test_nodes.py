"""The faces of the pack's nodes: frozen ids, help, defaults, fingerprints, axes."""

import inspect
import json

import numpy as np
import pytest
import torch
from PIL import Image

from tests.golden.make_node_ids import GOLDEN, ROOT, describe_nodes
from tests.node_cases import make_host
from tests.tools.make_node_docs import pages
from workflows.run import pack

Tensors = pack("nodes.tensors")
NODES = pack("nodes").NODES


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    return make_host(tmp_path_factory.mktemp("host"))


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


def test_a_weights_file_that_is_replaced_is_noticed(host):
    folder = host.folder("models") / "raiha"
    folder.mkdir(exist_ok=True)
    assert fingerprint(host, "Raiha_LoadHarmonizer", harmonizer="statistics") == ""
    (folder / "mine.safetensors").write_bytes(b"1")
    before = fingerprint(host, "Raiha_LoadHarmonizer", harmonizer="mine.safetensors")
    (folder / "mine.safetensors").write_bytes(b"22")
    assert fingerprint(host, "Raiha_LoadHarmonizer", harmonizer="mine.safetensors") != before
    (folder / "README.md").write_text("no weights")
    with host.session():
        (entry,) = host.nodes["Raiha_LoadHarmonizer"].define_schema().inputs
    assert entry.options[:3] == ["raiha-plus", "raiha-plus-steady", "statistics"]
    assert "mine.safetensors" in entry.options
    assert "README.md" not in entry.options


def test_every_fingerprint_and_validation_takes_every_input(schemas, host):
    # Linked inputs arrive as None; a parameter that is missing would make the host re-run or refuse.
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
        out, *_ = host.nodes["Raiha_Harmonize"].execute(image, mask, model, 1.0).args
        host.nodes["Raiha_Compare"].execute(image, out)
    assert torch.equal(image, kept[0])
    assert torch.equal(mask, kept[1])


def test_every_control_has_its_strip_in_the_help():
    Wheel = pack("nodes.wheel")
    controls = {"strength", *(entry.id for entry in (*Wheel.control_inputs(), Wheel.local_light_input()))}
    text = (ROOT / "web" / "docs" / "Raiha_Harmonize.md").read_text(encoding="utf-8")
    assert {name for name in controls if f"![{name}](control_{name}.jpg)" in text} == controls
    for name in controls:
        picture = Image.open(ROOT / "web" / "docs" / f"control_{name}.jpg").convert("RGB")
        first, last = (
            picture.crop((0, 0, 200, 230)),
            picture.crop((picture.width - 200, 0, picture.width, 230)),
        )
        apart = np.abs(np.asarray(first, int) - np.asarray(last, int))
        assert apart.max() > 40, name  # not the same picture again


def test_help_pages_are_what_the_nodes_say_today():
    # Made by tests/tools/make_node_docs.py; run it again after a change of words.
    docs = ROOT / "web" / "docs"
    assert {path.name: path.read_text(encoding="utf-8") for path in docs.glob("*.md")} == pages()


def test_locales_name_only_what_exists(schemas):
    for path in sorted((ROOT / "locales").glob("*/nodeDefs.json")):
        translated = json.loads(path.read_text(encoding="utf-8"))
        assert set(translated) == set(schemas), path
        for name, entry in translated.items():
            assert set(entry["inputs"]) == {found.id for found in schemas[name].inputs}, (path, name)
            assert set(entry["outputs"]) == {str(n) for n in range(len(schemas[name].outputs))}, (path, name)
