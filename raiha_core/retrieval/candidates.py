"""The answer of a search, with the reasons for it, and the references that a harmonizer is guided by.

Shapes: P patches, D content numbers, K histogram bins, G patches per side.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from einops import rearrange
from torch import Tensor

from ..features.patches import PatchFeatures
from ..features.references import Match, Reference
from ..features.spec import FeatureSpec, differences
from ..gallery.manifest import Photo
from ..gallery.protocol import Gallery, PatchEncoder
from .query import Query
from .ranking import Hit, rank_light


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """One photo that qualifies, and which of its patches speak for it."""

    photo: Photo
    row: int  # of `gallery.photos`
    score: float  # 0..1, never rises along the order (`ranking.rank_score`, `likeness`)
    content: float  # best cosine over object x photo patches
    coverage: float  # share of the object's patches with a partner at >= the content threshold
    # best appearance cosine among the pairs of eq. 5, or the light of `likeness`; NaN where it was not asked
    illumination: float
    content_matches: tuple[Match, ...]  # best partner of each object patch that has one
    illumination_matches: tuple[Match, ...]  # best pair of each background patch that has one, capped
    similarity_margin: tuple[
        float, ...
    ] = ()  # of the photo's patches to the object rather than its background
    object_pairs: tuple[Match, ...] = ()  # best partner of every object patch
    background_pairs: tuple[Match, ...] = ()  # and of every background patch

    @property
    def light(self) -> float:
        """`illumination` as it ranks: in thousandths; NaN where it was not asked."""
        return rank_light(self.illumination)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Candidates:
    """The photos that answer one query, best first or in the order of the random draw."""

    gallery: Gallery
    spec: FeatureSpec
    items: Sequence[Candidate]  # `Explained`, where a search made them
    by: str  # "both", "content", "illumination" or "likeness"
    content_threshold: float
    appearance_threshold: float
    considered: int  # photos that were compared
    qualified: int  # photos that qualify, of which `items` may be the first few
    excluded: int  # photos left out by hash, id or group
    grid: int  # G
    query: Query  # what was searched for, with the composite's features
    notes: tuple[str, ...]  # why something is empty or ignored

    def __len__(self) -> int:
        return len(self.items)

    @property
    def hits(self) -> Sequence[Hit | Candidate]:
        """Rows, light and what else ranks, without the reasons."""
        return getattr(self.items, "hits", self.items)

    @property
    def rows(self) -> list[int]:
        """Of `gallery.photos`, in the order of `items`."""
        return [hit.row for hit in self.hits]


def references(candidates: Candidates, *, encoder: PatchEncoder | None = None) -> tuple[Reference, ...]:
    """The candidates with their pixels and features, as `pipeline.harmonize` takes them.

    Args:
        encoder: computes the features anew where its feature space is not the gallery's, for a model
            that needs another one. Otherwise they come from the gallery, rounded to float16.
    Raises: OSError or ValueError naming a photo that is gone or is no longer the file that was indexed.
    """
    if not candidates.items:
        return ()
    stored = candidates.gallery.gather(candidates.rows)
    other = encoder if encoder is not None and differences(encoder.spec, candidates.spec) else None
    found = []
    for index, item in enumerate(candidates.items):
        image = candidates.gallery.load(item.row)
        features = (
            other.encode(image)
            if other is not None
            else _features(stored.content[index], stored.histogram[index], candidates.spec)
        )
        # indices of patches mean nothing on another encoder's grid
        same = features.spec.grid == candidates.grid
        found.append(
            Reference(
                id=item.photo.id,
                image=image,
                score=item.score,
                features=features,
                content_matches=item.content_matches if same else (),
                illumination_matches=item.illumination_matches if same else (),
                similarity_margin=item.similarity_margin if same else (),
                object_pairs=item.object_pairs if same else (),
                background_pairs=item.background_pairs if same else (),
            )
        )
    return tuple(found)


def _features(content: Tensor, histogram: Tensor, spec: FeatureSpec) -> PatchFeatures:
    """(P, D) float16 and (P, K) uint8 -> features of batch 1, as far as the store keeps them."""
    maps = [rearrange(part.float(), "(h w) d -> 1 d h w", h=spec.grid) for part in (content, histogram)]
    return PatchFeatures(maps[0], maps[1], spec)
