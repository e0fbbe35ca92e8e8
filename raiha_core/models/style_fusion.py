"""ESF, external style fusion: the background's look, from the encoder, re-colours the decoder's object.

Our own formulation: the abstract of arXiv:2205.14058 names the idea; equations, levels and gates are ours.
Shapes: B images, K references, C channels, h x w feature map.
"""

import torch
from torch import Tensor, nn

from ..background import complement, is_empty
from ..masked_statistics import masked_moments
from ..precision import widen
from .blocks import MaskResize, Operations, resize_mask, zero_initialise

INITIAL_GATE = 0.1  # 0 gives the network without style fusion


def background_style(x: Tensor, mask: Tensor, mask_resize: MaskResize) -> Tensor:
    """Mean and log deviation of each channel outside the mask: (B, C, h, w), (B, 1, H, W) -> (B, 2C).

    `x` is a convolution's output *before* its instance norm, which would erase the style. Where the
    mask leaves no background the object's own style is taken.
    """
    inside = resize_mask(widen(mask), (x.shape[-2], x.shape[-1]), mask_resize).to(widen(x).dtype)
    outside = complement(inside)
    mean, deviation = masked_moments(x, torch.where(is_empty(outside), inside, outside))
    return torch.cat((mean, deviation.log()), 1).flatten(1)


def whole_style(x: Tensor) -> Tensor:
    """The same of a picture without an object: (B, C, h, w) -> (B, 2C)."""
    mean, deviation = masked_moments(x, torch.ones_like(widen(x)[:, :1]))
    return torch.cat((mean, deviation.log()), 1).flatten(1)


def no_background(mask: Tensor) -> Tensor:
    """Images whose mask leaves no background: (B, 1, H, W) -> (B,) bool."""
    return is_empty(complement(widen(mask)))[:, 0, 0, 0]


class StyleFusion(nn.Module):
    """d' = d + M tanh(a) ((1+γ) d̂ σ_b + μ_b + β - d), where a small network makes (γ, β) from the style."""

    def __init__(
        self, channels: int, mask_resize: MaskResize, *, with_references: bool, operations: Operations = nn
    ) -> None:
        super().__init__()
        self.mask_resize: MaskResize = mask_resize
        self.hidden = operations.Linear(2 * channels, channels)
        self.out = operations.Linear(channels, 2 * channels)
        self.gate = nn.Parameter(torch.full((channels,), INITIAL_GATE))
        # sigmoid(0) = 0.5: the references' share of the style; where none can come there is nothing to learn
        self.share = nn.Parameter(torch.zeros(())) if with_references else None

    def start(self) -> None:
        """γ and β start at 0; call it after the network's initialisation."""
        zero_initialise(self.out)

    def style(self, own: Tensor, references: Tensor, weight: Tensor, no_background: Tensor) -> Tensor:
        """Blend of the background's style and the references': s = (1-λ) s_b + λ Σ w_k s(r_k).

        Args: own: (B, 2C); references: (B, K, 2C); weight: (B, K) summing to 1, or to 0 where there is
            none; no_background: (B,) bool, images without any background, which take the references alone.
        """
        if self.share is None:
            return own
        share = torch.sigmoid(widen(self.share).to(own))
        share = torch.where(no_background, torch.ones_like(share), share)[:, None]
        share = share * (weight.sum(1, keepdim=True) > 0)
        return own + share * ((weight[..., None] * references).sum(1) - own)

    def forward(self, d: Tensor, mask: Tensor, style: Tensor) -> Tensor:
        """d: (B, C, h, w), mask (B, 1, H, W), style (B, 2C) -> (B, C, h, w), changed inside the mask only."""
        inside = resize_mask(widen(mask), (d.shape[-2], d.shape[-1]), self.mask_resize).to(widen(d).dtype)
        mean_f, deviation_f = masked_moments(d, inside)
        mean_b, deviation_b = masked_moments(d, complement(inside))
        none = is_empty(complement(inside))
        mean_b = torch.where(none, mean_f, mean_b)
        deviation_b = torch.where(none, deviation_f, deviation_b)
        gamma, beta = widen(self.out(torch.relu(self.hidden(style.to(d.dtype)))))[..., None, None].chunk(2, 1)
        wide = widen(d)
        target = (1 + gamma) * ((wide - mean_f) / deviation_f) * deviation_b + mean_b + beta
        gate = torch.tanh(widen(self.gate).to(wide))[None, :, None, None]
        return (wide + inside * gate * (target - wide)).to(d.dtype)


def reference_shares(weight: Tensor, present: Tensor) -> Tensor:
    """Softmax of the match qualities over the references that exist: (B, K) twice -> (B, K)."""
    logits = widen(weight).masked_fill(~present, -1e4)
    return logits.softmax(1) * present
