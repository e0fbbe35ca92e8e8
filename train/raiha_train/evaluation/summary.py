"""From rows to means: overall, per subset, per foreground bin, with intervals and harm counts.

Means are over images (so HCOCO weighs most), decibels are averaged, bins are those of the mask that
the protocol evaluates.
"""

import math
import re
import statistics
from collections.abc import Sequence
from dataclasses import asdict

from raiha_core.data.iharmony4 import SUBSETS

from .intervals import Interval, bootstrap_mean, paired
from .metrics import BIN_NAMES, foreground_bin
from .plan import BEST, NO_REFERENCE, RANDOM_PHOTO, UNTOUCHED, ScoringPlan
from .score_log import SCORES, ScoredPair

Table = dict[tuple[str, str], ScoredPair]
METRICS = tuple(name for name in SCORES if name != "foreground_ratio")
SAME_DB = 0.01  # changes up to this count as none: what rounding explains
NOTICEABLE_DB = 0.1  # the same where models are compared: what nobody sees counts as none


# 'd18959-20120615-084228' with what sets put around it: a webcam of Hday2night, then the frame
_WEBCAM = re.compile(r"(?:r_)?(d\d+)-\d")


def scene(item_id: str) -> str:
    """What a composite shows: its real photo, or the webcam that took it. Bootstrap draws these.

    Composites of one photo, and frames of one webcam, are no independent evidence.
    """
    webcam = _WEBCAM.match(item_id)
    return webcam[1] if webcam else item_id.rsplit("_", 2)[0]


def means(rows: Sequence[ScoredPair]) -> dict[str, float]:
    """Mean of each metric, summed exactly, so that the order of rows does not matter."""
    return {m: math.fsum(getattr(r.scores, m) for r in rows) / len(rows) for m in METRICS} | {"n": len(rows)}


def subsets_of(rows: Sequence[ScoredPair]) -> list[str]:
    """Subsets that occur, in the tables' order."""
    found = {row.subset for row in rows if row.subset}
    return [s for s in SUBSETS if s in found] + sorted(found - set(SUBSETS))


def grouped(rows: Sequence[ScoredPair]) -> dict[str, object]:
    """Means overall, per subset and per bin."""
    bins = [
        [r for r in rows if foreground_bin(r.scores.foreground_ratio) == i] for i in range(len(BIN_NAMES))
    ]
    return {
        "overall": means(rows),
        "subsets": {s: means([r for r in rows if r.subset == s]) for s in subsets_of(rows)},
        "bins": {name: means(b) for name, b in zip(BIN_NAMES, bins, strict=True) if b},
    }


def interval(rows: Sequence[ScoredPair], metric: str) -> Interval:
    values = [getattr(r.scores, metric) for r in rows]
    return bootstrap_mean(values, [scene(r.id) for r in rows])


def against(first: Sequence[ScoredPair], second: Sequence[ScoredPair]) -> dict[str, object]:
    """Second minus first in dB of PSNR on the same images: interval, p, better / same / worse."""
    result = paired(
        [r.scores.psnr for r in first],
        [r.scores.psnr for r in second],
        [scene(r.id) for r in first],
        same=SAME_DB,
    )
    return asdict(result)


def variant_rows(table: Table, plan: ScoringPlan, name: str, order: Sequence[str]) -> list[ScoredPair]:
    """Rows of one variant, in the order of the items; items it does not cover are left out."""
    chosen = plan.variants[name]
    keys = [(i, chosen[i]) for i in order if i in chosen]
    return [table[key] for key in keys if key in table]


def untouched_rows(table: Table, order: Sequence[str]) -> list[ScoredPair]:
    return [table[i, UNTOUCHED] for i in order if (i, UNTOUCHED) in table]


def _spread(runs: Sequence[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Mean and sample standard deviation over runs."""
    return {
        m: {
            "mean": statistics.fmean(run[m] for run in runs),
            "std": statistics.stdev([run[m] for run in runs]) if len(runs) > 1 else 0.0,
        }
        for m in METRICS
    }


def summarise(table: Table, plan: ScoringPlan, order: Sequence[str]) -> dict[str, object]:
    """Everything of `scores.json` that follows from the rows.

    `headline` names the variant that the table is about: the runs where there are references, the
    plain prediction where there are none, the composite where nothing was predicted.
    """
    untouched = untouched_rows(table, order)
    result: dict[str, object] = {"composite": grouped(untouched)}
    by_id = {row.id: row for row in untouched}
    variants: dict[str, object] = {}
    runs = []
    for name in plan.variants:
        rows = variant_rows(table, plan, name, order)
        if not rows:
            continue
        variants[name] = grouped(rows) | {
            "interval95": {m: asdict(interval(rows, m)) for m in METRICS},
            "against_composite": against([by_id[r.id] for r in rows], rows),
        }
        if name not in (NO_REFERENCE, RANDOM_PHOTO, BEST):
            runs.append(grouped(rows))
    result["variants"] = variants
    if runs:
        result["runs"] = {
            "count": len(runs),
            "overall": _spread([run["overall"] for run in runs]),  # type: ignore[misc]
            "subsets": {
                s: _spread([run["subsets"][s] for run in runs])  # type: ignore[index]
                for s in runs[0]["subsets"]  # type: ignore[attr-defined]
            },
        }
        result["references_against_none"] = _reference_gain(table, plan, order)
        result["headline"] = "runs"
    else:
        result["headline"] = NO_REFERENCE if NO_REFERENCE in variants else "composite"
    headline = headline_rows(table, plan, order)
    overall = {m: math.fsum(scores[m] for _, scores in headline) / len(headline) for m in METRICS}
    return {"overall": overall | {"n": len(headline)}, **result}


def mean_of_runs(
    table: Table, plan: ScoringPlan, order: Sequence[str]
) -> list[tuple[ScoredPair, dict[str, float]]]:
    """Per item: a row, and its metrics averaged over the runs of reference choice."""
    names = [n for n in plan.variants if n not in (NO_REFERENCE, RANDOM_PHOTO, BEST)]
    found = []
    for item_id in order:
        rows = [
            table[item_id, plan.variants[n][item_id]]
            for n in names
            if item_id in plan.variants[n] and (item_id, plan.variants[n][item_id]) in table
        ]
        if rows:
            found.append((rows[0], {m: statistics.fmean(getattr(r.scores, m) for r in rows) for m in SCORES}))
    return found


def _reference_gain(table: Table, plan: ScoringPlan, order: Sequence[str]) -> dict[str, object]:
    """What a reference changes, in dB, on the items that have one."""
    gains: dict[str, object] = {}
    for name in plan.variants:
        if name == NO_REFERENCE:
            continue
        rows = variant_rows(table, plan, name, order)
        plain = [table[row.id, ""] for row in rows if (row.id, "") in table]
        if rows and len(plain) == len(rows):
            gains[name] = against(plain, rows)
    return gains


def headline_rows(
    table: Table, plan: ScoringPlan, order: Sequence[str]
) -> list[tuple[ScoredPair, dict[str, float]]]:
    """Per item a row (id, subset) and the headline's scores: what `per_image.csv` holds."""
    runs = mean_of_runs(table, plan, order)
    if runs:
        return runs
    rows = variant_rows(table, plan, NO_REFERENCE, order) if NO_REFERENCE in plan.variants else []
    return [(r, {m: getattr(r.scores, m) for m in SCORES}) for r in rows or untouched_rows(table, order)]
