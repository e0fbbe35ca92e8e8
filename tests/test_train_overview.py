"""train/overview.py, curves.py: sheets show what they say, estimates scale as they must, means run."""

import csv
import json

import curves
import numpy as np
import overview
import pytest
import torch
from experiment import Experiment
from PIL import Image

from raiha_core.data.batch import Batch
from raiha_core.features.references import ReferenceBatch
from raiha_core.models.cost import parameters, trainable
from raiha_core.models.hdnet import UNetConfig
from raiha_core.models.presets import PRESETS


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
        weight=torch.ones(2, 1),
        content=None,
        spec=None,
    )
    batch = Batch(composite=composite, mask=mask, target=target, ids=("a", "b"), references=references)
    overview.write_batch(batch, tmp_path / "sheet.png")
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape == (16, 32, 3)
    tiles = [composite, target, mask.expand(-1, 3, -1, -1), shown]
    for row in range(2):
        for column, tile in enumerate(tiles):
            expected = (tile[row] * 255).round().byte().permute(1, 2, 0).numpy()
            found = sheet[8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
            assert np.array_equal(found, expected), (row, column)


def test_the_memory_estimate_counts_weights_and_scales_with_batch_and_area():
    network = PRESETS["hdnet"].build(config=tiny(32).network)
    found = overview.memory_estimate(tiny(32), network)
    assert found["weights"] * overview.GIB == parameters(network) * 4
    assert found["gradients and optimizer"] * overview.GIB == pytest.approx(3 * 4 * trainable(network))
    double = overview.memory_estimate(tiny(32, micro_batch=4), network)
    assert double["activations"] == pytest.approx(2 * found["activations"])
    large = overview.activation_bytes(tiny(64)) / overview.activation_bytes(tiny(32))
    assert 3.2 < large < 4.8  # area, and what does not grow with it


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
