"""`raiha data check`: is a data set whole, and what about it moves scores?"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from tqdm import tqdm

from ..data.check import Report, check_data_set
from .values import count

NAMES_SHOWN = 20  # names printed of each kind; --json has them all


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser("data")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    action = actions.add_parser(
        "check",
        description="Decode every triple of an iHarmony4 folder (or of composite/, mask/, real/) and report "
        "counts, missing and broken files, and the protocol pitfalls that apply.",
        epilog="example: raiha data check iHarmony4 --list IHD_test.txt",
    )
    action.add_argument("root", type=Path, help="folder of the data set")
    action.add_argument("--list", type=Path, metavar="FILE", help="list of composites (default IHD_test.txt)")
    action.add_argument("--workers", type=count, default=2, help="pictures decoded at a time (default 2)")
    action.add_argument("--json", action="store_true", help="print the whole report as JSON")
    action.set_defaults(run=run)


def _names(title: str, names: tuple[str, ...]) -> list[str]:
    if not names:
        return []
    rest = (
        [f"  ... and {len(names) - NAMES_SHOWN} more (--json names all)"] if len(names) > NAMES_SHOWN else []
    )
    return [f"{title}: {len(names)}", *(f"  {name}" for name in names[:NAMES_SHOWN]), *rest]


def report_lines(report: Report) -> list[str]:
    """The report as lines of text."""
    lines = [f"{report.root}: {report.layout}, {sum(report.counts.values())} triples"]
    for subset, number in report.counts.items():
        official = report.expected.get(subset)
        note = "" if official is None else " (all)" if official == number else f" (of {official} published)"
        lines.append(f"  {subset or 'triples'}: {number}{note}")
    lines += [f"  list {name}: {text}" for name, text in report.lists.items()]
    lines += _names("missing files", report.missing) + _names("broken triples", report.broken)
    lines += [f"note: {text}" for text in report.pitfalls]
    lines.append(
        "whole" if report.whole else "not whole: the evaluator will stop here without --allow-missing"
    )
    return lines


def run(arguments: argparse.Namespace) -> int:
    bar = tqdm(unit="triple", disable=not sys.stderr.isatty())

    def progress(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)

    with bar:
        report = check_data_set(arguments.root, arguments.list, arguments.workers, progress)
    if arguments.json:
        print(json.dumps({**asdict(report), "root": str(report.root), "whole": report.whole}))
    else:
        print("\n".join(report_lines(report)))
    return 0 if report.whole else 1
