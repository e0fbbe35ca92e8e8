"""training_data.py, reference_features.py: from folders and lists to feeds; what is missing is named."""

import json

import numpy as np
import pytest
import torch

from raiha_core.models.hdnet import UNetConfig
from raiha_core.models.plus import PlusConfig
from raiha_train import experiment as experiments
from raiha_train.data import feed as feed_module
from raiha_train.data import reference_features, training_data
from raiha_train.data.augment import CropConfig
from raiha_train.data.synthesis import SynthesisConfig
from tests.gallery_fakes import FakeEncoder
from tests.tiny_iharmony4 import make
from tests.training_cases import write_photos


class Alone:
    is_local_main_process = True


def tiny(**changes) -> experiments.Experiment:
    fields = {
        "name": "tiny",
        "preset": "hdnet",
        "network": UNetConfig(width=2, size=16),
        "size": 16,
        "packed": 16,
        "batch": 2,
        "micro_batch": 2,
        "validation_share": 0.3,
        "steps": 3,
    }
    return experiments.Experiment(**{**fields, **changes})


def with_references(**changes) -> experiments.Experiment:
    return tiny(
        preset="raiha-plus",
        network=PlusConfig(size=32),
        size=32,
        encoder="fake",
        references=experiments.ReferenceShares(none=0.2, retrieved=0.8, augmented=0, most=2),
        **changes,
    )


def opened(experiment, tmp_path, **where):
    paths = {"data": None, "illuminants": None, "lists": None, **where}
    return training_data.open_training_data(
        experiment, cache=tmp_path / "cache", device=torch.device("cpu"), first=Alone(), **paths
    )


@pytest.fixture
def root(tmp_path):
    root = make(tmp_path / "data")
    (root / "IHD_train.txt").write_text(
        (root / "IHD_test.txt").read_text()
    )  # its own composites are real files
    return root


@pytest.fixture(autouse=True)
def fake_encoder(monkeypatch):
    monkeypatch.setattr(training_data, "build_encoder", lambda name, weights, device: FakeEncoder())


def test_iharmony4_joins_composites_to_their_truth_and_holds_scenes_out(root, tmp_path):
    found = opened(tiny(packed=32), tmp_path, data=root)
    training, held = found.training, found.validation
    ids = [{training.composites.rows[i].id for i in feed.rows} for feed in (training, held)]
    assert ids[0]
    assert ids[1]
    assert not ids[0] & ids[1]
    groups = [{training.composites.rows[i].group for i in feed.rows} for feed in (training, held)]
    assert not groups[0] & groups[1]
    for row in (*training.rows, *held.rows):
        composite = training.composites.rows[row]
        real = training.cache.rows[training.truth_of[row]]
        assert real.image.stem == composite.image.stem.rsplit("_", 2)[0]
        # outside the mask a composite is its truth, but for JPEG's noise
        image, mask, _ = training.composites.gather([row])
        truth = training.cache.gather([training.truth_of[row]])[0]
        away = (mask == 0).expand_as(image)
        assert float((image.float() - truth.float())[away].abs().mean()) < 4
        assert float((image.float() - truth.float())[~away].abs().mean()) > 8
    reals = [row.id for row in training.cache.rows]
    assert len(reals) == len(set(reals))


def test_a_true_background_is_the_truth_s(root, tmp_path):
    feed = opened(tiny(true_background=True), tmp_path, data=root).training
    batch = feed.finish(feed.raw(0), 0)
    away = (batch.mask == 0).expand_as(batch.target)
    assert torch.equal(batch.composite[away], batch.target[away])
    assert set(batch.mask.unique().tolist()) <= {0.0, 1.0}


def test_raharmony4_trains_on_the_composites_of_its_list(root, tmp_path):
    lines = (root / "refs.jsonl").read_text().splitlines()
    named = {json.loads(line)["input"] for line in lines}
    found = opened(tiny(source="raharmony4"), tmp_path, data=root, lists=root / "refs.jsonl")
    assert {row.id for row in found.training.composites.rows} == named


def test_retrieved_references_come_from_the_list_with_their_stored_features(root, tmp_path):
    listed = {e["input"]: e["refs"] for e in map(json.loads, (root / "refs.jsonl").read_text().splitlines())}
    found = opened(with_references(), tmp_path, data=root, lists=root / "refs.jsonl")
    feed, encoder = found.training, found.encoder
    shown = 0
    for k in range(12):
        raw = feed.raw(k)
        batch = feed.finish(raw, k)
        for b, name in enumerate(batch.ids):
            picked = [feed.bank.cache.rows[row].id for row in raw.reference_rows[b]]
            assert set(picked) <= set(listed.get(name, []))
            assert len(set(picked)) == len(picked) <= 2
            if batch.references is None or not batch.references.present[b].any():
                continue
            assert int(batch.references.present[b].sum()) == len(picked)
            for slot, row in enumerate(raw.reference_rows[b]):
                pixels = feed.bank.cache.gather([row])[0].float() / 255
                pixels = torch.nn.functional.interpolate(pixels, size=(32, 32), mode="area")
                assert torch.equal(batch.references.images[b, slot], pixels[0])
                expected = encoder.encode(pixels).content[0]
                torch.testing.assert_close(batch.references.content[b, slot], expected, atol=1e-3, rtol=0)
                shown += 1
    assert shown > 4
    assert (found.validation.experiment.references.augmented, found.validation.experiment.seed) == (
        0,
        training_data.VALIDATION_SEED,
    )


def test_features_are_computed_once(root, tmp_path, monkeypatch):
    experiment = with_references()
    opened(experiment, tmp_path, data=root, lists=root / "refs.jsonl")
    kept = list((tmp_path / "cache").glob("features-*"))
    assert len(kept) == 1
    monkeypatch.setattr(reference_features, "_make", lambda *_: pytest.fail("computed again"))
    again = opened(experiment, tmp_path, data=root, lists=root / "refs.jsonl")
    assert again.training.bank.content.content.dtype == np.float16


def test_killed_features_go_on_where_they_were_and_are_the_same(root, tmp_path, monkeypatch):
    experiment = with_references()
    where = {"data": root, "lists": root / "refs.jsonl"}
    whole = opened(experiment, tmp_path / "whole", **where).training.bank.content
    monkeypatch.setattr(reference_features, "BATCH", 2)
    monkeypatch.setattr(reference_features, "NOTE", 1)
    real, batches = FakeEncoder.encode, []

    class Kill(BaseException):
        pass

    def dying(self, images):
        if len(batches) == 1:
            raise Kill
        batches.append(len(images))
        return real(self, images)

    with monkeypatch.context() as patch:
        patch.setattr(FakeEncoder, "encode", dying)
        with pytest.raises(Kill):
            opened(experiment, tmp_path / "cut", **where)
    batches.clear()
    monkeypatch.setattr(
        FakeEncoder, "encode", lambda self, images: batches.append(len(images)) or real(self, images)
    )
    again = opened(experiment, tmp_path / "cut", **where).training.bank.content
    assert np.array_equal(whole.content, again.content)
    assert sum(batches) == len(whole.place) - 2


def test_references_of_held_out_scenes_are_dropped(root, tmp_path):
    experiment = with_references(validation_share=0.5)
    bank = opened(experiment, tmp_path, data=root, lists=root / "refs.jsonl").training.bank
    used = [bank.cache.rows[row] for rows in bank.lists.values() for row in rows]
    assert used
    assert not any(training_data.in_validation(row, 0.5) for row in used)


def test_photos_make_composites_and_the_shipped_ones_are_the_default(tmp_path):
    found = opened(tiny(source="synthesis", synthesis=SynthesisConfig(illuminant=0)), tmp_path)
    assert len(found.training) + len(found.validation) == 18 == len(found.training.cache)
    assert "scenes" in found.about
    batch = found.training.finish(found.training.raw(0), 0)
    assert batch.composite.shape == (2, 3, 16, 16)


@pytest.mark.parametrize(
    ("changes", "where", "message"),
    [
        ({}, {}, "trains on iharmony4: give its root with --data"),
        ({"source": "raharmony4"}, {"data": "data"}, "give it with --lists"),
        ({"source": "synthesis"}, {"data": "photos"}, "illuminants a share of 1.3: give CCHarmony"),
        ({"source": "synthesis"}, {"data": "photos", "illuminants": "photos"}, r"no list .*train_list\.txt"),
        ({}, {"data": "nowhere"}, r"IHD_train\.txt' does not exist"),
        ({"source": "raharmony4"}, {"data": "data", "lists": "none.jsonl"}, r"none\.jsonl' does not exist"),
        (
            {"source": "synthesis", "synthesis": SynthesisConfig(illuminant=0)},
            {"data": "nowhere"},
            "no folder",
        ),
        ({"validation_share": 1e-4}, {"data": "data"}, "validation share of 0.0001 leaves"),
    ],
)
def test_what_is_missing_is_named(root, tmp_path, changes, where, message):
    write_photos(tmp_path / "photos", 4)
    with pytest.raises(ValueError, match=message):
        opened(tiny(**changes), tmp_path, **{name: tmp_path / path for name, path in where.items()})


def test_a_list_of_other_composites_is_refused(root, tmp_path):
    with pytest.raises(ValueError, match="give their list with --lists"):
        opened(with_references(), tmp_path, data=root)
    line = {
        "input": "HFlickr/composite_images/f9_1_1.jpg",
        "mask": "HFlickr/masks/f9_1.png",
        "refs": ["HFlickr/real_images/f160.jpg"],
    }
    (tmp_path / "other.jsonl").write_text(json.dumps(line) + "\n")
    with pytest.raises(ValueError, match="none of the list's 1 composites"):
        opened(with_references(), tmp_path, data=root, lists=tmp_path / "other.jsonl")


def test_the_fingerprint_follows_photos_lists_and_lights(root, tmp_path):
    first = opened(tiny(), tmp_path, data=root).fingerprint
    assert opened(tiny(), tmp_path, data=root).fingerprint == first
    listed = opened(tiny(), tmp_path, data=root, lists=root / "refs.jsonl").fingerprint
    assert listed != first
    text = (root / "refs.jsonl").read_text().splitlines()
    (tmp_path / "less.jsonl").write_text("\n".join(text[1:]) + "\n")
    assert opened(tiny(), tmp_path, data=root, lists=tmp_path / "less.jsonl").fingerprint != listed


def test_an_epoch_shows_every_picture_once_and_the_next_one_in_another_order():
    rows = [feed_module.rows_of(k, 7, 3, seed=1) for k in range(14)]  # 42 places: six epochs
    flat = [row for part in rows for row in part]
    epochs = [flat[i : i + 7] for i in range(0, 42, 7)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1
    assert rows == [feed_module.rows_of(k, 7, 3, seed=1) for k in range(14)]


def test_prefetch_gives_the_same_in_order_and_raises_what_the_thread_met(tmp_path, monkeypatch):
    experiment = tiny(source="synthesis", synthesis=SynthesisConfig(illuminant=0), crop=CropConfig())
    feed = opened(experiment, tmp_path).training
    ahead = list(feed_module.prefetch(feed, [4, 2, 9]))
    assert [k for k, _ in ahead] == [4, 2, 9]
    for k, raw in ahead:
        assert torch.equal(raw.truth, feed.raw(k).truth)
        first, second = feed.finish(raw, k), feed.finish(feed.raw(k), k)
        assert torch.equal(first.composite, second.composite)
    real = feed.raw

    def failing(k):
        if k == 2:
            raise OSError("the disk is gone")
        return real(k)

    monkeypatch.setattr(feed_module.Feed, "raw", lambda self, k: failing(k))
    seen = []
    with pytest.raises(OSError, match="the disk is gone"):
        seen.extend(k for k, _ in feed_module.prefetch(feed, [4, 2, 9]))


def test_self_references_carry_features_and_per_batch_draws_are_all_or_none(tmp_path):
    shares = experiments.ReferenceShares(none=0.5, retrieved=0, augmented=0.5, per_batch=True)
    experiment = tiny(
        preset="raiha-plus",
        network=PlusConfig(size=32),
        size=32,
        source="synthesis",
        synthesis=SynthesisConfig(illuminant=0),
        encoder="fake",
        references=shares,
    )
    feed = opened(experiment, tmp_path).training
    with_some = 0
    for k in range(10):
        batch = feed.finish(feed.raw(k), k)
        if batch.references is None:
            continue
        with_some += 1
        assert batch.references.present.all()
        expected = feed.encoder.encode(batch.references.images[:, 0]).content
        assert torch.equal(batch.references.content[:, 0], expected)
        assert float((batch.references.images[:, 0] - batch.target).abs().max()) > 0.05
    assert 1 <= with_some <= 9


def test_donors_of_a_transfer_show_the_same_kind_where_kinds_are_known(tmp_path):
    photos = write_photos(tmp_path / "photos")
    lines = [json.loads(line) for line in (photos / "manifest.jsonl").read_text().splitlines()]
    for i, line in enumerate(lines):
        line["cls"] = ("dog", "house")[i % 3 == 0]
    (photos / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    def donors(same_kind):
        synthesis = SynthesisConfig(illuminant=0, same_kind=same_kind)
        feed = opened(tiny(source="synthesis", synthesis=synthesis), tmp_path, data=photos).training
        rows = [row for row in feed.rows for _ in range(20)]
        return [
            (feed.cache.rows[a].kind, feed.cache.rows[b].kind)
            for a, b in zip(rows, feed._donors(rows, 0), strict=True)
        ]

    assert all(own == other for own, other in donors(1.0))
    assert {own == other for own, other in donors(0.0)} == {True, False}
