"""Protocols A, B and C against the worked examples of their description."""

import numpy as np
import pytest
import torch

from raiha_train.data.batch import as_batch
from raiha_train.evaluation.protocols import (
    Protocol,
    composite_prediction,
    encode,
    prepare,
    score,
)


def flat(value: int, height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), value, dtype=np.uint8)


def top_mask(height: int, width: int, rows: int, value: int = 255) -> np.ndarray:
    mask = np.zeros((height, width), dtype=np.uint8)
    mask[:rows] = value
    return mask


def textured(height: int, width: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_a_worked_example():
    protocol = Protocol(name="A")
    prepared = prepare(protocol, flat(90, 256, 256), top_mask(256, 256, 64), flat(100, 256, 256), "x")
    prediction = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    prediction[:, :, :64] = 110 / 255
    scores = score(protocol, prepared, prediction)
    assert (scores.mse, scores.fmse, scores.foreground_ratio) == (25, 100, 0.25)
    assert scores.psnr == pytest.approx(34.1514, abs=5e-5)
    assert scores.fpsnr == pytest.approx(28.1308, abs=5e-5)
    assert scores.ssim == pytest.approx(0.993021, abs=5e-7)


def test_c_worked_examples():
    protocol = Protocol(name="C")
    real = flat(90, 16, 16)
    prepared = prepare(protocol, real, top_mask(16, 16, 4), real, "x")
    prediction = as_batch(real.copy())
    prediction[:, 1, :4] += 30
    scores = score(protocol, prepared, prediction)
    assert scores.mse == 75
    assert scores.fmse == pytest.approx(300, rel=1e-7)
    assert scores.psnr == pytest.approx(29.3802, abs=5e-5)
    assert scores.fpsnr == pytest.approx(23.3596, abs=5e-5)


def test_a_faint_mask_weighs_in_c_and_is_empty_in_a():
    real, mask = flat(100, 16, 16), np.full((16, 16), 51, dtype=np.uint8)
    c = Protocol(name="C")
    scores = score(c, prepare(c, real, mask, real, "x"), as_batch(real + 10))
    assert scores.mse == pytest.approx(20, abs=1e-12)
    assert scores.psnr == pytest.approx(35.1205, abs=5e-5)
    assert scores.fmse == pytest.approx(100, rel=1e-7)
    with pytest.raises(ValueError, match="'faint' has no foreground under protocol A"):
        prepare(Protocol(name="A"), real, mask, real, "faint")


def test_a_rounds_and_b_truncates():
    prediction = torch.full((1, 3, 2, 2), 110.9 / 255)
    assert encode(Protocol(name="A"), prediction).unique().tolist() == [111]
    assert encode(Protocol(name="B"), prediction).unique().tolist() == [110]
    assert encode(Protocol(name="C"), prediction).unique().tolist() == [111]
    assert encode(Protocol(name="C-float"), prediction).dtype == torch.float32
    halves = torch.tensor([0.5, 1.5, 2.5]).view(1, 3, 1, 1) / 255
    assert encode(Protocol(name="A"), halves).flatten().tolist() == [0, 2, 2]  # half to even
    assert encode(Protocol(name="A"), torch.tensor([-1.0, 2.0, 0.0]).view(1, 3, 1, 1)).flatten().tolist() == [
        0,
        255,
        0,
    ]


def test_squared_errors_of_rounding():
    # Prediction 110.9, truth 100: 11^2 = 121 under A, 10^2 = 100 under B (100 itself survives the trip).
    real, mask = flat(100, 256, 256), top_mask(256, 256, 128)
    prediction = torch.full((1, 3, 256, 256), 110.9 / 255)
    for name, expected in (("A", 121.0), ("B", 100.0)):
        protocol = Protocol(name=name)
        assert score(protocol, prepare(protocol, real, mask, real, "x"), prediction).fmse == expected


def test_b_lowers_63_of_256_levels_of_the_truth():
    levels = torch.arange(256, dtype=torch.float32) / 255
    back = encode(Protocol(name="B"), levels.expand(1, 3, 1, 256))[0, 0, 0].long()
    difference = torch.arange(256) - back
    assert difference.unique().tolist() == [0, 1]
    assert int(difference.sum()) == 63


def test_kernels_of_a_and_b():
    # Rows 0, 4, 8, ... of 1024 are 255: antialiasing gives 64, sampling misses them or hits half.
    rows = np.zeros((1024, 1024, 3), dtype=np.uint8)
    rows[::4] = 255
    mask = top_mask(1024, 1024, 1024)
    inside = np.s_[8:-8, 8:-8]
    a, b = (prepare(Protocol(name=n), rows, mask, rows, "x").composite for n in ("A", "B"))
    assert np.unique(a[inside]).tolist() == [64]
    assert b[inside].max() <= 1  # JPEG may leave a level
    down = np.roll(rows, 1, axis=0)
    a, b = (prepare(Protocol(name=n), down, mask, down, "x").composite for n in ("A", "B"))
    assert np.unique(a[inside]).tolist() == [64]
    assert np.abs(b[inside].astype(int) - 128).max() <= 1


def test_b_reads_the_true_background():
    composite, real, mask = flat(10, 256, 256), flat(200, 256, 256), top_mask(256, 256, 100)
    prepared = prepare(Protocol(name="B"), composite, mask, real, "x")
    assert np.unique(prepared.composite[150:]).tolist() == [200]
    assert np.unique(prepared.composite[:90]).tolist() == [10]
    assert np.unique(prepare(Protocol(name="A"), composite, mask, real, "x").composite).tolist() == [10]


def test_b_dithers_a_grey_mask():
    real, mask = flat(100, 256, 256), np.full((256, 256), 64, dtype=np.uint8)
    weight = prepare(Protocol(name="B"), real, mask, real, "x").weight
    assert set(np.unique(weight)) == {0, 255}
    assert (weight > 0).mean() == pytest.approx(0.25, abs=0.01)


def test_c_keeps_the_mask_and_a_thresholds_it():
    real = textured(40, 50, 0)
    mask = np.random.default_rng(1).integers(0, 256, (40, 50), dtype=np.uint8)
    assert np.array_equal(prepare(Protocol(name="C"), real, mask, real, "x").weight, mask)
    seen = prepare(Protocol(name="A-full"), real, mask, real, "x").mask
    assert np.array_equal(seen == 255, mask >= 128)


def test_a_full_resizes_the_encoded_picture():
    # At 256 the two agree; at another size A-full renders first.
    protocol, plain = Protocol(name="A-full"), Protocol(name="A")
    composite, real, mask = textured(256, 256, 2), textured(256, 256, 3), top_mask(256, 256, 50)
    same = [score(p, prepare(p, composite, mask, real, "x"), as_batch(composite)) for p in (protocol, plain)]
    assert same[0] == same[1]
    composite, real, mask = textured(300, 200, 2), textured(300, 200, 3), top_mask(300, 200, 100)
    full = prepare(protocol, composite, mask, real, "x")
    small = prepare(plain, composite, mask, real, "x")
    assert full.composite.shape == (300, 200, 3)
    assert full.truth.shape == small.composite.shape == (256, 256, 3)
    untouched = [score(p, q, composite_prediction(p, q)) for p, q in ((protocol, full), (plain, small))]
    assert untouched[0] == untouched[1]  # nothing rendered: encoding is the identity


def test_float_scores_differ_from_rounded_by_a_twelfth():
    # Rounding error is uniform in +-1/2 grey level: variance 1/12 on top of the float's fMSE.
    generator = torch.Generator().manual_seed(5)
    real, mask = flat(128, 200, 200), top_mask(200, 200, 200)
    prediction = (100 + 60 * torch.rand(1, 3, 200, 200, generator=generator)) / 255
    rounded, exact = (
        score(p, prepare(p, real, mask, real, "x"), prediction).fmse
        for p in (Protocol(name="C"), Protocol(name="C-float"))
    )
    errors = (prediction.double() * 255 - 128) ** 2
    assert exact == pytest.approx(float(errors.mean()), rel=1e-9)
    assert rounded - exact == pytest.approx(1 / 12, abs=0.1)


def test_every_protocol_scores_the_truth_as_perfect():
    real, mask = textured(64, 48, 4), top_mask(64, 48, 20)
    for name in ("A", "A-full", "B", "C", "C-float"):
        protocol = Protocol(name=name)
        prepared = prepare(protocol, real, mask, real, "x")
        scores = score(protocol, prepared, composite_prediction(protocol, prepared))
        assert (scores.mse, scores.ssim) == (0, 1)
        assert scores.psnr == pytest.approx(108.1308, abs=5e-5)


def test_names_and_errors():
    assert str(Protocol(name="B", size=512, kernel="cubic")) == "B(size=512, kernel=cubic)"
    assert str(Protocol(name="C")) == "C"
    with pytest.raises(ValueError, match="unknown protocol 'D'"):
        Protocol(name="D")
    with pytest.raises(ValueError, match="belong to protocol B"):
        Protocol(name="A", size=512)
    real = flat(1, 20, 30)
    with pytest.raises(ValueError, match="'x': composite 30x20, mask 30x10 and real 30x20 differ"):
        prepare(Protocol(name="A"), real, top_mask(10, 30, 5), real, "x")
    protocol = Protocol(name="C")
    prepared = prepare(protocol, real, top_mask(20, 30, 5), real, "shifted")
    with pytest.raises(ValueError, match="'shifted' has shape"):
        score(protocol, prepared, torch.zeros(1, 3, 30, 20))
    with pytest.raises(ValueError, match="NaN"):
        score(protocol, prepared, torch.full((1, 3, 20, 30), float("nan")))
