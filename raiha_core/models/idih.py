"""iDIH: a deep autoencoder whose answer is a picture fused with the composite; also a base of DCCF.

Alone, or with a trunk that knows what objects look like, whose map joins the autoencoder's at its size.

Source: Sofiiuk, Popenova, Konushin, WACV 2021 (arXiv:2006.00809), after arXiv:1703.00069.
Shapes: B images, h x w the network's size, sides multiples of 256.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..precision import widen
from ..render import Prediction
from .batch_norm import batch_norm
from .blocks import Operations, pad_to_multiple
from .deeplab import DEEPLAB_KEYS, DeepLab
from .hrnet import HRNET_KEYS, HRNet
from .imagenet import standardise
from .issam import CITATION, THRESHOLD, fused
from .picture_network import PictureConfig, PictureNetwork
from .published import KeyRules, Published, key_rules

_MULTIPLE = 256  # what the authors pad to: the deepest map is a cell for each
DEPTH = 7
NORM_FROM = 2
_MOST_CHANNELS = 512
_JOINED = 2  # the level that reads a trunk's map too, at a quarter of the size
# Names of our tensors -> those of the public code, for a network that holds the autoencoder as `unet`.
AUTOENCODER_KEYS = key_rules(
    r"""
    ^unet\.(attention_map) -> decoder.conv_attention
    ^unet\.to_rgb -> decoder.to_rgb
    ^unet\.encoder\.([01])\. -> encoder.block\1.
    ^unet\.encoder\.(\d)\. -> encoder.blocks_connected.block\1.
    ^unet\.decoder\.(\d)\. -> decoder.deconv_blocks.\1.
    \.conv\. -> .block.0.
    \.norm\. -> .block.1.
    """
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

    def __init__(
        self, *, width: int = 64, joined: int = 0, to_rgb: bool = True, operations: Operations = nn
    ) -> None:
        """Args: joined: channels of a trunk's map."""
        super().__init__()
        channels = [min(width << level // 2, _MOST_CHANNELS) for level in range(DEPTH)]
        read = [4, *channels]
        read[_JOINED] += joined
        self.encoder = nn.ModuleList(
            Resample(
                c_in,
                c_out,
                up=False,
                padding=int(level < DEPTH - 1),
                norm=level >= NORM_FROM,
                operations=operations,
            )
            for level, (c_in, c_out) in enumerate(zip(read, channels, strict=False))
        )
        back = [*channels[::-1], width // 2]
        self.decoder = nn.ModuleList(
            Resample(c_in, c_out, up=True, padding=int(level > 0), norm=True, operations=operations)
            for level, (c_in, c_out) in enumerate(pairwise(back))
        )
        self.attention_map = operations.Conv2d(width // 2, 1, 1)
        if to_rgb:
            self.to_rgb = operations.Conv2d(width // 2, 3, 1)

    def forward(self, x: Tensor, joined: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Picture and mask (B, 4, h, w) -> the last map (B, width / 2, h, w), attention (B, 1, h, w).

        Args: joined (B, C, h/4, w/4), a trunk's map, where it was built for one.
        """
        skips: list[Tensor] = []
        for level, block in enumerate(self.encoder):
            if level == _JOINED and joined is not None:
                x = torch.cat((x, joined), 1)
            x = block(x)
            skips.append(x)
        for block, skip in zip(self.decoder, [*skips[-2::-1], None], strict=True):
            x = block(x) if skip is None else block(x) + skip
        return x, torch.sigmoid(3 * widen(self.attention_map(x)))


@dataclass(frozen=True, kw_only=True, slots=True)
class IdihConfig(PictureConfig):
    """The improved network for 256 pixels."""

    multiple = _MULTIPLE
    antialias = False
    width: int = 64  # channels of the first two levels
    trunk: Literal["none", "deeplab", "hrnet"] = "none"
    trunk_width: int = 64  # channels of DeepLab's first layer, or of HRNet's finest branch
    size: int = 256

    def __post_init__(self) -> None:
        if self.width < 2 or self.width % 2 or self.size < 1:
            raise ValueError(f"width must be even and size >= 1, got {self.width} and {self.size}")
        if self.trunk not in ("none", "deeplab", "hrnet") or self.trunk_width < 2 or self.trunk_width % 2:
            raise ValueError(f"no iDIH has the trunk '{self.trunk}' of width {self.trunk_width}")

    def build(self, *, name: str, operations: Operations = nn, pretrained: bool = True) -> "Idih":
        return Idih(self, name=name, operations=operations)


class MaskHint(nn.Module):
    """What the mask adds to a trunk's first layer, at half the size."""

    def __init__(self, channels: int, operations: Operations) -> None:
        super().__init__()
        self.conv = operations.Conv2d(1, channels, 3, 2, 1)
        self.scale = nn.Parameter(torch.full((1,), 0.1))

    def forward(self, mask: Tensor) -> Tensor:  # (B, 1, h, w) -> (B, C, h/2, w/2)
        x = self.conv(mask)
        return x * self.scale.abs().to(x)


class Idih(PictureNetwork):
    """Picture and hard mask to a picture."""

    config: IdihConfig

    def __init__(self, config: IdihConfig, *, name: str = "idih", operations: Operations = nn) -> None:
        super().__init__(config, name)
        self.trunk: DeepLab | HRNet | None = None
        if config.trunk != "none":
            kind = DeepLab if config.trunk == "deeplab" else HRNet
            self.trunk = kind(config.trunk_width, operations)
            self.hint = MaskHint(self.trunk.first, operations)
        joined = 0 if self.trunk is None else self.trunk.channels
        self.unet = Autoencoder(width=config.width, joined=joined, operations=operations)

    def answer(self, image: Tensor, mask: Tensor) -> Prediction:
        hard = pad_to_multiple((mask > THRESHOLD).to(mask.dtype), _MULTIPLE)
        x = standardise(pad_to_multiple(image, _MULTIPLE))
        joined = None if self.trunk is None else self.trunk(x, hard, self.hint(hard))
        features, attention = self.unet(torch.cat((x, hard), 1), joined)
        return fused(image, features, attention, self.unet.to_rgb)


def _card(method: str, keys: KeyRules, mse: float, psnr: float) -> Published:
    return Published(
        method=method,
        year=2021,
        citation=CITATION,
        repository="SamsungLabs/image_harmonization",
        commit="4d16b12",
        keys=keys,
        licence="MPL-2.0",
        commercial=True,
        scores={f"iHarmony4, protocol of iDIH, {m}": x for m, x in (("PSNR", psnr), ("MSE", mse))},
    )


def _with_trunk(keys: KeyRules) -> KeyRules:
    hint = ((r"^hint\.conv\.", r"mask_conv.0."), (r"^hint\.scale$", r"mask_conv.1.scale"))
    return (*hint, *keys, *AUTOENCODER_KEYS, (r"^(encoder|decoder)\.", r"model.\1."))


# scores of their README's table, where all were retrained
IDIH256 = _card("iDIH", AUTOENCODER_KEYS, 30.70, 36.99)
IDIH256_DEEPLAB = _card("iDIH (DeepLab-R34)", _with_trunk(DEEPLAB_KEYS), 27.37, 37.53)
IDIH256_HRNET = _card("iDIH (HRNet18s)", _with_trunk(HRNET_KEYS), 22.82, 38.15)
