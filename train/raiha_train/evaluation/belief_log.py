"""How far results followed their references, line by line beside the scores."""

import csv
import io
from pathlib import Path
from statistics import fmean

from raiha_core.durable import append_lines
from raiha_core.features.references import Belief

BELIEF_LOG = "beliefs.csv"
BELIEF_PARTS = ("lightness", "colour", "contrast")
_COLUMNS = ("id", "reference", *BELIEF_PARTS, "reason")


def append_belief(path: Path, item_id: str, reference: str, belief: Belief) -> None:
    """One line of a composite with one reference; the first call writes the columns' names."""
    text = io.StringIO()
    values = [f"{getattr(belief, part):.6f}" for part in BELIEF_PARTS]
    csv.writer(text, lineterminator="").writerow([item_id, reference, *values, belief.reason])
    lines = [text.getvalue()]
    append_lines(path, lines if path.exists() else [",".join(_COLUMNS), *lines])


def mean_belief(path: Path) -> dict[str, float] | None:
    """Mean of each part over all pairs of composite and reference, and their count `n`; None without a log.

    A pair that was predicted twice counts once.
    """
    if not path.exists():
        return None
    with open(path, newline="", encoding="utf-8") as file:
        rows = {(row["id"], row["reference"]): row for row in csv.DictReader(file)}
    if not rows:
        return None
    return {p: fmean(float(row[p]) for row in rows.values()) for p in BELIEF_PARTS} | {"n": float(len(rows))}
