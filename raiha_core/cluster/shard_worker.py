"""What runs on the machines of a cluster: the exact search of some photos of one store.

Nothing here knows Ray: `cluster_search` makes actors of this class, and tests run it as it is.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ..gallery.store import StoredGallery, open_gallery
from ..retrieval.parted_search import SearchWork, WholeSearch
from ..retrieval.ranking import Hit


@dataclass(frozen=True, slots=True)
class ShardOfRows:
    """Some neighbouring photos of a store, which one worker searches."""

    store: str  # its folder, as every machine sees it
    fingerprint: str  # of the store as it was when the search was set up
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def __str__(self) -> str:
        return f"photos {self.start}..{self.stop - 1} of {self.store}"


class ShardWorker:
    """Holds one shard open and answers for its photos alone, by rows of the store."""

    def __init__(self, shard: ShardOfRows) -> None:
        torch.set_num_threads(1)  # a worker a processor
        self.shard = shard
        self._gallery: StoredGallery | None = None

    def scan(self, work: SearchWork, allowed: NDArray[np.uint8]) -> list[list[Hit]]:
        """The qualifying photos of each query. Args: allowed: (queries, photos of the shard), packed bits.

        Raises: ValueError where the store is not as it was when the search was set up.
        """
        return WholeSearch().scan(self._opened(), work, self._in_store(work, allowed), None)

    def bounds(self, work: SearchWork, allowed: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Upper bounds of the content of each of the shard's photos, (queries, photos). As `scan`."""
        found = WholeSearch().bounds(self._opened(), work, self._in_store(work, allowed), None)
        return found[:, self.shard.start : self.shard.stop]

    def _opened(self) -> StoredGallery:
        if self._gallery is None:  # not when it is made: what fails here is told with the shard's name
            gallery = open_gallery(Path(self.shard.store))
            if gallery.fingerprint != self.shard.fingerprint:
                raise ValueError(
                    f"{self.shard.store} has changed since the search was set up: set it up anew"
                )
            self._gallery = gallery
        return self._gallery

    def _in_store(self, work: SearchWork, allowed: NDArray[np.uint8]) -> torch.Tensor:
        own = np.unpackbits(allowed, axis=1, count=len(self.shard)).astype(bool)
        whole = torch.zeros(len(work.queries), len(self._opened()), dtype=torch.bool)
        whole[:, self.shard.start : self.shard.stop] = torch.from_numpy(own)
        return whole


def for_others(work: SearchWork) -> SearchWork:
    """The work without what no worker reads: unrounded features, and this process' device."""
    return replace(work, queries=[replace(query, features=None) for query in work.queries], device="cpu")
