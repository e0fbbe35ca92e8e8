"""Eqs. 3 and 5 by way of the gallery's index: only patches that may reach the threshold are read.

`gallery/bound.py` proves that no cosine exceeds its bound. Hence a patch whose bound stays below the
content threshold for all patches of the query can be passed over, and what is left is decided as in
`exact.py`. The answer is that of `scan.py`'s own pass, bit for bit.

Shapes: n photos of P patches, D content numbers, m patches of a query, K numbers of the index per patch.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from ..gallery.bound import encode_query, rounding
from ..gallery.index import PatchIndex
from .exact import (
    APPEARANCE_BAND,
    PAIRS_AT_ONCE,
    Vectors,
    appearance_of_pairs,
    direction,
    similarities,
    vectors,
)
from .query import Query
from .request import Request

SAMPLE = 64  # photos at most by which it is decided whether the bound pays
LEAST_SAMPLE, SAMPLE_SHARE = 8, 50  # and at least, and one in so many: looking must cost next to nothing
MOST_LEFT = 0.1  # share of the patches that may survive; beyond, the plain pass is faster


class BoundedPass:
    """The queries as columns of the bound, and one step per block of covered photos."""

    def __init__(
        self, queries: Sequence[Query], request: Request, allowed: np.ndarray, index: PatchIndex
    ) -> None:
        self.request, self.allowed, self.index = request, allowed, index
        self.patches = queries[0].spec.patches
        self.objects = [vectors(query.content[query.foreground]) for query in queries]
        self.behind = [vectors(query.content[query.background]) for query in queries]
        self.light = [query.histogram[query.background] for query in queries]
        first = self.behind if request.by == "illumination" else self.objects
        rotation = index.rotation
        self.first = [encode_query(rotation, part.exact) for part in first]
        self.second = [encode_query(rotation, part.exact) for part in self.behind]
        self.least = request.content_threshold - rounding(rotation)

    def pays(self, rows: np.ndarray) -> bool:
        """Whether few enough patches of a sample of the photos survive; the answer is the same either way."""
        count = min(SAMPLE, max(LEAST_SAMPLE, len(rows) // SAMPLE_SHARE))
        some = rows[np.linspace(0, len(rows) - 1, min(len(rows), count)).astype(int)]
        numbers = self._numbers(some)
        left = [float(self._survive(numbers, columns).float().mean()) for columns in self.first]
        return sum(left) <= MOST_LEFT * len(left)

    def step(self, rows: np.ndarray) -> Iterator[tuple]:
        """Yields (query index, rows, coverage, illumination, content) of the photos that qualify."""
        numbers = self._numbers(rows)
        for query in range(len(self.objects)):
            allowed = self.allowed[query, rows]
            if self.request.by == "illumination":
                light = self._light(query, rows, numbers, allowed)
                passing = np.flatnonzero(~np.isnan(light))
                if len(passing):
                    yield query, rows[passing], *self._whole(query, rows[passing], light[passing])
                continue
            passing, share, content = self._content(query, rows, numbers, allowed)
            light = np.full(len(passing), np.nan)
            if self.request.by == "both" and len(passing):
                wide = numbers.view(len(rows), self.patches, -1)[torch.from_numpy(passing)].flatten(0, 1)
                light = self._light(query, rows[passing], wide, np.ones(len(passing), dtype=bool))
                keep = ~np.isnan(light)
                passing, share, light, content = passing[keep], share[keep], light[keep], content[keep]
            if len(passing):
                yield query, rows[passing], share, light, content

    def _numbers(self, rows: np.ndarray) -> Tensor:
        room = torch.empty(len(rows) * self.patches, self.index.rotation.columns)
        return self.index.numbers(rows, room)

    def _survive(self, numbers: Tensor, columns: Tensor) -> Tensor:
        """(n * P,) bool: whether any patch of the query may reach the threshold there."""
        if not columns.shape[1]:
            return torch.zeros(len(numbers), dtype=torch.bool)
        return (numbers @ columns).amax(1) >= self.least

    def _content(
        self, query: int, rows: np.ndarray, numbers: Tensor, allowed: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Eq. 3: which of the photos match, their coverage, and their best cosine."""
        left = self._survive(numbers, self.first[query]).nonzero()[:, 0].numpy()
        left = left[allowed[left // self.patches]]
        if not len(left):
            return left, np.zeros(0), np.zeros(0)
        objects, threshold = self.objects[query], self.request.content_threshold
        stored = self.index.content(rows[left // self.patches], left % self.patches)
        scores = stored.float() @ objects.fast.T  # (survivors, m)
        which, photo = np.unique(left // self.patches, return_inverse=True)
        of = torch.from_numpy(photo)
        reaches = scores >= threshold
        near = ((scores - threshold).abs() <= objects.band).nonzero()
        for part in near.split(PAIRS_AT_ONCE):
            j, i = part.unbind(1)
            reaches[j, i] = (stored[j].double() * objects.exact[i].double()).sum(1) >= threshold
        found = torch.zeros(len(which), len(objects), dtype=torch.int32).index_add_(0, of, reaches.int()) > 0
        # The pair of the best cosine reaches the threshold with it, so it is among the survivors.
        most = torch.full((len(which),), -torch.inf).scatter_reduce_(0, of, scores.amax(1), "amax")
        best = torch.full((len(which),), -torch.inf, dtype=torch.float64)
        for part in (scores >= (most - 2 * objects.band)[of][:, None]).nonzero().split(PAIRS_AT_ONCE):
            j, i = part.unbind(1)
            cosine = (stored[j].double() * objects.exact[i].double()).sum(1)
            best.scatter_reduce_(0, of[j], cosine, "amax")
        good = found.any(1).numpy()
        return which[good], found.numpy()[good].T.mean(0), best.numpy()[good]

    def _light(self, query: int, rows: np.ndarray, numbers: Tensor, allowed: np.ndarray) -> np.ndarray:
        """Eq. 5 for each photo: (n,) float64, NaN where no pair reaches both thresholds."""
        best = torch.full((len(rows),), -torch.inf, dtype=torch.float64)
        behind, histogram = self.behind[query], self.light[query]
        eps_c, eps_a = self.request.content_threshold, self.request.appearance_threshold
        patches = self.patches
        if len(behind):
            likely = (numbers @ self.second[query] >= self.least).view(len(rows), patches, -1)
            open_photos = np.flatnonzero(likely.flatten(1).any(1).numpy() & allowed)
        if not len(behind) or not len(open_photos):
            return np.full(len(rows), np.nan)
        likely = likely[torch.from_numpy(open_photos)].flatten(0, 1)  # (n' * P, m)
        colours = self.index.histograms(rows[open_photos])
        similar = direction(colours) @ direction(histogram).T
        pairs = (likely & (similar >= eps_a - APPEARANCE_BAND)).nonzero()
        read, place = pairs[:, 0].unique(return_inverse=True)
        columns = read.numpy()
        stored = self.index.content(rows[open_photos[columns // patches]], columns % patches)
        scores = stored.float() @ behind.fast.T
        of = torch.from_numpy(open_photos)
        for pair, at in zip(pairs.split(PAIRS_AT_ONCE), place.split(PAIRS_AT_ONCE), strict=True):
            j, i = pair.unbind(1)
            score = scores[at, i]
            good = score >= eps_c
            unsure = ((score - eps_c).abs() <= behind.band).nonzero()[:, 0]
            exact = (stored[at[unsure]].double() * behind.exact[i[unsure]].double()).sum(1)
            good[unsure] = exact >= eps_c
            cosine, reaches = appearance_of_pairs(histogram[i[good]], colours[j[good]], eps_a)
            best.scatter_reduce_(0, of[j[good][reaches] // patches], cosine[reaches], "amax")
        return best.masked_fill_(best == -torch.inf, torch.nan).numpy()

    def _whole(self, query: int, rows: np.ndarray, light: np.ndarray) -> tuple:
        """Coverage, light and best content of photos found by light: their content may be below it."""
        every = np.arange(self.patches)
        stored = self.index.content(np.repeat(rows, self.patches), np.tile(every, len(rows)))
        objects: Vectors = self.objects[query]
        compared = similarities(objects, vectors(stored), self.patches)
        found = compared.partners(self.request.content_threshold)
        content = compared.best_content(slice(0, len(objects)), np.arange(len(rows)))
        return found.mean(0), light, content
