"""What is to be scored: each composite once untouched, once without a reference, once per reference.

Five runs of random references over lists of at most four would render many pairs twice; a unit is
rendered once, and the runs are put together from units afterwards. The log of finished units is
what makes a run resumable: whole composites, in the order of the list.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from raiha_core.data.item import Item
from raiha_core.data.raharmony4 import Listed, draw, draw_other
from raiha_core.durable import append_lines

from .protocols import Scores

UNTOUCHED = "(composite)"
NONE = ""  # harmonized without a reference
LOG = "units.csv"
SCORES = tuple(f.name for f in fields(Scores))
HEADER = ("id", "subset", "reference", *SCORES)

NO_REFERENCE, RANDOM_PHOTO, BEST = "no reference", "random photo", "best reference"


@dataclass(frozen=True, slots=True)
class Row:
    """One unit's scores."""

    id: str
    subset: str
    reference: str
    scores: Scores


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Variant name -> composite id -> the reference it uses (`NONE` for none)."""

    variants: dict[str, dict[str, str]]

    def references(self, item_id: str) -> list[str]:
        """The different references that one composite needs, in the order of the variants."""
        chosen = (table[item_id] for table in self.variants.values() if item_id in table)
        return list(dict.fromkeys(chosen))


def run_name(seed: int) -> str:
    return f"run {seed}"


def plan_without(items: Sequence[Item]) -> Plan:
    return Plan(variants={NO_REFERENCE: {item.id: NONE for item in items}})


def plan_with(items: Sequence[Item], listed: Sequence[Listed], seeds: int) -> Plan:
    """No reference, a random photo of the list's own pool, the best one, and `seeds` random draws.

    Items without an entry in `listed` (their references are missing) are in the first variant only.
    """
    by_id = {Path(entry.input).stem: entry for entry in listed}
    pool = sorted({ref for entry in listed for ref in entry.refs})
    known = [(item.id, by_id[item.id]) for item in items if item.id in by_id]
    variants = dict(plan_without(items).variants)
    others = {}
    for item_id, entry in known:
        try:
            others[item_id] = draw_other(entry, pool, 0)
        except ValueError:  # a list of one item has no other photo; the variant says how many it has
            continue
    variants[RANDOM_PHOTO] = others
    variants[BEST] = {item_id: entry.refs[0] for item_id, entry in known}
    for seed in range(seeds):
        variants[run_name(seed)] = {item_id: draw(entry, seed) for item_id, entry in known}
    return Plan(variants=variants)


def to_line(row: Row) -> str:
    """One CSV line; floats as Python's shortest form, which reads back to the same bits."""
    text = io.StringIO()
    values = (repr(value) for value in astuple(row.scores))
    csv.writer(text, lineterminator="").writerow([row.id, row.subset, row.reference, *values])
    return text.getvalue()


def append(path: Path, rows: Iterable[Row]) -> None:
    """Append one composite's rows durably; the first call writes the header."""
    lines = [to_line(row) for row in rows]
    append_lines(path, lines if path.exists() else [",".join(HEADER), *lines])


def read(path: Path) -> dict[tuple[str, str], Row]:
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
        rows[values[0], values[2]] = Row(values[0], values[1], values[2], scores)
    return rows


def drop_torn_line(path: Path) -> None:
    """Cut what follows the last newline, so that the next append starts on a line of its own."""
    if not path.exists():
        return
    with open(path, "rb+") as file:
        data = file.read()
        if data and not data.endswith(b"\n"):
            file.truncate(data.rfind(b"\n") + 1)
