"""Heads: what the decoder's last map becomes. The affine map starts at the identity; `dense` cannot.

Source: `dense` arXiv:2211.08639; the affine map is ours, after arXiv:2304.01686's idea.
Shapes: B images, C channels, h x w the network's size.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from ..precision import widen
from ..render import Prediction
from .blocks import Operations, zero_initialise

HeadKind = Literal["dense", "affine"]
GAIN_BOUND, OFFSET_BOUND = (
    2.0,
    1.0,
)  # |M - I| and |b|: gains stay within -1..3, beyond which noise is multiplied


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


HEADS: dict[HeadKind, type[DenseHead] | type[AffineHead]] = {"dense": DenseHead, "affine": AffineHead}
