"""RainNet: a U-Net of eight levels whose decoder gives the object the statistics of its background.

Source: Ling, Xue, Song, Xie, Gu, CVPR 2021 (arXiv:2106.02853).
Shapes: B images, h x w the network's size, sides multiples of 256.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from .blocks import Operations, initialise, instance_norm
from .gated_unet import DECODER_CHANNELS, MULTIPLE, GatedUNet
from .picture_network import PictureConfig, RepaintingNetwork
from .published import KeyRules, Published
from .rain import RegionNorm


@dataclass(frozen=True, kw_only=True, slots=True)
class RainNetConfig(PictureConfig):
    """The paper's network."""

    multiple = MULTIPLE
    width: int = 64  # channels of the first level
    size: int = 256

    def __post_init__(self) -> None:
        if self.width < 1 or self.size < 1:
            raise ValueError(f"width and size must be >= 1, got {self.width} and {self.size}")

    def build(self, *, name: str, operations: Operations = nn, pretrained: bool = True) -> "RainNet":
        return RainNet(self, name=name, operations=operations)


class RainNet(RepaintingNetwork):
    """Picture in, picture out; the mask steers the decoder's norms alone."""

    config: RainNetConfig

    def __init__(self, config: RainNetConfig, *, name: str = "rainnet", operations: Operations = nn) -> None:
        super().__init__(config, name)
        self.unet = GatedUNet(3, config.width, operations)
        self.norms = nn.ModuleList(RegionNorm(config.width * c, "nearest") for c in DECODER_CHANNELS)
        initialise(self)

    def repaint(self, image: Tensor, hard: Tensor) -> Tensor:
        said = self.unet(
            2 * image - 1, lambda _, x: instance_norm(x), lambda level, x: self.norms[level](x, hard)
        )
        return (said + 1) / 2


def _keys() -> KeyRules:
    """Their inner levels are nested in one another, the outer ones numbered from both ends."""
    nested = "unet_block" + ".submodule" * 3
    rules = [
        (r"^unet\.", ""),
        (r"^encoder\.0\.", r"model_layer0."),
        (r"^encoder\.([123])\.", r"model_layer\1.1."),
    ]
    rules += [(rf"^encoder\.{4 + n}\.", f"unet_block{'.submodule' * n}.down.1.") for n in range(3)]
    rules += [(r"^encoder\.7\.", f"{nested}.up.1."), (r"^decoder\.0\.", f"{nested}.up.3.")]
    rules += [(rf"^decoder\.{n}\.", f"unet_block{'.submodule' * (3 - n)}.up.1.") for n in range(1, 4)]
    rules += [(rf"^norms\.{n}\.", f"unet_block{'.submodule' * (3 - n)}.upnorm.") for n in range(4)]
    rules += [(rf"^decoder\.{n}\.", f"model_layer{n + 7}.1.") for n in range(4, 7)]
    rules += [(rf"^norms\.{n}\.", f"model_layer{n + 7}norm.") for n in range(4, 7)]
    rules += [(rf"^gates\.{n}\.", f"model_layer{n + 11}att.0.") for n in range(3)]
    return (*rules, (r"^out\.", r"model_out.1."))


RAINNET = Published(
    method="RainNet",
    year=2021,
    citation="Ling, Xue, Song, Xie, Gu. Region-aware Adaptive Instance Normalization for Image "
    "Harmonization. CVPR 2021",
    repository="junleen/RainNet",
    commit="e4b605d",
    keys=_keys(),
    licence="MIT",
    commercial=True,
    scores={
        "iHarmony4, as printed by Raiha's Table I, PSNR": 36.12,
        "iHarmony4, as printed by Raiha's Table I, MSE": 40.29,
    },
)
