"""BargainNet's style encoder: a region of a picture as 16 numbers, and how far two regions lie apart.

Source: Cong, Niu, Zhang, Liang, Zhang, ICME 2021 (arXiv:2009.09169); partial convolutions
arXiv:1804.07723; the score of harmony is the authors' code's.
Shapes: B images, h x w their size, S numbers of a code.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..precision import widen, without_autocast
from ..render import Prediction
from ..resizing import window_sums
from .batch_norm import batch_norm
from .blocks import Operations, initialise
from .picture_network import PictureConfig, PictureNetwork
from .published import KeyRules, Published

CHANNELS = (1, 2, 4, 8, 8)  # in units of the width; each layer halves the size
WINDOW = 3
SMALLEST = 63  # pixels that the five layers see at least
FALL = 0.04212  # of the score with the distance; the authors' constant


@dataclass(frozen=True, kw_only=True, slots=True)
class StyleCodeConfig(PictureConfig):
    """The paper's encoder."""

    width: int = 64  # channels of the first layer
    code: int = 16  # S
    size: int = 256

    def __post_init__(self) -> None:
        if self.width < 1 or self.code < 1 or self.size < SMALLEST:
            raise ValueError(f"no style encoder has these numbers: {self}")

    def build(self, *, name: str, operations: Operations = nn, pretrained: bool = True) -> "StyleCode":
        return StyleCode(self, name=name, operations=operations)


class StyleEncoder(nn.Module):
    """Five partial convolutions, which see the region alone, and the mean of what they found."""

    def __init__(self, width: int, code: int, operations: Operations = nn) -> None:
        super().__init__()
        channels = [width * c for c in CHANNELS]
        self.convs = nn.ModuleList(
            operations.Conv2d(a, b, WINDOW, 2, bias=layer == 0)
            for layer, (a, b) in enumerate(zip([3, *channels], channels, strict=False))
        )
        self.norms = nn.ModuleList(batch_norm(c, operations) for c in channels[1:-1])
        self.out = operations.Conv2d(channels[-1], code, 1)

    def forward(self, image: Tensor, region: Tensor) -> Tensor:
        """Picture (B, 3, h, w), sRGB 0..1, and weight (B, 1, h, w), 0..1 -> codes (B, S, 1, 1)."""
        x, region = 2 * image - 1, widen(region)
        for layer, convolution in enumerate(self.convs):
            x, region = _partial(convolution, x, region)
            if layer == 0:
                x = F.relu(x)
            elif layer < len(self.convs) - 1:
                x = F.relu(self.norms[layer - 1](x))
        with without_autocast(x):
            mean = widen(x).mean((2, 3), keepdim=True).to(x.dtype)
        return self.out(mean)


def _partial(convolution: nn.Module, x: Tensor, region: Tensor) -> tuple[Tensor, Tensor]:
    """The convolution's answer as if its window held the region alone, and the region as it is after it."""
    seen = window_sums(region, WINDOW, 2)  # pixels of the region in the window
    reached = seen.clamp(0, 1)
    gain = WINDOW**2 / (seen + 1e-8) * reached
    y = convolution(x * region.to(x.dtype))
    if not isinstance(convolution.bias, Tensor):
        return (widen(y) * gain).to(x.dtype), reached
    bias = convolution.bias.to(gain)[:, None, None]
    return (((widen(y) - bias) * gain + bias) * reached).to(x.dtype), reached


def distance(encoder: StyleEncoder, image: Tensor, mask: Tensor) -> Tensor:
    """How far the object's code lies from its background's: (B,), at least 0.

    Args: image (B, 3, h, w), sRGB 0..1, at the encoder's size; mask (B, 1, h, w), 0..1, soft edges kept.
    """
    inside, outside = (widen(encoder(image, region)) for region in (mask, 1 - mask))
    return (inside - outside).square().sum((1, 2, 3)).sqrt()


def harmony(distances: Tensor) -> Tensor:
    """The authors' score: 1 where both codes are the same, towards 0 the further they are apart."""
    return torch.exp(-FALL * distances)


class StyleCode(PictureNetwork):
    """The encoder as a file holds it: it tells how well an object belongs, and makes no picture."""

    config: StyleCodeConfig

    def __init__(
        self, config: StyleCodeConfig, *, name: str = "bargainnet-encoder", operations: Operations = nn
    ) -> None:
        super().__init__(config, name)
        self.style = StyleEncoder(config.width, config.code, operations)
        initialise(self)

    def answer(self, image: Tensor, mask: Tensor) -> Prediction:
        """Raises: ValueError, because it harmonizes nothing."""
        raise ValueError(f"'{self.name}' scores composites and harmonizes none")


STYLE_KEYS: KeyRules = (
    *((rf"^style\.convs\.{n}\.", f"E.conv{n + 1}f.") for n in range(5)),
    *((rf"^style\.norms\.{n}\.", f"E.norm{n + 2}f.") for n in range(3)),
    (r"^style\.out\.", "E.convs."),
)
STYLE_CITATION = (
    "Cong, Niu, Zhang, Liang, Zhang. BargainNet: Background-Guided Domain Translation for Image "
    "Harmonization. ICME 2021"
)
STYLE_CODE = Published(
    method="BargainNet's style encoder",
    year=2021,
    citation=STYLE_CITATION,
    repository="bcmi/BargainNet-Image-Harmonization",
    commit="db73dfa08864a32804174843d814b0388c9b218c",
    keys=(*STYLE_KEYS, (r"^E\.", "")),
    file="checkpoints/latest_net_E.pth",
    blob="a205bed800e8fdc6bdeb44bb47a023f20a38dddf",
    licence="MIT",
    commercial=True,
)
