"""One composite after the other: who may serve it, who does, and why; kept line by line.

A line is one JSON object: input, refs, scores, matches and exclusions. A run goes on after the lines
that are there, whatever number of processes wrote them.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from raiha_core.data.item import Triple
from raiha_core.data.pictures import decode_mask, decode_rgb
from raiha_core.durable import append_lines
from raiha_core.features.references import Match
from raiha_core.gallery.protocol import Gallery, PatchEncoder
from raiha_core.nearduplicates import agreement, background_bits
from raiha_core.retrieval.parted_search import Searcher
from raiha_core.retrieval.search import Candidate, Candidates, Exclusion, Query, make_query, search_many

from ..data.batch import as_batch
from .hashes import Hashes
from .siblings import RULES, Pool

PAIRS_KEPT = 8  # matched pairs kept per reference and kind: the surest


@dataclass(frozen=True, kw_only=True, slots=True)
class ListRules:
    """How references are chosen."""

    mode: str  # "strict" or "paper"
    top_k: int  # cap per composite
    ranking: str  # "ranked", or "random N": the paper's draw with seed N
    content_threshold: float
    appearance_threshold: float
    appearance_below: float | None  # references of other light: agreement under this
    near_duplicate: float  # agreement of backgrounds from which two photos are one view

    def __post_init__(self) -> None:
        if self.mode not in ("strict", "paper"):
            raise ValueError(f"the mode is 'strict' or 'paper', got '{self.mode}'")
        if self.top_k < 1:
            raise ValueError(f"the cap must be at least 1, got {self.top_k}")
        if self.appearance_below is not None and self.appearance_below <= self.appearance_threshold:
            raise ValueError(
                f"no agreement lies in {self.appearance_threshold:g} <= x < {self.appearance_below:g}"
            )

    @property
    def seed(self) -> int | None:
        return int(self.ranking.split()[1]) if self.ranking.startswith("random ") else None


@dataclass(frozen=True, slots=True)
class QueryResources:
    """What every query needs."""

    gallery: Gallery
    encoder: PatchEncoder
    pool: Pool
    hashes: Hashes  # of the pool and of the queries' own photos; empty where they are not asked for
    table: NDArray[np.int8]  # (photos of the pool, K), in the pool's order
    rules: ListRules
    searcher: Searcher | None = None  # where the pool is gone through; None: in this process


def _loaded(tools: QueryResources, item: Triple) -> tuple[Query, dict[str, str]]:
    """The query of a composite, and the photos it must not get."""
    mask = decode_mask(item.mask_path)
    pixels = as_batch(decode_rgb(item.composite_path)).float() / 255
    query = make_query(pixels, as_batch(mask).float() / 255, encoder=tools.encoder, query_id=item.composite)
    strict = tools.rules.mode == "strict"
    alike = _near_duplicates(tools, item, background_bits(mask)) if strict else []
    return query, tools.pool.excluded(item.composite, alike, strict)


def _near_duplicates(tools: QueryResources, item: Triple, valid: NDArray[np.bool_]) -> list[str]:
    found = agreement(tools.hashes[item.real], valid, tools.table) >= tools.rules.near_duplicate
    return [tools.pool.photos[int(n)] for n in found.nonzero()[0]]


def _pairs(matches: Sequence[Match]) -> list[list[float]]:
    best = sorted(matches, key=lambda m: (-m.content, m.query_patch, m.photo_patch))[:PAIRS_KEPT]
    return [[m.query_patch, m.photo_patch, round(m.content, 6), round(m.appearance, 6)] for m in best]


def _entry(candidate: Candidate) -> dict[str, object]:
    return {
        "photo": candidate.photo.id,
        "content": round(candidate.content, 6),
        "coverage": round(candidate.coverage, 6),
        "illumination": round(candidate.illumination, 6),
        "content_matches": _pairs(candidate.content_matches),
        "illumination_matches": _pairs(candidate.illumination_matches),
    }


def _line(item: Triple, found: Candidates, excluded: dict[str, str], rules: ListRules) -> str:
    """One composite's answer. The band of other light is cut out before the cap."""
    below = rules.appearance_below
    chosen = [c for c in found.items if below is None or c.illumination < below][: rules.top_k]
    counts = Counter(excluded.values())
    return json.dumps(
        {
            "input": item.composite,
            "mask": item.mask,
            "refs": [_entry(candidate) for candidate in chosen],
            "considered": found.considered,
            "qualified": found.qualified,
            "excluded": {rule: counts.get(rule, 0) for rule in RULES},
        }
    )


def _batches(items: Sequence[Triple], size: int) -> Iterator[Sequence[Triple]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def answer_all(
    items: Sequence[Triple],
    tools: QueryResources,
    part: Path,
    *,
    workers: int,
    batch_size: int,
    progress: Callable[[int], object],
) -> None:
    """Answer the composites in batches, one pass over the gallery each; append a line for every one.

    Raises: ValueError naming the composite that cannot be read or encoded.
    """
    rules = tools.rules
    with ThreadPoolExecutor(max_workers=workers) as pool:
        for batch in _batches(items, batch_size):
            loaded = list(pool.map(lambda item: _loaded(tools, item), batch))
            found = search_many(
                tools.gallery,
                [query for query, _ in loaded],
                # a cap must not hide the band of other light, nor the draw be taken outside of it
                top_k=None if rules.appearance_below is not None else rules.top_k,
                one_place=False,  # the paper's own rule
                seed=rules.seed,
                content_threshold=rules.content_threshold,
                appearance_threshold=rules.appearance_threshold,
                exclude=[Exclusion(ids=list(excluded)) for _, excluded in loaded],
                searcher=tools.searcher,
            )
            lines = [
                _line(item, answer, excluded, rules)
                for item, answer, (_, excluded) in zip(batch, found, loaded, strict=True)
            ]
            append_lines(part, lines)
            progress(len(batch))


def read_parts(folder: Path) -> dict[str, dict]:  # type: ignore[type-arg]
    """Input -> answer of every whole line in `folder`; lines that a kill cut short are left out."""
    answers = {}
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").split("\n")[:-1]:
            try:
                row = json.loads(line)
            except ValueError:
                continue  # a torn line, closed by the next append
            answers[row["input"]] = row
    return answers
