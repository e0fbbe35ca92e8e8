"""A search by way of the gallery's index: whether it pays, and the pass over the photos that it covers."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Protocol

import numpy as np

from ..gallery.index import PatchIndex
from .bounded_kernel import MOST_BINS, KernelSearch
from .bounded_torch import Found, TorchSearch
from .kernel import kernel
from .query import Query
from .request import Request

SAMPLE = 64  # photos at most by which it is decided whether the bound pays
LEAST_SAMPLE, SAMPLE_SHARE = 8, 50  # and at least, and one in so many: looking must cost next to nothing
MOST_BURDEN = 1.0  # of the plain pass


class Engine(Protocol):
    """What compares queries with the covered photos of an index."""

    stretch: int  # photos per call

    def burden(self, query: int, rows: np.ndarray) -> float: ...

    def find(self, query: int, rows: np.ndarray) -> Found: ...


class BoundedPass:
    """The queries, and one step per stretch of covered photos."""

    def __init__(
        self, queries: Sequence[Query], request: Request, allowed: np.ndarray, index: PatchIndex
    ) -> None:
        self.allowed, self.index, self.queries = allowed, index, queries
        self.twin = TorchSearch(queries, request, index)
        self._found = kernel()

    def pays(self, rows: np.ndarray) -> bool:
        """Whether a sample of the photos takes less work than the plain pass; the answer is the same."""
        count = min(SAMPLE, max(LEAST_SAMPLE, len(rows) // SAMPLE_SHARE))
        some = rows[np.linspace(0, len(rows) - 1, min(len(rows), count)).astype(int)]
        burden = [self.engine.burden(query, some) for query in range(len(self.queries))]
        return sum(burden) <= MOST_BURDEN * len(burden)

    @cached_property
    def engine(self) -> Engine:
        spec = self.queries[0].spec
        if self._found is None or spec.histogram.bins > MOST_BINS:
            return self.twin
        return KernelSearch(self.twin, spec, self._found)

    def steps(self, rows: np.ndarray) -> Iterator[tuple[int, list[tuple[int, Found]]]]:
        """Yields (photos compared, [(query, what qualifies)]) for one stretch of the rows after another."""
        rows = self.index.in_order(rows)
        size = self.engine.stretch
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            found = []
            for query in range(len(self.queries)):
                mine = part[self.allowed[query, part]]
                if len(mine):
                    found.append((query, self.engine.find(query, mine)))
            yield len(part), found
