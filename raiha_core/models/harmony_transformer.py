"""The Harmony Transformer: patches to a picture (HT), or to reflectance and illumination apart (D-HT).

Source: Guo, Gu, Zheng, Dong, Zheng, TPAMI 2022; its code is the journal's version of ICCV 2021's networks.
Shapes: B images, C channels, h x w the network's size, sides multiples of 8, D width, L lights.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..precision import widen
from .blocks import Operations, initialise
from .mirrored_conv import MirroredDecoder, MirroredEncoder
from .picture_network import PictureConfig, RepaintingNetwork
from .published import Published, key_rules
from .transformer import LAYER_KEYS, Decoder, EncoderLayer, PatchTransformer, sine_positions

_MULTIPLE = 8  # a patch of light; two halvings need 4
_LIGHT_PATCH = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class HarmonyTransformerConfig(PictureConfig):
    """The journal's two networks by `kind`."""

    multiple = _MULTIPLE
    kind: Literal["ht", "dht"] = "dht"
    tokens: int = 256  # D
    layers: int = 9  # of each transformer
    heads: int = 2
    lights: int = 27  # L; D-HT alone
    size: int = 256

    def __post_init__(self) -> None:
        numbers = (self.tokens, self.layers, self.heads, self.lights)
        if min(numbers) < 1 or self.tokens % 4 or self.tokens % self.heads or self.size < _MULTIPLE:
            raise ValueError(f"no Harmony Transformer has these numbers: {self}")

    def build(
        self, *, name: str, operations: Operations = nn, pretrained: bool = True
    ) -> "HarmonyTransformer | DisentangledHarmonyTransformer":
        kind = HarmonyTransformer if self.kind == "ht" else DisentangledHarmonyTransformer
        return kind(self, name=name, operations=operations)


class Lights(nn.Module):
    """What lights the picture, read from the patches that the object does not touch."""

    def __init__(self, config: HarmonyTransformerConfig, operations: Operations) -> None:
        super().__init__()
        self.embed = operations.Linear(3 * _LIGHT_PATCH**2, config.tokens)
        self.decoder = Decoder(config.tokens, config.layers, config.heads, operations)
        self.queries = nn.Parameter(torch.randn(config.lights, config.tokens))

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """Picture and hard mask (B, 1, h, w) -> (B, L, D)."""
        p = _LIGHT_PATCH
        patches = rearrange(image * (1 - mask), "b c (h p) (w q) -> b (h w) (p q c)", p=p, q=p)
        clean = ~(F.max_pool2d(mask, p).flatten(1) > 0)  # (B, N)
        # an object on every patch leaves nothing to read (NaN in the public code): then all of them are read
        clean = clean | ~clean.any(1, keepdim=True)
        seen = self.embed(patches)
        queries = self.queries.to(seen)
        place = sine_positions(image.shape[-2] // p, image.shape[-1] // p, seen.shape[-1]).to(seen)
        start = torch.zeros_like(queries).expand(len(seen), -1, -1)
        return self.decoder(start, seen, queries, place, clean[:, None, None])


class HarmonyTransformer(RepaintingNetwork):
    """HT: the transformer's answer is the picture."""

    config: HarmonyTransformerConfig

    def __init__(
        self, config: HarmonyTransformerConfig, *, name: str = "ht", operations: Operations = nn
    ) -> None:
        super().__init__(config, name)
        self.transformer = PatchTransformer(
            config.tokens, config.layers, config.heads, 3, places=True, operations=operations
        )
        initialise(self)

    def repaint(self, image: Tensor, hard: Tensor) -> Tensor:
        return widen(self.transformer(torch.cat((image, hard), 1)))


class DisentangledHarmonyTransformer(RepaintingNetwork):
    """D-HT: reflectance of the picture, illumination by what lights its background, and their product."""

    config: HarmonyTransformerConfig

    def __init__(
        self, config: HarmonyTransformerConfig, *, name: str = "dht", operations: Operations = nn
    ) -> None:
        super().__init__(config, name)
        d, layers, heads = config.tokens, config.layers, config.heads
        self.encoder = MirroredEncoder(d // 4, 0, operations)
        self.reflecting = nn.ModuleList(EncoderLayer(d, heads, 2 * d, operations) for _ in range(layers))
        self.reflectance = MirroredDecoder(d // 4, operations)
        self.lights = Lights(config, operations)
        self.lighting = Decoder(d, layers, heads, operations)
        self.illumination = MirroredDecoder(d // 4, operations)
        initialise(self)

    def repaint(self, image: Tensor, hard: Tensor) -> Tensor:
        cells = self.encoder(torch.cat((image, hard), 1))
        place = sine_positions(cells.shape[-2], cells.shape[-1], cells.shape[1]).to(cells)
        reflecting = rearrange(cells, "b d h w -> b (h w) d")
        for layer in self.reflecting:
            reflecting = layer(reflecting, place)
        lights = self.lights(image, hard)
        lit = self.lighting(reflecting, lights, place, self.lights.queries.to(cells))
        shape = {"h": cells.shape[-2]}
        reflectance = self.reflectance(rearrange(reflecting, "b (h w) d -> b d h w", **shape))
        illumination = self.illumination(rearrange(lit, "b (h w) d -> b d h w", **shape))
        return reflectance * illumination


def _card(method: str, keys: tuple[tuple[str, str], ...], scores: dict[str, float]) -> Published:
    return Published(
        method=method,
        year=2022,
        citation="Guo, Gu, Zheng, Dong, Zheng. Transformer for Image Harmonization and Beyond. TPAMI 2022",
        repository="zhenglab/HarmonyTransformer",
        commit="d8430b5e83695efd2837862a51c2fb6b2fcc400a",
        keys=(*keys, *LAYER_KEYS),
        licence="none stated",
        commercial=None,
        scores=scores,
    )


HT = _card(
    "HT (journal version)",
    (
        (r"^transformer\.embed\.", r"patch_to_embedding.1."),
        (r"^transformer\.out\.", r"dec.0."),
        (r"^transformer\.layers\.", r"transformer_enc.encoder.layers."),
    ),
    {},
)
DHT = _card(
    "D-HT (journal version)",
    key_rules(
        r"""
        ^encoder\.convs\. -> reflectance_enc.model.
        ^(reflectance|illumination)\.blocks\.0\. -> \1_dec.model.2.
        ^(reflectance|illumination)\.blocks\.1\. -> \1_dec.model.4.
        ^(reflectance|illumination)\.out\. -> \1_dec.model.5.
        ^reflecting\. -> reflectance_transformer_enc.encoder.layers.
        ^lights\.embed\. -> light_generator.patch_embedding.0.
        ^lights\.decoder\. -> light_generator.transformer_dec.decoder.
        ^lights\.queries$ -> light_generator.light_embed.weight
        ^lighting\. -> illumination_render.decoder.
        """
    ),
    {
        "iHarmony4, Raiha's Table I for the network of ICCV 2021 and not this one, PSNR": 37.55,
        "iHarmony4, Raiha's Table I for the network of ICCV 2021 and not this one, MSE": 30.30,
    },
)
