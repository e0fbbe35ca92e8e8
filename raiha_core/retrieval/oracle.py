"""Eqs. 3 and 5 as they are written, patch by patch, on the stored bits: slow, and the definition of truth.

i runs over patches of the query, j over patches of one photo r:
    eq. 3  r matches in content      iff  max over i in F, j of  c_i . c_rj >= eps_c
    eq. 5  r matches in illumination iff  some i in B, j has  c_i . c_rj >= eps_c and h_i . h_rj >= eps_a
Both halves of eq. 5 are asked of the same pair.
"""

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction

from torch import Tensor

from ..features.spec import HistogramSpec
from .query import Query


def content_cosine(first: Tensor, second: Tensor) -> float:
    """Dot product of two float16 vectors (D,), correctly rounded: float64 holds each product exactly."""
    return math.fsum(a * b for a, b in zip(first.tolist(), second.tolist(), strict=True))


def _histogram_sums(first: Tensor, second: Tensor) -> tuple[int, int]:
    a, b = first.tolist(), second.tolist()
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot, sum(x * x for x in a) * sum(y * y for y in b)


def appearance_cosine(first: Tensor, second: Tensor) -> float:
    """Cosine of two uint8 histograms (K,); 0 where one of them is empty."""
    dot, squares = _histogram_sums(first, second)
    return dot / math.sqrt(squares) if squares else 0.0


def appearance_reaches(first: Tensor, second: Tensor, threshold: float) -> bool:
    """Whether the cosine of two uint8 histograms is at least `threshold`, in whole numbers."""
    dot, squares = _histogram_sums(first, second)
    return dot > 0 and dot * dot >= Fraction(threshold) ** 2 * squares


def _patches(chosen: Tensor) -> list[int]:
    return [int(index) for index in chosen.nonzero()[:, 0]]


def matches_content(query: Query, photo: Tensor, threshold: float) -> bool:
    """Eq. 3 for one photo: content (P, D) float16."""
    return any(
        content_cosine(query.content[i], photo[j]) >= threshold
        for i in _patches(query.foreground)
        for j in range(len(photo))
    )


def best_content(query: Query, photo: Tensor) -> float:
    """The left side of eq. 3 for one photo: best cosine over object x photo patches."""
    return max(
        content_cosine(query.content[i], photo[j])
        for i in _patches(query.foreground)
        for j in range(len(photo))
    )


def found_share(query: Query, photo: Tensor, threshold: float) -> float:
    """Share of the object's patches that have a partner in the photo: content (P, D) float16."""
    foreground = _patches(query.foreground)
    found = sum(
        any(content_cosine(query.content[i], photo[j]) >= threshold for j in range(len(photo)))
        for i in foreground
    )
    return found / len(foreground)


def illumination_pairs(
    query: Query, photo: Tensor, histogram: Tensor, content_threshold: float, appearance_threshold: float
) -> Iterator[tuple[int, int, float]]:
    """The pairs of eq. 5 for one photo (P, D) float16, (P, K) uint8: (i, j, appearance cosine)."""
    for i in _patches(query.background):
        for j in range(len(photo)):
            if content_cosine(query.content[i], photo[j]) >= content_threshold and appearance_reaches(
                query.histogram[i], histogram[j], appearance_threshold
            ):
                yield i, j, appearance_cosine(query.histogram[i], histogram[j])


def matches_illumination(
    query: Query, photo: Tensor, histogram: Tensor, content_threshold: float, appearance_threshold: float
) -> bool:
    """Eq. 5 for one photo."""
    return any(illumination_pairs(query, photo, histogram, content_threshold, appearance_threshold))


def ranked(
    query: Query, content: Tensor, histogram: Tensor, ids: Sequence[str], by: str, eps_c: float, eps_a: float
) -> list[str]:
    """Ids of the photos that qualify, best first: by coverage, light in thousandths, content, id.

    Args: content (n, P, D) float16, histogram (n, P, K) uint8 of the photos `ids`.
    """
    keys = []
    for name, patches, colours in zip(ids, content, histogram, strict=True):
        pairs = list(illumination_pairs(query, patches, colours, eps_c, eps_a)) if by != "content" else []
        if by != "illumination" and not matches_content(query, patches, eps_c):
            continue
        if by != "content" and not pairs:
            continue
        light = max((round(1000 * min(cosine, 1.0)) for _, _, cosine in pairs), default=0)
        keys.append((-found_share(query, patches, eps_c), -light, -best_content(query, patches), name))
    return [key[-1] for key in sorted(keys)]


def _value(histogram: Tensor, spec: HistogramSpec) -> float:
    """Mean of HSV's value in one patch (K,)."""
    counts = histogram.tolist()[spec.hue + spec.saturation :]
    centres = [(bin + 0.5) / spec.value for bin in range(spec.value)]
    return sum(n * v for n, v in zip(counts, centres, strict=True)) / max(1, sum(counts))


def likeness(query: Query, photo: Tensor, histogram: Tensor) -> tuple[float, float, float]:
    """Score, best object cosine and light of one photo (P, D), (P, K), as `likeness` has it.

    The light is NaN where no background patch is clear of the object, and then counts as 1/2.
    """
    shown = best_content(query, photo)
    told, telling = [], []
    for k in _patches(query.background):
        cosines = [content_cosine(query.content[k], photo[j]) for j in range(len(photo))]
        partner = cosines.index(max(cosines))
        alike = [appearance_cosine(query.histogram[k], histogram[j]) for j in range(len(photo))]
        here = _value(query.histogram[k], query.spec.histogram)
        there = _value(histogram[partner], query.spec.histogram)
        weight = max(0.0, cosines[partner]) * min(here, there) * (1 - sum(alike) / len(alike))
        telling.append(weight)
        told.append(weight * alike[partner])
    light = (2.0 + math.fsum(told)) / (4.0 + math.fsum(telling)) if telling else math.nan
    known = 0.5 if math.isnan(light) else light
    return round(max(shown, 0.0) * (1 + known) / 2 * 1_000_000) / 1_000_000, shown, light
