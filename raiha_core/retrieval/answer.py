"""From the photos that qualify to the answer of a search: chosen, explained, with a reason where empty."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from ..gallery.protocol import Gallery
from .candidates import Candidate, Candidates
from .explain import explain
from .explained import Explained
from .query import Query
from .ranking import Hit, best_first, draw, rank_score
from .request import LIKENESS, Request
from .shots import Shots

MOST_NOTES = 3  # photos that are named when they cannot be loaded


@dataclass(frozen=True, slots=True)
class Asked:
    """One query with all that decided which photos it was compared with."""

    gallery: Gallery
    query: Query
    request: Request
    before: Candidates | None  # the search within which this one chooses
    considered: int
    excluded: int
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """Which of the photos that qualify are taken."""

    top_k: int | None  # None: all
    seed: int | None  # of a random draw; None: the best first
    one_place: bool  # of photos of one shot only the best, where neither all are taken nor drawn
    available: bool  # photos that cannot be loaded are passed over

    def __post_init__(self) -> None:
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k must be at least 1, got {self.top_k}")

    @property
    def tells_shots(self) -> bool:
        return self.one_place and self.top_k is not None and self.seed is None


def answer(asked: Asked, hits: list[Hit], rule: Rule) -> Candidates:
    """The best of the hits, or a random draw of them, with scores and matched pairs."""
    query, request = asked.query, asked.request
    if asked.before is not None and _completes(asked.before, query, request):
        hits = _with_light(hits, asked.before)
        # A search by content asks no light, so its appearance threshold means nothing.
        of_light = asked.before if request.by == "content" else request
        request = replace(request, by="both", appearance_threshold=of_light.appearance_threshold)
    chosen, said = _choose(asked, hits, rule)
    return _told(asked, request, chosen, len(hits), (*said, *_why_empty(asked, hits)))


def answer_in_order(asked: Asked, hits: Iterable[Hit], rule: Rule) -> Candidates:
    """The first of hits that come in their order (`likeness`): nothing is cut off, so all photos qualify.

    Raises: ValueError where a random draw is asked for.
    """
    if rule.seed is not None:
        raise ValueError(
            f"by {LIKENESS} no photo is cut off, so there is none to draw from: rank, or ask by both"
        )
    chosen, said = _take(asked, hits, rule)
    said = (*said, *_why_empty(asked, chosen))
    return _told(asked, asked.request, chosen, asked.considered, said)


def _told(
    asked: Asked, request: Request, chosen: Sequence[Hit], qualified: int, said: tuple[str, ...]
) -> Candidates:
    return Candidates(
        gallery=asked.gallery,
        spec=asked.gallery.spec,
        items=_explained(asked, request, chosen),
        by=request.by,
        content_threshold=request.content_threshold,
        appearance_threshold=request.appearance_threshold,
        considered=asked.considered,
        qualified=qualified,
        excluded=asked.excluded,
        grid=asked.gallery.spec.grid,
        query=asked.query,
        notes=(*asked.notes, *asked.gallery.notes, *said),
    )


def _choose(asked: Asked, hits: Sequence[Hit], rule: Rule) -> tuple[list[Hit], tuple[str, ...]]:
    """The hits to take, in order, and why others were passed over."""
    count = None if rule.available else rule.top_k
    ranked = best_first(hits) if rule.seed is None else draw(hits, count, rule.seed, asked.query.id)
    return _take(asked, ranked, rule)


def _take(asked: Asked, ranked: Iterable[Hit], rule: Rule) -> tuple[list[Hit], tuple[str, ...]]:
    """As many of some hits in order as are wanted and can be loaded, and why others were passed over."""
    shots = Shots(asked.gallery)
    chosen: list[Hit] = []
    lost: list[str] = []
    for hit in ranked:
        if len(chosen) == rule.top_k:
            break
        if rule.tells_shots and shots.has(hit.row):
            continue
        # all that qualify are asked for by the first of two searches: no file is read for it
        if rule.available and (trouble := asked.gallery.trouble(hit.row, quick=rule.top_k is None)):
            lost.append(trouble)
            continue
        chosen.append(hit)
        shots.add(hit.row)
    return chosen, _passed_over(lost)


def _passed_over(lost: Sequence[str]) -> tuple[str, ...]:
    """At most a few sentences about photos that cannot be loaded."""
    more = len(lost) - MOST_NOTES
    remedy = "build the gallery again, or say where its `photos` are now"
    named = [f"passed over: {trouble}" for trouble in lost[:MOST_NOTES]]
    rest = [f"passed over: {more} more photos that are gone or changed"] if more > 0 else []
    return (*named, *rest, *([remedy] if lost else []))


def _completes(before: Candidates, query: Query, request: Request) -> bool:
    """Whether this search asks the other half of eqs. 3 and 5 of the same query as `before` did."""
    if LIKENESS in (before.by, request.by):
        return False
    same = before.query.digest == query.digest and before.content_threshold == request.content_threshold
    return same and (before.by == "both" or {before.by, request.by} == {"content", "illumination"})


def _with_light(hits: Sequence[Hit], before: Candidates) -> list[Hit]:
    """The hits with the illumination agreement that the earlier search found, where this one asked none."""
    known = {hit.row: hit.illumination for hit in before.hits}
    return [
        replace(hit, illumination=known[hit.row]) if math.isnan(hit.illumination) else hit for hit in hits
    ]


def _explained(asked: Asked, request: Request, chosen: Sequence[Hit]) -> Explained:
    photos = asked.gallery.photos
    appearance_threshold = None if request.by == "content" else request.appearance_threshold
    shown = int(asked.query.foreground.sum())

    def candidate(hit: Hit, content: Tensor, histogram: Tensor) -> Candidate:
        least = request.content_threshold
        if request.by == LIKENESS:  # the best pair is always shown: there is no cut
            least = min(least, hit.content)
        reasons = explain(asked.query, content, histogram, least, appearance_threshold)
        score = hit.score
        if score is None:
            score = rank_score(hit.coverage, hit.illumination, hit.content, shown)
        return Candidate(
            photo=photos[hit.row],
            row=hit.row,
            score=score,
            content=hit.content,
            coverage=hit.coverage,
            illumination=hit.illumination,
            content_matches=reasons.content_matches,
            illumination_matches=reasons.illumination_matches,
            similarity_margin=reasons.similarity_margin,
            object_pairs=reasons.object_pairs,
            background_pairs=reasons.background_pairs,
        )

    def several(hits: Sequence[Hit]) -> list[Candidate]:
        stored = asked.gallery.gather([hit.row for hit in hits])
        return [candidate(*each) for each in zip(hits, stored.content, stored.histogram, strict=True)]

    return Explained(chosen, several)


def _why_empty(asked: Asked, hits: Sequence[Hit]) -> tuple[str, ...]:
    """One sentence where nothing was found, none otherwise."""
    if hits:
        return ()
    request, name, count = asked.request, asked.gallery.name, asked.considered
    if len(asked.gallery) == 0:
        return (f"the gallery '{name}' is empty",)
    if asked.before is not None and not asked.before.items:
        return ("the earlier search found nothing to choose from",)
    if count == 0:
        return (f"all photos of the gallery '{name}' are excluded ({asked.excluded})",)
    if request.by != "content" and not asked.query.background.any():
        return ("the mask touches every patch: no background is left to compare the light of",)
    wanted = f"content {request.content_threshold:g}"
    if request.by != "content":
        wanted += f" and appearance {request.appearance_threshold:g} on one background patch"
    if request.by == "both":
        wanted = f"content {request.content_threshold:g} on the object, and {wanted}"
    return (f"none of {count} photos reaches {wanted}",)
