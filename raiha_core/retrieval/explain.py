"""Why a photo qualifies: its best cosine and the pairs of patches that speak for it, computed exactly.

Shapes: n photos of P patches, m patches of the query.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..features.references import Match
from .exact import appearance_cosines, content_cosines, settle_ties
from .query import Query

MOST_MATCHES = 32  # illumination pairs per photo that a result carries


@dataclass(frozen=True, slots=True)
class Reasons:
    """What one photo offers to one query."""

    content_matches: tuple[Match, ...]  # by query patch
    illumination_matches: tuple[Match, ...]  # best appearance first
    # by photo patch: best cosine with the object minus best with its background; () where there is none
    similarity_margin: tuple[float, ...]
    # of every patch of the object, and of every clear one of its background, the partner of highest content
    object_pairs: tuple[Match, ...] = ()
    background_pairs: tuple[Match, ...] = ()


def explain(
    query: Query,
    photo: Tensor,
    histogram: Tensor,
    content_threshold: float,
    appearance_threshold: float | None,
) -> Reasons:
    """Best partners of one photo, (P, D) float16 and (P, K) uint8; ties go to the lower patch index.

    Content: for each object patch with a partner at >= content_threshold, the partner of highest content
    cosine. Illumination (skipped where appearance_threshold is None): for each background patch with a
    pair that reaches both thresholds, the pair of highest appearance cosine; the best MOST_MATCHES.
    """
    objects = query.foreground.nonzero()[:, 0]
    content = content_cosines(query.content[objects], photo[None])[0]  # (m, P)
    object_pairs = _partners(query, objects, content, histogram)
    content_matches = tuple(pair for pair in object_pairs if pair.content >= content_threshold)
    behind = content_cosines(query.content[query.background], photo[None])[0]
    background_pairs = _partners(query, query.background.nonzero()[:, 0], behind, histogram)
    light: tuple[Match, ...] = ()
    if appearance_threshold is not None:
        light = _illumination(query, behind, histogram, content_threshold, appearance_threshold)
    similarity_margin = (content.amax(0) - behind.amax(0)).tolist() if len(behind) else ()
    return Reasons(content_matches, light, tuple(similarity_margin), object_pairs, background_pairs)


def _partners(query: Query, patches: Tensor, content: Tensor, histogram: Tensor) -> tuple[Match, ...]:
    """The partner of highest content of some patches. Args: content: their cosines with the photo (m, P)."""
    if not len(patches):
        return ()
    best, partner = _first_maximum(content)
    appearance = appearance_cosines(query.histogram[patches], histogram[None])[0]
    return _matches(patches, partner, best, appearance.gather(1, partner[:, None])[:, 0])


def _first_maximum(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Row maxima of (m, P) and the lowest index that reaches each; torch's own index is any of them."""
    best = scores.amax(1)
    return best, (scores == best[:, None]).to(torch.uint8).argmax(1)


def _illumination(
    query: Query, content: Tensor, histogram: Tensor, content_threshold: float, appearance_threshold: float
) -> tuple[Match, ...]:
    """Args: content: cosines of the background's patches with the photo's (m, P)."""
    behind = query.background.nonzero()[:, 0]
    i, j = (content >= content_threshold).nonzero().unbind(1)
    appearance = torch.full_like(content, -1)
    cosine = appearance_cosines(query.histogram[behind], histogram[None])[0][i, j]
    reaches = cosine >= appearance_threshold
    settle_ties(reaches, cosine, query.histogram[behind[i]], histogram[j], appearance_threshold)
    appearance[i[reaches], j[reaches]] = cosine[reaches]
    if not appearance.numel():
        return ()
    best, partner = _first_maximum(appearance)
    rows = (best >= 0).nonzero()[:, 0]
    rows = rows[best[rows].argsort(descending=True, stable=True)][:MOST_MATCHES]
    chosen = partner[rows]
    return _matches(behind[rows], chosen, content[rows, chosen], best[rows])


def _matches(query: Tensor, photo: Tensor, content: Tensor, appearance: Tensor) -> tuple[Match, ...]:
    rows = zip(query.tolist(), photo.tolist(), content.tolist(), appearance.tolist(), strict=True)
    return tuple(Match(query_patch=i, photo_patch=j, content=c, appearance=a) for i, j, c, a in rows)
