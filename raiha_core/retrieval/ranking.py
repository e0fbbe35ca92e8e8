"""Which of the qualifying photos are taken, and in what order; how much each is worth as a reference."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

WORST_MATCH = 0.05  # a photo that qualifies keeps some say, however weak its best pair


@dataclass(frozen=True, slots=True)
class Hit:
    """A photo that qualifies, with what it is ranked by."""

    row: int  # of the gallery's photos
    id: str
    coverage: float  # share of the object's patches with a partner
    illumination: float  # best appearance cosine among the pairs of eq. 5; NaN where it was not asked


def order(hits: Sequence[Hit]) -> list[Hit]:
    """Best first: coverage, then illumination agreement (unasked counts as 0), then id ascending.

    One rule for content, illumination and joint retrieval, so that two chained calls rank as one.
    """
    return sorted(hits, key=lambda hit: (-hit.coverage, -_known(hit.illumination), hit.id))


def _known(illumination: float) -> float:
    return 0.0 if math.isnan(illumination) else illumination


def draw(hits: Sequence[Hit], count: int | None, seed: int, query_id: str) -> list[Hit]:
    """`count` of the hits at random without repetition, as in the paper; None draws all, in random order.

    The generator is PCG64 seeded by the first 8 bytes (big-endian) of SHA-256 of "{seed}:{query_id}", and
    draws from the ids in ascending order: shards, threads and the order of queries change nothing. The
    first of several is the one that a draw of one gives.
    """
    digest = hashlib.sha256(f"{seed}:{query_id}".encode()).digest()
    generator = np.random.Generator(np.random.PCG64(int.from_bytes(digest[:8], "big")))
    pool = sorted(hits, key=lambda hit: hit.id)
    count = len(pool) if count is None else min(count, len(pool))
    return [pool.pop(int(generator.integers(len(pool)))) for _ in range(count)]


def match_quality(content: float, coverage: float, illumination: float) -> float:
    """How much a reference counts beside others, 0..1; rises with each of the three scores.

    object = content * (1 + coverage) / 2: a photo that shows one part of the object well counts half.
    The result is the geometric mean of object and illumination, or the object alone where illumination
    was not asked (NaN). 1 only for a photo in which everything is found again.
    """
    clamped = min(max(content, WORST_MATCH), 1.0)
    shown = clamped * (1 + coverage) / 2
    if math.isnan(illumination):
        return shown
    return math.sqrt(shown * min(max(illumination, WORST_MATCH), 1.0))
