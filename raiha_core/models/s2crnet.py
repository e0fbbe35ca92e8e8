"""S2CRNet: one curve per colour channel, in two stages, from the object seen close and from its background.

Source: Liang, Cun, Pun, Wang, ECCV 2022 (arXiv:2109.05750); trunks arXiv:1602.07360 (SqueezeNet 1.1) and
arXiv:1409.1556 (VGG-16 without its last pooling).
Shapes: B images of H x W, P pieces of a curve.
"""

from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..enlargement import Window, shrink
from ..precision import widen, without_autocast
from ..records import LATER
from ..render import Prediction, Renderer
from ..value_reading import may_read
from .blocks import Operations
from .picture_network import PictureConfig, PictureNetwork
from .published import Published, key_rules

# SqueezeNet's fire modules by their number in the trunk: channels in, squeezed, of each of two expansions
FIRES = {
    3: (64, 16, 64),
    4: (128, 16, 64),
    6: (128, 32, 128),
    7: (256, 32, 128),
    9: (256, 48, 192),
    10: (384, 48, 192),
    11: (384, 64, 256),
}
POOLS = (3, 6, 9)  # fires with a pooling in front
# VGG's convolutions by their number in the trunk: channels; those after a pooling
CONVOLUTIONS = {0: 64, 2: 64, 5: 128, 7: 128} | dict.fromkeys((10, 12, 14), 256)
CONVOLUTIONS |= dict.fromkeys((17, 19, 21, 24, 26, 28), 512)
HALVED = (5, 10, 17, 24)
FEATURES = 512
LABELS = 5  # kinds of object that the authors tell apart


@dataclass(frozen=True, kw_only=True, slots=True)
class S2CRNetConfig(PictureConfig):
    """Both stages on either trunk."""

    own_size = True
    trunk: Literal["squeezenet", "vgg"] = field(default="squeezenet", metadata=LATER)
    pieces: int = 64  # P
    label: int = 0  # the kind of object that it is told; the authors' own demo says 0 of whatever it sees
    size: int = 256

    def __post_init__(self) -> None:
        if self.pieces < 1 or not 0 <= self.label < LABELS or self.size < 32:
            raise ValueError(f"no S2CRNet has these numbers: {self}")

    def build(self, *, name: str, operations: Operations = nn, pretrained: bool = True) -> "S2CRNet":
        return S2CRNet(self, name=name, operations=operations)


@dataclass(frozen=True, kw_only=True, slots=True)
class Curves:
    """Two curves one after the other for each channel, as a step of a prediction."""

    first: Tensor  # (B, 3, P) slopes of equally wide pieces, not yet divided by their sum
    second: Tensor

    halo = 0
    blends = False

    @property
    def count(self) -> int:
        return len(self.first)

    def start(self, composite: Tensor, mask: Tensor, *, exact: bool) -> Renderer:
        slopes = [x.expand(len(composite), -1, -1) for x in (self.first, self.second)]

        def render(image: Tensor, window: Window) -> Tensor:
            for each in slopes:
                image = curve(image, each.to(image))
            return image

        return render


def curve(image: Tensor, slopes: Tensor) -> Tensor:
    """A piecewise linear curve from 0 to 1 on each channel: (B, 3, H, W), (B, 3, P) -> (B, 3, H, W).

    Below 0 it gives 0, above 1 it gives 1; the slopes are divided by their sum.
    """
    pieces = slopes.shape[-1]
    before = F.pad(slopes.cumsum(-1)[..., :-1], (1, 0))  # of the pieces left of each
    place = image.clamp(0, 1).flatten(2) * pieces
    piece = place.detach().floor().clamp_max(pieces - 1).long()
    height = before.gather(2, piece) + slopes.gather(2, piece) * (place - piece)
    return (height / (slopes.sum(-1, keepdim=True) + 1e-30)).view_as(image)


def _box(both: Tensor) -> Tensor:
    """The box around the object of a picture and its mask, (4, H, W) -> (1, 4, h, w)."""
    rows, columns = (both[3].amax(axis).nonzero().flatten() for axis in (1, 0))
    return both[None, :, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def stretched_box(both: Tensor, size: tuple[int, int]) -> Tensor:
    """The same boxes through `enlargement.shrink`, where no value may be read: (B, 4, H, W) -> (B, 4, *size).

    Rounded otherwise: each axis is a product with the weights of the antialiased bilinear filter.
    """
    inside = widen(both[:, 3]) > 0
    down, across = (
        _stretch(inside.any(axis), side) for axis, side in zip((2, 1), size, strict=True)
    )  # (B, h, H), (B, w, W)
    with without_autocast(both):
        return torch.einsum("bih,bchw,bjw->bcij", down, widen(both), across).clamp(0, 1)


def _stretch(inside: Tensor, side: int) -> Tensor:
    """Weights (B, side, n) that resize the part between the first and the last true cell of (B, n)."""
    cells = inside.shape[1]
    first = inside.int().argmax(1)
    length = cells - inside.flip(1).int().argmax(1) - first
    scale = (length / side)[:, None, None]
    centre = scale * (torch.arange(side, device=inside.device) + 0.5)[None, :, None]
    place = torch.arange(cells, device=inside.device)[None, None] - first[:, None, None]
    weight = (1 - ((place + 0.5 - centre) / scale.clamp_min(1)).abs()).clamp_min(0)
    weight = weight * ((place >= 0) & (place < length[:, None, None]))
    return weight / weight.sum(2, keepdim=True)


class Fire(nn.Module):
    """Few channels, then 1x1 and 3x3 beside each other."""

    def __init__(self, c_in: int, middle: int, c_out: int, operations: Operations) -> None:
        super().__init__()
        self.squeeze = operations.Conv2d(c_in, middle, 1)
        self.expand1x1 = operations.Conv2d(middle, c_out, 1)
        self.expand3x3 = operations.Conv2d(middle, c_out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.squeeze(x))
        return F.relu(torch.cat((self.expand1x1(x), self.expand3x3(x)), 1))


class Stage(nn.Module):
    """The slopes of one stage, from features of object and background and from the label."""

    def __init__(self, pieces: int, operations: Operations) -> None:
        super().__init__()
        self.unlabelled = operations.Linear(FEATURES, 3 * pieces)  # idle: we always give a label
        self.background = operations.Linear(FEATURES, 3 * pieces)
        self.label1 = operations.Linear(LABELS, 32)
        self.label2 = operations.Linear(32, 64)
        self.object = operations.Linear(FEATURES + 64, 3 * pieces)

    def forward(self, inside: Tensor, outside: Tensor, label: Tensor) -> Tensor:
        told = self.label2(F.relu(self.label1(label))).expand(len(inside), -1)
        found = self.object(torch.cat((inside, told), 1)) + self.background(outside)
        return widen(found).unflatten(1, (3, -1))


class S2CRNet(PictureNetwork):
    """Handed the photo as it is, because it looks at the object close by."""

    config: S2CRNetConfig

    def __init__(self, config: S2CRNetConfig, *, name: str = "s2crnet", operations: Operations = nn) -> None:
        super().__init__(config, name)
        self.stem: nn.Module | None = None
        self.fires, self.convs = nn.ModuleDict(), nn.ModuleDict()
        if config.trunk == "squeezenet":
            self.stem = operations.Conv2d(3, FIRES[3][0], 3, 2)
            self.fires.update({str(n): Fire(*sizes, operations) for n, sizes in FIRES.items()})
        else:
            sizes = pairwise((3, *CONVOLUTIONS.values()))
            layers = (operations.Conv2d(*pair, 3, padding=1) for pair in sizes)
            self.convs.update(dict(zip(map(str, CONVOLUTIONS), layers, strict=True)))
        self.stages = nn.ModuleList(Stage(config.pieces, operations) for _ in range(2))

    def answer(self, image: Tensor, mask: Tensor) -> Prediction:
        size = (self.config.size, self.config.size)
        whole, hole = shrink(image, size), shrink(mask, size)
        both = torch.cat((image, mask), 1)
        if mask.is_meta:
            close = shrink(both, size)
        elif may_read(mask):
            close = torch.cat([shrink(_box(one), size) for one in both])
        else:
            close = stretched_box(both, size)
        seen = torch.cat((close[:, :3] * close[:, 3:], whole * (1 - hole))).to(image.dtype)
        inside, outside = self._features(seen).chunk(2)
        label = F.one_hot(torch.tensor([self.config.label]), LABELS).to(inside)
        first, second = (stage(inside, outside, label) for stage in self.stages)
        return Prediction(step=Curves(first=first, second=second))

    def _features(self, x: Tensor) -> Tensor:  # (B, 3, s, s) -> (B, 512)
        for number, convolution in self.convs.items():
            x = F.relu(convolution(F.max_pool2d(x, 2) if int(number) in HALVED else x))
        if self.stem is not None:
            x = F.relu(self.stem(x))
        for number, fire in self.fires.items():
            if int(number) in POOLS:
                x = F.max_pool2d(x, 3, 2, ceil_mode=True)
            x = fire(x)
        with without_autocast(x):
            return widen(x).mean((2, 3)).to(x.dtype)


S2CRNET = Published(
    method="S2CRNet",
    year=2022,
    citation="Liang, Cun, Pun, Wang. Spatial-Separated Curve Rendering Network for Efficient and "
    "High-Resolution Image Harmonization. ECCV 2022",
    repository="vinthony/S2CRNet-demos",
    commit="cff82d9460a3619bd4117342ccb3637a451e6c8c",
    keys=key_rules(
        r"""
        ^stem\. -> squeezenet1_1.0.
        ^fires\. -> squeezenet1_1.
        ^convs\. -> model.
        ^stages\.0\. -> fusion.cr1.
        ^stages\.1\. -> fusion.cr2.
        \.unlabelled\. -> .fc_f_1.fc1.
        \.background\. -> .fc_b_1.fc1.
        \.label([12])\. -> .fc_label_\1.
        \.object\. -> .fc_f_label.
        """
    ),
    file="S2CRNet_pretrained.pth",
    blob="c56003af86485de8baf41c39f45ac8224ec5b7e7",
    licence="none stated beside the file; the code is MIT",
    commercial=None,
)
S2CRNET_VGG = replace(
    S2CRNET,
    method="S2CRNet (VGG-16)",
    repository="stefanLeong/S2CRNet",
    commit="0d3422d1b09b862ef2716356d53e959ca08a7ac5",
    file=None,
    blob=None,
    licence="MIT",
    commercial=True,
)
