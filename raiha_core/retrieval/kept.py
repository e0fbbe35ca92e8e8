"""References of a clip's frames: searched for where a shot starts, and kept while they are as good.

A frame's own best photos change with its noise, and the object would flicker with them. So what was found for
a shot is compared with each frame anew (its matches are the frame's own), and the gallery is only searched
again where the photos have become worse; others take their place only if they are better by a margin.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import Tensor

from ..clips import REACH, CutFinder
from ..gallery.protocol import Gallery
from .candidates import Candidates

MARGIN = 0.1  # of the photos' scores together: less is no reason for other photos
Find = Callable[[Tensor, Tensor, Candidates | None], Candidates]


class _KeptPictures:
    """A gallery whose decoded pictures are kept, as far as they are held."""

    def __init__(self, gallery: Gallery) -> None:
        self._gallery = gallery
        self._pictures: dict[int, Tensor] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._gallery, name)

    def __len__(self) -> int:
        return len(self._gallery)

    def load(self, row: int) -> Tensor:
        if row not in self._pictures:
            self._pictures[row] = self._gallery.load(row)
        return self._pictures[row]

    def forget_all_but(self, rows: set[int]) -> None:
        self._pictures = {row: picture for row, picture in self._pictures.items() if row in rows}


class KeptReferences:
    """What is found for one frame after the other."""

    def __init__(self) -> None:
        self._cuts = CutFinder()
        self._held: Candidates | None = None
        self._worth = 0.0
        self._waited = 0  # frames since nothing was found
        self._gallery: _KeptPictures | None = None
        self.searches = 0  # of the whole gallery

    def of(self, composite: Tensor, mask: Tensor, find: Find) -> Candidates:
        """The photos for the frame that follows the last one asked for, with its own matches.

        Args:
            composite: (1, 3, H, W) sRGB; mask: (1, 1, H, W), with an object.
            find: searches for the two in the gallery, or within the photos of an earlier answer.
        Raises: what `find` raises.
        """
        starts = self._cuts.starts_shot(composite)
        if self._held is None or starts:
            return self._adopted(self._search(composite, mask, find))
        if not self._held.items:
            self._waited += 1
            return self._held if self._waited < REACH else self._adopted(self._search(composite, mask, find))
        now = find(composite, mask, self._held)
        if _worth(now) < (1 - MARGIN) * self._worth:
            other = self._search(composite, mask, find)
            if _worth(other) > (1 + MARGIN) * _worth(now):
                return self._adopted(other)
            self._worth = _worth(now)  # nothing better is there: from here on this is as good
        return self._with_kept_pictures(now)

    def _search(self, composite: Tensor, mask: Tensor, find: Find) -> Candidates:
        self.searches += 1
        return find(composite, mask, None)

    def _adopted(self, found: Candidates) -> Candidates:
        self._held, self._worth, self._waited = found, _worth(found), 0
        return self._with_kept_pictures(found)

    def _with_kept_pictures(self, found: Candidates) -> Candidates:
        assert self._held is not None
        if self._gallery is None:
            self._gallery = _KeptPictures(found.gallery)
        self._gallery.forget_all_but(set(self._held.rows))
        return replace(found, gallery=self._gallery)


def _worth(found: Candidates) -> float:
    """Of the photos together, so that a lost one counts."""
    return sum(item.score for item in found.items)
