"""Residual blocks, and the convolution with its norm that they and the trunks around them are made of.

Source: arXiv:1512.03385 (blocks), arXiv:1606.00915 (dilation). Shapes: B images, C channels, h x w.
"""

from torch import Tensor, nn

from .batch_norm import batch_norm
from .blocks import Operations
from .published import KeyRules

# Names of our blocks' tensors -> those that torch's own residual networks have.
BLOCK_KEYS: KeyRules = (
    (r"\.shortcut\.conv\.", r".downsample.0."),
    (r"\.shortcut\.norm\.", r".downsample.1."),
    *((rf"\.{ours}\.conv\.", rf".conv{n}.") for n, ours in enumerate(("first", "second", "third"), 1)),
    *((rf"\.{ours}\.norm\.", rf".bn{n}.") for n, ours in enumerate(("first", "second", "third"), 1)),
)


class ConvNorm(nn.Module):
    """Convolution that keeps the middle in its place, batch norm, ReLU where asked for."""

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel: int = 1,
        stride: int = 1,
        *,
        dilation: int = 1,
        bias: bool = False,
        relu: bool = True,
        operations: Operations = nn,
    ) -> None:
        super().__init__()
        padding = dilation * (kernel // 2)
        self.conv = operations.Conv2d(c_in, c_out, kernel, stride, padding, dilation, bias=bias)
        self.norm = batch_norm(c_out, operations)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:  # (B, C, h, w) -> (B, C', h / stride, w / stride)
        x = self.norm(self.conv(x))
        return x.relu() if self.relu else x


class Residual(nn.Module):
    """Two 3x3 convolutions beside the input itself, or a 3x3 between two 1x1 (`narrow`)."""

    def __init__(
        self,
        c_in: int,
        c_out: int,
        stride: int = 1,
        *,
        dilations: tuple[int, int] = (1, 1),
        narrow: int = 0,
        operations: Operations = nn,
    ) -> None:
        """Args: narrow: channels of the middle; 0: no 1x1 convolutions."""
        super().__init__()

        def layer(*sizes: int, dilation: int = 1, relu: bool = True) -> ConvNorm:
            return ConvNorm(*sizes, dilation=dilation, relu=relu, operations=operations)

        self.third: ConvNorm | None = None
        if narrow:
            self.first = layer(c_in, narrow)
            self.second = layer(narrow, narrow, 3, stride, dilation=dilations[0])
            self.third = layer(narrow, c_out, relu=False)
        else:
            self.first = layer(c_in, c_out, 3, stride, dilation=dilations[0])
            self.second = layer(c_out, c_out, 3, dilation=dilations[1], relu=False)
        self.shortcut: ConvNorm | None = None
        if stride > 1 or c_in != c_out:
            self.shortcut = layer(c_in, c_out, 1, stride, relu=False)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, h, w) -> (B, C', h / stride, w / stride)
        y = self.second(self.first(x))
        if self.third is not None:
            y = self.third(y)
        return (y + (x if self.shortcut is None else self.shortcut(x))).relu()
