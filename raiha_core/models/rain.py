"""RAIN: the object takes the statistics of its background, each region with its own scale and shift.

Source: RainNet (arXiv:2106.02853) as arXiv:2211.08639 uses it.
Shapes: B images, C channels, h x w feature map.
"""

import torch
from torch import Tensor, nn

from ..background import complement, is_empty
from ..masked_statistics import masked_moments
from ..precision import widen
from .blocks import MaskResize, resize_mask


class RegionNorm(nn.Module):
    """Region-aware adaptive instance normalization, with float32 statistics in every dtype."""

    def __init__(self, channels: int, mask_resize: MaskResize) -> None:
        super().__init__()
        self.mask_resize: MaskResize = mask_resize
        self.foreground_gamma = nn.Parameter(torch.zeros(channels))
        self.foreground_beta = nn.Parameter(torch.zeros(channels))
        self.background_gamma = nn.Parameter(torch.zeros(channels))
        self.background_beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, C, h, w) and the mask (B, 1, H, W) of any size -> (B, C, h, w).

        Ours: without a background cell the foreground keeps its own statistics. In the source they
        become mean 0 and deviation sqrt(eps), and the decoder is dead.
        """
        size = (x.shape[-2], x.shape[-1])
        inside = resize_mask(widen(mask), size, self.mask_resize).to(widen(x).dtype)
        outside = complement(inside)
        mean_f, deviation_f = masked_moments(x, inside)
        mean_b, deviation_b = masked_moments(x, outside)
        no_background = is_empty(outside)
        mean_b = torch.where(no_background, mean_f, mean_b)
        deviation_b = torch.where(no_background, deviation_f, deviation_b)
        gain_f, shift_f, gain_b, shift_b = (
            widen(p).to(x.device)[None, :, None, None]
            for p in (
                1 + self.foreground_gamma,
                self.foreground_beta,
                1 + self.background_gamma,
                self.background_beta,
            )
        )
        wide = widen(x)
        background = gain_b * ((wide - mean_b) / deviation_b) + shift_b
        foreground = gain_f * ((wide - mean_f) / deviation_f * deviation_b + mean_b) + shift_f
        return (outside * background + inside * foreground).to(x.dtype)
