"""Convolutions whose edges are mirrored, and the encoder and decoder made of them.

Source: arXiv:1804.04732 (MUNIT), as zhenglab's IntrinsicHarmony has it.
Shapes: B images, C channels, h x w a feature map, g width.
"""

from itertools import pairwise
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..precision import widen
from ..resizing import nearest
from .blocks import Operations, instance_norm

Norm = Literal["none", "instance", "sample"]
Activation = Literal["none", "leaky", "relu", "tanh"]
ACTIVATIONS = {
    "none": lambda x: x,
    "leaky": lambda x: F.leaky_relu(x, 0.2),
    "relu": torch.relu,
    "tanh": lambda x: torch.tanh(widen(x)).to(x.dtype),
}


class SampleNorm(nn.Module):
    """Mean 0 and deviation 1 over all of a picture's map, then a scale and a shift for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:  # (B, C, h, w) -> the same
        wide = widen(x)
        deviation, mean = torch.std_mean(wide, (1, 2, 3), keepdim=True)  # of all values, unbiased
        gamma, beta = (p.to(wide)[:, None, None] for p in (self.gamma, self.beta))
        return ((wide - mean) / (deviation + 1e-5) * gamma + beta).to(x.dtype)


class MirroredConv(nn.Module):
    """Mirror the edges, convolve, normalise, activate."""

    def __init__(
        self,
        c_in: int,
        c_out: int,
        size: int,
        stride: int = 1,
        *,
        norm: Norm = "none",
        activation: Activation = "leaky",
        operations: Operations = nn,
    ) -> None:
        super().__init__()
        self.padding = (size - stride + 1) // 2  # the map keeps its size, or gets 1 / stride of it
        self.conv = operations.Conv2d(c_in, c_out, size, stride)
        self.norm = SampleNorm(c_out) if norm == "sample" else None
        self.by_channel = norm == "instance"
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(F.pad(x, (self.padding,) * 4, mode="reflect"))
        if self.norm is not None:
            x = self.norm(x)
        elif self.by_channel:
            x = instance_norm(x)
        return ACTIVATIONS[self.activation](x)


def halving(width: int, halvings: int, operations: Operations, norm: Norm) -> nn.ModuleList:
    """For picture and mask: a look around each pixel, then halvings that double the channels."""
    channels = [width << level for level in range(halvings + 1)]
    first = MirroredConv(4, width, 7, norm=norm, operations=operations)
    rest = (MirroredConv(a, b, 4, 2, norm=norm, operations=operations) for a, b in pairwise(channels))
    return nn.ModuleList([first, *rest])


class MirroredEncoder(nn.Module):
    """Picture and mask to a map of a quarter of the size."""

    def __init__(self, width: int, residuals: int, operations: Operations) -> None:
        super().__init__()
        c = 4 * width
        self.convs = halving(width, 2, operations, "instance")
        self.residual = nn.ModuleList(
            nn.ModuleList(
                MirroredConv(c, c, 3, norm="sample", activation=how, operations=operations)
                for how in ("leaky", "none")
            )
            for _ in range(residuals)
        )

    def forward(self, x: Tensor) -> Tensor:
        for convolution in self.convs:
            x = convolution(x)
        for pair in self.residual:
            first, second = cast("nn.ModuleList", pair)
            x = x + second(first(x))
        return x


class MirroredDecoder(nn.Module):
    """A map of a quarter of the size to a picture in 0..1, at least float32."""

    def __init__(self, width: int, operations: Operations) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            MirroredConv(2 * c, c, 5, norm="sample", operations=operations) for c in (2 * width, width)
        )
        self.out = MirroredConv(width, 3, 7, activation="none", operations=operations)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(nearest(x, (2 * x.shape[-2], 2 * x.shape[-1])))
        return torch.tanh(widen(self.out(x))) / 2 + 0.5
