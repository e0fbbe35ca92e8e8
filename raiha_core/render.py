"""From a harmonizer's prediction to pixels, at the photo's own size: the only place that writes pixels.

Shapes: B images; h x w is the network's size, H x W the photo's.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """What a harmonizer says about the look of the object. Steps that are None are skipped.

    Order of application: `lab`, then `affine`, or `dense` alone.
    """

    lab: "LabTransfer | None" = None  # global statistics transfer, exact at every size
    affine: Tensor | None = None  # (B, 12, h, w) or (B, 12, 1, 1): (M - I) row-major (9), then b (3), sRGB 0..1
    dense: Tensor | None = None  # (B, 3, h, w) sRGB 0..1, at the network's size

    def __post_init__(self) -> None:
        if self.dense is not None and (self.lab is not None or self.affine is not None):
            raise ValueError("a dense prediction stands alone")


@dataclass(frozen=True, kw_only=True, slots=True)
class LabTransfer:
    """new = scale * (lab - centre) + centre + shift, per image and Lab channel; strength blends with the input."""

    centre: Tensor  # (B, 3)
    scale: Tensor  # (B, 3)
    shift: Tensor  # (B, 3)


def paste(composite: Tensor, new: Tensor, mask: Tensor) -> Tensor:
    """composite + mask * (new - composite); outside the mask the composite's own bits.

    Args: composite, new: (B, 3, H, W); mask (B, 1, H, W), values 0..1. Returns: (B, 3, H, W).
    """
    # torch.where, because x + 0 * inf is not x, and -0.0 + 0.0 loses its sign bit.
    return torch.where(mask > 0, composite + mask * (new - composite), composite)
