"""MGD: a 1x1 convolution whose two kernels are made from the picture, one for each side of the mask.

Source: arXiv:2211.08639. Shapes: B images, C channels, h x w feature map.
"""

import torch
from einops import rearrange
from torch import Tensor, nn

from ..precision import widen
from .blocks import MaskResize, Operations, resize_mask


class GlobalDynamic(nn.Module):
    """Mask-aware global dynamic convolution. The kernels' statistic is blind to the mask, as in the source.

    `guide` is never used: the public weights hold it, so it is kept (frozen) to read them and to
    count as they do.
    """

    def __init__(self, channels: int, mask_resize: MaskResize, operations: Operations = nn) -> None:
        super().__init__()
        self.mask_resize: MaskResize = mask_resize
        self.squeeze = operations.Conv2d(channels, 4, 1)
        self.kernels = operations.Conv2d(4, 2 * channels * channels, 1, groups=2)
        self.guide = operations.Conv2d(channels, 2, 1).requires_grad_(False)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, C, h, w) and the mask (B, 1, H, W) of any size -> (B, C, h, w)."""
        mean = widen(x).mean((2, 3), keepdim=True).to(x.dtype)  # (B, C, 1, 1), over both regions
        kernels = self.kernels(torch.sigmoid(self.squeeze(mean)))  # foreground's half first
        kernels = rearrange(kernels, "b (r o i) 1 1 -> b (r o) i", r=2, o=x.shape[1])
        both = torch.bmm(kernels, x.flatten(2).to(kernels.dtype))  # one product for the two kernels
        foreground, background = rearrange(both, "b (r o) (h w) -> r b o h w", r=2, h=x.shape[-2])
        inside = resize_mask(widen(mask), (x.shape[-2], x.shape[-1]), self.mask_resize).to(both.dtype)
        return background + inside * (foreground - background)
