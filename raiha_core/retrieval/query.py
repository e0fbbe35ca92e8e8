"""What is searched for: the rounded patches of one composite, and which of them are object and background.

Shapes: P patches, D content numbers per patch, K histogram bins.
"""

import hashlib
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..background import background_patches
from ..features.patches import PatchFeatures, store
from ..features.spec import FeatureSpec
from ..gallery.protocol import PatchEncoder
from ..masks import check_pair, foreground_patches

# Unit vectors are at most 1 + 5e-4 long after rounding to float16. The error bounds of `exact.py`
# need some limit; a longer vector means that nobody normalised it.
LONGEST = 1.01


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Query:
    """One composite as eqs. 3 and 5 see it. `id` seeds the random draw and names it in messages."""

    id: str
    spec: FeatureSpec
    content: Tensor  # (P, D) float16
    histogram: Tensor  # (P, K) uint8
    foreground: Tensor  # (P,) bool: patches of the object
    background: Tensor  # (P,) bool: patches that the mask does not touch
    features: PatchFeatures | None = None  # unrounded, for a network that reads them too; None: unknown

    def __post_init__(self) -> None:
        patches = self.spec.patches
        if self.content.shape != (patches, self.spec.dim) or self.content.dtype != torch.float16:
            raise ValueError(f"query content {tuple(self.content.shape)} is not of {self.spec.name}")
        if self.histogram.shape != (patches, self.spec.histogram.bins):
            raise ValueError(f"query histograms {tuple(self.histogram.shape)} are not of {self.spec.name}")
        if self.histogram.dtype != torch.uint8:
            raise ValueError(f"query histograms are {self.histogram.dtype}, not uint8")
        if not torch.isfinite(self.content).all():
            raise ValueError(f"the features of query '{self.id}' hold NaN or infinite values")
        if (longest := self.content.double().norm(dim=1).amax().item()) > LONGEST:
            raise ValueError(f"the features of query '{self.id}' are not normalised: length {longest:g}")
        if not self.foreground.any():
            raise ValueError("the mask is empty: there is no object to find references for")

    @property
    def digest(self) -> str:
        """Changes with anything that a search result depends on, apart from `id`."""
        parts = (self.content, self.histogram, self.foreground, self.background)
        data = b"".join(part.contiguous().numpy().tobytes() for part in parts)
        return hashlib.sha256(self.spec.name.encode() + data).hexdigest()[:16]


def query_from_patches(
    content: Tensor, histogram: Tensor, mask: Tensor, spec: FeatureSpec, *, query_id: str = ""
) -> Query:
    """A query from rounded patches, e.g. those of a photo that a gallery holds already.

    Args:
        content: (P, D) float16. histogram: (P, K) uint8.
        mask: (1, 1, H, W), values 0..1, of any size: only its share per patch matters.
    Raises: ValueError for an empty mask, or patches that are not of `spec`.
    """
    if mask.ndim != 4 or mask.shape[:2] != (1, 1):
        raise ValueError(f"a query has one mask (1, 1, H, W), got {tuple(mask.shape)}")
    mask = mask.cpu()
    return Query(
        id=query_id,
        spec=spec,
        content=content.cpu(),
        histogram=histogram.cpu(),
        foreground=foreground_patches(mask, spec.grid)[0],
        background=background_patches(mask, spec.grid)[0],
    )


def make_query(
    composite: Tensor,
    mask: Tensor,
    *,
    encoder: PatchEncoder | None = None,
    features: PatchFeatures | None = None,
    query_id: str = "",
) -> Query:
    """The query of one composite, from its features or from an encoder that computes them.

    Args:
        composite: sRGB (1, 3, H, W), values 0..1. mask: (1, 1, H, W), values 0..1.
        encoder, features: exactly one of the two; `features` has batch 1.
        query_id: names the composite; with a seed it also decides the random draw.
    Raises: ValueError for an empty mask, NaN, shapes that disagree, or a batch of several.
    """
    composite, mask = check_pair(composite, mask)
    if len(composite) != 1:
        raise ValueError(f"retrieval takes one composite at a time, got a batch of {len(composite)}")
    if mask.amax() == 0:  # said before the encoder is paid for
        raise ValueError("the mask is empty: there is no object to find references for")
    if (encoder is None) == (features is None):
        raise ValueError("give either an encoder or the composite's features")
    if features is None:
        assert encoder is not None
        features = encoder.encode(composite)
    if len(features) != 1:
        raise ValueError(f"the features are of {len(features)} composites, not of one")
    rounded = store(features)
    query = query_from_patches(
        rounded.content[0], rounded.histogram[0], mask, features.spec, query_id=query_id
    )
    return replace(query, features=features)
