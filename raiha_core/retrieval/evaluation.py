"""How good retrieved sets and thresholds are. Knows sets of names and tables of scores, no engine."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True, slots=True)
class Agreement:
    """One answer against the truth. Nothing to find and nothing found is perfect: 1.0 and 1.0."""

    shared: int
    found: int
    true: int

    @property
    def recall(self) -> float:
        """Share of the true ones that were found; 1 where nothing is true."""
        return self.shared / self.true if self.true else 1.0

    @property
    def precision(self) -> float:
        """Share of the found ones that are true; 1 where nothing was found."""
        return self.shared / self.found if self.found else 1.0


def compare(truth: Sequence[Collection[str]], found: Sequence[Collection[str]]) -> list[Agreement]:
    """Per query: the names that should be found and those that were, in any order.

    Raises: ValueError where the two tables have different lengths, or a name appears twice in an answer.
    """
    if len(truth) != len(found):
        raise ValueError(f"{len(truth)} true sets and {len(found)} answers")
    rows = []
    for query, (right, answer) in enumerate(zip(truth, found, strict=True)):
        wanted, given = set(right), set(answer)
        if len(given) != len(answer):
            raise ValueError(f"the answer to query {query} names a photo twice")
        rows.append(Agreement(len(wanted & given), len(given), len(wanted)))
    return rows


def overall(rows: Sequence[Agreement]) -> Agreement:
    """All queries as one: each photo counts, not each query."""
    return Agreement(sum(r.shared for r in rows), sum(r.found for r in rows), sum(r.true for r in rows))


@dataclass(frozen=True, slots=True)
class Spread:
    """An average over queries hides that one finds nothing and the next a third of the gallery."""

    mean: float
    median: float
    low: float  # 10th percentile
    high: float  # 90th percentile
    least: float
    zero: float  # share of the values that are 0


def spread(values: ArrayLike) -> Spread:
    """Summary of one number per query, e.g. how many photos qualify. Raises: ValueError for no values."""
    table = np.asarray(values, dtype=np.float64).ravel()
    if not table.size:
        raise ValueError("no queries, so there is nothing to summarise")
    low, median, high = np.quantile(table, (0.1, 0.5, 0.9)).tolist()
    return Spread(float(table.mean()), median, low, high, float(table.min()), float((table == 0).mean()))


def false_positive_rate(best: ArrayLike, unrelated: ArrayLike, threshold: float) -> float:
    """Share of the unrelated (query, photo) pairs that a threshold lets through.

    Args:
        best: the best cosine of each pair, any shape. unrelated: bool, same shape.
        threshold: closed, as in eq. 3.
    Returns: 0..1. Labels are incomplete (a photo labelled "building" also shows sky), so true matches
        count as false: read it as an upper bound.
    Raises: ValueError where shapes differ, a score is NaN, or no pair is unrelated.
    """
    scores, wrong = np.asarray(best, dtype=np.float64), np.asarray(unrelated, dtype=bool)
    if scores.shape != wrong.shape:
        raise ValueError(f"scores {scores.shape} and labels {wrong.shape} disagree")
    if np.isnan(scores).any():
        raise ValueError("the scores hold NaN")
    if not wrong.any():
        raise ValueError("no pair is unrelated, so there is no false-positive rate")
    return float((scores[wrong] >= threshold).mean())
