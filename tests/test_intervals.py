"""Intervals and paired tests against closed forms."""

import itertools

import numpy as np
import pytest

from raiha_train.evaluation.intervals import bootstrap_mean, paired, sign_flip


def test_interval_of_a_normal_sample():
    # Oracle: for many independent values the interval is mean +- 1.96 s / sqrt(n).
    values = np.random.default_rng(0).normal(5, 2, 4000)
    found = bootstrap_mean(values)
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert found.mean == values.mean()
    assert found.low == pytest.approx(values.mean() - half, abs=0.15 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.15 * half)
    assert found == bootstrap_mean(values)  # same seed, same interval


def test_copies_of_a_photo_do_not_narrow_the_interval():
    # Oracle: five copies of each value, drawn as groups, are the values themselves.
    values = np.random.default_rng(1).normal(0, 1, 200)
    copies, names = np.repeat(values, 5), [str(i) for i in range(200) for _ in range(5)]
    alone, grouped = bootstrap_mean(values), bootstrap_mean(copies, names)
    assert (grouped.low, grouped.high) == pytest.approx((alone.low, alone.high))
    assert (grouped.count, grouped.groups) == (1000, 200)
    careless = bootstrap_mean(copies)
    assert careless.high - careless.low < 0.6 * (grouped.high - grouped.low)


def test_sign_flip_is_exact_for_few():
    differences = [0.5, 1.0, -0.2, 0.7, 0.3]
    means = [abs(np.dot(signs, differences)) for signs in itertools.product((-1, 1), repeat=5)]
    assert sign_flip(differences) == np.mean(np.array(means) >= abs(sum(differences)) - 1e-12)
    assert sign_flip([1.0] * 10) == 2 / 2**10  # only all plus and all minus reach it


def test_sign_flip_of_many():
    rng = np.random.default_rng(2)
    nothing = [sign_flip(rng.normal(0, 1, 40), flips=500, seed=s) for s in range(200)]
    assert np.mean(np.array(nothing) <= 0.05) == pytest.approx(0.05, abs=0.04)  # its level, 3 sigma
    assert sign_flip(rng.normal(1, 1, 100)) == pytest.approx(1 / 10_001)
    assert sign_flip(np.zeros(50)) == 1


def test_paired_counts_and_sign():
    found = paired([1, 2, 3, 4], [2, 2.005, 2, 5], same=0.01)
    assert (found.above, found.same, found.below) == (2, 1, 1)
    assert found.difference.mean == pytest.approx(1.005 / 4)


def test_bad_values_are_refused():
    for bad in ([], [1.0, float("nan")]):
        with pytest.raises(ValueError, match="mean"):
            bootstrap_mean(bad)
    with pytest.raises(ValueError, match="level"):
        bootstrap_mean([1.0], level=1)
    with pytest.raises(ValueError, match="2 group names for 1 values"):
        bootstrap_mean([1.0], ["a", "b"])
    with pytest.raises(ValueError, match="1 values cannot be paired with 2"):
        paired([1.0], [1.0, 2.0])
