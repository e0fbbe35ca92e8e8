"""Pieces that several networks share: padding, masks at feature size, initialisation.

Source: this project, after arXiv:2211.08639. Shapes: B images, C channels, h x w feature map.
"""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..masked_statistics import FEATURE_FLOOR
from ..precision import widen
from ..resizing import area_means, nearest

# A namespace of layer classes: torch.nn, or a host's casting twins (Conv2d, ConvTranspose2d, Linear)
Operations = Any
MaskResize = Literal["area", "nearest"]


def instance_norm(x: Tensor) -> Tensor:
    """InstanceNorm without parameters (B, C, h, w), eps 1e-5, biased variance, in float32 at least."""
    wide = widen(x)
    variance, mean = torch.var_mean(wide, (2, 3), unbiased=False, keepdim=True)
    return ((wide - mean) * (variance + FEATURE_FLOOR).rsqrt()).to(x.dtype)


def resize_mask(mask: Tensor, size: tuple[int, int], how: MaskResize) -> Tensor:
    """The mask at a feature map's size: (B, 1, H, W) -> (B, 1, h, w).

    `area` gives soft weights, so that no small object gets lost; `nearest` is what the public code does:
    a 3x3 object of a 256-pixel picture is empty at 64 and 32.
    """
    if mask.shape[-2:] == size:
        return mask
    if how == "nearest":
        return nearest(mask, size)
    return area_means(mask, size)


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Repeat the last row and column until both sides are multiples: (..., C, h, w)."""
    bottom, right = -x.shape[-2] % multiple, -x.shape[-1] % multiple
    if bottom == 0 and right == 0:
        return x
    flat = x.flatten(0, -4) if x.ndim > 4 else x
    padded = F.pad(flat, (0, right, 0, bottom), mode="replicate")
    return padded.reshape(*x.shape[:-2], *padded.shape[-2:])


def initialise(network: nn.Module, deviation: float = 0.02) -> None:
    """Weights of convolutions and linear layers from N(0, 0.02), their biases 0; the rest is left alone.

    Source: arXiv:2211.08639. Host layers inherit from torch's, so they are found too.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(module.weight, 0.0, deviation)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def zero_initialise(layer: nn.Module) -> None:
    """All parameters of one layer 0, for heads that must start at the identity."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
