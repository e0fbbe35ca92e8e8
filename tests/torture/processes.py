"""Jobs in processes that are killed: what the parts about kills share."""

import io
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

Job = Callable[[], object]
_FAILED = 3  # exit code of a job that raised
_kills = [0]  # of processes at work, by this one


def note_kill(code: int) -> bool:
    """Count a process that ended with `code` if a kill ended it. Returns: whether one did."""
    _kills[0] += code == -signal.SIGKILL
    return code == -signal.SIGKILL


def kills() -> int:
    """How many processes this one has killed at their work."""
    return _kills[0]


def start(job: Job, errors: Path | None = None) -> int:
    """Run `job` in a child; what it prints is lost, what it raises goes to `errors`. Returns: its id."""
    child = os.fork()
    if child:
        return child
    code = _FAILED
    try:
        silence()
        job()
        code = 0
    except BaseException as error:
        if errors is not None:
            errors.write_text(f"{type(error).__name__}: {error}")
    finally:
        os._exit(code)


def silence() -> None:
    """What this process prints goes nowhere from here on."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for handle in (1, 2):
        os.dup2(nowhere, handle)
    sys.stdout = sys.stderr = io.StringIO()  # what stood in the buffers of the parent is not written twice


def end_of(child: int) -> int:
    """Wait for a child. Returns: its exit code, negative where a signal ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def duration(job: Job) -> float:
    """Seconds that a job takes in a child of its own. Raises: AssertionError where it fails."""
    begun = time.monotonic()
    assert end_of(start(job)) == 0, "the job fails even where nothing disturbs it"
    return time.monotonic() - begun


def kill_within(job: Job, seconds: float, rng: random.Random) -> bool:
    """Kill -9 a job at a random moment of the `seconds` it takes. Returns: whether it was still at work.

    Raises: AssertionError where it failed by itself.
    """
    child = start(job)
    time.sleep(rng.uniform(0, seconds))
    os.kill(child, signal.SIGKILL)
    code = end_of(child)
    assert code in (0, -signal.SIGKILL), f"the job failed by itself: code {code}"
    return note_kill(code)
