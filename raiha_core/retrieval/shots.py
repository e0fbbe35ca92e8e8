"""One shot, one place: among the references, copies of one photo would count as many."""

from ..gallery.protocol import Gallery
from ..gallery.shots import one_light, one_view


class Shots:
    """The photos that were taken so far, each for a shot of its own."""

    def __init__(self, gallery: Gallery) -> None:
        self._gallery = gallery
        self._rows: list[int] = []
        self._contents: set[str] = set()

    def add(self, row: int) -> None:
        self._rows.append(row)
        self._contents.add(self._gallery.photos[row].sha256)

    def has(self, row: int) -> bool:
        """Whether a photo is of a shot that is here: the same bytes, or one view under one light."""
        photos = self._gallery.photos
        if photos[row].sha256 in self._contents:
            return True
        alike = [other for other in self._rows if one_view(photos[other], photos[row])]
        if not alike:
            return False
        mine, *others = self._gallery.gather([row, *alike]).histogram
        return any(one_light(mine, other) for other in others)
