"""An order of all photos without thresholds: how like a photo is to what is searched for.

For each photo r, with i over the object's patches F, k over the background's clear patches B, j over the
photo's patches, c content and h histograms:
    object   c(r)  = max over i, j of c_i . c_rj                 the left side of eq. 3
    partner  p(k)  = the lowest j of the largest c_k . c_rj
    telling  t(k)  = max(0, c_k . c_rp(k)) * min(v_k, v_rp(k)) * (1 - mean over j of cos(h_k, h_rj))
    light    l(r)  = (K / 2 + sum t(k) cos(h_k, h_rp(k))) / (K + sum t(k))
    score          = max(0, c(r)) * (1 + l(r)) / 2
v is a patch's mean brightness, by its histogram. A pair of patches tells of the light as far as the two are
of one stuff, are not dark, and would not agree with any patch of the photo anyway: two photos that are dark,
or flat, all over prove nothing, and their light stays near 1/2, as it is without any background.
Best first: score, then c, then id. `light_of_photo` and `oracle.likeness` are this, slowly.

Since 0 <= l <= 1, no score exceeds c: photos are settled in the order of upper bounds of c, until the best
that is settled reaches the next bound. Any bound serves; the answer does not depend on how tight it is.
Source: this project. Shapes: n photos of P patches, D content numbers, K histogram bins, m query patches.
"""

import heapq
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from ..features.spec import HistogramSpec
from ..gallery.protocol import Block, Gallery
from .exact import appearance_cosines, band, content_cosines, similarities, vectors
from .query import Query
from .ranking import Hit

PRIOR = 4.0  # K: what the pairs must tell to count as much as knowing nothing
SCORE_STEPS = 1_000_000  # of a score: finer differences are rounding
SETTLED_AT_ONCE = 16  # photos


def brightness(histogram: Tensor, spec: HistogramSpec) -> Tensor:
    """Mean of HSV's value in each patch, by the centres of its bins: (..., K) uint8 -> (...) float64."""
    counts = histogram[..., spec.hue + spec.saturation :].double()
    centres = (torch.arange(spec.value, dtype=torch.float64) + 0.5) / spec.value
    return (counts * centres).sum(-1) / counts.sum(-1).clamp_min(1)


def light_of_photo(query: Query, content: Tensor, histogram: Tensor) -> float:
    """l(r) of one photo, (P, D) float16 and (P, K) uint8; NaN where no background is clear of the object."""
    behind = query.background
    if not bool(behind.any()):
        return math.nan
    cosines = content_cosines(query.content[behind], content[None])[0]  # (m, P)
    alike = appearance_cosines(query.histogram[behind], histogram[None])[0]
    partner = (cosines == cosines.amax(1, keepdim=True)).to(torch.uint8).argmax(1)
    at = torch.arange(len(partner)), partner
    spec = query.spec.histogram
    here, there = brightness(query.histogram[behind], spec), brightness(histogram, spec)[partner]
    telling = cosines[at].clamp_min(0) * torch.minimum(here, there) * (1 - alike.mean(1))
    told = math.fsum((telling * alike[at]).tolist())
    return (PRIOR / 2 + told) / (PRIOR + math.fsum(telling.tolist()))


def likeness_score(content: float, light: float) -> float:
    """The number that ranks, 0..1, in steps of a millionth. NaN: nothing is known of the light."""
    known = 0.5 if math.isnan(light) else light
    return round(max(content, 0.0) * (1 + known) / 2 * SCORE_STEPS) / SCORE_STEPS


def content_bounds(
    gallery: Gallery,
    queries: Sequence[Query],
    allowed: Tensor,
    *,
    block: int,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Upper bounds of c, in one pass over the gallery: (queries, photos) float64, -inf where not allowed.

    Args: allowed (queries, photos) bool; others as `scan`.
    Raises: ValueError where the gallery's numbers are NaN.
    """
    bounds = np.full((len(queries), len(gallery)), -np.inf)
    device = torch.device(device)
    objects = vectors(torch.cat([query.content[query.foreground] for query in queries]).to(device))
    ends = np.cumsum([int(query.foreground.sum()) for query in queries])
    room = torch.empty(block * gallery.spec.patches, gallery.spec.dim, device=device)
    above = band(gallery.spec.dim, device)
    done = 0
    for stored in _wanted(gallery, allowed.any(0), block):
        photos = vectors(stored.content.to(device), room)
        best = similarities(objects, photos, gallery.spec.patches).best  # (m, n)
        rows = stored.rows.numpy()
        for number, part in enumerate(np.split(best, ends[:-1])):
            bounds[number, rows] = part.max(0) + above
        done += len(rows)
        if progress is not None:
            progress(done, len(gallery))
    bounds[~allowed.numpy()] = -np.inf
    return bounds


def _wanted(gallery: Gallery, wanted: Tensor, block: int) -> Iterator[Block]:
    rows = wanted.nonzero()[:, 0].tolist()
    if 2 * len(rows) > len(gallery):
        yield from gallery.blocks(block)
        return
    for start in range(0, len(rows), block):
        yield gallery.gather(rows[start : start + block])


def in_order(gallery: Gallery, query: Query, bounds: np.ndarray, threshold: float) -> Iterator[Hit]:
    """The photos of finite bounds, best first, settled as they are asked for.

    Args:
        bounds: (photos,), of c, from above.
        threshold: of content, by which a hit's coverage is told; nothing is cut off by it.
    """
    order = np.argsort(-bounds, kind="stable")
    order = order[np.isfinite(bounds[order])]
    settled: list[tuple[float, float, str, Hit]] = []
    for start in range(0, len(order), SETTLED_AT_ONCE):
        part = order[start : start + SETTLED_AT_ONCE]
        while settled and -settled[0][0] > bounds[part[0]] + 1 / SCORE_STEPS:
            yield heapq.heappop(settled)[-1]
        for hit in _settle(gallery, query, part, threshold):
            assert hit.score is not None
            heapq.heappush(settled, (-hit.score, -hit.content, hit.id, hit))
    while settled:
        yield heapq.heappop(settled)[-1]


def _settle(gallery: Gallery, query: Query, rows: np.ndarray, threshold: float) -> Iterator[Hit]:
    stored = gallery.gather(rows.tolist())
    objects = query.content[query.foreground]
    for row, content, histogram in zip(rows.tolist(), stored.content, stored.histogram, strict=True):
        best = content_cosines(objects, content[None])[0].amax(1)  # (m,)
        light = light_of_photo(query, content, histogram)
        shown = float(best.amax())
        yield Hit(
            row,
            gallery.photos[row].id,
            coverage=float((best >= threshold).double().mean()),
            illumination=light,
            content=shown,
            score=likeness_score(shown, light),
        )
