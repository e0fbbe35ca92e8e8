"""Heads: what the decoder's last map becomes. The transform heads start at the identity; `dense` cannot.

Source: `dense` arXiv:2211.08639; the others are ours (the affine map after arXiv:2304.01686's idea).
Shapes: B images, C channels, h x w the network's size, R rank.
"""

from typing import Literal

import torch
from einops import rearrange
from torch import Tensor, nn

from ..render import Prediction
from .blocks import Operations, masked_moments, widen, without_autocast, zero_initialise

HeadKind = Literal["dense", "affine", "global", "low-rank"]
GAIN_BOUND, OFFSET_BOUND = (
    2.0,
    1.0,
)  # |M - I| and |b|: gains stay within -1..3, beyond which noise is multiplied
RANK = 4


def bounded_affine(raw: Tensor) -> Tensor:
    """12 unbounded numbers -> (M - I, b) near the identity: (B, 12, ...) -> (B, 12, ...).

    `bound * tanh(raw / bound)`, so the slope at 0 is 1. Channels: 0-8 M - I row-major, 9-11 b.
    """
    gain, offset = raw[:, :9], raw[:, 9:]
    return torch.cat(
        (GAIN_BOUND * torch.tanh(gain / GAIN_BOUND), OFFSET_BOUND * torch.tanh(offset / OFFSET_BOUND)), 1
    )


class DenseHead(nn.Module):
    """RGB at the network's size, `tanh` mapped from -1..1 to 0..1. Untrained it is grey, as in the source."""

    def __init__(self, channels: int, operations: Operations = nn) -> None:
        super().__init__()
        self.out = operations.ConvTranspose2d(channels, 3, 3, 1, 1)

    def start(self) -> None:
        """Nothing to do: the source starts it like every other layer."""

    def forward(self, x: Tensor, mask: Tensor) -> Prediction:
        """(B, C, h, w), already rectified -> a dense prediction (B, 3, h, w)."""
        return Prediction(dense=(torch.tanh(widen(self.out(x))) + 1) / 2)


class AffineHead(nn.Module):
    """A 3x4 colour transform per pixel: a 1x1 convolution to 12 numbers, zero at the start."""

    def __init__(self, channels: int, operations: Operations = nn) -> None:
        super().__init__()
        self.out = operations.Conv2d(channels, 12, 1)

    def start(self) -> None:
        """The identity; call it after the network's initialisation."""
        zero_initialise(self.out)

    def forward(self, x: Tensor, mask: Tensor) -> Prediction:
        """(B, C, h, w), already rectified -> an affine prediction (B, 12, h, w)."""
        return Prediction(affine=bounded_affine(widen(self.out(x))))


class GlobalHead(nn.Module):
    """One 3x4 colour transform per picture, from the object's mean features."""

    def __init__(self, channels: int, operations: Operations = nn) -> None:
        super().__init__()
        self.out = operations.Linear(channels, 12)

    def start(self) -> None:
        """The identity; call it after the network's initialisation."""
        zero_initialise(self.out)

    def forward(self, x: Tensor, mask: Tensor) -> Prediction:
        """(B, C, h, w) and the mask (B, 1, h, w) -> an affine prediction (B, 12, 1, 1)."""
        mean, _ = masked_moments(x, widen(mask).to(widen(x).dtype))
        raw = widen(self.out(mean.flatten(1).to(x.dtype)))
        return Prediction(affine=bounded_affine(raw)[..., None, None])


class LowRankHead(nn.Module):
    """R transforms per picture, mixed per pixel by R weights: smooth light without a free map.

    The mix is a softmax, so every pixel's transform lies between the R of its picture.
    """

    def __init__(self, channels: int, operations: Operations = nn) -> None:
        super().__init__()
        self.basis = operations.Linear(channels, 12 * RANK)
        self.weights = operations.Conv2d(channels, RANK, 1)

    def start(self) -> None:
        """All R transforms are the identity; the random mix lets the gradient tell them apart."""
        zero_initialise(self.basis)

    def forward(self, x: Tensor, mask: Tensor) -> Prediction:
        """(B, C, h, w) and the mask (B, 1, h, w) -> an affine prediction (B, 12, h, w)."""
        mean, _ = masked_moments(x, widen(mask).to(widen(x).dtype))
        raw = widen(self.basis(mean.flatten(1).to(x.dtype)))
        basis = bounded_affine(rearrange(raw, "b (n r) -> (b r) n", r=RANK))
        mix = widen(self.weights(x)).softmax(1)
        with without_autocast(x):
            mixed = torch.einsum("brn,brhw->bnhw", rearrange(basis, "(b r) n -> b r n", r=RANK), mix)
        return Prediction(affine=mixed)


HEADS: dict[HeadKind, type[DenseHead] | type[AffineHead] | type[GlobalHead] | type[LowRankHead]] = {
    "dense": DenseHead,
    "affine": AffineHead,
    "global": GlobalHead,
    "low-rank": LowRankHead,
}
