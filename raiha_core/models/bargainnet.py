"""BargainNet: a U-Net that is told the style of the background in 16 numbers, and gives it to the object.

Source: Cong, Niu, Zhang, Liang, Zhang, ICME 2021 (arXiv:2009.09169). The authors' README runs the network
with batch statistics and dropout; here it is run as a trained network is, as `--eval` of their code does.
Shapes: B images, h x w the network's size, sides multiples of 256, S numbers of a code.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .batch_norm import batch_norm
from .blocks import Operations, initialise
from .gated_unet import DECODER_CHANNELS, ENCODER_CHANNELS, MULTIPLE, GatedUNet
from .picture_network import PictureConfig, RepaintingNetwork
from .published import KeyRules, Published
from .style_code import STYLE_CITATION, STYLE_CODE, STYLE_KEYS, StyleEncoder

_LEAST = 0.001  # of the weight that the background's code is given


@dataclass(frozen=True, kw_only=True, slots=True)
class BargainNetConfig(PictureConfig):
    """The paper's network."""

    multiple = MULTIPLE
    antialias = False
    width: int = 64  # channels of the first level, in the generator and in the encoder
    code: int = 16  # S
    size: int = 256

    def __post_init__(self) -> None:
        if self.width < 1 or self.code < 1 or self.size < 1:
            raise ValueError(f"no BargainNet has these numbers: {self}")

    def build(self, *, name: str, operations: Operations = nn, pretrained: bool = True) -> "BargainNet":
        return BargainNet(self, name=name, operations=operations)


class BargainNet(RepaintingNetwork):
    """Picture, hard mask and the background's code to a picture."""

    config: BargainNetConfig

    def __init__(
        self, config: BargainNetConfig, *, name: str = "bargainnet", operations: Operations = nn
    ) -> None:
        super().__init__(config, name)
        g = config.width
        self.unet = GatedUNet(4 + config.code, g, operations)
        self.down_norms = nn.ModuleList(batch_norm(g * c, operations) for c in ENCODER_CHANNELS[1:-1])
        self.up_norms = nn.ModuleList(batch_norm(g * c, operations) for c in DECODER_CHANNELS)
        self.code_weight = nn.Parameter(torch.full((1,), 0.1))
        self.style = StyleEncoder(g, config.code, operations)
        initialise(self)

    def repaint(self, image: Tensor, hard: Tensor) -> Tensor:
        code = self.style(image, 1 - hard)
        told = (code * self.code_weight.to(code).clamp_min(_LEAST)).expand(-1, -1, *image.shape[-2:])
        said = self.unet(
            torch.cat((2 * image - 1, hard, told.to(image)), 1),
            lambda level, x: self.down_norms[level](x),
            lambda level, x: self.up_norms[level](x),
        )
        return (said + 1) / 2


def _keys() -> KeyRules:
    """Their levels are nested in one another, from the outermost."""
    blocks = ["G.model.model", *(f"G.model.model.1{'.model.3' * n}" for n in range(7))]
    rules = [(r"^unet\.encoder\.0\.", f"{blocks[0]}.0."), (r"^unet\.out\.", f"{blocks[0]}.3.")]
    rules += [(rf"^unet\.encoder\.{n}\.", f"{blocks[n]}.model.1.") for n in range(1, 8)]
    rules += [(rf"^down_norms\.{n}\.", f"{blocks[n + 1]}.model.2.") for n in range(6)]
    rules += [(r"^unet\.decoder\.0\.", f"{blocks[7]}.model.3."), (r"^up_norms\.0\.", f"{blocks[7]}.model.4.")]
    rules += [(rf"^unet\.decoder\.{n}\.", f"{blocks[7 - n]}.model.5.") for n in range(1, 7)]
    rules += [(rf"^up_norms\.{n}\.", f"{blocks[7 - n]}.model.6.") for n in range(1, 7)]
    rules += [(rf"^unet\.gates\.{n}\.", f"{blocks[3 - n]}.attention.0.") for n in range(3)]
    return (*rules, (r"^code_weight$", "G.weight"), *STYLE_KEYS)


BARGAINNET = Published(
    method="BargainNet",
    year=2021,
    citation=STYLE_CITATION,
    repository=STYLE_CODE.repository,
    commit=STYLE_CODE.commit,
    keys=_keys(),
    parts=("G", "E"),
    licence="MIT",
    commercial=True,
    scores={
        "iHarmony4, as printed by Raiha's Table I, PSNR": 35.88,
        "iHarmony4, as printed by Raiha's Table I, MSE": 37.82,
    },
)
