"""Colours carried from where they are known to where they are not, smoothly and from near by.

Shapes: B images (B, C, H, W), weights (B, 1, H, W).
"""

import torch
from torch import Tensor

from .resizing import bilinear, block_means


def filled(image: Tensor, weight: Tensor) -> Tensor:
    """The picture where the weight is 1; elsewhere what the nearest known pixels look like.

    Args: image (B, C, H, W); weight (B, 1, H, W), 0..1: how far a pixel is known.
    Returns: like image; zeros where nothing is known at all.
    Source: pull and push over a pyramid, Gortler et al., The Lumigraph, SIGGRAPH 1996, section 3.6.
    """
    levels = [(image * weight, weight)]
    while max(levels[-1][1].shape[-2:]) > 1:
        total, amount = levels[-1]
        levels.append((block_means(total, 2), block_means(amount, 2)))
    total, amount = levels[-1]
    colour = total / amount.clamp_min(1e-12)
    for total, amount in reversed(levels[:-1]):  # from the mean of all to what is next to each pixel
        wide = bilinear(colour, (amount.shape[-2], amount.shape[-1]))
        # a coarse cell that holds a few known pixels speaks for all of itself
        share = amount if total is levels[0][0] else (amount * 4).clamp_max(1)
        colour = torch.lerp(wide, total / amount.clamp_min(1e-12), share)
    return colour
