"""One composite of a data set and the files that belong to it."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Triple:
    """Paths are relative to `root`, with forward slashes, as the list files write them."""

    id: str  # file name of the composite without its ending, unique in the data set
    subset: str  # "" where the data set has none
    root: Path
    composite: str
    mask: str
    real: str

    @property
    def composite_path(self) -> Path:
        return self.root / self.composite

    @property
    def mask_path(self) -> Path:
        return self.root / self.mask

    @property
    def real_path(self) -> Path:
        return self.root / self.real


def require_unique(items: list[Triple]) -> list[Triple]:
    """The items. Raises: ValueError naming the first id that stands twice, and how many do."""
    seen: set[str] = set()
    twice = [item.id for item in items if item.id in seen or seen.add(item.id)]  # type: ignore[func-returns-value]
    if twice:
        raise ValueError(f"{len(twice)} items stand twice in the list, the first is '{twice[0]}'")
    return items


def missing_files(items: list[Triple]) -> list[tuple[Triple, str]]:
    """Items with a file that is not there, and the first such file of each."""
    found = []
    for item in items:
        for path in (item.composite, item.mask, item.real):
            if not (item.root / path).is_file():
                found.append((item, path))
                break
    return found
