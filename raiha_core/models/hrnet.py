"""HRNet of the small kind with object-contextual representations: a trunk that keeps its fine map throughout.

The object and its background each become one vector, and every position reads from the two.
Source: arXiv:1908.07919 (HRNet), arXiv:1909.11065 (OCR), as iDIH joins them (arXiv:2006.00809).
Shapes: B images, C channels, h x w the network's size, P positions of the fine map.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..precision import widen, without_autocast
from ..resizing import between_corners
from .blocks import Operations
from .published import KeyRules
from .residual import BLOCK_KEYS, ConvNorm, Residual

_STEM = 64
_MODULES = (1, 3, 2)  # of the stages with two, three and four branches
_BLOCKS = 2  # of each branch of a module
_KEYS = 64  # numbers by which positions and regions are compared
_DROPOUT = 0.05
# Names of our tensors -> those of the public code, for a network that holds this one as `trunk`.
HRNET_KEYS: KeyRules = (
    *((rf"^trunk\.stem\.{n}\.conv\.", rf"backbone.hrnet.conv{n + 1}.") for n in range(2)),
    *((rf"^trunk\.stem\.{n}\.norm\.", rf"backbone.hrnet.bn{n + 1}.") for n in range(2)),
    (r"^trunk\.wide\.", r"backbone.hrnet.layer1."),
    *BLOCK_KEYS,
    (r"^trunk\.fine\.", r"backbone.hrnet.transition1.0."),
    *((rf"^trunk\.deeper\.{n}\.", rf"backbone.hrnet.transition{n + 1}.{n + 1}.0.") for n in range(3)),
    *((rf"^trunk\.stages\.{n}\.", rf"backbone.hrnet.stage{n + 2}.") for n in range(3)),
    (r"\.fusions\.", r".fuse_layers."),
    (r"^trunk\.regions\.joined\.(conv|norm)\.", r"backbone.hrnet.conv3x3_ocr.\1."),
    (r"^trunk\.regions\.out\.conv\.", r"backbone.hrnet.ocr_distri_head.conv_bn_dropout.0."),
    (r"^trunk\.regions\.out\.norm\.", r"backbone.hrnet.ocr_distri_head.conv_bn_dropout.1.0."),
    (r"^trunk\.regions\.", r"backbone.hrnet.ocr_distri_head.object_context_block."),
    (r"\.query\.", r".f_pixel."),
    (r"\.key\.", r".f_object."),
    (r"(f_pixel|f_object)\.([01])\.conv\.", r"\1.\2a."),
    (r"(f_pixel|f_object)\.([01])\.norm\.", r"\1.\2b.0."),
    *((rf"\.{ours}\.", f".{theirs}.") for ours, theirs in (("0a", 0), ("0b", 1), ("1a", 2), ("1b", 3))),
    (r"\.value\.conv\.", r".f_down.0."),
    (r"\.value\.norm\.", r".f_down.1.0."),
    (r"\.read\.conv\.", r".f_up.0."),
    (r"\.read\.norm\.", r".f_up.1.0."),
    (r"^(backbone\..*)\.conv\.", r"\1.0."),
    (r"^(backbone\..*)\.norm\.", r"\1.1."),
)


class BranchFusion(nn.Module):
    """Branches side by side, then each the sum of all at its size."""

    def __init__(self, channels: list[int], operations: Operations) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(*(Residual(c, c, operations=operations) for _ in range(_BLOCKS))) for c in channels
        )
        self.fusions = nn.ModuleList(
            nn.ModuleList(_road(channels, j, i, operations) for j in range(len(channels)))
            for i in range(len(channels))
        )

    def forward(self, maps: list[Tensor]) -> list[Tensor]:  # each (B, C_i, h / 2^i, w / 2^i), and again
        maps = [branch(x) for branch, x in zip(self.branches, maps, strict=True)]
        fused = []
        for i, roads in enumerate(self.fusions):
            assert isinstance(roads, nn.ModuleList)
            total: Tensor | None = None
            for j, (road, x) in enumerate(zip(roads, maps, strict=True)):
                came = road(x)
                if j > i:
                    came = enlarged(came, maps[i])
                total = came if total is None else total + came
            assert total is not None
            fused.append(total.relu())
        return fused


def _road(channels: list[int], start: int, end: int, operations: Operations) -> nn.Module:
    """From one branch to another: a 1x1 convolution up, a 3x3 for each halving down."""
    if start == end:
        return nn.Identity()
    if start > end:
        return ConvNorm(channels[start], channels[end], relu=False, operations=operations)
    steps = end - start
    return nn.Sequential(
        *(
            ConvNorm(
                channels[start],
                channels[start] if n < steps - 1 else channels[end],
                3,
                2,
                relu=n < steps - 1,
                operations=operations,
            )
            for n in range(steps)
        )
    )


def enlarged(x: Tensor, like: Tensor) -> Tensor:
    """At another map's size, corner on corner."""
    return between_corners(x, (like.shape[-2], like.shape[-1]))


class RegionContext(nn.Module):
    """Every position beside what it reads from two vectors: the object's and the background's."""

    def __init__(self, c_in: int, operations: Operations) -> None:
        super().__init__()
        self.channels = out = 2 * _KEYS

        def layer(*sizes: int, bias: bool = False) -> ConvNorm:
            return ConvNorm(*sizes, bias=bias, operations=operations)

        self.joined = layer(c_in, out, 3, bias=True)
        self.query = nn.Sequential(layer(out, _KEYS), layer(_KEYS, _KEYS))
        self.key = nn.Sequential(layer(out, _KEYS), layer(_KEYS, _KEYS))
        self.value = layer(out, _KEYS)
        self.read = layer(_KEYS, out)
        self.out = layer(2 * out, out)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:  # (B, C, h', w'), (B, 1, h, w) -> (B, 128, h', w')
        x = self.joined(x)
        parts = enlarged(widen(torch.cat((mask, 1 - mask), 1)), x).flatten(2).softmax(2)  # (B, 2, P)
        with without_autocast(x):
            means = (parts @ widen(x).flatten(2).mT).mT[..., None].to(x.dtype)  # (B, C, 2, 1)
        query, key, value = self.query(x).flatten(2), self.key(means).flatten(2), self.value(means).flatten(2)
        with without_autocast(x):
            weight = (_KEYS**-0.5 * (widen(query).mT @ widen(key))).softmax(2)  # (B, P, 2)
            found = (weight @ widen(value).mT).mT.unflatten(2, x.shape[-2:]).to(x.dtype)
        return F.dropout2d(self.out(torch.cat((self.read(found), x), 1)), _DROPOUT, self.training)


class HRNet(nn.Module):
    """One map at a quarter of the size."""

    def __init__(self, width: int = 18, operations: Operations = nn) -> None:
        """Args: width: channels of the finest branch; each further one has twice as many."""
        super().__init__()
        self.first = _STEM  # channels that the mask adds to
        channels = [width << n for n in range(4)]
        self.stem = nn.ModuleList(ConvNorm(c, _STEM, 3, 2, operations=operations) for c in (3, _STEM))
        self.wide = nn.Sequential(
            *(Residual(c, 4 * _STEM, narrow=_STEM, operations=operations) for c in (_STEM, 4 * _STEM))
        )
        self.fine = ConvNorm(4 * _STEM, width, 3, operations=operations)
        self.deeper = nn.ModuleList(
            ConvNorm(c_in, c_out, 3, 2, operations=operations)
            for c_in, c_out in zip((4 * _STEM, *channels[1:]), channels[1:], strict=False)
        )
        self.stages = nn.ModuleList(
            nn.ModuleList(BranchFusion(channels[: 2 + stage], operations) for _ in range(count))
            for stage, count in enumerate(_MODULES)
        )
        self.regions = RegionContext(sum(channels), operations)
        self.channels = self.regions.channels

    def forward(self, image: Tensor, mask: Tensor, hint: Tensor) -> Tensor:
        """Normalised picture (B, 3, h, w) -> (B, 128, h/4, w/4).

        Args: mask (B, 1, h, w); hint (B, 64, h/2, w/2), what the mask adds to the first layer.
        """
        x = self.wide(self.stem[1](self.stem[0](image) + hint))
        maps = [self.fine(x)]
        for deeper, stage in zip(self.deeper, self.stages, strict=True):
            assert isinstance(stage, nn.ModuleList)
            maps.append(deeper(x))
            for module in stage:
                maps = module(maps)
            x = maps[-1]
        return self.regions(torch.cat([maps[0], *(enlarged(x, maps[0]) for x in maps[1:])], 1), mask)
