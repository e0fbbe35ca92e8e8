"""DeepLab V3+ on a dilated ResNet-34: a trunk that sees objects, with the mask added behind its first layer.

Source: arXiv:1802.02611 (DeepLab V3+), arXiv:1512.03385 (ResNet), as iDIH joins them (arXiv:2006.00809).
Shapes: B images, C channels, h x w the network's size.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..precision import widen
from ..resizing import between_corners
from .blocks import Operations
from .published import KeyRules
from .residual import BLOCK_KEYS, ConvNorm, Residual

_BLOCKS = (3, 4, 6, 3)
_DILATIONS = (1, 1, 2, 4)  # of the layers; the first block of each has the half of it first
_RATES = (12, 24, 36)  # of the pyramid's 3x3 convolutions
_DROPOUT = 0.2
# Names of our tensors -> those of the public code, for a network that holds this one as `trunk`.
DEEPLAB_KEYS: KeyRules = (
    (r"^trunk\.stem\.conv\.", r"backbone.deeplab.backbone.conv1."),
    (r"^trunk\.stem\.norm\.", r"backbone.deeplab.backbone.bn1."),
    *((rf"^trunk\.layers\.{n}\.", rf"backbone.deeplab.backbone.layer{n + 1}.") for n in range(4)),
    *BLOCK_KEYS,
    (r"^trunk\.skip\.", r"backbone.deeplab.skip_project.skip_project."),
    (r"^trunk\.pooled\.conv\.", r"backbone.deeplab.aspp.concurent.4.gap.1."),
    (r"^trunk\.pooled\.norm\.", r"backbone.deeplab.aspp.concurent.4.gap.2."),
    (r"^trunk\.pyramid\.", r"backbone.deeplab.aspp.concurent."),
    (r"^trunk\.project\.", r"backbone.deeplab.aspp.project."),
    (r"^trunk\.depthwise\.([01])\.", r"backbone.deeplab.head.block.\1.body.0."),
    (r"^trunk\.pointwise\.([01])\.conv\.", r"backbone.deeplab.head.block.\1.body.1."),
    (r"^trunk\.pointwise\.([01])\.norm\.", r"backbone.deeplab.head.block.\1.body.2."),
    (r"^trunk\.out\.", r"backbone.deeplab.head.block.2."),
    (r"^(backbone\..*)\.conv\.", r"\1.0."),
    (r"^(backbone\..*)\.norm\.", r"\1.1."),
)


class DeepLab(nn.Module):
    """One map at a quarter of the size."""

    def __init__(self, width: int = 64, operations: Operations = nn) -> None:
        """Args: width: channels of the first layer; the map has four times as many."""
        super().__init__()
        self.first = width  # channels that the mask adds to
        self.channels = out = 4 * width
        self.stem = ConvNorm(3, width, 7, 2, operations=operations)
        self.layers = nn.ModuleList()
        c_in = width
        for level, (count, dilation) in enumerate(zip(_BLOCKS, _DILATIONS, strict=True)):
            c_out = width << level
            layer = nn.Sequential()
            for number in range(count):
                pair = (max(1, dilation // 2), dilation) if number == 0 else (dilation, dilation)
                stride = 2 if level == 1 and number == 0 else 1
                layer.append(Residual(c_in, c_out, stride, dilations=pair, operations=operations))
                c_in = c_out
            self.layers.append(layer)
        self.skip = ConvNorm(width, width // 2, operations=operations)
        self.pyramid = nn.ModuleList([ConvNorm(c_in, out, operations=operations)])
        self.pyramid.extend(ConvNorm(c_in, out, 3, dilation=rate, operations=operations) for rate in _RATES)
        self.pooled = ConvNorm(c_in, out, operations=operations)
        self.project = ConvNorm((len(_RATES) + 2) * out, out, operations=operations)
        joined = (out + width // 2, out)
        self.depthwise = nn.ModuleList(operations.Conv2d(c, c, 3, 1, 1, groups=c, bias=False) for c in joined)
        self.pointwise = nn.ModuleList(ConvNorm(c, out, operations=operations) for c in joined)
        self.out = operations.Conv2d(out, out, 1)

    def forward(self, image: Tensor, mask: Tensor, hint: Tensor) -> Tensor:
        """Normalised picture (B, 3, h, w) -> (B, 4 width, h/4, w/4).

        Args: mask: not looked at; hint (B, width, h/2, w/2), what the mask adds to the first layer.
        """
        x = F.max_pool2d(self.stem(image) + hint, 3, 2, 1)
        fine = x = self.layers[0](x)
        for layer in list(self.layers)[1:]:
            x = layer(x)
        mean = self.pooled(widen(x).mean((2, 3), keepdim=True).to(x.dtype))
        seen = [branch(x) for branch in self.pyramid] + [mean.expand(-1, -1, *x.shape[-2:])]
        x = F.dropout(self.project(torch.cat(seen, 1)), _DROPOUT, self.training)
        small = self.skip(fine)
        x = between_corners(x, (small.shape[-2], small.shape[-1]))
        x = torch.cat((x, small), 1)
        for depthwise, pointwise in zip(self.depthwise, self.pointwise, strict=True):
            x = pointwise(depthwise(x))
        return self.out(x)
