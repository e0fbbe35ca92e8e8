"""What each part of the torture is: a trial that a seed decides, and the limits it must keep."""

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# Seed and an empty folder of its own -> None, or one sentence that says what went wrong. What it raises is a
# failure too.
Trial = Callable[[int, Path], str | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One way of trying to break the project."""

    name: str
    trial: Trial
    full: int  # trials of a full run
    seconds: float  # the most that one trial may take; a longer one is killed, which is a failure
    mib: int = 1024  # the most memory that one trial may add
    share: float = 1.0  # of the time of a run that has a budget, relative to the other parts
    by_number: bool = False  # the seed of a trial is its number
    cases: int = 1  # examples that one trial looks at, for the table


def trial_seed(seed: int, part: str, number: int) -> int:
    """The seed of trial `number` of a part in the run `seed`: the same wherever it is computed."""
    digest = hashlib.sha256(f"{seed} {part} {number}".encode()).digest()
    return int.from_bytes(digest[:6], "big")


def dice(seed: int) -> random.Random:
    """The random numbers of a trial."""
    return random.Random(seed)
