"""Photos that a query must not get, found without a look at the names of all others."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ..gallery.protocol import Gallery

_KINDS = (("sha256", "sha256"), ("group", "groups"), ("id", "ids"))  # of a photo, and of an exclusion


@dataclass(frozen=True, kw_only=True, slots=True)
class Exclusion:
    """Photos that one query must not get; applied before ranking and before the random draw."""

    sha256: Collection[str] = ()  # content hashes: the query's own photo and its copies
    groups: Collection[str] = ()  # sequence, camera, same real picture
    ids: Collection[str] = ()

    def __post_init__(self) -> None:
        for name in ("sha256", "groups", "ids"):
            if isinstance(getattr(self, name), str):
                raise ValueError(f"exclude {name}: give a list of names, not the single string")

    def __bool__(self) -> bool:
        return bool(self.sha256 or self.groups or self.ids)


class NamedPhotos:
    """The rows of a gallery's photos that some exclusions name, in one pass for all of them."""

    def __init__(self, gallery: Gallery, exclusions: Sequence[Exclusion]) -> None:
        self._rows = {
            kind: gallery.rows_of(kind, {name for one in exclusions for name in getattr(one, names)} - {""})
            for kind, names in _KINDS  # "" is no group
        }

    def excluded(self, exclusion: Exclusion) -> tuple[list[int], list[str]]:
        """Rows to leave out, and one note per name of a group or id that the gallery does not know."""
        rows: set[int] = set()
        notes = []
        for kind, names in _KINDS:
            for name in sorted(set(getattr(exclusion, names)) - {""}):
                found = self._rows[kind].get(name, [])
                rows.update(found)
                if not found and kind != "sha256":
                    notes.append(f"no photo of the gallery has the {kind} '{name}', which was to be excluded")
        return sorted(rows), notes
