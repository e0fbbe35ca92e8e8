"""One pass over a gallery for many queries: which photos qualify, exactly.

Blocks of photos stay small enough that their scores remain in the processor's cache, and every query's
object patches share one matrix product. Blocks are independent: their size changes nothing but speed.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from ..gallery.protocol import Block, Gallery
from .bounded import BoundedPass
from .exact import Vectors, illumination, similarities, vectors
from .query import Query
from .ranking import Hit
from .request import Request

BLOCK = 32  # photos at once: 32 x 144 x 320 numbers in float32 are 6 MB
COLUMNS = 512  # query patches per matrix product


def _blocks(gallery: Gallery, wanted: Tensor, size: int) -> Iterator[Block]:
    """The photos that some query may take: all blocks in order, or only the rows that matter."""
    rows = wanted.nonzero()[:, 0].tolist()
    if 2 * len(rows) > len(gallery):
        yield from gallery.blocks(size)
        return
    for start in range(0, len(rows), size):
        yield gallery.gather(rows[start : start + size])


def _groups(queries: Sequence[Query]) -> Iterator[list[int]]:
    """Indices of queries whose object patches go into one matrix product."""
    group: list[int] = []
    columns = 0
    for index, query in enumerate(queries):
        count = int(query.foreground.sum())
        if group and columns + count > COLUMNS:
            yield group
            group, columns = [], 0
        group.append(index)
        columns += count
    if group:
        yield group


class _Pass:
    """The queries as tensors on the device, and one step per block of photos."""

    def __init__(
        self, queries: Sequence[Query], request: Request, allowed: np.ndarray, device: torch.device
    ) -> None:
        self.request, self.allowed = request, allowed
        self.patches = queries[0].spec.patches
        self.objects = [q.content[q.foreground].to(device) for q in queries]
        self.background = [
            (vectors(q.content[q.background].to(device)), q.histogram[q.background].to(device))
            for q in queries
        ]
        self.groups = list(_groups(queries))
        self.joined = [vectors(torch.cat([self.objects[q] for q in group])) for group in self.groups]

    def step(self, rows: np.ndarray, photos: Vectors, histogram: Tensor) -> Iterator[tuple]:
        """Yields (query index, rows, coverage, illumination, content) of a block's photos that qualify."""
        if self.request.by == "illumination":
            yield from self._illumination_first(rows, photos, histogram)
            return
        for group, joined in zip(self.groups, self.joined, strict=True):
            compared = similarities(joined, photos, self.patches)
            found = compared.partners(self.request.content_threshold)  # (m, n)
            start = 0
            for query in group:
                mine = slice(start, start + len(self.objects[query]))
                part, start = found[mine], mine.stop
                passing = np.flatnonzero(part.any(0) & self.allowed[query, rows])
                if not len(passing):
                    continue
                share, light = part[:, passing].mean(0), np.full(len(passing), np.nan)
                if self.request.by == "both":
                    light = self._light(query, *self._only(passing, photos, histogram))
                    keep = ~np.isnan(light)
                    passing, share, light = passing[keep], share[keep], light[keep]
                yield query, rows[passing], share, light, compared.best_content(mine, passing)

    def _only(self, chosen: np.ndarray, photos: Vectors, histogram: Tensor) -> tuple[Vectors, Tensor]:
        """The patches of some photos of the block."""
        columns = (chosen[:, None] * self.patches + np.arange(self.patches)).ravel()
        index = torch.from_numpy(columns).to(histogram.device)
        return Vectors(photos.exact[index], photos.fast[index]), histogram[index]

    def _light(self, query: int, photos: Vectors, histogram: Tensor) -> np.ndarray:
        eps_c, eps_a = self.request.content_threshold, self.request.appearance_threshold
        return illumination(*self.background[query], photos, histogram, self.patches, eps_c, eps_a)

    def _illumination_first(self, rows: np.ndarray, photos: Vectors, histogram: Tensor) -> Iterator[tuple]:
        for query, objects in enumerate(self.objects):
            light = self._light(query, photos, histogram)
            passing = np.flatnonzero(~np.isnan(light) & self.allowed[query, rows])
            if len(passing):
                some, _ = self._only(passing, photos, histogram)
                compared = similarities(vectors(objects), some, self.patches)
                found = compared.partners(self.request.content_threshold)
                content = compared.best_content(slice(0, len(objects)), np.arange(len(passing)))
                yield query, rows[passing], found.mean(0), light[passing], content


def _steps(
    gallery: Gallery,
    queries: Sequence[Query],
    request: Request,
    allowed: Tensor,
    wanted: Tensor,
    block: int,
    device: torch.device,
) -> Iterator[tuple[int, Iterator[tuple]]]:
    """Blocks of photos with what qualifies in them: by the index where that pays, the others in full."""
    # On another device the matrix product costs less than reading what the bound leaves.
    index = gallery.index if device.type == "cpu" else None
    if index is not None:
        rows = np.flatnonzero(wanted.numpy() & index.covered)
        bounded = BoundedPass(queries, request, allowed.numpy(), index) if len(rows) else None
        if bounded is not None and bounded.pays(rows):
            wanted = wanted & ~torch.from_numpy(index.covered)
            for count, found in bounded.steps(rows):
                yield count, ((query, one.rows, one.share, one.light, one.content) for query, one in found)
    if not wanted.any():
        return
    run, spec = _Pass(queries, request, (allowed & wanted).numpy(), device), gallery.spec
    room = torch.empty(block * spec.patches, spec.dim, device=device)
    for stored in _blocks(gallery, wanted, block):
        histogram = stored.histogram.to(device).flatten(0, 1)
        content = vectors(stored.content.to(device), room)
        yield int(wanted[stored.rows].sum()), run.step(stored.rows.numpy(), content, histogram)


def scan(
    gallery: Gallery,
    queries: Sequence[Query],
    request: Request,
    allowed: Tensor,
    *,
    block: int = BLOCK,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> list[list[Hit]]:
    """The qualifying photos of each query, in the order of the gallery.

    Args:
        queries: all of the gallery's feature space.
        allowed: (queries, photos) bool: which photos each query may take.
        block: photos per step; changes the speed only.
        progress: called with (photos done, photos in all).
    Raises: ValueError where the gallery's numbers are NaN.
    """
    if block < 1:
        raise ValueError(f"block must be at least 1, got {block}")
    found: list[list[Hit]] = [[] for _ in queries]
    device = torch.device(device)
    # An empty background cannot match in light: its photos need not be compared.
    asks = [request.by == "content" or bool(query.background.any()) for query in queries]
    wanted = (allowed & torch.tensor(asks, dtype=torch.bool)[:, None]).any(0)
    if not wanted.any():
        return found
    photos = gallery.photos
    done, total = 0, int(wanted.sum())
    for rows, step in _steps(gallery, queries, request, allowed, wanted, block, device):
        for query, *columns in step:
            found[query] += [
                Hit(row, photos[row].id, *rest)
                for row, *rest in zip(*(column.tolist() for column in columns), strict=True)
            ]
        done += rows
        if progress is not None:
            progress(done, total)
    for hits in found:
        hits.sort(key=lambda hit: hit.row)  # photos without an index came last
    return found
