"""Tries to break the project, and goes on trying: `make torture [BUDGET=minutes] [SEED=n] [ONLY=part,...]`.

Every part (`parts.py`) has trials that a seed decides. Each runs in a child under the limits of its part;
a limit that is reached is a failure. What was tried is kept in torture_output/, so a run that was stopped
goes on; a run that ended begins anew with what failed.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from .child import run_trials
from .part import Part, trial_seed
from .record import Record

ROOT = Path(__file__).resolve().parents[2]
_SHOWN = 12  # failures of one part that are named


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="torture", description=__doc__, epilog="example: make torture BUDGET=20"
    )
    parser.add_argument(
        "--budget", type=float, metavar="MINUTES", help="sample every part; default: all of it"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="decides every trial (default 1)")
    parser.add_argument(
        "--only", default="", metavar="PART[:TRIAL],...", help="these parts, or single trials"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "torture_output", metavar="DIR")
    parser.add_argument("--list", action="store_true", help="name the parts")
    parser.add_argument("--stop-at-failure", action="store_true", help="end with the first failure")
    return parser


def _chosen(parts: Sequence[Part], only: str) -> list[tuple[Part, list[int] | None]]:
    """The parts to run, and which trials of each; None for as many as there is time for."""
    if not only:
        return [(part, None) for part in parts]
    chosen: dict[str, list[int] | None] = {}
    for name in only.split(","):
        part, _, number = name.partition(":")
        found = [known.name for known in parts if known.name == part or known.name.startswith(f"{part}-")]
        if not found:
            raise SystemExit(f"torture: no part '{part}'; these are: {', '.join(p.name for p in parts)}")
        for known in found:
            chosen[known] = [*(chosen.get(known) or []), int(number)] if number else None
    return [(part, chosen[part.name]) for part in parts if part.name in chosen]


def _table(parts: Sequence[Part], record: Record) -> str:
    width = max(len(part.name) for part in parts)
    head = ("full", 6), ("tried", 6), ("cases", 7), ("kills", 6), ("failed", 6), ("seconds", 8)
    lines = ["  ".join([f"{'part':<{width}}", *(f"{name:>{room}}" for name, room in head)])]
    for part in parts:
        tried, failed = record.tried(part.name), len(record.failed.get(part.name, {}))
        lines.append(
            f"{part.name:<{width}}  {part.full:>6}  {tried:>6}  {tried * part.cases:>7}  "
            f"{record.kills[part.name] or '':>6}  {failed:>6}  {record.seconds[part.name]:>8.0f}"
        )
    return "\n".join(lines)


def run(parts: Sequence[Part], arguments: argparse.Namespace) -> int:
    """Run the chosen parts. Returns: 0 where nothing failed and every part was tried."""
    chosen = _chosen(parts, arguments.only)
    record = Record.open(arguments.out / f"seed{arguments.seed}.jsonl")
    started, given = time.monotonic(), None if arguments.budget is None else 60 * arguments.budget
    for place, (part, numbers) in enumerate(chosen):
        until = None
        if given is not None:  # what earlier parts left over is shared by those that follow
            left = given - (time.monotonic() - started)
            rest = sum(other.share for other, _ in chosen[place:])
            until = time.monotonic() + max(1.0, left * part.share / rest)
        todo = record.todo(part.name, part.full) if numbers is None else numbers
        todo = todo or ([] if record.tried(part.name) else [0])
        trials = [
            (number, number if part.by_number else trial_seed(arguments.seed, part.name, number))
            for number in todo
        ]
        for outcome in run_trials(part, trials, until):
            record.note(part.name, outcome.number, outcome.failure, outcome.seconds, outcome.kills)
            if outcome.failure:
                if len(record.failed[part.name]) <= _SHOWN:
                    print(f"{part.name}:{outcome.number} {outcome.failure}", flush=True)
                if arguments.stop_at_failure:
                    return 1
    record.end()
    shown = [part for part, _ in chosen]
    print(_table(shown, record))
    failed = {part.name: record.failed.get(part.name, {}) for part in shown}
    for name, found in failed.items():
        for number, failure in sorted(found.items())[:_SHOWN]:
            print(f"FAILED {name}:{number}: {failure}")
            print(f"       again: make torture SEED={arguments.seed} ONLY={name}:{number}")
    minutes = (time.monotonic() - started) / 60
    total = sum(len(found) for found in failed.values())
    print(f"seed {arguments.seed}, {minutes:.1f} minutes, {total} failed")
    untried = [part.name for part in shown if not record.tried(part.name)]
    if untried:
        print(f"not tried: {', '.join(untried)}")
    return 1 if total or untried else 0


def main(argv: list[str] | None = None) -> int:
    arguments = make_parser().parse_args(argv)
    if not hasattr(os, "fork"):
        print("torture: trials run in forked children, which this system has not")
        return 1
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # a forked child cannot use the threads of its parent
    from .parts import PARTS  # here: they import torch, which reads the variable

    if arguments.list:
        print("\n".join(f"{part.name}: {part.full} trials" for part in PARTS))
        return 0
    return run(PARTS, arguments)


if __name__ == "__main__":
    sys.exit(main())
