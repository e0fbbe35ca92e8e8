"""How well a reference's patches match an object, in one number: of what retrieval found, or of a batch.

Shapes: B composites, K references, D content numbers, h x w the composite's size.
"""

import math

import torch
from torch import Tensor

from .. import masks
from .references import ReferenceBatch

WORST_MATCH = 0.05  # what qualifies keeps some say, however weak its best pair


def match_quality(content: float, coverage: float, illumination: float) -> float:
    """How well a reference matches, 0..1; rises with each of the three.

    object = content * (1 + coverage) / 2: a photo that shows one part of the object well counts half.
    The result is the geometric mean of object and illumination, or the object alone where no light was
    compared (NaN). 1 only for a photo in which everything is found again.

    Args:
        content: best cosine of the object's patches; illumination: best cosine of histograms of the
            background's. Both are taken as at least `WORST_MATCH` and at most 1.
        coverage: share of the object's patches with a partner, 0..1.
    """
    shown = min(max(content, WORST_MATCH), 1.0) * (1 + coverage) / 2
    if math.isnan(illumination):
        return shown
    return math.sqrt(shown * min(max(illumination, WORST_MATCH), 1.0))


@torch.no_grad()
def batch_match_quality(mask: Tensor, content: Tensor | None, references: ReferenceBatch) -> Tensor:
    """The same from a network's own inputs, so that it means one thing in training and in use: (B, K), 0..1.

    No light is compared. Without features nothing is known of the match, and every reference has 1.
    Args: mask (B, 1, h, w), values 0..1; content: patch features of the composites (B, D, g, g).
    """
    present = references.present.to(mask.device)
    if content is None or references.content is None or references.spec is None or mask.is_meta:
        return present.to(mask.dtype)
    own = masks.foreground_patches(mask, content.shape[-1]).to(content.device)  # (B, P)
    cosine = torch.einsum(
        "bdp,bkdq->bkpq", content.float().flatten(2), references.content.to(content).float().flatten(3)
    )
    partner = cosine.amax(3)  # (B, K, P): of each patch of the composite
    best = partner.masked_fill(~own[:, None], -1).amax(2).clamp(WORST_MATCH, 1.0)
    matched = (partner >= references.spec.content_threshold) & own[:, None]
    coverage = matched.sum(2) / own.sum(1).clamp_min(1)[:, None]
    return (best * (1 + coverage) / 2 * present.to(best.device)).to(mask.device)
