"""iDIH: a deep autoencoder whose answer is a picture fused with the composite; also a base of DCCF.

Source: Sofiiuk, Popenova, Konushin, WACV 2021 (arXiv:2006.00809), after arXiv:1703.00069.
Shapes: B images, h x w the network's size, sides multiples of 256.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..features.references import ReferenceBatch
from ..precision import widen
from ..render import Prediction
from .batch_norm import batch_norm
from .blocks import Operations, pad_to_multiple
from .checks import check_inputs
from .imagenet import standardise
from .issam import CITATION, THRESHOLD, fused
from .network import Network, NetworkConfig, Requirements
from .published import Published

_MULTIPLE = 256  # what the authors pad to: the deepest map is a cell for each
DEPTH = 7
NORM_FROM = 2
_MOST_CHANNELS = 512
# Names of our tensors -> those of the public code, for a network that holds the autoencoder as `unet`.
AUTOENCODER_KEYS = (
    (r"^unet\.(attention_map)", r"decoder.conv_attention"),
    (r"^unet\.to_rgb", r"decoder.to_rgb"),
    (r"^unet\.encoder\.([01])\.", r"encoder.block\1."),
    (r"^unet\.encoder\.(\d)\.", r"encoder.blocks_connected.block\1."),
    (r"^unet\.decoder\.(\d)\.", r"decoder.deconv_blocks.\1."),
    (r"\.conv\.", r".block.0."),
    (r"\.norm\.", r".block.1."),
)


class Resample(nn.Module):
    """Half the size or twice the size by a 4x4 convolution, batch norm where asked for, ELU."""

    def __init__(
        self, c_in: int, c_out: int, *, up: bool, padding: int, norm: bool, operations: Operations
    ) -> None:
        super().__init__()
        layer = operations.ConvTranspose2d if up else operations.Conv2d
        self.conv = layer(c_in, c_out, 4, 2, padding)
        self.norm = batch_norm(c_out, operations) if norm else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return F.elu(x if self.norm is None else self.norm(x))


class Autoencoder(nn.Module):
    """Seven halvings and back; each level adds the encoder's map of its size."""

    def __init__(self, *, width: int = 64, to_rgb: bool = True, operations: Operations = nn) -> None:
        super().__init__()
        channels = [min(width << level // 2, _MOST_CHANNELS) for level in range(DEPTH)]
        self.encoder = nn.ModuleList(
            Resample(
                c_in,
                c_out,
                up=False,
                padding=int(level < DEPTH - 1),
                norm=level >= NORM_FROM,
                operations=operations,
            )
            for level, (c_in, c_out) in enumerate(zip([4, *channels], channels, strict=False))
        )
        back = [*channels[::-1], width // 2]
        self.decoder = nn.ModuleList(
            Resample(c_in, c_out, up=True, padding=int(level > 0), norm=True, operations=operations)
            for level, (c_in, c_out) in enumerate(pairwise(back))
        )
        self.attention_map = operations.Conv2d(width // 2, 1, 1)
        if to_rgb:
            self.to_rgb = operations.Conv2d(width // 2, 3, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Picture and mask (B, 4, h, w) -> the last map (B, width / 2, h, w), attention (B, 1, h, w)."""
        skips: list[Tensor] = []
        for block in self.encoder:
            x = block(x)
            skips.append(x)
        for block, skip in zip(self.decoder, [*skips[-2::-1], None], strict=True):
            x = block(x) if skip is None else block(x) + skip
        return x, torch.sigmoid(3 * widen(self.attention_map(x)))


@dataclass(frozen=True, kw_only=True, slots=True)
class IdihConfig(NetworkConfig):
    """The improved network for 256 pixels."""

    width: int = 64  # channels of the first two levels
    size: int = 256

    def __post_init__(self) -> None:
        if self.width < 2 or self.width % 2 or self.size < 1:
            raise ValueError(f"width must be even and size >= 1, got {self.width} and {self.size}")

    @property
    def requirements(self) -> Requirements:
        return Requirements(size=self.size, multiple=_MULTIPLE, antialias=False)

    def build(self, *, name: str, operations: Operations = nn, pretrained: bool = True) -> "Idih":
        return Idih(self, name=name, operations=operations)


class Idih(Network):
    """Picture and hard mask to a picture."""

    config: IdihConfig

    def __init__(self, config: IdihConfig, *, name: str = "idih", operations: Operations = nn) -> None:
        super().__init__(config, name)
        self.unet = Autoencoder(width=config.width, operations=operations)

    def forward(
        self,
        image: Tensor,
        mask: Tensor,
        content: Tensor | None = None,
        references: ReferenceBatch | None = None,
    ) -> Prediction:
        image, mask = check_inputs(image, mask, references, name=self.name, max_references=0)
        hard = (mask > THRESHOLD).to(mask.dtype)
        x = torch.cat((standardise(pad_to_multiple(image, _MULTIPLE)), pad_to_multiple(hard, _MULTIPLE)), 1)
        features, attention = self.unet(x)
        return fused(image, features, attention, self.unet.to_rgb)


IDIH256 = Published(
    method="iDIH",
    year=2021,
    citation=CITATION,
    repository="SamsungLabs/image_harmonization",
    commit="4d16b12",
    keys=AUTOENCODER_KEYS,
    licence="MPL-2.0",
    commercial=True,
)
