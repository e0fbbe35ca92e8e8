"""Which of the qualifying photos are taken, and in what order."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LIGHTS = 1000  # steps of the light: finer differences are noise, and would hide the better content


@dataclass(frozen=True, slots=True)
class Hit:
    """A photo that qualifies, with what it is ranked by."""

    row: int  # of the gallery's photos
    id: str
    coverage: float  # share of the object's patches with a partner
    illumination: float  # best appearance cosine among the pairs of eq. 5; NaN where it was not asked
    content: float  # best cosine over object x photo patches, as eq. 3 has it
    score: float | None = None  # of an order of its own (`likeness`); None: `rank_score` gives it


def best_first(hits: Sequence[Hit]) -> list[Hit]:
    """Best first: coverage, then light (unasked counts as 0), then content, then id ascending.

    One rule for content, illumination and joint retrieval, so that two chained calls rank as one.
    """
    return sorted(hits, key=lambda hit: (-hit.coverage, -_steps(hit.illumination), -hit.content, hit.id))


def rank_light(illumination: float) -> float:
    """The illumination agreement as it ranks: in thousandths. NaN where it was not asked."""
    return illumination if math.isnan(illumination) else _steps(illumination) / LIGHTS


def rank_score(coverage: float, illumination: float, content: float, patches: int) -> float:
    """One number, 0..1, that never rises along `order`: it says how well a photo answers a search.

    The object has `patches` patches, so that coverage comes in steps of 1 / patches. The score is
    (patches * coverage + rest) / (patches + 1), where rest, 0..1, is the content where no light was asked,
    and otherwise the light with the content between its steps: (1000 * light + content) / 1001. Hence no
    light makes up for one patch more, and no content for a thousandth of light. 1 is a photo in which all
    of the object is found again, pixel for pixel, under the same light.
    """
    shown = min(max(content, 0.0), 1.0)
    rest = shown if math.isnan(illumination) else (_steps(illumination) + shown) / (LIGHTS + 1)
    return (patches * coverage + rest) / (patches + 1)


def _steps(illumination: float) -> int:
    return 0 if math.isnan(illumination) else round(min(max(illumination, 0.0), 1.0) * LIGHTS)


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
