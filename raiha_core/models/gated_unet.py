"""A U-Net of eight levels whose last levels weigh what they join: the body of RainNet and of BargainNet.

Source: arXiv:1611.07004 (U-Net of eight levels), arXiv:2009.09169 (gates). The public code's activations work
in place, so what a level passes across is the activated map.
Shapes: B images, C channels, h x w the network's size, sides multiples of 256, g width.
"""

from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..precision import widen
from .blocks import Operations

MULTIPLE = 256  # eight halvings
ENCODER_CHANNELS = (1, 2, 4, 8, 8, 8, 8, 8)  # channels in units of g; each layer halves the size
DECODER_CHANNELS = (8, 8, 8, 8, 4, 2, 1)  # from the deepest; each doubles it
GATED = 3  # of the last levels, whose joined maps are weighed by a gate
LevelNorm = Callable[
    [int, Tensor], Tensor
]  # the level, from 0, and its map (B, C, h, w) -> the map normalised


class GatedUNet(nn.Module):
    """The convolutions; which norms stand between them is the network's own affair."""

    def __init__(self, c_in: int, width: int, operations: Operations) -> None:
        super().__init__()
        down = [c_in, *(width * c for c in ENCODER_CHANNELS)]
        self.encoder = nn.ModuleList(operations.Conv2d(a, b, 4, 2, 1, bias=False) for a, b in pairwise(down))
        # every level but the deepest reads its own map and the encoder's beside it
        read = [width * ENCODER_CHANNELS[-1], *(2 * width * c for c in DECODER_CHANNELS)]
        self.decoder = nn.ModuleList(
            operations.ConvTranspose2d(a, width * b, 4, 2, 1, bias=False)
            for a, b in zip(read, DECODER_CHANNELS, strict=False)
        )
        joined = [2 * width * c for c in DECODER_CHANNELS[-GATED:]]
        self.gates = nn.ModuleList(operations.Conv2d(c, c, 1) for c in joined)
        self.out = operations.ConvTranspose2d(joined[-1], 3, 4, 2, 1)

    def forward(self, x: Tensor, down: LevelNorm, up: LevelNorm) -> Tensor:
        """(B, c_in, h, w) -> a picture (B, 3, h, w), values -1..1, at least float32.

        Args:
            down: the norm of the encoder's levels 0..5; the first layer and the last have none.
            up: the norm of the decoder's levels 0..6, from the deepest.
        """
        skips: list[Tensor] = []
        last = len(ENCODER_CHANNELS) - 1
        for layer, convolution in enumerate(self.encoder):
            x = convolution(x)
            if 0 < layer < last:
                x = down(layer - 1, x)
            x = F.leaky_relu(x, 0.2) if layer < last else x
            skips.append(x)
        for level, convolution in enumerate(self.decoder):
            x = torch.cat((skips[-2 - level], up(level, convolution(torch.relu(x)))), 1)
            gate = level - (len(DECODER_CHANNELS) - GATED)
            if gate >= 0:
                x = torch.sigmoid(self.gates[gate](x)) * x
        return torch.tanh(widen(self.out(torch.relu(x))))
