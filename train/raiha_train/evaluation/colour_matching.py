"""What artists use today, as a baseline: the object's colours matched to its background's.

The linear Monge-Kantorovich map: of all linear maps that give the object the background's mean and covariance
of red, green and blue, the one that moves colours least. `mkl` is all of it, `mkl-half` half of the way.
Source: Pitie and Kokaram, "The linear Monge-Kantorovitch linear colour mapping for example-based colour
transfer", CVMP 2007.
Shapes: B composites of H x W.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from raiha_core.features.encoders import Encoder
from raiha_core.features.patches import PatchFeatures
from raiha_core.features.references import Reference
from raiha_core.harmonizer import Harmonizer, load_harmonizer
from raiha_core.render import Prediction

STRENGTHS = {"mkl": 1.0, "mkl-half": 0.5}
_FLAT = 1e-6  # of a range of 1: added to variances, so that a flat object has a map


class ColourMatching(Harmonizer):
    """A global affine map of sRGB; it knows no references."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.share = STRENGTHS[name]

    def predict(
        self,
        composite: Tensor,
        mask: Tensor,
        references: Sequence[Sequence[Reference]],
        *,
        encoder: Encoder | None = None,
        features: PatchFeatures | None = None,
    ) -> Prediction:
        inside, outside = (_moments(composite, region) for region in (mask, 1 - mask))
        matrix = monge_map(inside[1], outside[1])
        offset = outside[0] - (matrix @ inside[0][..., None])[..., 0]
        change = matrix - torch.eye(3, dtype=matrix.dtype, device=matrix.device)
        parameters = torch.cat((change.flatten(1), offset), 1) * self.share
        return Prediction(affine=parameters.float()[..., None, None])


def _moments(image: Tensor, region: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (B, 3) and covariance (B, 3, 3) of the colours in a region, float64."""
    pixels, weight = image.double().flatten(2), region.double().flatten(2)
    share = weight / weight.sum(2, keepdim=True).clamp_min(1e-12)
    mean = (pixels * share).sum(2)
    centred = pixels - mean[..., None]
    return mean, (centred * share) @ centred.mT


def monge_map(first: Tensor, second: Tensor) -> Tensor:
    """The symmetric map that turns colours of the first covariance into ones of the second: (B, 3, 3)."""
    flat = _FLAT * torch.eye(3, dtype=first.dtype, device=first.device)
    root = _root(first + flat)
    inverse = torch.linalg.inv(root)
    return inverse @ _root(root @ (second + flat) @ root) @ inverse


def _root(matrix: Tensor) -> Tensor:
    """The symmetric square root of a symmetric positive matrix."""
    values, vectors = torch.linalg.eigh((matrix + matrix.mT) / 2)
    return vectors @ torch.diag_embed(values.clamp_min(0).sqrt()) @ vectors.mT


def load_model(name_or_file: str, device: torch.device) -> Harmonizer:
    """A baseline by its name, else what `load_harmonizer` gives. Raises: as that one."""
    if name_or_file in STRENGTHS:
        return ColourMatching(name_or_file)
    return load_harmonizer(name_or_file, device)
