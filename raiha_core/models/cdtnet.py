"""CDTNet: a small picture by a U-Net, colour tables for the whole photo, and a refinement that reads both.

Source: Cong, Tao, Niu, Liang, Gao, Sun, Zhang, CVPR 2022 (arXiv:2109.06671).
Shapes: B images, C channels, h x w the base's size, H x W the photo's, G cells along each side of a table.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..enlargement import Enlarged, Window, shrink
from ..precision import widen, without_autocast
from ..render import Prediction, Renderer
from ..resizing import bilinear, in_table
from .batch_norm import batch_norm
from .blocks import Operations
from .imagenet import standardise, unstandardise
from .picture_network import PictureConfig, PictureNetwork
from .published import Published
from .ssam_unet import UNET_KEYS, SeparatedUNet

_MULTIPLE = 8  # three halvings
_CELLS = 33  # G
WHITE = 1.000001  # what the last entry of a table stands for, so that white itself lies before it
PROJECTED = 256  # channels from which the shares of the tables are read
INNER = 64  # channels of the refinement


@dataclass(frozen=True, kw_only=True, slots=True)
class CDTNetConfig(PictureConfig):
    """The paper's network, or its colour tables alone."""

    own_size = True
    refined: bool = True  # False: CDTNet(sim), whose answer is the tables' and whose decoder is idle
    width: int = 32  # channels of the U-Net's first level
    tables: int = 4
    size: int = 256  # of the base; no file says it

    def __post_init__(self) -> None:
        if min(self.width, self.tables) < 1 or self.size < _MULTIPLE or self.size % _MULTIPLE:
            raise ValueError(f"no CDTNet has these numbers: {self}")

    def build(self, *, name: str, operations: Operations = nn, pretrained: bool = True) -> "CDTNet":
        return CDTNet(self, name=name, operations=operations)


def looked_up(image: Tensor, table: Tensor) -> Tensor:
    """Trilinear: (B, 3, H, W) of 0..1 in a table (B, 3, G, G, G) of blue, green, red -> (B, 3, H, W)."""
    place = image.permute(0, 2, 3, 1)[:, None] * (2 / WHITE) - 1  # (B, 1, H, W, 3): red varies fastest
    found = in_table(table, place)
    return found[:, :, 0]


def mixed(image: Tensor, new: Tensor, mask: Tensor, window: Window) -> Tensor:
    """By the photo's mask (B, 1, H, W), of which image and new (B, 3, rows, columns) show a window."""
    return image + mask[..., window.rows, window.columns].to(image) * (new - image)


@dataclass(frozen=True, kw_only=True, slots=True)
class ColourTable:
    """One table for the whole photo, as a step of a prediction."""

    table: Tensor  # (B, 3, G, G, G)

    halo = 0
    blends = True  # in `start`: the authors clamp what is blended, `render` clamps what is to be

    @property
    def count(self) -> int:
        return len(self.table)

    def start(self, composite: Tensor, mask: Tensor, *, exact: bool) -> Renderer:
        table = self.table.expand(len(composite), -1, -1, -1, -1)

        def render(image: Tensor, window: Window) -> Tensor:
            new = looked_up(image, table.to(image))
            return mixed(image, new, mask, window) if exact else new

        return render


class Refinement(nn.Module):
    """Two convolutions at the photo's size over the base, the tables' answer, the mask and the features."""

    def __init__(self, channels: int, operations: Operations) -> None:
        super().__init__()
        sizes = ((3 + 3 + 1 + channels, INNER), (INNER, INNER))
        self.convs = nn.ModuleList(operations.Conv2d(*pair, 3, padding=1) for pair in sizes)
        self.norms = nn.ModuleList(batch_norm(INNER, operations) for _ in sizes)
        self.attention_map = operations.Conv2d(INNER, 1, 1)
        self.to_rgb = operations.Conv2d(INNER, 3, 1)

    def forward(self, image: Tensor, x: Tensor) -> Tensor:
        """The composite where the attention is, own colours elsewhere: (B, 3, H, W), at least float32.

        Args: image (B, 3, H, W), sRGB 0..1; x (B, 7 + C, H, W), whose pictures are normalised.
        """
        for convolution, norm in zip(self.convs, self.norms, strict=True):
            x = F.elu(norm(convolution(x)))
        share = torch.sigmoid(3 * widen(self.attention_map(x)))
        return share * image + (1 - share) * unstandardise(widen(self.to_rgb(x)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Refined:
    """Table and base, brought together by convolutions at the photo's size: a step of a prediction."""

    table: Tensor  # (B, 3, G, G, G)
    base: Tensor  # (B, 3 + C, h, w): the small picture, normalised, and the features it was made from
    refinement: Refinement
    precision: torch.dtype  # in which the network was asked to work

    halo = 2  # of two 3x3 convolutions
    blends = True

    @property
    def count(self) -> int:
        return len(self.base)

    def start(self, composite: Tensor, mask: Tensor, *, exact: bool) -> Renderer:
        table = self.table.expand(len(composite), -1, -1, -1, -1)
        base = self.base.expand(len(composite), -1, -1, -1)
        # every cell counts: the refinement has learned to look across the rim
        everywhere = torch.ones_like(base[:, :1], dtype=torch.bool)
        field = Enlarged(base, everywhere, (composite.shape[-2], composite.shape[-1]))

        def render(image: Tensor, window: Window) -> Tensor:
            inside = mask[..., window.rows, window.columns].to(image)
            mapped = mixed(image, looked_up(image, table.to(image)), mask, window)
            large = field.part(window).to(image)
            x = torch.cat((large[:, :3], standardise(mapped), inside, large[:, 3:]), 1)
            return self.refinement(image, x.to(self.precision))

        return render


class Tables(nn.Module):
    """Colour tables, and how much of each a picture gets."""

    def __init__(self, count: int, channels: int, operations: Operations) -> None:
        super().__init__()
        level = torch.linspace(0, 1, _CELLS)
        still = torch.stack(torch.meshgrid(level, level, level, indexing="ij")[::-1])
        self.tables = nn.ParameterList(nn.Parameter(still * (n == 0)) for n in range(count))
        self.project = operations.Conv2d(channels, PROJECTED, 1)
        self.choose = operations.Conv2d(2 * PROJECTED, count, 1)
        nn.init.normal_(self.choose.weight, 0.0, 0.02)
        nn.init.ones_(self.choose.bias)

    def forward(self, deepest: Tensor, mask: Tensor) -> Tensor:
        """(B, C, h / 8, w / 8), the photo's mask (B, 1, H, W) -> (B, 3, G, G, G), at least float32."""
        x = widen(self.project(deepest))
        inside = bilinear(widen(mask), (x.shape[-2], x.shape[-1]))
        # means over all cells and not over the region's, as the authors take them
        pooled = torch.cat([(x * part).mean((2, 3), keepdim=True) for part in (inside, 1 - inside)], 1)
        shares = widen(self.choose(pooled.to(deepest.dtype))).flatten(1)
        # a host that is short of memory leaves what no layer holds on the CPU
        tables = torch.stack([table.to(shares.device) for table in self.tables])
        with without_autocast(shares):
            return torch.einsum("bn,ncijk->bcijk", shares, widen(tables))


class CDTNet(PictureNetwork):
    """Handed the photo as it is: its U-Net sees a thumbnail, its tables and refinement the photo."""

    config: CDTNetConfig

    def __init__(self, config: CDTNetConfig, *, name: str = "cdtnet", operations: Operations = nn) -> None:
        super().__init__(config, name)
        self.unet = SeparatedUNet(width=config.width, operations=operations)
        self.colour = Tables(config.tables, 8 * config.width, operations)
        self.refinement = Refinement(config.width, operations)

    def answer(self, image: Tensor, mask: Tensor) -> Prediction:
        size = (self.config.size, self.config.size)
        small, inside = (shrink(x, size, antialias=False).to(image.dtype) for x in (image, mask))
        seen = standardise(small)
        encoded = self.unet.encode(torch.cat((seen, inside), 1))
        table = self.colour(encoded[-1], mask)
        if not self.config.refined:
            return Prediction(step=ColourTable(table=table))
        features, attention = self.unet.decode(encoded, inside)
        base = attention * widen(seen) + (1 - attention) * widen(self.unet.to_rgb(features))
        step = Refined(
            table=table,
            base=torch.cat((base, widen(features)), 1),
            refinement=self.refinement,
            precision=image.dtype,
        )
        if not (self.training or image.is_meta):
            return Prediction(step=step)
        # in one piece: norms that learn must see all of the batch, and costs are counted
        whole = Window(slice(0, image.shape[-2]), slice(0, image.shape[-1]))
        return Prediction(dense=step.start(image, mask, exact=False)(widen(image), whole))


CDTNET = Published(
    method="CDTNet",
    year=2022,
    citation="Cong, Tao, Niu, Liang, Gao, Sun, Zhang. High-Resolution Image Harmonization via Collaborative "
    "Dual Transformations. CVPR 2022",
    repository="bcmi/CDTNet-High-Resolution-Image-Harmonization",
    commit="43a662b211844088d1e43c8a215b7bb0e58601c5",
    keys=(
        *UNET_KEYS,
        (r"^colour\.tables\.(\d)$", r"lut.LUT\1.LUT"),
        (r"^colour\.project\.", r"lut.classifier.conv."),
        (r"^colour\.choose\.", r"lut.classifier.fc."),
        (r"^refinement\.convs\.0\.", r"refine.block.0."),
        (r"^refinement\.norms\.0\.", r"refine.block.1."),
        (r"^refinement\.convs\.1\.", r"refine.block.3."),
        (r"^refinement\.norms\.1\.", r"refine.block.4."),
        (r"^refinement\.attention_map\.", r"refine.conv_attention."),
        (r"^refinement\.to_rgb\.", r"refine.to_rgb."),
    ),
    file="iHarmony4_256.pth",
    blob="d458cabf62e44e0452825aa084be9af9fbab3ee5",
    licence="none stated",
    commercial=None,
    scores={
        "iHarmony4, as printed by Raiha's Table I, PSNR": 38.23,
        "iHarmony4, as printed by Raiha's Table I, MSE": 23.75,
    },
)
CDTNET_512 = replace(
    CDTNET,
    method="CDTNet-512",
    file="HAdobe5k_2048.pth",
    blob="22998955a5d3c4679455e893d17b93abc8e4119f",
    scores={"HAdobe5k at 2048, PSNR": 38.34, "HAdobe5k at 2048, MSE": 20.82},
)
CDTNET_SIM = replace(
    CDTNET,
    method="CDTNet(sim)",
    file="CDTNet_sim_base256.pth",
    blob="6d9cd00d445ffe6909e61b10f7b76059a4b7b693",
    # nobody here has seen the file; the authors' loader takes it with these and without
    idle=("unet.decoder.", "unet.attention_map.", "unet.to_rgb.", "refinement."),
    scores={},
)
