"""The one call behind the retrieval nodes, the command line, the RAHarmony4 builder and the trainer."""

import warnings
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..features.encoders import build_encoder
from ..features.patches import PatchFeatures
from ..features.spec import require_same_space
from ..gallery.memory import picture_digest
from ..gallery.protocol import Gallery, PatchEncoder
from ..islands import without_specks
from ..mask_meaning import MaskWarning, understand
from ..precision import has_double
from .answer import Asked, Rule, answer, answer_in_order
from .candidates import Candidate, Candidates, references
from .exclusion import Exclusion, NamedPhotos
from .likeness import in_order
from .parted_search import Searcher, SearchWork, searcher_of
from .query import Query, make_query, query_from_patches
from .request import LIKENESS, Request
from .scan import BLOCK

__all__ = [
    "Candidate",
    "Candidates",
    "Exclusion",
    "Query",
    "make_query",
    "query_from_patches",
    "references",
    "search",
    "search_many",
]


def search_many(
    gallery: Gallery,
    queries: Sequence[Query],
    *,
    by: str = "both",
    top_k: int | None = 4,
    seed: int | None = None,
    content_threshold: float | None = None,
    appearance_threshold: float | None = None,
    exclude: Sequence[Exclusion] | Exclusion | None = None,
    within: Sequence[Candidates] | None = None,
    one_place: bool = True,
    available: bool = False,
    block: int = BLOCK,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] | None = None,
    searcher: Searcher | None = None,
) -> list[Candidates]:
    """References for many composites in one pass over the gallery; each answer is that of `search`.

    Memory grows by one byte per query and photo, and by what qualifies: for all-pairs jobs, ask a few
    thousand queries at a time.

    Args:
        by: "content" is eq. 3, "illumination" eq. 5, "both" photos that pass the two; "likeness" ranks all
            photos as `likeness` defines it, and the thresholds only say which pairs are shown.
        top_k: how many of the qualifying photos to keep; None keeps all.
        seed: draw at random among those that qualify, as the paper does, instead of ranking.
        content_threshold, appearance_threshold: in (0, 1]; None takes those of the gallery's spec.
        exclude: for all queries, or one for each.
        within: earlier answers, one for each query, whose `items` are the only photos considered.
        one_place: of photos of one shot (copies, other formats and sizes, frames of a burst) only the best
            is taken. A random draw, and an answer of all that qualify (`top_k` None), takes them all.
        available: photos that are gone or changed are passed over; `notes` name them.
        block: photos compared at once; changes speed and memory only.
        progress: called with (photos done, photos in all); what it raises ends the search.
        searcher: goes through the photos; None: this process.
    Raises: ValueError for a threshold outside (0, 1], a query of another feature space (naming both),
        `within` of another gallery, or a gallery that holds NaN.
    """
    rule = Rule(top_k=top_k, seed=seed, one_place=one_place, available=available)
    spec = gallery.spec
    request = Request(
        by=by,
        content_threshold=spec.content_threshold if content_threshold is None else content_threshold,
        appearance_threshold=(
            spec.appearance_threshold if appearance_threshold is None else appearance_threshold
        ),
    )
    for query in queries:
        require_same_space(
            query.spec, spec, f"the query '{query.id}'" if query.id else "the query", f"'{gallery.name}'"
        )
    allowed, each = _asked(gallery, queries, request, exclude, within)
    if not has_double(torch.device(device)):  # what lies near a threshold is computed in it
        device = "cpu"
    work = SearchWork(queries=queries, request=request, block=block, device=device)
    return _answers(searcher or searcher_of(gallery), gallery, work, allowed, each, rule, progress)


def _answers(
    searcher: Searcher,
    gallery: Gallery,
    work: SearchWork,
    allowed: Tensor,
    each: Sequence[Asked],
    rule: Rule,
    progress: Callable[[int, int], None] | None,
) -> list[Candidates]:
    if work.request.by == LIKENESS:
        bounds = searcher.bounds(gallery, work, allowed, progress)
        return [_ranked(asked, row, rule) for asked, row in zip(each, bounds, strict=True)]
    found = searcher.scan(gallery, work, allowed, progress)
    return [answer(asked, hits, rule) for asked, hits in zip(each, found, strict=True)]


def _asked(
    gallery: Gallery,
    queries: Sequence[Query],
    request: Request,
    exclude: Sequence[Exclusion] | Exclusion | None,
    within: Sequence[Candidates] | None,
) -> tuple[Tensor, list[Asked]]:
    """Which photos each query may take, (queries, photos) bool, and all that decided it."""
    earlier = _earlier(gallery, queries, within)
    allowed, notes, excluded = _allowed(gallery, queries, _per_query(exclude, len(queries)), earlier)
    each = [
        Asked(gallery, query, request, before, int(row.sum()), left_out, tuple(said))
        for query, before, row, left_out, said in zip(queries, earlier, allowed, excluded, notes, strict=True)
    ]
    return allowed, each


def _ranked(asked: Asked, bounds: NDArray[np.float64], rule: Rule) -> Candidates:
    hits = in_order(asked.gallery, asked.query, bounds, asked.request.content_threshold)
    return answer_in_order(asked, hits, rule)


def search(
    gallery: Gallery,
    composite: Tensor,
    mask: Tensor,
    *,
    encoder: PatchEncoder | None = None,
    features: PatchFeatures | None = None,
    by: str = "both",
    top_k: int | None = 4,
    seed: int | None = None,
    content_threshold: float | None = None,
    appearance_threshold: float | None = None,
    exclude_sha256: Collection[str] = (),
    exclude_groups: Collection[str] = (),
    exclude_ids: Collection[str] = (),
    query_id: str = "",
    within: Candidates | None = None,
    one_place: bool = True,
    available: bool = True,
    device: torch.device | str | None = None,
    progress: Callable[[int, int], None] | None = None,
    searcher: Searcher | None = None,
) -> Candidates:
    """Photos that show similar content, under a light that agrees with the background (eqs. 1-5).

    Two calls, content and then illumination `within` it (or the reverse), give what one call `by="both"`
    gives, provided that the first keeps all (`top_k=None`) and the thresholds are the same.

    Args:
        composite: sRGB (1, 3, H, W), values 0..1. mask: (1, 1, H, W), 1 = object.
        encoder, features: what the composite's patches come from; with neither, the gallery's encoder.
        query_id: with `seed`, decides the random draw.
        Others as in `search_many`; a gallery of pictures in memory gives never the composite itself.
    Returns: at most top_k photos, best first; `notes` say why there are none. A mask without any
        background patch finds nothing in light, but content still works.
    Raises: ValueError as `search_many`, and for an empty mask, NaN, or shapes that disagree.
    """
    if encoder is None and features is None:
        encoder = build_encoder(gallery.spec.encoder, device=device or "cpu")
    _require_space_of(gallery, encoder, features)
    exclusion = Exclusion(sha256=exclude_sha256, groups=exclude_groups, ids=exclude_ids)
    only_encoder = encoder if features is None else None
    meant = _understood(composite, mask)
    query = make_query(composite, meant, encoder=only_encoder, features=features, query_id=query_id)
    return search_many(
        gallery,
        [query],
        by=by,
        top_k=top_k,
        seed=seed,
        content_threshold=content_threshold,
        appearance_threshold=appearance_threshold,
        exclude=replace(exclusion, sha256={*exclusion.sha256, picture_digest(composite)}),
        within=None if within is None else [within],
        one_place=one_place,
        available=available,
        device=device or "cpu",
        progress=progress,
        searcher=searcher,
    )[0]


def _require_space_of(gallery: Gallery, encoder: PatchEncoder | None, features: PatchFeatures | None) -> None:
    """Before the composite is encoded in vain. Raises: ValueError naming both spaces."""
    for given, name in ((encoder, "the encoder"), (features, "the composite")):
        if given is not None:
            require_same_space(given.spec, gallery.spec, name, f"'{gallery.name}'")


def _understood(composite: Tensor, mask: Tensor) -> Tensor:
    """The mask as it is meant, with a warning where that is not as it came.

    Without specks, of which each would take a patch from the background.
    """
    meant = understand(composite, mask)
    for note in meant.notes:
        warnings.warn(note, MaskWarning, stacklevel=3)
    return without_specks(meant.mask)


def _per_query(exclude: Sequence[Exclusion] | Exclusion | None, count: int) -> list[Exclusion]:
    if exclude is None or isinstance(exclude, Exclusion):
        return [exclude or Exclusion()] * count
    if len(exclude) != count:
        raise ValueError(f"{len(exclude)} exclusions for {count} queries")
    return list(exclude)


def _earlier(
    gallery: Gallery, queries: Sequence[Query], within: Sequence[Candidates] | None
) -> list[Candidates | None]:
    if within is None:
        return [None] * len(queries)
    if len(within) != len(queries):
        raise ValueError(f"{len(within)} earlier answers for {len(queries)} queries")
    for candidates in within:
        if candidates.gallery.fingerprint != gallery.fingerprint:
            raise ValueError(
                f"the candidates come from '{candidates.gallery.name}', which is not '{gallery.name}' "
                "as it is now: search again from the start"
            )
    return list(within)


def _allowed(
    gallery: Gallery,
    queries: Sequence[Query],
    exclusions: Sequence[Exclusion],
    earlier: Sequence[Candidates | None],
) -> tuple[Tensor, list[list[str]], list[int]]:
    """(queries, photos) bool, notes, and how many photos each query's exclusion removed."""
    allowed = torch.ones(len(queries), len(gallery), dtype=torch.bool)
    notes: list[list[str]] = []
    excluded = []
    table = NamedPhotos(gallery, exclusions) if any(exclusions) else None
    for query, (exclusion, before) in enumerate(zip(exclusions, earlier, strict=True)):
        if before is not None:
            allowed[query] = False
            allowed[query, before.rows] = True
        candidates = int(allowed[query].sum())
        said: list[str] = []
        if table is not None and exclusion:
            rows, said = table.excluded(exclusion)
            allowed[query, rows] = False
        excluded.append(candidates - int(allowed[query].sum()))
        notes.append(said)
    return allowed, notes, excluded
