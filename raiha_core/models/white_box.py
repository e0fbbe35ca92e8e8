"""Harmonizer: a network that chooses six filter arguments, one after the other, for a photo editor.

Source: Ke, Sun, Zhu, Xu, Lau, ECCV 2022 (arXiv:2207.01322). Shapes: B images, h x w the network's size.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..background import complement
from ..features.efficientnet import B0, BATCH_NORM_EPSILON, STAGES, STEM, convolve_same, package_names, stages
from ..precision import widen
from ..render import Prediction
from .blocks import Operations
from .photo_filters import FILTERS, PhotoFilters
from .picture_network import PictureConfig, PictureNetwork
from .published import Published

LAST = 1280  # channels


@dataclass(frozen=True, kw_only=True, slots=True)
class WhiteBoxConfig(PictureConfig):
    """The paper's network."""

    antialias = False
    hidden: int = 160  # numbers that one argument hands to the next
    size: int = 256

    def __post_init__(self) -> None:
        if self.hidden < 1 or self.size < 1:
            raise ValueError(f"hidden and size must be >= 1, got {self.hidden} and {self.size}")

    def build(self, *, name: str, operations: Operations = nn, pretrained: bool = True) -> "WhiteBox":
        return WhiteBox(self, name=name, operations=operations)


class Stem(nn.Module):
    """Convolution, norm, activation."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int, operations: Operations) -> None:
        super().__init__()
        self.conv = operations.Conv2d(c_in, c_out, kernel, stride, bias=False)
        self.norm = operations.BatchNorm2d(c_out, eps=BATCH_NORM_EPSILON)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, h, w) -> (B, C', h / stride, w / stride)
        return F.silu(self.norm(convolve_same(self.conv, x)))


class WhiteBox(PictureNetwork):
    """Two stems, one sees the object and one the background; one trunk; a cascade of six heads."""

    config: WhiteBoxConfig

    def __init__(
        self, config: WhiteBoxConfig, *, name: str = "harmonizer", operations: Operations = nn
    ) -> None:
        super().__init__(config, name)
        self.object_stem = Stem(4, STEM // 2, 3, 2, operations)
        self.background_stem = Stem(4, STEM // 2, 3, 2, operations)
        self.blocks = stages(B0, operations)
        self.last = Stem(STAGES[-1][-1], LAST, 1, 1, operations)
        self.constant = operations.Linear(LAST, config.hidden)  # f, which every head sees
        self.first = operations.Linear(LAST, config.hidden)  # g, which each head replaces for the next
        self.heads = nn.ModuleList(
            nn.ModuleList(
                (operations.Linear(2 * config.hidden, config.hidden), operations.Linear(config.hidden, 1))
            )
            for _ in FILTERS
        )

    def answer(self, image: Tensor, mask: Tensor) -> Prediction:
        seen, other = torch.cat((image, mask), 1), torch.cat((image, complement(mask)), 1)
        x = torch.cat((self.object_stem(seen), self.background_stem(other)), 1)
        for stage in self.blocks:
            x = stage(x)
        x = widen(self.last(x)).mean((2, 3)).to(image.dtype)  # (B, 1280)
        constant, passed = self.constant(x), self.first(x)
        arguments = []
        for head in self.heads:
            assert isinstance(head, nn.ModuleList)
            passed = head[0](torch.cat((constant, passed), 1))
            arguments.append(head[1](passed))
        found = widen(torch.cat(arguments, 1)).clamp(-1, 1)
        return Prediction(step=PhotoFilters(arguments=found))


HARMONIZER = Published(
    method="Harmonizer",
    year=2022,
    citation="Ke, Sun, Zhu, Xu, Lau. Harmonizer: Learning to Perform White-Box Image and Video "
    "Harmonization. ECCV 2022",
    repository="ZHKKKe/Harmonizer",
    commit="48ecd70becbff50ccaf576db0e64212dbc494e26",
    keys=(
        *package_names(),
        (r"^_blocks\.", r"backbone._blocks."),
        (r"^object_stem\.conv\.", r"backbone._conv_fg."),
        (r"^object_stem\.norm\.", r"backbone._bn_fg."),
        (r"^background_stem\.conv\.", r"backbone._conv_bg."),
        (r"^background_stem\.norm\.", r"backbone._bn_bg."),
        (r"^last\.conv\.", r"backbone._conv_head."),
        (r"^last\.norm\.", r"backbone._bn1."),
        (r"^constant\.", r"regressor.f."),
        (r"^first\.", r"regressor.g."),
        (r"^heads\.", r"regressor.headers."),
    ),
    file="pretrained/harmonizer.pth",
    blob="3c0f23a510310913ccf3636b9a147719c02a5191",
    licence="CC BY-NC-SA 4.0",
    commercial=False,
    scores={
        "iHarmony4, protocol C (rebuilt), PSNR": 37.62,
        "iHarmony4, protocol C (rebuilt), MSE": 27.41,
    },
)
