"""DCCF: value, saturation and hue filters per pixel that a person can read, and a last matrix.

Source: Xue, Ran, Chen, Jia, Zhao, Tang, ECCV 2022 (arXiv:2207.04788).
Shapes: B images, h x w the network's size, H x W the photo's.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..color import hsv_to_srgb, srgb_to_hsv
from ..enlargement import Bicubic, Enlarged, Window, shrink
from ..precision import widen
from ..render import Prediction, Renderer
from .blocks import Operations, pad_to_multiple
from .idih import AUTOENCODER_KEYS, Autoencoder
from .imagenet import standardise
from .network import Requirements
from .picture_network import PictureConfig, PictureNetwork
from .published import Published
from .ssam_unet import UNET_KEYS, SeparatedUNet

_MULTIPLES = {"issam": 8, "idih": 256}
KNOTS = 8  # of the curve on the value
HUE, SLOPES, LIFT = slice(0, 12), slice(12, 20), slice(20, 21)  # channels of the filters
SATURATION, LAST, SHARE = slice(21, 22), slice(22, 34), slice(34, 35)
MOST_LIFT = 0.2
NEARLY_ONE = 0.99  # of the saturation's change, whose inverse must stay finite


@dataclass(frozen=True, kw_only=True, slots=True)
class DCCFConfig(PictureConfig):
    """The paper's filters on either base, with saturations of -1..1."""

    base: Literal["issam", "idih"] = "issam"
    width: int = 32  # channels of the last map
    size: int = 256

    def __post_init__(self) -> None:
        if self.width < 1 or self.size < 8 or self.base not in _MULTIPLES:
            raise ValueError(f"no DCCF has these numbers: {self}")

    @property
    def requirements(self) -> Requirements:
        return Requirements(size=self.size, multiple=_MULTIPLES[self.base], antialias=False)

    def build(self, *, name: str, operations: Operations = nn, pretrained: bool = True) -> "DCCF":
        return DCCF(self, name=name, operations=operations)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadableFilters:
    """The filters of each pixel, in their order, mixed in by the attention: a step of a prediction."""

    maps: Tensor  # (B, 35, h, w): hue 12, value 8 + 1, saturation 1, last matrix 12, attention 1

    halo = 0
    blends = True

    @property
    def count(self) -> int:
        return len(self.maps)

    def start(self, composite: Tensor, mask: Tensor, *, exact: bool) -> Renderer:
        maps = self.maps.expand(len(composite), -1, -1, -1)
        size = (composite.shape[-2], composite.shape[-1])
        field: Bicubic | Enlarged = Bicubic(maps, size)
        if not exact:
            field = Enlarged(maps, shrink(mask, (maps.shape[-2], maps.shape[-1])) > 0, size)

        def render(image: Tensor, window: Window) -> Tensor:
            found = field.part(window)
            return image + found[:, SHARE] * (filtered(image, found) - image)

        return render


def filtered(image: Tensor, maps: Tensor) -> Tensor:
    """All filters: (B, 3, H, W) and their maps (B, 35, H, W) -> (B, 3, H, W), 0..1.

    Each changes the running picture, of which one channel then replaces that of a hue, saturation and
    value carried along.
    """
    hue, saturation, value = srgb_to_hsv(image).split(1, 1)
    lift = maps[:, LIFT].clamp(-MOST_LIFT, MOST_LIFT)
    knots = torch.arange(KNOTS).to(image)[:, None, None] / KNOTS
    value = ((maps[:, SLOPES] * F.relu(value - knots)).sum(1, keepdim=True) + lift).clamp(0, 1)
    x = _picture(hue, saturation, value)
    x = saturated(x, maps[:, SATURATION].clamp(-NEARLY_ONE, NEARLY_ONE))
    most, least = x.amax(1, keepdim=True), x.amin(1, keepdim=True)
    saturation = (most - least) / (most + 1e-7)
    x = transposed_affine(_picture(hue, saturation, value), maps[:, HUE]).clamp(0, 1)
    x = _picture(srgb_to_hsv(x)[:, :1], saturation, value)
    return transposed_affine(x, F.normalize(maps[:, LAST], dim=1)).clamp(0, 1)


def _picture(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    return hsv_to_srgb(torch.cat((hue, saturation, value), 1)).clamp(0, 1)


def saturated(image: Tensor, amount: Tensor) -> Tensor:
    """Away from the middle of each pixel's largest and smallest channel, or towards it: 0..1."""
    most, least = image.amax(1, keepdim=True), image.amin(1, keepdim=True)
    middle, span, total = (most + least) / 2, most - least, most + least
    room = torch.where(middle < 0.5, total, 2 - total)
    own = torch.where(room > 0, span / room.clamp_min(1e-20), 0)
    gain = torch.where(own >= 1 - amount, 1 / (own + 1e-20), 1 / (1 - amount))
    gain = torch.where(amount > 0, gain, 1 + amount)
    return (middle + (image - middle) * gain).clamp(0, 1)


def transposed_affine(image: Tensor, numbers: Tensor) -> Tensor:
    """Channel c becomes the sum over r of number 3 r + c times channel r, plus number 9 + c."""
    matrix = numbers[:, :9].unflatten(1, (3, 3))
    return (matrix * image[:, :, None]).sum(1) + numbers[:, 9:]


class DCCF(PictureNetwork):
    """One of two bases, whose last map becomes filters."""

    config: DCCFConfig

    def __init__(self, config: DCCFConfig, *, name: str = "dccf", operations: Operations = nn) -> None:
        super().__init__(config, name)
        self.unet: SeparatedUNet | Autoencoder
        if config.base == "issam":
            self.unet = SeparatedUNet(width=config.width, operations=operations)
        else:
            self.unet = Autoencoder(width=2 * config.width, to_rgb=False, operations=operations)
        self.filters = operations.Conv2d(config.width, SATURATION.stop, 1)
        self.last = operations.Conv2d(config.width, 12, 1)

    def answer(self, image: Tensor, mask: Tensor) -> Prediction:
        height, width = image.shape[-2:]
        multiple = self.config.requirements.multiple
        padded_mask = pad_to_multiple(mask, multiple)
        x = torch.cat((standardise(pad_to_multiple(image, multiple)), padded_mask), 1)
        if isinstance(self.unet, SeparatedUNet):
            features, attention = self.unet(x, padded_mask)
        else:
            features, attention = self.unet(x)
        maps = torch.cat((widen(self.filters(features)), widen(self.last(features)), attention), 1)
        return Prediction(step=ReadableFilters(maps=maps[..., :height, :width]))


def _card(base: str, keys: tuple[tuple[str, str], ...]) -> Published:
    return Published(
        method=f"DCCF ({base})",
        year=2022,
        citation="Xue, Ran, Chen, Jia, Zhao, Tang. DCCF: Deep Comprehensible Color Filter Learning Framework "
        "for High-Resolution Image Harmonization. ECCV 2022",
        repository="rockeyben/DCCF",
        commit="96188d1",
        keys=(*keys, (r"^filters\.", r"get_filters."), (r"^last\.", r"get_refine.")),
        licence="MPL-2.0",
        commercial=True,
    )


DCCF_ISSAM = _card("iS2AM", UNET_KEYS)
DCCF_IDIH = _card("iDIH", AUTOENCODER_KEYS)
