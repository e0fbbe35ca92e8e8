"""Shard files: the same bytes for the same photos, nothing lost, no damage unseen."""

import math

import pytest
import torch
from safetensors.torch import load_file

from raiha_core.features.spec import differences
from raiha_core.gallery import shards
from raiha_core.gallery.manifest import Entry, Folder, Photo
from raiha_core.regular import file_digest
from tests.gallery_fakes import DIM, GRID, fake_spec

SPEC = fake_spec()
FOLDERS = [Folder("", "/photos", "../photos"), Folder("trip", "/trip", "", "folder")]


def entries(count: int) -> list[Entry]:
    photos = [
        Photo(id=f"\u00e9/{n}\udc80.png", path="", size=n, mtime_ns=n, sha256="ab" * 32, width=2, height=3)
        for n in range(count)
    ]
    return [Entry(photo, 0, "000000", row) for row, photo in enumerate(photos)]


def tensors(count: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    content = torch.randn(count, GRID * GRID, DIM, generator=generator).half()
    content[0, 0] = 0  # a constant patch
    histogram = torch.randint(0, 256, (count, GRID * GRID, 6), generator=generator).to(torch.uint8)
    return content, histogram


def test_a_shard_holds_what_it_was_given(tmp_path):
    content, histogram = tensors()
    data = shards.encode_shard(SPEC, FOLDERS, entries(3), content, histogram)
    info = shards.write_shard(tmp_path / "000000.safetensors", 3, data)
    assert (info.rows, info.bytes) == (3, len(data))
    assert info.sha256 == file_digest(tmp_path / "000000.safetensors")
    shard = shards.open_shard(tmp_path / "000000.safetensors")
    assert torch.equal(shard.content, content)
    assert torch.equal(shard.histogram, histogram)
    notes = shards.read_notes(tmp_path / "000000.safetensors")
    assert not differences(notes.spec, SPEC)
    assert (list(notes.folders), list(notes.entries)) == (FOLDERS, entries(3))


def test_it_is_a_safetensors_file(tmp_path):
    path = tmp_path / "000000.safetensors"
    path.write_bytes(shards.encode_shard(SPEC, FOLDERS, entries(3), *tensors()))
    mine, theirs = shards.open_shard(path), load_file(path)  # oracle: the library's own reader
    assert sorted(theirs) == ["content", "histogram", "norms"]
    assert torch.equal(mine.content, theirs["content"])
    assert torch.equal(mine.histogram, theirs["histogram"])
    assert torch.equal(mine.norms, theirs["norms"])


def test_the_same_photos_give_the_same_bytes():
    first, second = (shards.encode_shard(SPEC, FOLDERS, entries(3), *tensors()) for _ in range(2))
    assert first == second


def test_norms_are_never_too_small_and_at_most_a_unit_too_large():
    content = torch.cat([tensors(50)[0].flatten(0, 1), torch.full((1, DIM), 6e-8).half()])  # subnormals too
    for vector, norm in zip(content.tolist(), shards.norms_up(content).tolist(), strict=True):
        exact = math.sqrt(math.fsum(x * x for x in vector))  # fp16 squares are exact in fp64
        assert norm >= exact
        assert norm <= exact * (1 + 2**-22)


def test_every_flipped_byte_is_noticed(tmp_path):
    path = tmp_path / "000000.safetensors"
    data = shards.encode_shard(SPEC, FOLDERS, entries(3), *tensors())
    path.write_bytes(data)
    whole = file_digest(path)
    for at in [*range(0, len(data), 23), len(data) - 1]:
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        assert file_digest(path) != whole
        with pytest.raises(ValueError, match=r"is damaged|not a whole shard"):  # even without a manifest
            shards.read_notes(path)


@pytest.mark.parametrize("kept", [0, 7, 8, 100, -1])
def test_a_cut_shard_is_refused_by_name(tmp_path, kept):
    path = tmp_path / "000000.safetensors"
    data = shards.encode_shard(SPEC, FOLDERS, entries(3), *tensors())
    path.write_bytes(data[:kept])
    with pytest.raises(ValueError, match=r"000000\.safetensors is not a whole shard"):
        shards.read_notes(path)


def test_shards_fit_in_memory_and_cost_little_when_lost():
    assert shards.capacity(fake_spec(grid=12, dim=320)) == 128
    per_photo = 32 * 32 * (2 * 768 + 6 + 4)  # the paper's features
    assert shards.capacity(fake_spec(grid=32, dim=768)) == (128 << 20) // per_photo
    assert shards.capacity(fake_spec(grid=4096, dim=768)) == 1


def test_names_go_on_after_the_largest(tmp_path):
    assert shards.next_name([]) == "000000"
    assert shards.next_name(["000009", "000010", "999999"]) == "1000000"
    for name in ("000010", "1000000", "000002", "notes", ".000003.7.part"):
        (tmp_path / f"{name}.safetensors").touch()
    assert shards.shard_names(tmp_path) == ["000002", "000010", "1000000"]
