"""An engine measured against the exact search of the same gallery: what it finds, and how long it takes."""

import time
from dataclasses import asdict, dataclass

import numpy as np
import torch

from ..gallery.protocol import Gallery
from ..retrieval.query import query_from_patches
from ..retrieval.search import Exclusion, search_many
from .candidate_source import CandidateSource, SourceSearch


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineReport:
    """What `raiha gallery bench` prints."""

    engine: str
    photos: int
    queries: int
    count: int  # neighbours that each patch asked for
    content_threshold: float
    proposed: float  # photos compared again, mean over queries
    qualify: float  # photos that truly qualify, mean over queries
    recall: float  # share of all qualifying photos that were found
    least_recall: float  # of the query that fared worst
    wrong: int  # photos that were answered and do not qualify, or with another score: always 0
    seconds: float  # per query, engine and exact comparison
    exact_seconds: float  # per query, our own search of all photos

    def to_json(self) -> dict[str, object]:
        return asdict(self)


def measure_engine(
    source: CandidateSource,
    gallery: Gallery,
    *,
    queries: int,
    count: int,
    content_threshold: float | None = None,
) -> EngineReport:
    """Ask for the content of photos spread over the gallery, their middle as the object.

    Raises: ValueError where there is no photo to ask with.
    """
    if not len(gallery) or queries < 1:
        raise ValueError(f"nothing to measure: {len(gallery)} photos, {queries} queries")
    side = gallery.spec.grid
    mask = torch.zeros(1, 1, 3 * side, 3 * side)
    mask[..., side : 2 * side, side : 2 * side] = 1
    rows = np.unique(np.linspace(0, len(gallery) - 1, min(queries, len(gallery))).astype(int)).tolist()
    stored = gallery.gather(rows)
    threshold = gallery.spec.content_threshold if content_threshold is None else content_threshold
    found, true, wrong, proposed, shares, seconds, exact = 0, 0, 0, 0, [], 0.0, 0.0
    for row, content, histogram in zip(rows, stored.content, stored.histogram, strict=True):
        query = query_from_patches(content, histogram, mask, gallery.spec, query_id=str(row))
        own = Exclusion(ids=[gallery.photos[row].id])
        answers = []
        for searcher in (None, SourceSearch(source=source, count=count)):
            started = time.perf_counter()
            answers += search_many(
                gallery,
                [query],
                by="content",
                top_k=None,
                content_threshold=threshold,
                exclude=own,
                searcher=searcher,
            )
            spent = time.perf_counter() - started
            seconds, exact = (seconds, exact + spent) if searcher is None else (seconds + spent, exact)
        truth, mine = ({hit.row: (hit.coverage, hit.content) for hit in answer.hits} for answer in answers)
        same = [other for other, scores in mine.items() if truth.get(other) == scores]
        found, true, wrong = found + len(same), true + len(truth), wrong + len(mine) - len(same)
        shares.append(len(same) / len(truth) if truth else 1.0)
        proposed += len(source.propose(query.content[query.foreground], count))
    n = len(rows)
    return EngineReport(
        engine=source.name,
        photos=len(gallery),
        queries=n,
        count=count,
        content_threshold=threshold,
        proposed=proposed / n,
        qualify=true / n,
        recall=found / true if true else 1.0,
        least_recall=min(shares),
        wrong=wrong,
        seconds=seconds / n,
        exact_seconds=exact / n,
    )
