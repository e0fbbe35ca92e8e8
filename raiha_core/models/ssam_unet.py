"""The U-Net with spatial-separated attention: base of iS2AM, PCT-Net CNN, CDTNet and DCCF.

Source: arXiv:2006.00809 (U-Net), arXiv:1911.13175 (attention).
Shapes: B images, C channels, h x w the network's size, sides multiples of 2 ** (depth - 1).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..precision import widen, without_autocast
from ..resizing import between_corners
from .batch_norm import batch_norm
from .blocks import Operations
from .published import key_rules

_MOST_CHANNELS = 512
# Names of our tensors -> those of the public code, for a network that holds this one as `unet`.
UNET_KEYS = key_rules(
    r"""
    ^unet\.(attention_map) -> decoder.conv_attention
    ^unet\.to_rgb -> decoder.to_rgb
    ^unet\.encoder\.([01])\. -> encoder.block\1.convs.block.
    ^unet\.encoder\.(\d)\. -> encoder.blocks_connected.block\1.convs.block.
    ^unet\.decoder\.(\d)\.up\. -> decoder.up_blocks.\1.upconv.1.
    ^unet\.decoder\.(\d)\.convs\. -> decoder.up_blocks.\1.convs.block.
    ^unet\.decoder\.(\d)\.attention\. -> decoder.up_blocks.\1.attention.
    \.learning\. -> .learning_block.
    \.(background|foreground|mix)\.squeeze\. -> .\1_gate.attention_transform.0.
    \.(background|foreground|mix)\.excite\. -> .\1_gate.attention_transform.2.
    \.blur$ -> .mask_blurring.weight
    \.conv\. -> .block.0.
    \.norm\. -> .block.1.
    """
)


class Convolution(nn.Module):
    """3x3 convolution, batch norm where asked for, activation."""

    def __init__(
        self, c_in: int, c_out: int, *, norm: bool, bias: bool = True, operations: Operations = nn
    ) -> None:
        super().__init__()
        self.conv = operations.Conv2d(c_in, c_out, 3, 1, 1, bias=bias)
        self.norm = batch_norm(c_out, operations) if norm else None

    def forward(self, x: Tensor) -> Tensor:  # (B, C, h, w) -> (B, C', h, w)
        x = self.conv(x)
        return F.relu(x if self.norm is None else self.norm(x))


def double_convolution(
    c_in: int, middle: int, c_out: int, *, norm: bool, bias: bool, operations: Operations
) -> nn.Module:
    """Two convolutions, one after the other."""
    return nn.Sequential(
        Convolution(c_in, middle, norm=norm, bias=bias, operations=operations),
        Convolution(middle, c_out, norm=norm, bias=bias, operations=operations),
    )


class ChannelGate(nn.Module):
    """Weighs channels by their mean and maximum over all positions."""

    def __init__(self, channels: int, operations: Operations = nn) -> None:
        super().__init__()
        middle = max(channels // 16, 8)
        self.squeeze = operations.Linear(2 * channels, middle)
        self.excite = operations.Linear(middle, channels)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, h, w) -> (B, C, h, w)
        pooled = torch.cat((widen(x).mean((2, 3)), widen(x).amax((2, 3))), 1).to(x.dtype)
        weight = torch.sigmoid(self.excite(F.relu(self.squeeze(pooled))))
        return weight[..., None, None] * x


class SeparatedAttention(nn.Module):
    """One path for the object, one for the background, one for both, blended by the blurred mask."""

    def __init__(self, channels: int, middle: float, operations: Operations = nn) -> None:
        super().__init__()
        self.background = ChannelGate(channels, operations)
        self.foreground = ChannelGate(channels, operations)
        self.mix = ChannelGate(channels, operations)
        self.learning = double_convolution(
            channels, int(middle * channels), channels, norm=True, bias=False, operations=operations
        )
        place = torch.arange(-3, 4, dtype=torch.float32)
        bell = torch.exp(-place.square() / 2)  # a deviation of one cell
        self.register_buffer("blur", (bell[:, None] * bell / bell.sum() ** 2)[None, None])
        self.blur: Tensor

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:  # (B, C, h, w), (B, 1, H, W) -> (B, C, h, w)
        small = between_corners(widen(mask), (x.shape[-2], x.shape[-1]))
        with without_autocast(x):
            weight = F.conv2d(small, self.blur.to(small), padding=3).to(x.dtype)
        inside = self.learning(self.foreground(x)) + self.mix(x)
        return weight * inside + (1 - weight) * self.background(x)


class UpBlock(nn.Module):
    """Twice the size, the encoder's map in front, attention on the last levels, two convolutions."""

    def __init__(self, c_in: int, c_out: int, attention: float | None, operations: Operations) -> None:
        super().__init__()
        self.up = Convolution(c_in, c_out, norm=False, operations=operations)
        self.attention = None
        if attention is not None:
            self.attention = SeparatedAttention(2 * c_out, attention, operations)
        self.convs = double_convolution(2 * c_out, c_out, c_out, norm=True, bias=True, operations=operations)

    def forward(self, x: Tensor, skip: Tensor, mask: Tensor) -> Tensor:
        x = between_corners(x, (2 * x.shape[-2], 2 * x.shape[-1]))
        x = torch.cat((skip, self.up(x)), 1)
        return self.convs(x if self.attention is None else self.attention(x, mask))


class SeparatedUNet(nn.Module):
    """Encoder and decoder; what is made of the last map is the matter of each network."""

    def __init__(
        self,
        *,
        width: int = 32,
        depth: int = 4,
        norm_from: int = 2,
        attend_from: int = 2,
        middle: float = 0.5,
        operations: Operations = nn,
    ) -> None:
        super().__init__()
        channels = [min(width << level, _MOST_CHANNELS) for level in range(depth)]
        self.encoder = nn.ModuleList(
            double_convolution(c_in, c_out, c_out, norm=level >= norm_from, bias=True, operations=operations)
            for level, (c_in, c_out) in enumerate(zip([4, *channels], channels, strict=False))
        )
        self.decoder = nn.ModuleList(
            UpBlock(c_in, c_out, middle if level >= attend_from else None, operations)
            for level, (c_in, c_out) in enumerate(zip(channels[:0:-1], channels[-2::-1], strict=True))
        )
        self.attention_map = operations.Conv2d(width, 1, 1)
        self.to_rgb = operations.Conv2d(width, 3, 1)  # idle where the last map becomes something else

    def encode(self, x: Tensor) -> list[Tensor]:
        """Picture and mask (B, 4, h, w) -> maps, the finest first, each level half the size."""
        found = []
        for level, block in enumerate(self.encoder):
            x = block(F.max_pool2d(x, 2) if level else x)
            found.append(x)
        return found

    def decode(self, encoded: list[Tensor], mask: Tensor) -> tuple[Tensor, Tensor]:
        """The last map (B, width, h, w), and the attention (B, 1, h, w) in 0..1, at least float32."""
        x = encoded[-1]
        for block, skip in zip(self.decoder, encoded[-2::-1], strict=True):
            x = block(x, skip, mask)
        return x, torch.sigmoid(3 * widen(self.attention_map(x)))

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        return self.decode(self.encode(x), mask)
