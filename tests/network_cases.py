"""Small pictures, references and networks for the tests of the networks."""

import math
from dataclasses import replace
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raiha_core.features.references import ReferenceBatch
from raiha_core.features.spec import FeatureSpec
from raiha_core.models.bargainnet import BargainNetConfig
from raiha_core.models.cdtnet import CDTNetConfig
from raiha_core.models.dccf import DCCFConfig
from raiha_core.models.harmony_transformer import HarmonyTransformerConfig
from raiha_core.models.hdnet import UNetConfig
from raiha_core.models.idih import IdihConfig
from raiha_core.models.intrinsic import IntrinsicConfig
from raiha_core.models.issam import IssamConfig
from raiha_core.models.network import Network, NetworkConfig
from raiha_core.models.pctnet import PCTNetConfig
from raiha_core.models.plus import PlusConfig
from raiha_core.models.presets import PRESETS
from raiha_core.models.rainnet import RainNetConfig

AnyNetwork = TypeVar("AnyNetwork", bound=nn.Module)
DIM = 12  # content numbers of the small networks
SPEC = FeatureSpec(
    name="test-12",
    encoder="test",
    layer="none",
    input_size=64,
    grid=4,
    dim=DIM,
    weights="0" * 16,
    content_threshold=0.7,
    threshold_source="made up",
)


# what makes a network of each kind small; one that is not listed is tested as it is
SMALL: dict[type[NetworkConfig], dict[str, int]] = {
    UNetConfig: {"width": 4},
    PlusConfig: {"width": 16, "hidden": 32},
    PCTNetConfig: {"width": 4, "tokens": 16, "layers": 2},
    IssamConfig: {"width": 4},
    IdihConfig: {"width": 4, "trunk_width": 4},
    RainNetConfig: {"width": 4},
    DCCFConfig: {"width": 4},
    CDTNetConfig: {"width": 4},
    BargainNetConfig: {"width": 4},
    IntrinsicConfig: {"width": 4},
    HarmonyTransformerConfig: {"tokens": 16, "layers": 2},
}
PUBLISHED = [name for name, preset in PRESETS.items() if preset.published is not None]
OWN = [
    name for name in PRESETS if name not in PUBLISHED
]  # theirs have goldens of their own, under their names


def small_config(name: str) -> NetworkConfig:
    """A preset's config, narrow, all its switches as they are."""
    config = PRESETS[name].config
    if config.requirements.content_dim:
        config = replace(config, content_dim=DIM)
    return replace(config, size=64, **SMALL.get(type(config), {}))


def small(name: str, **changes: object) -> Network:
    """A narrow network of a preset with seeded weights; `changes` are fields of its config."""
    torch.manual_seed(0)
    return PRESETS[name].build(config=replace(small_config(name), **changes))


def pairs(count: int, height: int = 64, width: int = 64, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Composites, masks and truths: smooth pictures whose object was given another light."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 4, 4, generator=generator)
    truth = F.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=False)
    truth = (0.15 + 0.7 * truth.clamp(0, 1)).contiguous()
    y = torch.linspace(-1, 1, height)[:, None]
    x = torch.linspace(-1, 1, width)
    masks = []
    for _ in range(count):
        cx, cy, radius = (torch.rand(3, generator=generator) * torch.tensor([0.8, 0.8, 0.2])).tolist()
        distance = ((x - cx + 0.4) ** 2 + (y - cy + 0.4) ** 2).sqrt()
        masks.append(((0.35 + radius - distance) * 8 + 0.5).clamp(0, 1))
    mask = torch.stack(masks)[:, None]
    gain = 0.7 + 0.5 * torch.rand(count, 3, 1, 1, generator=generator)
    composite = truth + mask * ((truth * gain).clamp(0, 1) - truth)
    return composite, mask, truth


def contents(count: int, dim: int = DIM, grid: int = 4, seed: int = 1) -> Tensor:
    """Content features of unit length: (B, D, g, g)."""
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(count, dim, grid, grid, generator=generator), dim=1)


def references(
    count: int, most: int, size: int = 64, *, dim: int = DIM, present: Tensor | None = None, seed: int = 2
) -> ReferenceBatch:
    """`most` references for each of `count` composites, all there unless `present` says otherwise."""
    pictures = pairs(count * most, size, size, seed)[2]
    return ReferenceBatch(
        images=pictures.unflatten(0, (count, most)),
        present=torch.ones(count, most, dtype=torch.bool) if present is None else present,
        content=contents(count * most, dim, seed=seed).unflatten(0, (count, most)),
        spec=SPEC,
    )


def content_for(network: Network, count: int) -> Tensor | None:
    """Content features where the network needs them without references."""
    return contents(count) if network.config.requirements.content_without_references else None


def noise(shape: tuple[int, ...], index: int) -> Tensor:
    """Numbers in -1..1 by formula, the same on every machine and torch version: float32."""
    place = torch.arange(math.prod(shape), dtype=torch.float64)
    wave = torch.sin(place * 12.9898 + index * 78.233).abs() * 43758.5453
    return (2 * torch.frac(wave) - 1).reshape(shape).float()


def lively(shape: tuple[int, ...], index: int) -> Tensor:
    """A weight of some size that neither dies nor explodes."""
    fan_in = max(1, math.prod(shape) // shape[0])
    return noise(shape, index) * (1.7 / math.sqrt(fan_in) if len(shape) > 1 else 0.3)


def fill(network: AnyNetwork) -> AnyNetwork:
    """Lively weights by formula, the same on every machine; a pretrained backbone keeps its own."""
    with torch.no_grad():
        for i, (name, tensor) in enumerate(sorted(network.state_dict().items())):
            if name.startswith("backbone.") or not name.endswith(("weight", "bias", "gamma", "beta", "gate")):
                continue
            tensor.copy_(lively(tuple(tensor.shape), i))
    return network
