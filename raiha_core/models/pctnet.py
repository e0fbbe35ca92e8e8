"""PCT-Net: twelve numbers per pixel, a 3x3 matrix and an offset, from a U-Net or from a transformer.

Source: Guerreiro, Nakazawa, Stenger, CVPR 2023 (PCT-Net).
Shapes: B images, h x w the network's size, H x W the photo's, D the transformer's width.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from einops import rearrange
from torch import Tensor, nn

from ..enlargement import Bicubic, Enlarged, Window, shrink
from ..precision import widen, without_autocast
from ..render import Prediction, Renderer, affine_change
from .blocks import Operations, pad_to_multiple
from .imagenet import standardise, statistics
from .picture_network import PictureConfig, PictureNetwork
from .published import KeyRules, Published
from .ssam_unet import UNET_KEYS, SeparatedUNet
from .transformer import LAYER_KEYS, PatchTransformer

_MULTIPLE = 8  # three halvings, or two patches


@dataclass(frozen=True, kw_only=True, slots=True)
class PCTNetConfig(PictureConfig):
    """The paper's two variants by `trunk`; each reads only its own fields."""

    multiple = _MULTIPLE
    antialias = False
    trunk: Literal["cnn", "vit"] = "cnn"
    width: int = 32  # channels of the U-Net's first level
    tokens: int = 256  # D of the transformer
    layers: int = 9
    heads: int = 2
    size: int = 256

    def __post_init__(self) -> None:
        if self.width < 1 or self.layers < 1 or self.size < _MULTIPLE or self.tokens % self.heads:
            raise ValueError(f"no PCT-Net has these numbers: {self}")

    def build(self, *, name: str, operations: Operations = nn, pretrained: bool = True) -> "PCTNet":
        return PCTNet(self, name=name, operations=operations)


@dataclass(frozen=True, kw_only=True, slots=True)
class PixelTransform:
    """clamp(M pixel + b) with the twelve numbers enlarged to the photo, mixed in by the attention."""

    parameters: Tensor  # (B, 12, h, w): M - I row-major (9), then b (3), of sRGB 0..1
    attention: Tensor | None  # (B, 1, h, w) in 0..1, the share of the transformed pixel; None: all of it

    halo = 0

    @property
    def count(self) -> int:
        return len(self.parameters)

    @property
    def blends(self) -> bool:
        return self.attention is not None

    def start(self, composite: Tensor, mask: Tensor, *, exact: bool) -> Renderer:
        maps = self.parameters if self.attention is None else torch.cat((self.parameters, self.attention), 1)
        maps = maps.expand(len(composite), -1, -1, -1)
        size = (composite.shape[-2], composite.shape[-1])
        field: Bicubic | Enlarged = Bicubic(maps, size)
        if not exact:
            inside = shrink(mask, (maps.shape[-2], maps.shape[-1])) > 0
            field = Enlarged(maps, inside, size)

        def render(image: Tensor, window: Window) -> Tensor:
            found = field.part(window)
            new = affine_change(image, found[:, :12]).clamp(0, 1)
            return new if self.attention is None else image + found[:, 12:] * (new - image)

        return render


class PCTNet(PictureNetwork):
    """Reads 256 pixels, speaks of every size."""

    config: PCTNetConfig

    def __init__(self, config: PCTNetConfig, *, name: str = "pctnet", operations: Operations = nn) -> None:
        super().__init__(config, name)
        self.unet: SeparatedUNet | None = None
        self.transformer: PatchTransformer | None = None
        if config.trunk == "cnn":
            self.unet = SeparatedUNet(width=config.width, operations=operations)
        else:
            self.transformer = PatchTransformer(
                config.tokens, config.layers, config.heads, 12, operations=operations
            )
        self.to_parameters = operations.Conv2d(config.width if config.trunk == "cnn" else 12, 12, 1)

    def answer(self, image: Tensor, mask: Tensor) -> Prediction:
        height, width = image.shape[-2:]
        padded, padded_mask = pad_to_multiple(image, _MULTIPLE), pad_to_multiple(mask, _MULTIPLE)
        attention = None
        if self.unet is not None:
            x, attention = self.unet(torch.cat((standardise(padded), padded_mask), 1), padded_mask)
        else:
            assert self.transformer is not None
            x = self.transformer(torch.cat((padded, padded_mask), 1))
        raw = widen(self.to_parameters(x))[..., :height, :width]
        with without_autocast(raw):
            parameters = self._of_srgb(raw)
        if attention is not None:
            attention = attention[..., :height, :width]
        return Prediction(step=PixelTransform(parameters=parameters, attention=attention))

    def _of_srgb(self, raw: Tensor) -> Tensor:
        """What the network says of its normalised picture, said of sRGB 0..1, less the identity."""
        matrix, offset = rearrange(raw[:, :9], "b (r c) h w -> b r c h w", c=3), raw[:, 9:]
        if self.config.trunk == "cnn":
            mean, deviation = statistics(raw)
            matrix = matrix / deviation
            offset = offset - (matrix * mean).sum(2)
        identity = torch.eye(3).to(raw)[:, :, None, None]
        return torch.cat(((matrix - identity).flatten(1, 2), offset), 1)


_REPOSITORY = "rakutentech/PCT-Net-Image-Harmonization"
_COMMIT = "1572176ed1a72217dad7395391615329b98d30c7"
_CITATION = (
    "Guerreiro, Nakazawa, Stenger. PCT-Net: Full Resolution Image Harmonization Using Pixel-Wise Color "
    "Transformations. CVPR 2023"
)
_KEYS: KeyRules = (
    *UNET_KEYS,
    (r"^to_parameters\.", r"get_params."),
    (r"^transformer\.embed\.", r"encoder.patch_to_embedding.1."),
    (r"^transformer\.out\.", r"encoder.dec.0."),
    (r"^transformer\.layers\.", r"encoder.transformer_enc.layers."),
    *LAYER_KEYS,
)
PCTNET_CNN = Published(
    method="PCT-Net (CNN)",
    year=2023,
    citation=_CITATION,
    repository=_REPOSITORY,
    commit=_COMMIT,
    keys=_KEYS,
    file="pretrained_models/PCTNet_CNN.pth",
    blob="fb02dd3048483fef8bcb16caeb9b18224e2ccc2b",
    licence="MPL-2.0",
    commercial=True,
    scores={"iHarmony4, protocol C, PSNR": 38.30, "iHarmony4, protocol C, MSE": 24.02},
)
PCTNET_VIT = Published(
    method="PCT-Net (ViT)",
    year=2023,
    citation=_CITATION,
    repository=_REPOSITORY,
    commit=_COMMIT,
    keys=_KEYS,
    file="pretrained_models/PCTNet_ViT.pth",
    blob="4c7fdd95916f68bcde8a318d24c1f0cac25a783d",
    licence="MPL-2.0",
    commercial=True,
    scores={"iHarmony4, protocol C, PSNR": 39.29, "iHarmony4, protocol C, MSE": 18.84},
)
