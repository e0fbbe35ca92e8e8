"""Intrinsic harmonization: the answer is the product of two pictures, what is there and how it is lit.

Source: Guo, Zheng, Jiang, Gu, Zheng, CVPR 2021, in the later version ("Delving Deep into Intrinsic Image
Harmonization") that is their public code today, with lighting and guiding. The CVPR network, whose scores the
papers print, is another one.
Shapes: B images, h x w the network's size, C = 4 g channels of the inner maps, L numbers of a light.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..precision import widen, without_autocast
from ..resizing import nearest
from .blocks import Operations, initialise
from .mirrored_conv import MirroredConv, MirroredDecoder, MirroredEncoder, SampleNorm, halving
from .picture_network import PictureConfig, RepaintingNetwork
from .published import Published, key_rules

RESIDUALS, RELIT, FILLED = 4, 4, 2  # blocks of the object's encoder, of the relighting, of the filling
SHARPNESS = 10.0  # of the match between cells


@dataclass(frozen=True, kw_only=True, slots=True)
class IntrinsicConfig(PictureConfig):
    """The network with lighting and guiding."""

    multiple = 16  # three halvings, and a map whose edge can be mirrored
    width: int = 64  # g, even
    light: int = 8  # L
    size: int = 256

    def __post_init__(self) -> None:
        if self.width < 2 or self.width % 2 or self.light < 1 or self.size < 1:
            raise ValueError(f"no Intrinsic network has these numbers: {self}")

    def build(self, *, name: str, operations: Operations = nn, pretrained: bool = True) -> "Intrinsic":
        return Intrinsic(self, name=name, operations=operations)


class LightCode(nn.Module):
    """The light on object and background, in L numbers each."""

    def __init__(self, width: int, light: int, operations: Operations) -> None:
        super().__init__()
        self.convs = halving(width, 2, operations, "none")
        self.out = operations.Linear(4 * width, light)

    def forward(self, x: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:  # -> two of (B, L)
        for convolution in self.convs:
            x = convolution(x)
        regions = (inside, 1 - inside)
        means = [(widen(x) * r).sum((2, 3)) / (r.sum((2, 3)) + 1e-8) for r in regions]
        on_object, around = (self.out(mean.to(x.dtype)) for mean in means)
        return on_object, around


class Lighting(nn.Module):
    """The object's map under the light of its background: gains of three colours, and an offset."""

    def __init__(self, channels: int, light: int, operations: Operations) -> None:
        super().__init__()
        self.mlp = operations.Linear(light, 4 * channels)
        self.spread = operations.Conv2d(channels, 3 * channels, 3)
        self.gain = nn.Parameter(torch.ones(3 * channels))  # of the norm of each colour
        self.shift = nn.Parameter(torch.zeros(3 * channels))

    def forward(self, x: Tensor, on_object: Tensor, around: Tensor, inside: Tensor) -> Tensor:
        (level, colour), (wanted, towards) = (self._light(code) for code in (on_object, around))
        colours = widen(self.spread(F.pad(x, (1, 1, 1, 1), mode="reflect")))
        with without_autocast(x):
            colours = F.group_norm(colours, 3, self.gain.to(colours), self.shift.to(colours))
            colours = F.leaky_relu(colours, 0.2).unflatten(1, (3, -1))  # (B, 3, C, h, w)
            ratio = (towards / (colour + 1e-8))[..., None, None]
            relit = (colours * ratio).sum(1) + (wanted - level)[..., None, None]
        return torch.lerp(widen(x), relit, inside).to(x.dtype)

    def _light(self, code: Tensor) -> tuple[Tensor, Tensor]:  # (B, L) -> (B, C), (B, 3, C)
        found = widen(F.leaky_relu(self.mlp(code), 0.2))
        channels = found.shape[1] // 4
        return found[:, :channels], found[:, channels:].unflatten(1, (3, -1)).softmax(1)


class Relighting(nn.Module):
    """Two lightings, each after a convolution and before the one norm of both."""

    def __init__(self, channels: int, light: int, operations: Operations) -> None:
        super().__init__()
        self.conv1 = operations.Conv2d(channels, channels, 3)
        self.lighting1 = Lighting(channels, light, operations)
        self.conv2 = operations.Conv2d(channels, channels, 3)
        self.lighting2 = Lighting(channels, light, operations)
        self.norm = SampleNorm(channels)

    def forward(self, x: Tensor, on_object: Tensor, around: Tensor, inside: Tensor) -> Tensor:
        def lit(convolution: nn.Module, lighting: nn.Module, y: Tensor) -> Tensor:
            y = convolution(F.pad(y, (1, 1, 1, 1), mode="reflect"))
            return self.norm(lighting(y, on_object, around, inside))

        first = F.leaky_relu(lit(self.conv1, self.lighting1, x), 0.2)
        return x + lit(self.conv2, self.lighting2, first)


class Matching(nn.Module):
    """How much each background cell is like each cell of the object, at an eighth of the size."""

    def __init__(self, width: int, operations: Operations) -> None:
        super().__init__()
        self.blocks = halving(width // 2, 3, operations, "sample")
        self.out = MirroredConv(4 * width, 4 * width, 3, activation="tanh", operations=operations)

    def forward(self, x: Tensor, inside: Tensor) -> Tensor:
        """-> (B, N background cells, N cells), sums 1 over the former."""
        for block in self.blocks:
            x = block(x)
        x = widen(self.out(x))
        regions = [(x * r).flatten(2) for r in (inside, 1 - inside)]
        on_object, around = (y - y.mean(1, keepdim=True) for y in regions)
        with without_autocast(x):
            alike = around.transpose(1, 2) @ on_object / (x.shape[1] - 1)  # the covariance over channels
        return (SHARPNESS * alike).softmax(1)


def _filled(x: Tensor, match: Tensor) -> Tensor:
    """Each cell's patch of 4x4 mixed from the patches it matches: (B, C, h, w), overlaps averaged."""
    patches = F.unfold(widen(x), 4, padding=1, stride=2)  # (B, 16 C, N)
    with without_autocast(x):
        mixed = patches @ match
    size = (x.shape[-2], x.shape[-1])
    return (F.fold(mixed, size, 4, padding=1, stride=2) / 4).to(x.dtype)


class Intrinsic(RepaintingNetwork):
    """Picture and hard mask to a picture."""

    config: IntrinsicConfig

    def __init__(
        self, config: IntrinsicConfig, *, name: str = "intrinsic", operations: Operations = nn
    ) -> None:
        super().__init__(config, name)
        g, c = config.width, 4 * config.width
        self.reflectance_encoder = MirroredEncoder(g, RESIDUALS, operations)
        self.reflectance_decoder = MirroredDecoder(g, operations)
        self.illumination_encoder = MirroredEncoder(g, 0, operations)
        self.illumination_decoder = MirroredDecoder(g, operations)
        self.lighting = LightCode(g, config.light, operations)
        self.relighting = nn.ModuleList(Relighting(c, config.light, operations) for _ in range(RELIT))
        self.matching = Matching(g, operations)
        self.reflectance_fill, self.illumination_fill = (
            nn.ModuleList(
                MirroredConv(2 * c, c, 3, activation="relu", operations=operations) for _ in range(FILLED)
            )
            for _ in range(2)
        )
        initialise(self)

    def repaint(self, image: Tensor, hard: Tensor) -> Tensor:
        x = torch.cat((image, hard), 1)
        inside, coarse = (
            widen(nearest(hard, (hard.shape[-2] // part, hard.shape[-1] // part))) for part in (4, 8)
        )
        match = self.matching(x, coarse)
        things = self.reflectance_encoder(x)
        for convolution in self.reflectance_fill:
            things = things + convolution(torch.cat((things, _filled(things, match)), 1))
        light = self.illumination_encoder(x)
        codes = self.lighting(x, inside)
        for block in self.relighting:
            light = block(light, *codes, inside)
        for convolution in self.illumination_fill:
            light = light + convolution(torch.cat((light, _filled(light, match.detach())), 1))
        return self.reflectance_decoder(things) * self.illumination_decoder(light)


INTRINSIC = Published(
    method="Intrinsic (later version)",
    year=2022,
    citation="Guo, Zheng, Jiang, Gu, Zheng. Intrinsic Image Harmonization. CVPR 2021; the network is that of "
    "the later version, Delving Deep into Intrinsic Image Harmonization",
    repository="zhenglab/IntrinsicHarmony",
    commit="da50240",
    keys=key_rules(
        r"""
        ^(reflectance|illumination)_encoder\.convs\. -> \1_enc.model.
        ^reflectance_encoder\.residual\.(\d)\.(\d)\. -> reflectance_enc.model.3.model.\1.model.\2.
        ^(reflectance|illumination)_decoder\.blocks\.0\. -> \1_dec.model.1.
        ^(reflectance|illumination)_decoder\.blocks\.1\. -> \1_dec.model.3.
        ^(reflectance|illumination)_decoder\.out\. -> \1_dec.model.4.
        ^(reflectance|illumination)_fill\.(\d)\. -> \1Rec.resblocks.\2.harmonyRecConv.
        ^lighting\.convs\. -> lighting.model.
        ^lighting\.out\. -> lighting.light_mlp.fc.
        ^relighting\. -> lightingRes.resblocks.
        \.lighting([12])\.mlp\. -> .lt_\1.light_mlp.fc.
        \.lighting([12])\.spread\. -> .lt_\1.rgb_model.conv.
        \.lighting([12])\.gain$ -> .lt_\1.rgb_model.norm.weight
        \.lighting([12])\.shift$ -> .lt_\1.rgb_model.norm.bias
        \.conv([12])\. -> .conv_\1.
        ^matching\.blocks\. -> ifm.model.
        ^matching\.out\. -> ifm.model.5.
        """
    ),
    licence="MIT",
    commercial=True,
    scores={
        "iHarmony4, Raiha's Table I for the network of CVPR 2021 and not this one, PSNR": 35.90,
        "iHarmony4, Raiha's Table I for the network of CVPR 2021 and not this one, MSE": 38.71,
    },
)
