"""One search over many parts of a gallery: each part is asked for its own photos, and the answers are joined.

What is joined are photos that qualify, with what ranks them, or bounds of an order. Ranking, the random draw
and the reasons follow from those, so that an answer does not depend on how a gallery is parted.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..gallery.protocol import Gallery
from ..gallery.united import UnitedGallery
from .likeness import content_bounds
from .query import Query
from .ranking import Hit
from .request import Request
from .scan import scan

PhotosDone = Callable[[int, int], None]  # photos done, photos in all


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchWork:
    """What all parts are asked."""

    queries: Sequence[Query]
    request: Request
    block: int
    device: torch.device | str


class Searcher(Protocol):
    """Goes through the photos of a gallery, wherever its parts are searched."""

    def scan(
        self, gallery: Gallery, work: SearchWork, allowed: Tensor, progress: PhotosDone | None
    ) -> list[list[Hit]]:
        """The qualifying photos of each query, as `retrieval.scan.scan`."""

    def bounds(
        self, gallery: Gallery, work: SearchWork, allowed: Tensor, progress: PhotosDone | None
    ) -> NDArray[np.float64]:
        """Upper bounds of each photo's content, as `likeness.content_bounds`."""


class WholeSearch:
    """One gallery in this process."""

    def scan(
        self, gallery: Gallery, work: SearchWork, allowed: Tensor, progress: PhotosDone | None
    ) -> list[list[Hit]]:
        return scan(
            gallery,
            work.queries,
            work.request,
            allowed,
            block=work.block,
            device=work.device,
            progress=progress,
        )

    def bounds(
        self, gallery: Gallery, work: SearchWork, allowed: Tensor, progress: PhotosDone | None
    ) -> NDArray[np.float64]:
        return content_bounds(
            gallery, work.queries, allowed, block=work.block, device=work.device, progress=progress
        )


class PartedSearch:
    """The parts of a united gallery in this process, one after the other, each by its own index."""

    def scan(
        self, gallery: Gallery, work: SearchWork, allowed: Tensor, progress: PhotosDone | None
    ) -> list[list[Hit]]:
        assert isinstance(gallery, UnitedGallery)
        found: list[list[Hit]] = [[] for _ in work.queries]
        done = 0
        for part in gallery.parts:
            told, own = _from(progress, done, gallery), allowed[:, part.rows]
            answer = WholeSearch().scan(part.gallery, work, own, told)
            done += len(part.rows)
            for all_hits, hits in zip(found, answer, strict=True):
                all_hits += in_whole(hits, part.rows, gallery)
        return [sorted(hits, key=lambda hit: hit.row) for hits in found]

    def bounds(
        self, gallery: Gallery, work: SearchWork, allowed: Tensor, progress: PhotosDone | None
    ) -> NDArray[np.float64]:
        assert isinstance(gallery, UnitedGallery)
        found = np.full((len(work.queries), len(gallery)), -np.inf)
        done = 0
        for part in gallery.parts:
            told, own = _from(progress, done, gallery), allowed[:, part.rows]
            done += len(part.rows)
            found[:, part.rows] = WholeSearch().bounds(part.gallery, work, own, told)
        return found


def in_whole(hits: Sequence[Hit], rows: NDArray[np.int64], gallery: Gallery) -> list[Hit]:
    """A part's hits as hits of the gallery it is part of. Args: rows: of the gallery, by row of the part."""
    return [
        replace(hit, row=row, id=gallery.photos[row].id)
        for hit, row in ((hit, int(rows[hit.row])) for hit in hits)
    ]


def _from(progress: PhotosDone | None, before: int, gallery: Gallery) -> PhotosDone | None:
    """Progress within a part, told as that of the gallery, of which `before` photos are done."""
    if progress is None:
        return None
    return lambda done, _: progress(before + done, len(gallery))


def searcher_of(gallery: Gallery) -> Searcher:
    """What searches a gallery in this process."""
    return PartedSearch() if isinstance(gallery, UnitedGallery) else WholeSearch()
