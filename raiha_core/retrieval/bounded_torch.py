"""Eqs. 3 and 5 by way of the index, in torch alone: the twin of the compiled kernel.

`gallery/bound.py` proves that no cosine exceeds its bound. Hence a patch whose bound stays below the
content threshold for all patches of the query can be passed over, and what is left is decided as in
`exact.py`. The answer is that of `scan.py`'s own pass, bit for bit.

Shapes: n photos of P patches, D content numbers, m patches of a query, K numbers of the index per patch,
s pairs of a photo and one of its patches that survive the bound.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ..gallery.bound import Rotation, query_columns, rounding
from ..gallery.index import PatchIndex
from .exact import (
    APPEARANCE_BAND,
    PAIRS_AT_ONCE,
    Vectors,
    direction,
    raise_light,
    similarities,
    vectors,
)
from .query import Query
from .request import Request

_STRETCH = 512  # photos whose surviving patches are decided together
_BLOCK = 32  # photos per product of the bound, so that it stays in the cache
# Of the time that comparing all pairs takes: the bound, and all patches if they survive it (measured).
_OF_BOUND, _OF_READING = 0.5, 2.6
_PAIRS = 1 << 17  # pairs of patches at once


@dataclass(frozen=True, slots=True)
class Found:
    """Photos that qualify, with what they are ranked by; all (n,)."""

    rows: np.ndarray
    share: np.ndarray  # of the object's patches that are found again
    light: np.ndarray  # NaN where it was not asked
    content: np.ndarray

    def joined(self, other: "Found") -> "Found":
        return Found(
            np.concatenate([self.rows, other.rows]),
            np.concatenate([self.share, other.share]),
            np.concatenate([self.light, other.light]),
            np.concatenate([self.content, other.content]),
        )


class QuerySide:
    """The patches of a query's object, or of its background."""

    def __init__(self, query: Query, chosen: Tensor, rotation: Rotation) -> None:
        self.vectors = vectors(query.content[chosen])
        self.colours = query.histogram[chosen]
        self._rotation = rotation

    def __len__(self) -> int:
        return len(self.vectors)

    @cached_property
    def columns(self) -> Tensor:
        """(K, m) float64."""
        return query_columns(self._rotation, self.vectors.exact)

    @cached_property
    def fast_columns(self) -> Tensor:
        """(K, m) float32."""
        return self.columns.float().contiguous()


class TorchSearch:
    """Some queries, ready to be compared with photos of one index."""

    stretch = _STRETCH

    def __init__(self, queries: Sequence[Query], request: Request, index: PatchIndex) -> None:
        self.request, self.index = request, index
        self.patches = queries[0].spec.patches
        self.objects = [QuerySide(query, query.foreground, index.rotation) for query in queries]
        self.behind = [QuerySide(query, query.background, index.rotation) for query in queries]
        self.least = request.content_threshold - rounding(index.rotation)
        self._room = torch.empty(0)

    def find(self, query: int, rows: np.ndarray) -> Found:
        """What qualifies among some covered photos."""
        if self.request.by == "illumination":
            light = self._light(query, rows)
            good = ~np.isnan(light)
            nothing = np.zeros(int(good.sum()))
            return self.with_content(query, Found(rows[good], nothing, light[good], nothing))
        found = self._content(query, rows)
        if self.request.by == "content" or not len(found.rows):
            return found
        light = self._light(query, found.rows)
        good = ~np.isnan(light)
        return Found(found.rows[good], found.share[good], light[good], found.content[good])

    def burden(self, query: int, rows: np.ndarray) -> float:
        """The work for some covered photos, where that of comparing all pairs in full is 1."""
        return _OF_BOUND + _OF_READING * self.left(query, rows)

    def left(self, query: int, rows: np.ndarray) -> float:
        """The share of the photos' patches that survive the bound of the half that is asked first."""
        side = (self.behind if self.request.by == "illumination" else self.objects)[query]
        return len(self.likely(rows, side.fast_columns)[0]) / (len(rows) * self.patches)

    def likely(self, rows: np.ndarray, columns: Tensor) -> tuple[np.ndarray, np.ndarray, Tensor]:
        """Pairs of a photo and one of its patches that some patch of the query may match.

        Returns: positions in `rows` (s,), patches (s,), and the bounds (s, m) float32.
        """
        width, patches = columns.shape[1], self.patches
        room, out = self._rooms(min(_BLOCK, len(rows)) * patches, len(columns), width)
        positions, places, bounds = [], [], []
        for here, numbers in self.index.numbers(rows, _BLOCK):
            count = len(here) * patches
            wide = room[:count].copy_(numbers.flatten(0, 1))
            above = torch.mm(wide, columns, out=out[:count])
            open_photos = (above.view(len(here), -1).amax(1) >= self.least).nonzero()[:, 0]
            if not len(open_photos):
                continue
            few = above.view(len(here), patches, width)[open_photos].flatten(0, 1)
            left = (few.amax(1) >= self.least).nonzero()[:, 0]
            bounds.append(few[left])
            places.append((left % patches).numpy())
            positions.append(here[open_photos.numpy()[(left // patches).numpy()]])
        if not bounds:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), torch.empty(0, width)
        return np.concatenate(positions), np.concatenate(places), torch.cat(bounds)

    def _rooms(self, count: int, *widths: int) -> list[Tensor]:
        """Memory that is used again: that of new pages costs as much as the product itself."""
        if self._room.numel() < count * sum(widths):
            self._room = torch.empty(count * sum(widths))
        parts = self._room[: count * sum(widths)].split([count * width for width in widths])
        return [part.view(count, width) for part, width in zip(parts, widths, strict=True)]

    def _content(self, query: int, rows: np.ndarray) -> Found:
        """Eq. 3: which of the photos match, their coverage, and their best cosine."""
        objects, threshold = self.objects[query].vectors, self.request.content_threshold
        positions, patches, _ = self.likely(rows, self.objects[query].fast_columns)
        stored = self.index.content(rows[positions], patches)
        scores = stored.float() @ objects.fast.T  # (s, m)
        which, photo = np.unique(positions, return_inverse=True)
        of = torch.from_numpy(photo)
        reaches = scores >= threshold
        near = ((scores - threshold).abs() <= objects.band).nonzero()
        for part in near.split(PAIRS_AT_ONCE):
            j, i = part.unbind(1)
            reaches[j, i] = (stored[j].double() * objects.exact[i].double()).sum(1) >= threshold
        some = reaches.any(1).nonzero()[:, 0]
        found = torch.zeros(len(which), len(objects), dtype=torch.int32)
        found.index_add_(0, of[some], reaches[some].int())
        # The pair of the best cosine reaches the threshold with it, so it is among the survivors.
        good = (found > 0).any(1)
        some = some[good[of[some]]]
        best = self._best(objects, stored[some], scores[some], of[some], len(which))
        keep = good.numpy()
        share = (found[good] > 0).numpy().mean(1)
        return Found(rows[which[keep]], share, np.full(len(share), np.nan), best.numpy()[keep])

    def _best(self, objects: Vectors, stored: Tensor, scores: Tensor, of: Tensor, photos: int) -> Tensor:
        """The largest cosine per photo, (photos,) float64; -inf where it has no pair among these."""
        most = torch.full((photos,), -torch.inf).scatter_reduce_(0, of, scores.amax(1), "amax")
        best = torch.full((photos,), -torch.inf, dtype=torch.float64)
        for part in (scores >= (most - 2 * objects.band)[of][:, None]).nonzero().split(PAIRS_AT_ONCE):
            j, i = part.unbind(1)
            cosine = (stored[j].double() * objects.exact[i].double()).sum(1)
            best.scatter_reduce_(0, of[j], cosine, "amax")
        return best

    def _light(self, query: int, rows: np.ndarray) -> np.ndarray:
        """Eq. 5 for each photo: (n,) float64, NaN where no pair reaches both thresholds."""
        best = torch.full((len(rows),), -torch.inf, dtype=torch.float64)
        behind = self.behind[query]
        if len(behind):
            positions, patches, bounds = self.likely(rows, behind.fast_columns)
            for start in range(0, len(positions), PAIRS_AT_ONCE):
                part = slice(start, start + PAIRS_AT_ONCE)
                likely = bounds[part] >= self.least
                self._decide_light(rows, positions[part], patches[part], likely, behind, best)
        return best.masked_fill_(best == -torch.inf, torch.nan).numpy()

    def _decide_light(
        self,
        rows: np.ndarray,
        positions: np.ndarray,
        patches: np.ndarray,
        likely: Tensor,
        behind: QuerySide,
        best: Tensor,
    ) -> None:
        """Raise `best` (n,) by the pairs among s likely patches that reach both thresholds."""
        eps_c, eps_a = self.request.content_threshold, self.request.appearance_threshold
        colours = self.index.histograms(rows[positions], patches)
        similar = direction(colours) @ direction(behind.colours).T
        pairs = (similar >= eps_a - APPEARANCE_BAND).logical_and_(likely).nonzero()
        read, place = pairs[:, 0].unique(return_inverse=True)
        stored = self.index.content(rows[positions[read.numpy()]], patches[read.numpy()])
        scores = stored.float() @ behind.vectors.fast.T
        of = torch.from_numpy(positions)
        for pair, at in zip(pairs.split(_PAIRS), place.split(_PAIRS), strict=True):
            j, i = pair.unbind(1)
            score = scores[at, i]
            good = score >= eps_c
            unsure = ((score - eps_c).abs() <= behind.vectors.band).nonzero()[:, 0]
            exact = (stored[at[unsure]].double() * behind.vectors.exact[i[unsure]].double()).sum(1)
            good[unsure] = exact >= eps_c
            i, j = i[good], j[good]
            raise_light(best, of[j], similar[j, i], (behind.colours, i), (colours, j), eps_a)

    def with_content(self, query: int, found: Found) -> Found:
        """Coverage and best content of photos found by light: their content may be below the threshold."""
        if not len(found.rows):
            return found
        every, objects = np.arange(self.patches), self.objects[query].vectors
        rows = np.repeat(found.rows, self.patches)
        stored = self.index.content(rows, np.tile(every, len(found.rows)))
        compared = similarities(objects, vectors(stored), self.patches)
        matched = compared.partners(self.request.content_threshold)
        content = compared.best_content(slice(0, len(objects)), np.arange(len(found.rows)))
        return Found(found.rows, matched.mean(0), found.light, content)
