"""RainNet: a U-Net of eight levels whose decoder gives the object the statistics of its background.

Source: Ling, Xue, Song, Xie, Gu, CVPR 2021 (arXiv:2106.02853). The public code's activations work in place,
so what a level passes across is the activated map.
Shapes: B images, h x w the network's size, sides multiples of 256, g width.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..features.references import ReferenceBatch
from ..render import Prediction
from .blocks import Operations, initialise, instance_norm, pad_to_multiple, widen
from .checks import check_inputs
from .network import Network, NetworkConfig, Requirements
from .published import KeyRules, Published
from .rain import RegionNorm

_MULTIPLE = 256  # eight halvings
ENCODER_CHANNELS = (1, 2, 4, 8, 8, 8, 8, 8)  # channels in units of g; each layer halves the size
DECODER_CHANNELS = (8, 8, 8, 8, 4, 2, 1)  # from the deepest; each doubles it
GATED = 3  # of the last levels, whose joined maps are weighed by a gate


@dataclass(frozen=True, kw_only=True, slots=True)
class RainNetConfig(NetworkConfig):
    """The paper's network."""

    width: int = 64  # g
    size: int = 256

    def __post_init__(self) -> None:
        if self.width < 1 or self.size < 1:
            raise ValueError(f"width and size must be >= 1, got {self.width} and {self.size}")

    @property
    def requirements(self) -> Requirements:
        return Requirements(size=self.size, multiple=_MULTIPLE)

    def build(self, *, name: str, operations: Operations = nn, pretrained: bool = True) -> "RainNet":
        return RainNet(self, name=name, operations=operations)


class RainNet(Network):
    """Picture in, picture out; the mask steers the decoder's norms alone."""

    config: RainNetConfig

    def __init__(self, config: RainNetConfig, *, name: str = "rainnet", operations: Operations = nn) -> None:
        super().__init__(config, name)
        g = config.width
        down = [3, *(g * c for c in ENCODER_CHANNELS)]
        self.encoder = nn.ModuleList(
            operations.Conv2d(c_in, c_out, 4, 2, 1, bias=False) for c_in, c_out in pairwise(down)
        )
        # every level but the deepest reads its own map and the encoder's beside it
        read = [g * ENCODER_CHANNELS[-1], *(2 * g * c for c in DECODER_CHANNELS)]
        self.decoder = nn.ModuleList(
            operations.ConvTranspose2d(c_in, g * c_out, 4, 2, 1, bias=False)
            for c_in, c_out in zip(read, DECODER_CHANNELS, strict=False)
        )
        self.norms = nn.ModuleList(RegionNorm(g * c, "nearest") for c in DECODER_CHANNELS)
        self.gates = nn.ModuleList(
            operations.Conv2d(2 * g * c, 2 * g * c, 1) for c in DECODER_CHANNELS[-GATED:]
        )
        self.out = operations.ConvTranspose2d(2 * g, 3, 4, 2, 1)
        initialise(self)

    def forward(
        self,
        image: Tensor,
        mask: Tensor,
        content: Tensor | None = None,
        references: ReferenceBatch | None = None,
    ) -> Prediction:
        image, mask = check_inputs(image, mask, references, name=self.name, max_references=0)
        height, width = image.shape[-2:]
        padded_mask = pad_to_multiple((mask > 0.5).to(mask.dtype), _MULTIPLE)  # their masks are hard
        x = 2 * pad_to_multiple(image, _MULTIPLE) - 1
        skips: list[Tensor] = []
        for level, convolution in enumerate(self.encoder):
            x = convolution(x)
            if 0 < level < len(ENCODER_CHANNELS) - 1:
                x = instance_norm(x)
            x = F.leaky_relu(x, 0.2) if level < len(ENCODER_CHANNELS) - 1 else x
            skips.append(x)
        for level, (convolution, norm) in enumerate(zip(self.decoder, self.norms, strict=True)):
            x = torch.cat((skips[-2 - level], norm(convolution(torch.relu(x)), padded_mask)), 1)
            gate = level - (len(DECODER_CHANNELS) - GATED)
            if gate >= 0:
                x = torch.sigmoid(self.gates[gate](x)) * x
        new = (torch.tanh(widen(self.out(torch.relu(x)))) + 1) / 2
        return Prediction(dense=new[..., :height, :width])


def _keys() -> KeyRules:
    """Their inner levels are nested in one another, the outer ones numbered from both ends."""
    nested = "unet_block" + ".submodule" * 3
    rules = [(r"^encoder\.0\.", r"model_layer0."), (r"^encoder\.([123])\.", r"model_layer\1.1.")]
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
