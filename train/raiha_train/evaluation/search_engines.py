"""What can answer a content or joint search, each as one call: brute force, faiss (if installed), ours.

Shapes: N photos of P patches, D content numbers.
"""

import importlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from raiha_core.features.patches import normalise
from raiha_core.gallery.protocol import Gallery
from raiha_core.retrieval.kernel import CHOICE, LEVELS, kernel
from raiha_core.retrieval.query import Query
from raiha_core.retrieval.ranking import Hit
from raiha_core.retrieval.request import Request
from raiha_core.retrieval.scan import scan

PHOTOS_AT_ONCE = 32  # photos per step of the brute force; the fastest of 16, 32, 64, 128 here
MOST_FLAT = 6000  # photos of a flat faiss index: 184 KB each in float32
LISTS, TRAINED_ON = 512, 100_000  # of faiss' IVF, and patches that its centres are fitted to
PROBES = (8, 32, 128)

EngineAnswer = list[Hit] | Tensor  # hits in order, or only which photos qualify, (N,) bool
Search = Callable[[Query, Request], EngineAnswer]


@dataclass(frozen=True, slots=True)
class SearchEngine:
    """One way to search a gallery."""

    name: str
    search: Search
    megabytes: float  # of what it reads beside the gallery's own features
    by: tuple[str, ...] = ("content", "both")


def brute_force(gallery: Gallery, query: Query, by: str, eps_c: float, eps_a: float) -> Tensor:
    """What one would write first: every product in float32, then compare and reduce. Returns: (N,) bool."""
    objects, behind = query.content[query.foreground].float(), query.content[query.background].float()
    colours = normalise(query.histogram[query.background].float(), 1)
    found = []
    buffer = torch.empty(PHOTOS_AT_ONCE * gallery.spec.patches, gallery.spec.dim)
    for block in gallery.blocks(PHOTOS_AT_ONCE):
        shape = (-1, len(block), gallery.spec.patches)
        wide = buffer[: len(block) * gallery.spec.patches].copy_(block.content.flatten(0, 1))
        good = (objects @ wide.T).view(shape).amax(2).amax(0) >= eps_c
        if by == "both":
            light = normalise(block.histogram.flatten(0, 1).float(), 1)
            pairs = (behind @ wide.T >= eps_c) & (colours @ light.T >= eps_a)
            good &= pairs.view(shape).any(2).any(0)
        found.append(good)
    return torch.cat(found)


@contextmanager
def _running(choice: str) -> Iterator[None]:
    before = os.environ.get(CHOICE)
    os.environ[CHOICE] = choice
    try:
        yield
    finally:
        os.environ.pop(CHOICE)
        if before is not None:
            os.environ[CHOICE] = before


def _scanned(gallery: Gallery, allowed: Tensor | None = None) -> Search:
    everyone = torch.ones(1, len(gallery), dtype=torch.bool) if allowed is None else allowed[None]
    return lambda query, request: scan(gallery, [query], request, everyone)[0]


def _by(choice: str, gallery: Gallery) -> Search:
    search = _scanned(gallery)

    def run(query: Query, request: Request) -> EngineAnswer:
        with _running(choice):
            return search(query, request)

    return run


def levels() -> list[str]:
    """ "torch", and the level of the kernel that runs here, if one does."""
    with _running(""):
        found = kernel()
    return ["torch", *([] if found is None else [LEVELS[found.level]])]


def _faiss_engines(gallery: Gallery, probes: Sequence[int]) -> Iterator[SearchEngine]:
    """Candidates by faiss' range search, the set re-checked exactly: content only."""
    try:
        faiss = importlib.import_module("faiss")
    except ImportError:
        return
    faiss.omp_set_num_threads(torch.get_num_threads())
    dim, patches = gallery.spec.dim, gallery.spec.patches
    blocks = list(range(0, len(gallery), 512))

    def vectors(start: int) -> np.ndarray:
        rows = range(start, min(start + 512, len(gallery)))
        return gallery.gather(rows).content.flatten(0, 1).float().numpy()

    def engine(name: str, index: object, prepare: Callable[[], None], bytes_each: int) -> SearchEngine:
        def run(query: Query, request: Request) -> EngineAnswer:
            prepare()
            asked = query.content[query.foreground].float().numpy()
            _, _, ids = index.range_search(asked, request.content_threshold - 1e-3)  # type: ignore[attr-defined]
            allowed = torch.zeros(len(gallery), dtype=torch.bool)
            allowed[np.unique(ids // patches)] = True
            return _scanned(gallery, allowed)(query, request)

        return SearchEngine(name, run, len(gallery) * patches * bytes_each / 1e6, ("content",))

    if len(gallery) <= MOST_FLAT:
        flat = faiss.IndexFlatIP(dim)
        for start in blocks:
            flat.add(vectors(start))
        yield engine("faiss flat", flat, lambda: None, 4 * dim)
        del flat
    coarse = faiss.IndexFlatIP(dim)
    half = faiss.ScalarQuantizer.QT_fp16
    index = faiss.IndexIVFScalarQuantizer(coarse, dim, LISTS, half, faiss.METRIC_INNER_PRODUCT)
    some = np.linspace(0, len(gallery) - 1, min(len(gallery), TRAINED_ON // patches)).astype(int)
    index.train(gallery.gather(some.tolist()).content.flatten(0, 1).float().numpy())
    for start in blocks:
        index.add(vectors(start))
    for probe in probes:
        name = f"faiss IVF{LISTS}, {probe} probes"
        yield engine(name, index, lambda probe=probe: setattr(index, "nprobe", probe), 2 * dim + 8)


def engines(
    gallery: Gallery, *, faiss: bool = True, probes: Sequence[int] = PROBES
) -> Iterator[SearchEngine]:
    """Brute force first, then ours, then faiss where it is installed."""
    index = gallery.index
    assert index is not None, "the gallery of a bench has its index"

    def brute(query: Query, request: Request) -> EngineAnswer:
        return brute_force(
            gallery, query, request.by, request.content_threshold, request.appearance_threshold
        )

    yield SearchEngine("brute force", brute, 0.0)
    size = len(gallery) * gallery.spec.patches * index.rotation.columns / 1e6
    for level in levels():
        yield SearchEngine(f"ours, {level}", _by(level, gallery), size)
    if faiss:
        yield from _faiss_engines(gallery, probes)
