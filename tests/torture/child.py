"""Trials in a process of their own, whose parent enforces time and memory.

The parent kills a child that takes longer than its part allows, or more memory; both are failures of that
trial, and the next child goes on with the next one.
"""

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .part import Part
from .processes import kills

_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_PDEATHSIG = 1  # of Linux' prctl
_LOOK = 0.05  # seconds between two looks at a child
_WORK_OF_ONE = 200  # trials that one child does, before a fresh one takes over


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one trial."""

    number: int
    failure: str  # "" where it held
    seconds: float
    kills: int = 0  # processes that it killed at their work


class Stopwatch:
    """Seconds that a process has worked or slept for: what it waits for a busy machine does not count.

    Where nobody can tell, the time of the clock.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.restart()

    def restart(self) -> None:
        self.slept, self.looked = 0.0, time.monotonic()
        self.began, self.clock = _worked(self.pid)[0], self.looked

    def seconds(self) -> float:
        """Since `restart`; ask often."""
        now = time.monotonic()
        worked, asleep = _worked(self.pid)
        if worked < 0:
            return now - self.clock
        if asleep:
            self.slept += min(now - self.looked, 2 * _LOOK)
        self.looked = now
        return worked - self.began + self.slept


def _worked(pid: int) -> tuple[float, bool]:
    """CPU seconds of a process and all that it started (-1: unknown), and whether all of it sleeps."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        total, asleep = sum(map(int, fields[11:15])) / _TICKS, fields[0] == "S"
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            more, also = _worked(int(child))
            total, asleep = total + max(0.0, more), asleep and also
        return total, asleep
    except (OSError, ValueError, IndexError):
        return -1.0, True


def resident(pid: int) -> int:
    """Bytes of memory that a process holds now; 0 where nobody can tell."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    return 0


def _memory_disk() -> str | None:
    """Where files are written fastest: every durable write waits for the disk."""
    shared = Path("/dev/shm")
    return str(shared) if shared.is_dir() and os.access(shared, os.W_OK) else None


def run_trials(
    part: Part, trials: Sequence[tuple[int, int]], until: float | None = None
) -> Iterator[Outcome]:
    """Run (number, seed) one after the other; after the time `until` no new one but the first."""
    left = list(trials)
    while left and (len(left) == len(trials) or until is None or time.monotonic() <= until):
        child, before = _Child(part, left[:_WORK_OF_ONE], until), len(left)
        try:
            for outcome in child.outcomes():
                left = [pair for pair in left if pair[0] != outcome.number]
                yield outcome
        finally:
            child.end()
        if child.stopped:
            return
        if len(left) == before:  # it died between two trials
            yield Outcome(left.pop(0)[0], "the process died between two trials", 0.0)


class _Child:
    def __init__(self, part: Part, trials: Sequence[tuple[int, int]], until: float | None) -> None:
        self.part, self.trials, self.stopped = part, list(trials), False
        self.scratch = Path(tempfile.mkdtemp(prefix="raiha-torture-", dir=_memory_disk()))
        self.reading, writing = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.reading)
            code = 1
            try:
                os.setsid()  # what a trial starts dies with it
                _die_with_the_parent()
                code = _work(part, self.trials, self.scratch, writing, until)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        os.close(writing)
        self.lines = b""

    def outcomes(self) -> Iterator[Outcome]:
        """What the child says, and what the parent must say for it where it dies or is killed."""
        number, watch, base = self.trials[0][0], Stopwatch(self.pid), resident(self.pid)
        while True:
            line = self._line()
            spent = watch.seconds()
            if line is None:  # nothing new: is it still within its limits?
                if spent > self.part.seconds:
                    yield Outcome(number, f"no end after {self.part.seconds:g} seconds", spent)
                    return
                if resident(self.pid) - base > self.part.mib << 20:
                    yield Outcome(number, f"took more than {self.part.mib} MiB", spent)
                    return
            elif line == {}:  # it is gone
                if number is not None:
                    yield Outcome(number, f"the process died: {self._death()}", spent)
                return
            elif "begins" in line:
                number, base = line["begins"], resident(self.pid)
                watch.restart()
            elif "ends" in line:
                failure = line["failure"]
                if not failure and line["mib"] > self.part.mib:
                    failure = f"took {line['mib']:.0f} MiB, more than {self.part.mib}"
                if not failure and spent > self.part.seconds:
                    failure = f"took {spent:.1f} seconds, more than {self.part.seconds:g}"
                yield Outcome(line["ends"], failure, spent, line["kills"])
                number = None
            elif "done" in line:
                self.stopped = line["stopped"]
                return

    def _line(self) -> dict | None:
        """The next message; None where there is none yet, {} where there will be none."""
        while b"\n" not in self.lines:
            ready, _, _ = select.select([self.reading], [], [], _LOOK)
            if not ready:
                return None
            piece = os.read(self.reading, 1 << 16)
            if not piece:
                return {}
            self.lines += piece
        line, self.lines = self.lines.split(b"\n", 1)
        return json.loads(line)

    def _death(self) -> str:
        status = os.waitpid(self.pid, 0)[1]
        self.pid = 0
        code = os.waitstatus_to_exitcode(status)
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"code {code}"

    def end(self) -> None:
        os.close(self.reading)
        if self.pid:
            for kill in (os.killpg, os.kill):  # before `setsid` it leads no group yet
                with contextlib.suppress(OSError):
                    kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        shutil.rmtree(self.scratch, onerror=_open_and_try_again)


def _die_with_the_parent() -> None:
    """Where the system can: a runner that is killed leaves nobody behind."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGKILL)


def _open_and_try_again(remove: object, path: str, _: object) -> None:
    """A trial may have left a folder that nobody may write to."""
    with contextlib.suppress(OSError):
        os.chmod(Path(path).parent, 0o700)
        os.chmod(path, 0o700)
        os.unlink(path) if not os.path.isdir(path) else shutil.rmtree(path, ignore_errors=True)


def _work(
    part: Part, trials: Sequence[tuple[int, int]], scratch: Path, writing: int, until: float | None
) -> int:
    """In the child: every trial in a folder of its own, told before and after."""

    def say(**words: object) -> None:
        os.write(writing, json.dumps(words).encode() + b"\n")

    stopped = False
    for place_in_row, (number, seed) in enumerate(trials):
        if place_in_row and until is not None and time.monotonic() > until:
            stopped = True
            break
        place = scratch / str(number)
        place.mkdir()
        _forget_peak()
        before, killed = resident(os.getpid()), kills()
        say(begins=number)
        failure = run_here(part, seed, place)
        grown = max(0, _peak() - before) / (1 << 20)
        say(ends=number, failure=failure, mib=grown, kills=kills() - killed)
        shutil.rmtree(place, onerror=_open_and_try_again)
    say(done=True, stopped=stopped)
    return 0


def run_here(part: Part, seed: int, place: Path) -> str:
    """One trial in this process. Returns: what went wrong, "" for nothing."""
    try:
        return part.trial(seed, place) or ""
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        text = str(error).strip().splitlines()
        told = f"{type(error).__name__}: {text[0] if text else ''}"
        return f"{told} ({Path(where.filename).name}:{where.lineno} {where.name})"


def _forget_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    """The most bytes of memory this process held since `_forget_peak`; 0 where nobody can tell."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    return 0
