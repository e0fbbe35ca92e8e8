"""train/preview.py, curves.py: sheets show what they say, estimates scale as they must, means run."""

import csv
import dataclasses
import json

import numpy as np
import pytest
import torch
from PIL import Image

from raiha_core.features.references import ReferenceBatch
from raiha_core.models.cost import parameters, trainable
from raiha_core.models.hdnet import UNetConfig
from raiha_core.models.presets import PRESETS
from raiha_train.data.batch import Batch
from raiha_train.data.cache import open_cache
from raiha_train.data.feed import Feed
from raiha_train.data.photos import read_photos
from raiha_train.data.synthesis import Synthesis, SynthesisConfig
from raiha_train.experiment import Experiment
from raiha_train.loop import curves, pasted_cutouts, preview
from raiha_train.losses.contrastive import ContrastConfig
from raiha_train.losses.terms import LossConfig
from tests.training_cases import write_photos


def tiny(size: int, micro_batch: int = 2) -> Experiment:
    return Experiment(
        name="x",
        preset="hdnet",
        network=UNetConfig(width=4, size=size),
        size=size,
        batch=8,
        micro_batch=micro_batch,
        steps=1,
    )


def test_a_batch_sheet_shows_composite_truth_mask_and_reference_in_rows(tmp_path):
    g = torch.Generator().manual_seed(0)
    composite, target, shown = torch.rand(3, 2, 3, 8, 8, generator=g)
    mask = torch.zeros(2, 1, 8, 8)
    mask[:, :, :4] = 1
    references = ReferenceBatch(
        images=shown[:, None],
        present=torch.ones(2, 1, dtype=torch.bool),
        content=None,
        spec=None,
    )
    batch = Batch(composite=composite, mask=mask, target=target, ids=("a", "b"), references=references)
    preview.write_batch(batch, tmp_path / "sheet.png")
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape == (16, 32, 3)
    tiles = [composite, target, mask.expand(-1, 3, -1, -1), shown]
    for row in range(2):
        for column, tile in enumerate(tiles):
            expected = (tile[row] * 255).round().byte().permute(1, 2, 0).numpy()
            found = sheet[8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
            assert np.array_equal(found, expected), (row, column)


def test_cut_outs_are_pasted_into_held_out_photos_and_outside_them_nothing_changes(tmp_path):
    pixels = np.zeros((10, 20, 4), np.uint8)
    pixels[..., 0], pixels[:, 5:15, 3] = 200, 255
    (tmp_path / "cut").mkdir()
    Image.fromarray(pixels).save(tmp_path / "cut" / "red.png")
    experiment = dataclasses.replace(tiny(32), source="synthesis", synthesis=SynthesisConfig(illuminant=0))
    cache = open_cache(read_photos(write_photos(tmp_path / "photos", 4)), 32, tmp_path / "cache")
    feed = Feed(experiment, cache, [2, 3], torch.device("cpu"), synthesis=Synthesis(experiment.synthesis))
    batch = pasted_cutouts.paste_cutouts(feed, 3, tmp_path / "cut")
    assert batch.ids == ("red.png",)
    photo = cache.gather([2])[0].float() / 255
    outside = (batch.mask == 0).expand_as(photo)
    assert torch.equal(batch.composite[outside], photo[outside])
    solid = (batch.mask == 1).expand_as(photo)
    assert solid.any()
    expected = torch.tensor([200 / 255, 0, 0]).view(1, 3, 1, 1).expand_as(photo)
    torch.testing.assert_close(batch.composite[solid], expected[solid], atol=2e-3, rtol=0)
    # half of 45 % of the width times 45 % / 2 of the height
    assert float(batch.mask.mean()) == pytest.approx(0.45 * 0.5 * 0.225, rel=0.15)
    (tmp_path / "empty").mkdir()
    assert pasted_cutouts.paste_cutouts(feed, 3, tmp_path / "empty") is None


def test_the_memory_estimate_counts_weights_and_scales_with_batch_and_area():
    network = PRESETS["hdnet"].build(config=tiny(32).network)
    found = preview.memory_estimate(tiny(32), network)
    assert found["weights"] * preview.GIB == parameters(network) * 4
    assert found["gradients and optimizer"] * preview.GIB == pytest.approx(3 * 4 * trainable(network))
    double = preview.memory_estimate(tiny(32, micro_batch=4), network)
    assert double["activations"] == pytest.approx(2 * found["activations"])
    large = preview.activation_bytes(tiny(64)) / preview.activation_bytes(tiny(32))
    assert 3.2 < large < 4.8  # area, and what does not grow with it


def test_the_memory_estimate_counts_the_contrastive_loss():
    plain = tiny(32)
    network = UNetConfig(width=2, size=32, style_fusion=True)
    contrast = ContrastConfig(channels=(2, 8, 16, 16, 16), width=8)
    rcl = dataclasses.replace(plain, preset="rcl", network=network, contrast=contrast)
    with_loss = dataclasses.replace(rcl, loss=LossConfig(contrast=0.1))
    # Oracle: the first half of the network is kept once more, and the full-size output goes into it
    more = preview.activation_bytes(with_loss) - preview.activation_bytes(rcl)
    assert preview.activation_bytes(rcl) * 0.15 < more < preview.activation_bytes(rcl)


@pytest.mark.parametrize("micro_batch", [1, 2, 6])
def test_a_sample_sheet_of_micro_batches_with_and_without_references(tmp_path, monkeypatch, micro_batch):
    # With retrieved references a micro-batch shows five columns, one that drew none shows four.
    def some(feed, limit):
        g = torch.Generator().manual_seed(0)
        for k in range(-(-limit // micro_batch)):
            pixels = torch.rand(micro_batch, 3, 8, 8, generator=g)
            shown = ReferenceBatch(
                images=pixels[:, None],
                present=torch.ones(micro_batch, 1, dtype=torch.bool),
                content=None,
                spec=None,
            )
            yield Batch(
                composite=pixels,
                mask=torch.ones(micro_batch, 1, 8, 8),
                target=pixels,
                ids=("a",) * micro_batch,
                references=shown if k % 2 else None,
            )

    class Feeder:
        experiment = dataclasses.replace(tiny(8), batch=micro_batch, micro_batch=micro_batch)

    monkeypatch.setattr(preview, "batches", some)
    monkeypatch.setattr(preview, "paste_cutouts", lambda feed, count: None)
    monkeypatch.setattr(preview, "harmonize_batch", lambda network, batch, encoder: batch.composite)
    preview.write_samples(torch.nn.Identity(), Feeder(), None, tmp_path / "sheet.png", rows=8)
    with Image.open(tmp_path / "sheet.png") as picture:
        assert picture.size == (8 * 5, 8 * 8)


def test_the_running_mean_is_that_of_a_loop():
    values = [float(v) for v in np.random.default_rng(0).random(60)]
    found = curves.smooth(values, share=0.1)
    for i, value in enumerate(found):
        assert value == pytest.approx(np.mean(values[max(0, i - 5) : i + 1]))


def test_curves_are_drawn_from_what_a_run_leaves(tmp_path):
    with (tmp_path / "history.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "loss", "learning_rate"])
        writer.writerows([i, 1 / i, 0.1] for i in range(1, 30))
    assert curves.draw_curves(tmp_path).stat().st_size > 1000  # also before the first validation
    points = [{"step": i, "fmse": 9.0 - i, "fmse_composite": 10.0} for i in range(3)]
    (tmp_path / "validation.jsonl").write_text("".join(json.dumps(p) + "\n" for p in points))
    assert curves.read_validation(tmp_path / "validation.jsonl") == points
    with Image.open(curves.draw_curves(tmp_path)) as picture:
        assert picture.size == (1210, 440)
