"""Files of earlier revisions open: galleries, checkpoints, workflows and lists as those wrote them.

Golden files: tests/golden/old/REVISION, made by tests/golden/make_old_files.py in a checkout of each.
"""

import json
import shutil
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from raiha_core import checkpoint
from raiha_core.data.raharmony4 import read_references
from raiha_core.gallery.build import build
from raiha_core.gallery.check import check
from raiha_core.gallery.repair import repair
from raiha_core.gallery.store import open_gallery
from raiha_core.models.former_names import former_tensor_name
from tests.gallery_fakes import FakeEncoder, digest
from tests.node_cases import Host
from workflows.run import pack

OLD = Path(__file__).parent / "golden" / "old"
FIRST = OLD / "21294e4"
SHIPPED = sorted(OLD.glob("*/raiha-plus.json"))
TYPES = {"F16": torch.float16, "F32": torch.float32, "I64": torch.int64, "U8": torch.uint8}


@pytest.fixture
def old(tmp_path):
    """Store and photos of 21294e4, moved together, as a disk that is put into another machine."""
    shutil.copytree(FIRST, tmp_path / "old")
    return tmp_path / "old"


def test_an_old_gallery_is_what_it_was(old):
    seen = json.loads((old / "seen.json").read_text())
    gallery = open_gallery(old / "store")
    assert [photo.id for photo in gallery.photos] == seen["ids"]
    assert digest(gallery) == seen["digest"]
    assert gallery.load(0).shape[1] == 3
    assert check(old / "store").sound


def test_an_old_gallery_is_brought_up_to_date_without_encoding_anything(old):
    encoder = FakeEncoder()
    report = build(old / "photos", old / "store", encoder=encoder)
    assert (report.photos, report.excluded, encoder.calls) == (9, 1, 0)
    gallery = open_gallery(old / "store")
    assert digest(gallery) == json.loads((old / "seen.json").read_text())["digest"]
    assert all(photo.view for photo in gallery.photos if ":" not in photo.id)
    assert gallery.index is not None
    repair(old / "store")
    assert digest(open_gallery(old / "store")) == digest(gallery)
    assert check(old / "store").sound


def test_a_build_that_an_old_version_began_is_ended(old, tmp_path):
    with pytest.raises(ValueError, match="is unfinished"):
        open_gallery(old / "unfinished")
    begun = len(open_gallery(old / "unfinished", allow_partial=True))
    encoder = FakeEncoder()
    build(old / "photos", old / "unfinished", encoder=encoder)
    build(old / "photos", tmp_path / "new", encoder=FakeEncoder())
    assert digest(open_gallery(old / "unfinished")) == digest(open_gallery(tmp_path / "new"))
    assert 0 < begun < 7
    assert encoder.calls < 7
    assert check(old / "unfinished").sound


def test_an_old_checkpoint_loads_to_the_bit():
    stored, loaded = load_file(FIRST / "hdnet.safetensors"), checkpoint.load(FIRST / "hdnet.safetensors")
    state = {former_tensor_name(name): tensor for name, tensor in loaded.network.state_dict().items()}
    assert set(state) == set(stored)
    assert all(torch.equal(state[name], tensor) for name, tensor in stored.items())
    assert loaded.metadata.data == "a test"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.parent.name)
def test_weights_that_were_shipped_load_strictly(path, tmp_path):
    said = json.loads(path.read_text(encoding="utf-8"))
    tensors = {name: torch.zeros(shape, dtype=TYPES[kind]) for name, (kind, shape) in said["tensors"].items()}
    save_file(tensors, tmp_path / "shipped.safetensors", metadata=said["metadata"])
    former = tensors.get("judge.centre", torch.empty(0)).shape in ((23,), (30,))
    with pytest.warns(UserWarning, match="earlier kind") if former else nullcontext():
        loaded = checkpoint.load(tmp_path / "shipped.safetensors")
    gate = [name for name in tensors if name.startswith(("judge.", checkpoint.GATE))]
    assert (loaded.gate is None) == (former or not gate)
    assert loaded.preset == "raiha-plus"
    assert len(loaded.network.state_dict()) + len(gate) == len(tensors)


def test_every_revision_that_shipped_weights_is_there():
    assert {path.parent.name for path in SHIPPED} == {"725c0b6", "0ae1c1a", "0cefef9", "c78a6c9", "28e7522"}


@pytest.mark.parametrize("path", sorted((FIRST / "workflows").glob("*.json")), ids=lambda path: path.stem)
def test_an_old_workflow_has_every_node_and_input_that_it_names(path, tmp_path):
    host = Host(tmp_path)
    prompt = pack("workflows.host_prompt").read_prompt(path)
    with host.session():
        for node in prompt.values():
            known = {entry.id for entry in host.nodes[node["class_type"]].define_schema().inputs}
            assert set(node["inputs"]) <= known


def test_an_old_list_reads():
    listed = read_references(FIRST / "references.jsonl")
    assert [len(entry.refs) for entry in listed] == [2, 2, 2]


def test_files_of_a_newer_version_say_which_is_needed(old, tmp_path):
    spec = json.loads((old / "store" / "spec.json").read_text())
    (old / "store" / "spec.json").write_text(json.dumps({**spec, "format": 7, "needs": "3.1.0"}))
    with pytest.raises(ValueError, match=r"has format 7, and this version reads 1; it needs Raiha 3\.1\.0"):
        open_gallery(old / "store")
    with pytest.raises(ValueError, match=r"it needs Raiha 3\.1\.0"):
        repair(old / "store")  # and does not mend what it does not know
    loaded = checkpoint.load(FIRST / "hdnet.safetensors")
    about = {**loaded.metadata.to_json(), "format": 7, "code_version": "3.1.0"}
    path = tmp_path / "newer.safetensors"
    save_file(load_file(FIRST / "hdnet.safetensors"), path, metadata={"raiha": json.dumps(about)})
    with pytest.raises(ValueError, match=r"it has format 7, this version reads 1; it needs Raiha 3\.1\.0"):
        checkpoint.load(path)
