"""Applies the patches of planted faults: in Python, so that it works where git is missing.

A hunk is found by its lines, wherever they stand now, so that a patch outlives edits of the rest of a file.
A patch begins with lines `Fault:`, `Part:` and `Trials:`.
"""

from dataclasses import dataclass
from pathlib import Path

FAULTS = Path(__file__).with_name("faults")


@dataclass(frozen=True, slots=True)
class Fault:
    """A planted fault, and the part that must find it within so many trials."""

    name: str
    what: str
    part: str
    trials: int
    hunks: tuple[tuple[str, str, str], ...]  # file, lines before, lines after

    def apply(self, root: Path) -> None:
        """Plant the fault. Raises: ValueError naming the patch whose lines are not there, or there twice."""
        for file, before, after in self.hunks:
            text = (root / file).read_text(encoding="utf-8")
            if (count := text.count(before)) != 1:
                raise ValueError(f"{self.name}.patch does not apply: its lines stand {count} times in {file}")
            (root / file).write_text(text.replace(before, after), encoding="utf-8")


def read_fault(path: Path) -> Fault:
    """A patch file. Raises: ValueError where it is none."""
    said: dict[str, str] = {}
    hunks: list[tuple[str, str, str]] = []
    file, before, after = "", "", ""
    for line in [*path.read_text(encoding="utf-8").splitlines(keepends=True), "@@"]:
        if line.startswith(("@@", "diff ", "--- ")):
            if before or after:
                hunks.append((file, before, after))
            before = after = ""
        elif line.startswith("+++ b/"):
            file = line.removeprefix("+++ b/").strip()
        elif file:
            before += line[1:] if line[:1] in " -" else ""
            after += line[1:] if line[:1] in " +" else ""
        elif ": " in line:
            key, value = line.split(": ", 1)
            said[key] = value.strip()
    if not hunks or not {"Fault", "Part", "Trials"} <= set(said):
        raise ValueError(f"{path} is no patch with Fault, Part and Trials")
    return Fault(path.stem, said["Fault"], said["Part"], int(said["Trials"]), tuple(hunks))


def all_faults() -> list[Fault]:
    """Every planted fault, by name."""
    return [read_fault(path) for path in sorted(FAULTS.glob("*.patch"))]
