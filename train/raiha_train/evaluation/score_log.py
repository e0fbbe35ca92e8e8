"""The scores of every composite with every reference, line by line: what makes a run resumable.

A line is a composite with one reference, or none, rendered and scored once. Lines of one composite are
written together, in the order of the list.
"""

import csv
import io
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from raiha_core.durable import append_lines

from .protocols import Scores

PAIRS_LOG = "scored_pairs.csv"
SCORES = tuple(f.name for f in fields(Scores))
HEADER = ("id", "subset", "reference", *SCORES)


@dataclass(frozen=True, slots=True)
class ScoredPair:
    """The scores of one composite, harmonized with one reference."""

    id: str
    subset: str
    reference: str
    scores: Scores


def to_line(row: ScoredPair) -> str:
    """One CSV line; floats as Python's shortest form, which reads back to the same bits."""
    text = io.StringIO()
    values = (repr(value) for value in astuple(row.scores))
    csv.writer(text, lineterminator="").writerow([row.id, row.subset, row.reference, *values])
    return text.getvalue()


def append_pairs(path: Path, rows: Iterable[ScoredPair]) -> None:
    """Append one composite's rows durably; the first call writes the header."""
    lines = [to_line(row) for row in rows]
    append_lines(path, lines if path.exists() else [",".join(HEADER), *lines])


def read_pairs(path: Path) -> dict[tuple[str, str], ScoredPair]:
    """(id, reference) -> row of a log. A torn last line is left out.

    Raises: ValueError naming the file and line where it is not such a log.
    """
    if not path.exists():
        return {}
    text = path.read_text(encoding="utf-8")
    lines = text.split("\n")[:-1]  # what follows the last newline is a line that a kill cut short
    if lines and lines[0] != ",".join(HEADER):
        raise ValueError(f"'{path}' is not a log of scores")
    rows = {}
    for number, values in enumerate(csv.reader(lines[1:]), start=2):
        try:
            scores = Scores(**dict(zip(SCORES, map(float, values[3:]), strict=True)))
        except ValueError:
            raise ValueError(f"'{path}', line {number} cannot be read") from None
        rows[values[0], values[2]] = ScoredPair(values[0], values[1], values[2], scores)
    return rows


def drop_torn_line(path: Path) -> None:
    """Cut what follows the last newline, so that the next append starts on a line of its own."""
    if not path.exists():
        return
    with open(path, "rb+") as file:
        data = file.read()
        if data and not data.endswith(b"\n"):
            file.truncate(data.rfind(b"\n") + 1)
