"""The derived index: the bound holds, a search by it gives what a full scan gives, files come and go."""

import json
import os
from functools import cache

import numpy as np
import pytest
import torch

from raiha_core.cli.main import main
from raiha_core.gallery import bound, shards
from raiha_core.gallery.bound import encode_photos, fit_rotation, query_columns, rounding, whole_query
from raiha_core.gallery.build import add, build
from raiha_core.gallery.check import check
from raiha_core.gallery.index import PatchIndex, ShardIndex, read_rotation
from raiha_core.gallery.layout import Layout
from raiha_core.gallery.repair import repair
from raiha_core.gallery.shards import Shard, norms_up
from raiha_core.gallery.store import open_gallery
from raiha_core.retrieval import bounded, bounded_kernel, bounded_torch
from raiha_core.retrieval.kernel import CHOICE, LEVELS, kernel
from raiha_core.retrieval.oracle import content_cosine, ranked
from raiha_core.retrieval.request import Request
from raiha_core.retrieval.scan import scan
from tests.gallery_fakes import FakeEncoder, fake_spec, write_photo, write_photos
from tests.retrieval_cases import make_gallery, make_query, make_spec, random_patches

CASES = int(os.environ.get("RAIHA_INDEX_CASES", "20"))  # 10,000 take an hour
MODES = ("both", "content", "illumination")
ENGINES = ("torch", *LEVELS)


@pytest.fixture(params=ENGINES)
def engine(request, monkeypatch):
    """Each way to search by the index that this machine has."""
    monkeypatch.setenv(CHOICE, request.param)
    try:
        kernel()
    except ValueError as error:
        pytest.skip(str(error))
    monkeypatch.setattr(bounded, "MOST_BURDEN", 100.0)  # also where it does not pay
    monkeypatch.setattr(bounded_torch.TorchSearch, "stretch", 5)
    monkeypatch.setattr(bounded_kernel.KernelSearch, "stretch", 5)
    return request.param


def adversarial(seed, dim):
    """A small gallery with copies, zeros, and many cosines exactly on a threshold; and that threshold."""
    draw = np.random.default_rng(seed)
    spec = make_spec(dim=dim)
    content, histogram = random_patches(spec, 8, seed, spread=float(draw.choice([0.0, 0.2, 0.7, 5.0])))
    if draw.random() < 0.4:  # few directions along the axes: cosines are 0, 0.5 and 1
        axes = torch.zeros(8, spec.patches, dim)
        for side in torch.from_numpy(draw.integers(0, dim, (4, 8, spec.patches))):
            axes.scatter_(2, side[..., None], 0.5)
        content = axes.half()
    content[1], histogram[1] = content[0], histogram[0]
    content[2, 3:5] = 0
    histogram[3, :2] = 0
    query = make_query(spec, content[0], histogram[0], list(range(int(draw.integers(1, spec.patches + 1)))))
    i, photo, j = draw.integers(0, len(query.content)), draw.integers(0, 8), draw.integers(0, spec.patches)
    on = content_cosine(query.content[int(i)], content[int(photo), int(j)])
    threshold = on if 0 < on <= 1 else float(draw.choice([0.25, 0.5, 0.75]))
    return make_gallery(spec, content, histogram), content, histogram, query, threshold


def with_index(gallery, content, histogram, covered=None):
    rotation = fit_rotation(content)
    numbers, whole = encode_photos(rotation, content)
    if covered is not None:
        whole &= covered
    gallery.index = PatchIndex(
        rotation,
        [Shard(content, histogram, norms_up(content))],
        [ShardIndex(numbers, whole.to(torch.uint8))],
        np.zeros(len(content), dtype=np.int64),
        np.arange(len(content)),
    )
    return gallery


@pytest.mark.parametrize("dim", [6, 80])
def test_no_cosine_exceeds_its_bound(dim):
    # Oracle: float64 dot products of the float16 numbers, which are exact.
    content, _ = random_patches(make_spec(dim=dim), 40, 3)
    content[0, :4] = 0
    content[1] = content[2]
    rotation = fit_rotation(content[:20])
    numbers, covered = encode_photos(rotation, content)
    assert covered.float().mean() > 0.8
    content, numbers = content[covered], numbers[covered]
    query = content[5:9].flatten(0, 1)
    columns = query_columns(rotation, query)
    above = numbers.float() @ columns.float() + rounding(rotation)
    exact = content.double() @ query.double().T
    assert (above.double() >= exact).all()
    assert (above.double() - exact).mean() < 0.25  # a bound of 1 would hold as well, and prune nothing
    whole = whole_query(columns, 0.5)
    score = numbers.long() @ whole.numbers.long().T
    assert (score.abs() < 2**31).all()
    assert (score * whole.unit + whole.slack >= exact).all()
    assert ((score >= whole.least) | (exact < 0.5)).all()
    assert (score < whole.least).float().mean() > 0.1


@cache
def searched(seed, dim):
    """A case with what a full scan finds in it, once for all engines."""
    gallery, content, histogram, query, threshold = adversarial(seed, dim)
    allowed = torch.rand(1, 8, generator=torch.Generator().manual_seed(seed)) < 0.8
    asked = [Request(by=by, content_threshold=threshold, appearance_threshold=0.6) for by in MODES]
    return (
        gallery,
        content,
        histogram,
        query,
        allowed,
        [(r, scan(gallery, [query], r, allowed)) for r in asked],
    )


@pytest.mark.parametrize("dim", [6, 80, 110])
def test_the_index_finds_what_the_scan_finds(engine, dim):
    found = 0
    for seed in range(CASES if dim < 110 else CASES // 4):
        gallery, content, histogram, query, allowed, answers = searched(seed, dim)
        with_index(gallery, content, histogram, torch.arange(8) < (8 if seed % 2 else 4))
        for asked, plain in answers:
            assert repr(scan(gallery, [query], asked, allowed)) == repr(plain), (seed, asked.by)
            found += len(plain[0])
        gallery.index = None
    assert found > CASES // 4  # not empty answers compared


def test_the_index_agrees_with_the_slow_twin(engine):
    for seed in range(3):
        gallery, content, histogram, query, threshold = adversarial(seed, 6)
        with_index(gallery, content, histogram)
        for by in MODES:
            asked = Request(by=by, content_threshold=threshold, appearance_threshold=0.6)
            names = {hit.id for hit in scan(gallery, [query], asked, torch.ones(1, 8, dtype=torch.bool))[0]}
            ids = [photo.id for photo in gallery.photos]
            assert names == set(ranked(query, content, histogram, ids, by, threshold, 0.6))


def test_threads_and_a_tie_of_histograms_change_nothing(engine, monkeypatch):
    # 0.6 exactly: (3, 4) with (1, 0) in whole numbers, which float64 cannot tell from the threshold
    gallery, content, histogram, query, threshold = adversarial(1, 6)
    histogram[:, :, :] = 0
    histogram[:, :, 0], histogram[::2, :, 1] = 3, 4
    gallery = make_gallery(query.spec, content, histogram)
    query = make_query(query.spec, content[0], histogram[1], [0, 1])
    asked = Request(by="both", content_threshold=threshold, appearance_threshold=0.6)
    everyone = torch.ones(2, 8, dtype=torch.bool)
    plain = scan(gallery, [query, query], asked, everyone)
    monkeypatch.setattr(bounded_kernel, "LEAST_PER_THREAD", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert repr(scan(with_index(gallery, content, histogram), [query, query], asked, everyone)) == repr(plain)
    assert sum(hit.illumination == 0.6 for hit in plain[0]) >= 3


@pytest.mark.parametrize("wanted", ["fast", "avx512"])
def test_a_choice_that_is_not_here_is_refused(monkeypatch, wanted):
    monkeypatch.setenv(CHOICE, wanted)
    monkeypatch.setattr("raiha_core.retrieval.kernel._library", lambda: None)
    with pytest.raises(ValueError, match=CHOICE):
        kernel()
    monkeypatch.delenv(CHOICE)
    assert kernel() is None


def test_what_int8_cannot_tell_is_not_covered():
    content, _ = random_patches(make_spec(dim=8), 5, 0)
    rotation = fit_rotation(content)
    content[1, 0] *= 3
    content[2, 1, 0] = torch.nan
    content[3, 1, 0] = torch.inf
    assert encode_photos(rotation, content)[1].tolist() == [True, False, False, False, True]


def test_a_rotation_that_is_none_is_refused():
    with pytest.raises(ValueError, match="no rotation"):
        bound.Rotation(torch.eye(4, dtype=torch.float64) * 1.1, torch.full((4,), 100.0))


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "_MOST_PHOTOS", 4)
    photos = write_photos(tmp_path / "photos")
    build(photos, tmp_path / "store", encoder=FakeEncoder(), workers=1)
    return tmp_path / "store"


def answers(store):
    gallery = open_gallery(store)
    block = gallery.gather(range(len(gallery)))
    query = make_query(fake_spec(), block.content[0], block.histogram[0], [0, 1])
    asked = Request(by="both", content_threshold=0.7, appearance_threshold=0.5)
    return repr(scan(gallery, [query], asked, torch.ones(1, len(gallery), dtype=torch.bool)))


def covered(store):
    index = open_gallery(store).index
    return 0 if index is None else int(index.covered.sum())


def test_a_build_covers_all_and_a_deleted_index_is_built_again(store, tmp_path):
    photos, before = len(open_gallery(store)), answers(store)
    rotation = read_rotation(Layout(store)).digest
    assert covered(store) == photos
    (store / "index" / "000001.safetensors").unlink()
    assert 0 < covered(store) < photos
    assert answers(store) == before
    build(tmp_path / "photos", store, encoder=FakeEncoder(), workers=1)
    assert covered(store) == photos
    assert read_rotation(Layout(store)).digest == rotation  # kept, as it was there
    for path in (store / "index").iterdir():
        path.unlink()
    assert covered(store) == 0
    assert answers(store) == before


def test_an_index_is_renewed_on_request_only(store, capsys):
    before, old = answers(store), read_rotation(Layout(store)).digest
    assert main(["gallery", "renew", str(store), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["shards"] == len(list((store / "shards").iterdir()))
    assert read_rotation(Layout(store)).digest != old
    assert covered(store) == len(open_gallery(store))
    assert answers(store) == before
    assert check(store).sound


@pytest.mark.parametrize("how", ["cut", "swapped", "noise"])
def test_an_index_that_is_not_of_its_shard_is_passed_over(store, how):
    before, path = answers(store), store / "index" / "000001.safetensors"
    if how == "cut":
        path.write_bytes(path.read_bytes()[:-20])
    elif how == "swapped":
        path.write_bytes((store / "index" / "000000.safetensors").read_bytes())
    else:
        path.write_bytes(b"\xff" * 100)
    assert 0 < covered(store) < len(open_gallery(store))
    assert answers(store) == before


def test_adding_photos_leaves_the_other_indexes_alone(store, tmp_path):
    old = {path.name: path.stat().st_mtime_ns for path in (store / "index").iterdir()}
    old.pop("catalogue.safetensors")  # tells of all photos
    write_photo(tmp_path / "more" / "new.png", seed=99)
    add(tmp_path / "more", store, encoder=FakeEncoder(), workers=1)
    new = {path.name: path.stat().st_mtime_ns for path in (store / "index").iterdir()}
    assert old.items() < new.items()
    assert covered(store) == len(open_gallery(store))


def test_changed_bytes_are_found_and_repaired(store, tmp_path):
    path = store / "index" / "000001.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    assert [damage.kind for damage in check(store).damages] == ["index-damaged"]
    assert repair(store).actions == ("deleted the damaged index of 000001",)
    assert check(store).sound
    build(tmp_path / "photos", store, encoder=FakeEncoder(), workers=1)
    assert covered(store) == len(open_gallery(store))
    assert check(store).sound
