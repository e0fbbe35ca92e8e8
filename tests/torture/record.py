"""What a run has tried so far, one JSON line each, so that a run that was stopped goes on where it was."""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from raiha_core import durable


@dataclass(slots=True)
class Record:
    """The trials of one seed. A run that ended is begun anew by the next one, its failures first."""

    path: Path
    passed: dict[str, set[int]] = field(default_factory=dict)
    failed: dict[str, dict[int, str]] = field(default_factory=dict)
    first: dict[str, list[int]] = field(default_factory=dict)  # to be tried again before all others
    seconds: Counter = field(default_factory=Counter)
    kills: Counter = field(default_factory=Counter)  # by part

    @classmethod
    def open(cls, path: Path) -> "Record":
        record = cls(path)
        lines = [line for line in path.read_text().splitlines() if line] if path.is_file() else []
        ended = False
        for line in lines:
            said = json.loads(line)
            ended = bool(said.get("ended"))
            if not ended:
                record._take(said["part"], said["trial"], said["failure"])
                record.kills[said["part"]] += said.get("kills", 0)
        record.first = {part: sorted(numbers) for part, numbers in record.failed.items()}
        record.failed = {}
        if ended:
            record.passed = {}
            record.kills.clear()
            path.unlink()
            for part, numbers in record.first.items():  # still known if this run is stopped at once
                for number in numbers:
                    record._write({"part": part, "trial": number, "failure": "to be tried again"})
        return record

    def _take(self, part: str, number: int, failure: str) -> None:
        if failure:
            self.failed.setdefault(part, {})[number] = failure
            self.passed.get(part, set()).discard(number)
        else:
            self.passed.setdefault(part, set()).add(number)
            self.failed.get(part, {}).pop(number, None)

    def note(self, part: str, number: int, failure: str, seconds: float, kills: int = 0) -> None:
        self._take(part, number, failure)
        self.seconds[part] += seconds
        self.kills[part] += kills
        counted = {"kills": kills} if kills else {}
        self._write({"part": part, "trial": number, "failure": failure, **counted})

    def end(self) -> None:
        self._write({"ended": True})

    def _write(self, line: dict) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        durable.append_lines(self.path, [json.dumps(line)])

    def todo(self, part: str, full: int) -> list[int]:
        """Numbers of trials to do: those that failed before, then the others in order."""
        first = self.first.get(part, [])
        passed = self.passed.get(part, set())
        return [*first, *(number for number in range(full) if number not in passed and number not in first)]

    def tried(self, part: str) -> int:
        return len(self.passed.get(part, ())) + len(self.failed.get(part, {}))
