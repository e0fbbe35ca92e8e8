"""Small galleries of given numbers for the retrieval tests: no encoder, no pictures."""

from collections.abc import Sequence

import torch
from torch import Tensor

from raiha_core.features.patches import StoredPatches
from raiha_core.features.spec import FeatureSpec, HistogramSpec
from raiha_core.gallery.manifest import Photo
from raiha_core.gallery.memory import MemoryGallery
from raiha_core.retrieval import oracle
from raiha_core.retrieval.query import Query


def make_spec(grid: int = 3, dim: int = 8, **changes: object) -> FeatureSpec:
    fields: dict = {
        "name": f"toy-{grid}x{grid}x{dim}",
        "encoder": "toy",
        "layer": "none",
        "input_size": 32 * grid,
        "grid": grid,
        "dim": dim,
        "weights": "0",
        "histogram": HistogramSpec(hue=4, saturation=2, value=3),
        "content_threshold": 0.6,
        "threshold_source": "chosen for the tests",
    }
    return FeatureSpec(**{**fields, **changes})


def make_gallery(
    spec: FeatureSpec,
    content: Tensor,
    histogram: Tensor,
    *,
    ids: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    hashes: Sequence[str] | None = None,
    name: str = "toy gallery",
) -> MemoryGallery:
    """content (N, P, D) and histogram (N, P, K), rounded here; rows are sorted by id."""
    count = len(content)
    ids = [f"{n:04d}.png" for n in range(count)] if ids is None else ids
    order = sorted(range(count), key=ids.__getitem__)
    photos = [
        Photo(
            id=ids[n],
            path="",
            size=1,
            mtime_ns=0,
            sha256=hashes[n] if hashes else f"hash-{ids[n]}",
            width=32,
            height=32,
            group=groups[n] if groups else "",
        )
        for n in order
    ]
    patches = StoredPatches(content[order].to(torch.float16), histogram[order].to(torch.uint8))
    images = [torch.full((1, 3, 32, 32), 0.5) for _ in order]
    return MemoryGallery(name, spec, photos, images, patches)


def random_patches(spec: FeatureSpec, count: int, seed: int, spread: float = 0.7) -> tuple[Tensor, Tensor]:
    """Unit vectors around a few centres, so that cosines of all sizes occur, and sparse histograms."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(4, spec.dim, generator=generator)
    chosen = torch.randint(4, (count, spec.patches), generator=generator)
    content = centres[chosen] + spread * torch.randn(count, spec.patches, spec.dim, generator=generator)
    content = content / content.norm(dim=2, keepdim=True)
    histogram = torch.rand(count, spec.patches, spec.histogram.bins, generator=generator) ** 4 * 255
    return content.to(torch.float16), histogram.round().to(torch.uint8)


def make_query(spec: FeatureSpec, content: Tensor, histogram: Tensor, foreground: Sequence[int]) -> Query:
    """The patches (P, D) and (P, K) of one photo; patches that are not named are background."""
    flags = torch.zeros(spec.patches, dtype=torch.bool)
    flags[list(foreground)] = True
    return Query(
        id="q",
        spec=spec,
        content=content.to(torch.float16),
        histogram=histogram.to(torch.uint8),
        foreground=flags,
        background=~flags,
    )


def true_set(query: Query, gallery: MemoryGallery, by: str, eps_c: float, eps_a: float) -> list[str]:
    """The qualifying ids by the oracle, ascending."""
    block = gallery.gather(range(len(gallery)))
    found = []
    for row, photo in enumerate(gallery.photos):
        content, histogram = block.content[row], block.histogram[row]
        similar = by == "illumination" or oracle.matches_content(query, content, eps_c)
        if similar and (
            by == "content" or oracle.matches_illumination(query, content, histogram, eps_c, eps_a)
        ):
            found.append(photo.id)
    return found
