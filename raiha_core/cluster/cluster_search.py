"""Exact search over shards that Ray's actors hold, joined into the answer that one machine gives.

A worker that dies is made again, on any machine that is left, and asked again. Where that fails thrice the
search fails and names the shards: there is no answer of fewer photos.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..gallery.protocol import Gallery
from ..gallery.store import StoredGallery
from ..gallery.united import UnitedGallery
from ..retrieval.parted_search import PhotosDone, SearchWork, in_whole
from ..retrieval.ranking import Hit
from .connection import join, ray_module
from .shard_worker import ShardOfRows, ShardWorker, for_others

ATTEMPTS = 3  # at a shard, by a new worker each


@dataclass(slots=True)
class _Post:
    """A shard, where its photos lie in the gallery, and who searches it now."""

    shard: ShardOfRows
    rows: NDArray[np.int64]  # of the gallery, by row of the store
    worker: Any  # Ray's handle has no type

    @property
    def own(self) -> NDArray[np.int64]:
        return self.rows[self.shard.start : self.shard.stop]


class ClusterSearch:
    """A `Searcher` by the workers of a Ray cluster, which stay for later searches."""

    def __init__(
        self, gallery: StoredGallery | UnitedGallery, address: str, *, shards: int | None = None
    ) -> None:
        """Args: shards: at most so many workers for each store; None: a worker for each processor.

        Raises: ConnectionError where no cluster answers; ValueError where Ray is not installed.
        """
        processors = join(address)
        if shards is not None and shards < 1:
            raise ValueError(f"at least 1 shard is needed, got {shards}")
        self._fingerprint = gallery.fingerprint
        self._posts = [
            _Post(shard, rows, self._hired(shard))
            for shard, rows in _shards(gallery, processors if shards is None else shards)
        ]

    @property
    def shards(self) -> tuple[ShardOfRows, ...]:
        return tuple(post.shard for post in self._posts)

    def scan(
        self, gallery: Gallery, work: SearchWork, allowed: Tensor, progress: PhotosDone | None
    ) -> list[list[Hit]]:
        """The qualifying photos of each query. Raises: ConnectionError naming the shards that failed."""
        found: list[list[Hit]] = [[] for _ in work.queries]
        for post, answer in self._asked("scan", gallery, work, allowed, progress):
            for all_hits, hits in zip(found, answer, strict=True):
                all_hits += in_whole(hits, post.rows, gallery)
        return [sorted(hits, key=lambda hit: hit.row) for hits in found]

    def bounds(
        self, gallery: Gallery, work: SearchWork, allowed: Tensor, progress: PhotosDone | None
    ) -> NDArray[np.float64]:
        """Upper bounds of the content of each photo. Raises: as `scan`."""
        found = np.full((len(work.queries), len(gallery)), -np.inf)
        for post, answer in self._asked("bounds", gallery, work, allowed, progress):
            found[:, post.own] = answer
        return found

    def workers(self) -> list[int]:
        """Process numbers of the workers, one for each shard."""
        ray = ray_module()
        return ray.get([post.worker.process.remote() for post in self._posts])

    def _hired(self, shard: ShardOfRows) -> Any:
        return ray_module().remote(num_cpus=0)(_Hired).options(scheduling_strategy="SPREAD").remote(shard)

    def _asked(
        self, what: str, gallery: Gallery, work: SearchWork, allowed: Tensor, progress: PhotosDone | None
    ) -> Iterator[tuple[_Post, Any]]:
        """The answer of every shard that holds a photo which some query may take, as they come."""
        if gallery.fingerprint != self._fingerprint:
            raise ValueError(f"'{gallery.name}' is not the gallery that the cluster was set up for")
        bits, wanted = allowed.numpy(), allowed.any(0).numpy()
        posts = [post for post in self._posts if wanted[post.own].any()]
        ray = ray_module()
        sent = ray.put(for_others(work))
        yield from self._until_all(
            posts,
            lambda post: getattr(post.worker, what).remote(sent, np.packbits(bits[:, post.own], axis=1)),
            _counted(progress, len(gallery)),
        )

    def _until_all(
        self, posts: Sequence[_Post], ask: Callable[[_Post], Any], done: Callable[[int], None]
    ) -> Iterator[tuple[_Post, Any]]:
        ray = ray_module()
        lost = ray.exceptions.RayActorError, ray.exceptions.WorkerCrashedError, ray.exceptions.ObjectLostError
        waiting = {ask(post): (post, 1) for post in posts}
        failed: list[str] = []
        while waiting:
            (ready, *_), _ = ray.wait(list(waiting), num_returns=1)
            post, attempt = waiting.pop(ready)
            try:
                answer = ray.get(ready)
            except ray.exceptions.RayTaskError as error:  # raised by the search itself: no worker helps
                raise error.cause from None
            except lost as error:
                if attempt == ATTEMPTS:
                    failed.append(f"{post.shard} ({type(error).__name__})")
                    continue
                post.worker = self._hired(post.shard)
                waiting[ask(post)] = post, attempt + 1
                continue
            done(len(post.shard))
            yield post, answer
        if failed:
            raise ConnectionError(
                f"no answer: these shards could not be searched in {ATTEMPTS} attempts: {', '.join(failed)}"
            )


class _Hired(ShardWorker):
    """A shard's worker as an actor of Ray."""

    def process(self) -> int:
        return os.getpid()


def _counted(progress: PhotosDone | None, total: int) -> Callable[[int], None]:
    seen = 0

    def done(photos: int) -> None:
        nonlocal seen
        seen += photos
        if progress is not None:
            progress(seen, total)

    return done


def _shards(
    gallery: StoredGallery | UnitedGallery, count: int
) -> Iterator[tuple[ShardOfRows, NDArray[np.int64]]]:
    """The photos in `count` shares of about one size, or where that is more, a share for each part."""
    if isinstance(gallery, StoredGallery):
        parts = [(gallery, np.arange(len(gallery)))]
    else:
        parts = [(part.gallery, part.rows) for part in gallery.parts]
    size = max(1, -(-len(gallery) // count))
    for stored, rows in parts:
        place = str(stored.layout.root.resolve())
        shares = -(-len(rows) // size)
        cuts = [len(rows) * share // shares for share in range(shares + 1)] if shares else []
        for start, stop in pairwise(cuts):
            yield ShardOfRows(place, stored.fingerprint, start, stop), rows
