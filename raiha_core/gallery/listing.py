"""Which photos a folder holds, and which group each belongs to."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..images import list_folder_files
from ..reasons import reason


@dataclass(frozen=True, slots=True)
class Listing:
    """Photos found under a folder, by posix path relative to it."""

    files: dict[str, Path]
    closed: tuple[tuple[str, str], ...]  # subfolders that cannot be read: (path, reason)
    notes: tuple[str, ...] = ()  # what was passed over, in a sentence

    def under(self, inside: str) -> "Listing":
        """The same listing as seen from a folder above.

        Args: inside: the posix path from that folder to this one; "" changes nothing. Notes stay as they are.
        """
        if not inside:
            return self
        files = {f"{inside}/{file}": path for file, path in self.files.items()}
        closed = tuple((f"{inside}/{where}", why) for where, why in self.closed)
        return Listing(files, closed, self.notes)


def list_folder(folder: Path) -> Listing:
    """Photos under a folder, and the subfolders that cannot be read.

    Raises: ValueError where the folder is missing; OSError where it cannot be read itself.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} {'is no folder of photos' if folder.exists() else 'does not exist'}")
    closed: list[tuple[str, str]] = []

    def note(error: OSError) -> None:
        where = Path(error.filename).relative_to(folder).as_posix()
        closed.append((where, f"the folder cannot be read: {error.strerror}"))

    found = list_folder_files(folder, unreadable=note)
    files = {path.relative_to(folder).as_posix(): path for path in found.photos}
    return Listing(files, tuple(sorted(closed)), found.notes())


def is_inside(name: str, folders: Sequence[tuple[str, str]]) -> bool:
    """Whether an id lies under one of the folders that could not be read."""
    return any(name.startswith(f"{folder}/") for folder, _ in folders)


def folder_group(file: str) -> str:
    """The subfolder that a photo lies in; "" (no group) for one at the top."""
    parent = PurePosixPath(file).parent.as_posix()
    return "" if parent == "." else parent


def read_groups(path: Path) -> Mapping[str, str]:
    """Groups from a table: JSON lines {"id": ..., "group": ...}, or CSV with the columns id, group.

    Returns: {id: group}, ids as in the gallery.
    Raises: ValueError naming the file and line; OSError.
    """
    groups: dict[str, str] = {}
    with open(path, encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file) if path.suffix.lower() == ".csv" else map(_parse, file)
        try:
            for number, row in enumerate(rows, 1):
                if row is None:
                    continue
                if not isinstance(row, dict) or not row.get("id") or row.get("group") is None:
                    raise ValueError(f"{path}: row {number} has no id and group")
                groups[str(row["id"])] = str(row["group"])
        except (json.JSONDecodeError, UnicodeDecodeError, csv.Error, RecursionError) as error:
            raise ValueError(f"{path} is not a table of groups: {reason(error)}") from None
    return groups


def _parse(line: str) -> dict | None:
    return json.loads(line) if line.strip() else None
