"""How sure a mean over images is: bootstrap intervals and paired comparisons.

Composites of one photo are not independent, so photos, not images, are drawn. Pure functions of
numpy arrays; every draw comes from a seed. Source: Efron and Tibshirani 1993, chapters 13 and 15.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
_CHUNK = 4_000_000  # random indices drawn at a time
_EXACT = 12  # up to this many differences all sign patterns are tried


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A mean with its bootstrap percentile interval."""

    mean: float
    low: float
    high: float
    count: int  # images
    groups: int  # photos


@dataclass(frozen=True, kw_only=True, slots=True)
class Paired:
    """Second minus first, image by image."""

    difference: Interval
    p_value: float  # two-sided sign-flip test over photos: chance of a mean at least this far from 0
    above: int  # images whose difference is above `same`
    same: int
    below: int


def _group_sums(
    values: NDArray[np.float64], groups: Sequence[str] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum and count per group, in order of first appearance."""
    if values.ndim != 1 or not len(values):
        raise ValueError(f"a mean needs a list of at least one value, got shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("a mean over NaN or infinite values says nothing")
    if groups is None:
        return values, np.ones(len(values))
    if len(groups) != len(values):
        raise ValueError(f"{len(groups)} group names for {len(values)} values")
    order = {name: i for i, name in enumerate(dict.fromkeys(groups))}
    index = np.array([order[name] for name in groups])
    return np.bincount(index, values, len(order)), np.bincount(index, minlength=len(order)).astype(float)


def bootstrap_mean(
    values: Sequence[float] | NDArray[np.float64],
    groups: Sequence[str] | None = None,
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Mean and percentile interval; whole groups are drawn with replacement.

    Args: groups: one name per value, such as its photo; left out, every value stands alone.
    Raises: ValueError for no values, NaN, or a level outside (0, 1).
    """
    if not 0 < level < 1:
        raise ValueError(f"the level of an interval lies in (0, 1), got {level}")
    array = np.asarray(values, dtype=np.float64)
    sums, counts = _group_sums(array, groups)
    generator = np.random.Generator(np.random.PCG64(seed))
    means = np.empty(resamples)
    step = max(1, _CHUNK // len(sums))
    for start in range(0, resamples, step):
        drawn = generator.integers(len(sums), size=(min(step, resamples - start), len(sums)))
        means[start : start + step] = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = (float(np.quantile(means, q)) for q in ((1 - level) / 2, (1 + level) / 2))
    return Interval(mean=float(array.mean()), low=low, high=high, count=len(array), groups=len(sums))


def sign_flip(
    differences: Sequence[float] | NDArray[np.float64],
    groups: Sequence[str] | None = None,
    *,
    flips: int = 10_000,
    seed: int = 0,
) -> float:
    """Two-sided p-value of a mean difference of 0, when each group's sign could as well be the other.

    Exact up to 12 groups; above, the observed pattern counts as one of the random ones, so it is never 0.
    """
    sums, _ = _group_sums(np.asarray(differences, dtype=np.float64), groups)
    observed = abs(sums.sum()) * (1 - 1e-12)  # a tie must count, whatever the order of summing
    if len(sums) <= _EXACT:
        patterns = (np.arange(2 ** len(sums))[:, None] >> np.arange(len(sums))) & 1
        return float((np.abs((2 * patterns - 1) @ sums) >= observed).mean())
    generator = np.random.Generator(np.random.PCG64(seed))
    reached = 0
    step = max(1, _CHUNK // len(sums))
    for start in range(0, flips, step):
        signs = generator.integers(2, size=(min(step, flips - start), len(sums))) * 2 - 1
        reached += int((np.abs(signs @ sums) >= observed).sum())
    return (reached + 1) / (flips + 1)


def paired(
    first: Sequence[float],
    second: Sequence[float],
    groups: Sequence[str] | None = None,
    *,
    same: float = 0.01,
    seed: int = 0,
) -> Paired:
    """Compare two lists of scores of the same images: second minus first.

    Args:
        groups: one name per image, such as its photo, that is drawn or flipped as a whole; left out, every
            image stands alone.
        same: a difference up to this far from 0, in the unit of the scores, counts as none.
    Returns: the mean difference with its 95 % interval, a p-value, and how many images moved which way.
    Raises: ValueError where the lengths differ, there is no value, or one is NaN or infinite.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} values cannot be paired with {len(second)}")
    difference = np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64)
    interval = bootstrap_mean(difference, groups, seed=seed)
    above, below = int((difference > same).sum()), int((difference < -same).sum())
    return Paired(
        difference=interval,
        p_value=sign_flip(difference, groups, seed=seed),
        above=above,
        same=len(difference) - above - below,
        below=below,
    )
