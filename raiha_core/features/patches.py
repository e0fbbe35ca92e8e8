"""Patch features of pictures, and the rounded form in which they are stored and compared.

Shapes: B images, D numbers per patch, h x w patch grid, P = h * w patches, K histogram bins.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..value_reading import may_read
from .spec import FeatureSpec

_EPSILON = 1e-12  # a constant patch has a zero vector; it stays zero and has cosine 0 with everything


@dataclass(frozen=True, slots=True)
class PatchFeatures:
    """Content and appearance of each patch, in the space that `spec` names.

    `content` has length 1 per patch (or 0); `appearance` holds HSV histogram counts, >= 0.
    """

    content: Tensor  # (B, D, h, w) float32
    appearance: Tensor  # (B, K, h, w) float32
    spec: FeatureSpec

    def __post_init__(self) -> None:
        grid = (self.spec.grid, self.spec.grid)
        if self.content.shape[1:] != (self.spec.dim, *grid):
            raise ValueError(f"content {tuple(self.content.shape)} is not of the spec {self.spec.name}")
        if self.appearance.shape[1:] != (self.spec.histogram.bins, *grid):
            raise ValueError(f"appearance {tuple(self.appearance.shape)} is not of {self.spec.name}")
        if not may_read(self.content):
            return
        if not torch.isfinite(self.content).all() or not torch.isfinite(self.appearance).all():
            raise ValueError("the features hold NaN or infinite values")

    def __len__(self) -> int:
        return len(self.content)


@dataclass(frozen=True, slots=True)
class StoredPatches:
    """The rounded features: what a gallery keeps, and the truth that eqs. 3 and 5 are about.

    content cosine    = plain dot product of the float16 vectors (no division);
    appearance cosine = dot product of the uint8 counts over the product of their norms.
    """

    content: Tensor  # (B, P, D) float16
    histogram: Tensor  # (B, P, K) uint8


def normalise(vectors: Tensor, dim: int) -> Tensor:
    """Unit length along `dim`; a zero vector stays zero."""
    return vectors / vectors.norm(dim=dim, keepdim=True).clamp_min(_EPSILON)


def store(features: PatchFeatures) -> StoredPatches:
    """Round to the storage types. Each histogram is scaled so that its largest bin is 255."""
    content = features.content.flatten(2).transpose(1, 2).to(torch.float16)  # (B, P, D)
    counts = features.appearance.flatten(2).transpose(1, 2)  # (B, P, K)
    top = counts.amax(2, keepdim=True).clamp_min(_EPSILON)
    histogram = (counts / top * 255).round().to(torch.uint8)
    return StoredPatches(content.contiguous().cpu(), histogram.contiguous().cpu())
