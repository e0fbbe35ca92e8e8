"""iS2AM: the U-Net with separated attention, whose answer is a picture fused with the composite.

Source: Sofiiuk, Popenova, Konushin, WACV 2021 (arXiv:2006.00809). Shapes: B images, h x w the network's size.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..precision import widen
from ..render import Prediction
from .blocks import Operations, pad_to_multiple
from .imagenet import standardise, unstandardise
from .picture_network import PictureConfig, PictureNetwork
from .published import Published
from .ssam_unet import UNET_KEYS, SeparatedUNet

_MULTIPLE = 8  # three halvings
THRESHOLD = 100 / 255  # above it a pixel belongs to the object: their masks are hard


@dataclass(frozen=True, kw_only=True, slots=True)
class IssamConfig(PictureConfig):
    """The paper's best network."""

    multiple = _MULTIPLE
    antialias = False
    width: int = 32  # channels of the first level
    size: int = 256

    def __post_init__(self) -> None:
        if self.width < 1 or self.size < _MULTIPLE:
            raise ValueError(f"width must be >= 1 and size >= {_MULTIPLE}, got {self.width} and {self.size}")

    def build(self, *, name: str, operations: Operations = nn, pretrained: bool = True) -> "Issam":
        return Issam(self, name=name, operations=operations)


def fused(image: Tensor, features: Tensor, attention: Tensor, to_rgb: nn.Module) -> Prediction:
    """The composite where the attention is, the network's own colours elsewhere: a dense prediction.

    Args: image: sRGB 0..1 (B, 3, h, w); features (B, C, h', w') and attention (B, 1, h', w') of the padded
        picture, which is at least as large; to_rgb: to its normalised colours.
    """
    height, width = image.shape[-2:]
    own = unstandardise(widen(to_rgb(features)))[..., :height, :width]
    share = attention[..., :height, :width]
    return Prediction(dense=(share * widen(image) + (1 - share) * own).clamp(0, 1))


class Issam(PictureNetwork):
    """Picture and hard mask to a picture."""

    config: IssamConfig

    def __init__(self, config: IssamConfig, *, name: str = "issam", operations: Operations = nn) -> None:
        super().__init__(config, name)
        self.unet = SeparatedUNet(width=config.width, operations=operations)

    def answer(self, image: Tensor, mask: Tensor) -> Prediction:
        hard = pad_to_multiple((mask > THRESHOLD).to(mask.dtype), _MULTIPLE)
        x = torch.cat((standardise(pad_to_multiple(image, _MULTIPLE)), hard), 1)
        features, attention = self.unet(x, hard)
        return fused(image, features, attention, self.unet.to_rgb)


CITATION = (
    "Sofiiuk, Popenova, Konushin. Foreground-Aware Semantic Representations for Image Harmonization. "
    "WACV 2021"
)
ISSAM256 = Published(
    method="iS2AM",
    year=2021,
    citation=CITATION,
    # the file lies with CDTNet, whose authors compare with it; the code is SamsungLabs/image_harmonization
    repository="bcmi/CDTNet-High-Resolution-Image-Harmonization",
    commit="43a662b211844088d1e43c8a215b7bb0e58601c5",
    keys=UNET_KEYS,
    file="issam256.pth",
    blob="17c1fc11ebd6be1896804541e93280f507f5653e",
    licence="MPL-2.0",  # of SamsungLabs/image_harmonization; the repository that keeps the file states none
    commercial=True,
    scores={
        "iHarmony4, as printed by Raiha's Table I, PSNR": 38.41,
        "iHarmony4, as printed by Raiha's Table I, MSE": 24.13,
    },
)
