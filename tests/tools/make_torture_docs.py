"""Writes the tables of docs/torture.md from the records of runs.

    python tests/tools/make_torture_docs.py "make torture SEED=7" REVISION torture_output/seed7.jsonl [...]

Three words for each run. A record tells how often each part was tried, and what failed at its last trial.
"""

import json
import sys
from collections import Counter
from pathlib import Path

from tests.torture.parts import PARTS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "torture.md"
BEGIN, END = "<!-- runs: tests/tools/make_torture_docs.py -->\n", "<!-- end of runs -->\n"


def rows_of(record: Path) -> list[list[object]]:
    """Part, trials of a full run, trials, examples, kills and failures of a run, by part."""
    failed: dict[str, dict[int, bool]] = {}
    kills: Counter = Counter()
    for line in record.read_text(encoding="utf-8").splitlines():
        said = json.loads(line)
        if "part" in said:
            failed.setdefault(said["part"], {})[said["trial"]] = bool(said["failure"])
            kills[said["part"]] += said.get("kills", 0)
    known = {part.name: part for part in PARTS}
    order = [*known, *sorted(set(failed) - set(known))]  # parts of formats and hosts that are not here
    rows: list[list[object]] = []
    for name in order:
        tried = failed.get(name, {})
        full, cases = (known[name].full, known[name].cases) if name in known else ("", 1)
        rows.append([name, full, len(tried), len(tried) * cases, kills[name] or "", sum(tried.values())])
    return rows


def run_table(command: str, revision: str, record: Path) -> str:
    """A run's table in Markdown, its sums in the last row."""
    rows = rows_of(record)
    sums = ["**all**", "", *(sum(row[at] or 0 for row in rows) for at in (2, 3, 4, 5))]  # type: ignore[misc]
    lines = [f"`{command}`, revision {revision}:\n", "| part | of | tried | cases | kills | failed |"]
    lines += ["|---|---:|---:|---:|---:|---:|", *("| " + " | ".join(map(str, row)) + " |" for row in rows)]
    return "\n".join([*lines, "| " + " | ".join(map(str, sums)) + " |"]) + "\n"


def main(arguments: list[str]) -> int:
    runs = [arguments[at : at + 3] for at in range(0, len(arguments), 3)]
    tables = "\n".join(run_table(command, revision, Path(record)) for command, revision, record in runs)
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{tables}\n{END}{rest.split(END)[1]}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
