"""Recall, precision and false-positive rates on tables small enough to work by hand."""

import numpy as np
import pytest

from raiha_core.retrieval.evaluation import compare, false_positive_rate, overall, spread

TRUTH = [{"a", "b"}, {"c"}, set(), set()]
FOUND = [["b", "x", "y"], ["c"], [], ["z"]]


def test_the_four_row_example():
    # Row by row: 1 of 2 found among 3; all; nothing to find and nothing found; one too many.
    rows = compare(TRUTH, FOUND)
    assert [row.recall for row in rows] == [1 / 2, 1.0, 1.0, 1.0]
    assert [row.precision for row in rows] == [1 / 3, 1.0, 1.0, 0.0]
    total = overall(rows)  # 2 shared, 5 found, 3 true
    assert (total.recall, total.precision) == (2 / 3, 2 / 5)


def test_finding_nothing_where_something_is_loses_recall_only():
    (row,) = compare([{"a"}], [[]])
    assert (row.recall, row.precision) == (0.0, 1.0)


def test_order_is_irrelevant_and_arguments_stay():
    truth, found = [["a", "b"]], [["b", "a"]]
    assert compare(truth, found)[0].recall == 1
    assert (truth, found) == ([["a", "b"]], [["b", "a"]])


def test_tables_that_disagree_are_refused():
    with pytest.raises(ValueError, match="2 true sets and 1 answers"):
        compare([set(), set()], [[]])
    with pytest.raises(ValueError, match="query 1 names a photo twice"):
        compare([set(), set()], [[], ["a", "a"]])


def test_false_positive_rate_by_hand():
    # Unrelated scores 0.2, 0.6, 0.7: at 0.6 (closed) two of three pass; the related 0.9 does not count.
    scores, unrelated = [[0.2, 0.6], [0.9, 0.7]], [[True, True], [False, True]]
    assert false_positive_rate(scores, unrelated, 0.6) == 2 / 3
    assert false_positive_rate(scores, unrelated, np.nextafter(0.6, 1)) == 1 / 3
    for bad, message in (
        ((scores, [True], 0.5), "disagree"),
        (([np.nan], [True], 0.5), "NaN"),
        (([0.5], [False], 0.5), "no pair is unrelated"),
    ):
        with pytest.raises(ValueError, match=message):
            false_positive_rate(*bad)


def test_spread_by_hand():
    # 0, 1, ..., 10: quantiles are the values themselves.
    summary = spread(range(11))
    assert (summary.mean, summary.median, summary.low, summary.high) == (5, 5, 1, 9)
    assert (summary.least, summary.zero) == (0, 1 / 11)
    with pytest.raises(ValueError, match="no queries"):
        spread([])
