"""The pretrained trunk of `raiha-plus`: maps at strides 4 to 32, of EfficientNet-Lite0 or of a timm network.

Source: EfficientNet-Lite0's ImageNet weights come with the package that the embedded encoder uses. timm is
imported for other names only, and only when a network is built.
Shapes: B images, C channels of a level, h x w the network's size.
"""

from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..features.efficientnet import LITE0, EfficientNet
from ..features.encoders import lite0_state
from ..features.host_layers import use_layers, with_strays
from ..features.tv_ops import ensure_torchvision
from ..features.weights import load_strictly
from .blocks import Operations

LITE0_NAME = "tf_efficientnet_lite0"  # timm's, which configs hold
STRIDES = (4, 8, 16, 32)
_HALF = (0.5, 0.5, 0.5)  # Lite0's weights were trained with this mean and deviation, not with ImageNet's


class Backbone(nn.Module):
    """Feature maps of a classifier. Batch norms stay in evaluation mode, the first stages may stay frozen."""

    def __init__(
        self,
        name: str,
        frozen_stages: int,
        *,
        antialias: bool = False,
        operations: Operations = nn,
        pretrained: bool = True,
    ) -> None:
        """
        Args:
            name: a timm model with maps at strides 4, 8, 16 and 32.
            frozen_stages: 0 trains everything; n freezes the stem and the first n groups of blocks.
            antialias: maps are smoothed where they are halved; for Lite0.
            operations: the namespace of layer classes.
            pretrained: Lite0's weights are read from the installed package; any other name asks timm.
        Raises: ValueError where the strides are others, Lite0's weights are not installed, or another network
            is to be antialiased.
        """
        super().__init__()
        if antialias and name != LITE0_NAME:
            raise ValueError(f"antialias is known for '{LITE0_NAME}' only, not for '{name}'")
        self.casts = name == LITE0_NAME  # made of `operations`, which compute in the type of what they read
        if name == LITE0_NAME:
            self.body: nn.Module = EfficientNet(replace(LITE0, antialias=antialias), operations)
            if pretrained:
                load_strictly(self.body, lite0_state(), "EfficientNet-Lite0")
            self.channels: tuple[int, ...] = EfficientNet.CHANNELS[1:]
            self.mean: tuple[float, ...] = _HALF
            self.deviation: tuple[float, ...] = _HALF
        else:
            body, self.channels, self.mean, self.deviation = _timm_body(name, pretrained)
            self.body = use_layers(body, operations)
        cast("Any", self.body).to(
            memory_format=torch.channels_last
        )  # a third faster on a CPU, and what GPUs prefer
        self._freeze(name, frozen_stages)
        self.train(self.training)

    def _freeze(self, name: str, stages: int) -> None:
        if stages == 0:
            return
        body = cast("Any", self.body)
        if not hasattr(body, "blocks") or not hasattr(body, "conv_stem"):
            raise ValueError(f"frozen_stages is known for EfficientNets only, not for '{name}'; use 0")
        for part in (body.conv_stem, body.bn1, *list(body.blocks)[:stages]):
            part.requires_grad_(False)

    def train(self, mode: bool = True) -> "Backbone":
        super().train(mode)
        for module in self.body.modules():
            if isinstance(module, nn.BatchNorm2d):  # timm's own norms inherit from it
                module.eval()
        return self

    def forward(self, image: Tensor) -> list[Tensor]:
        """sRGB 0..1 (B, 3, h, w), sides multiples of 32 -> maps (B, C, h/s, w/s) for s = 4, 8, 16, 32."""
        shape = (1, 3, 1, 1)
        mean = torch.tensor(self.mean, device=image.device).view(shape)
        deviation = torch.tensor(self.deviation, device=image.device).view(shape)
        kind = image.dtype if self.casts else next(self.body.parameters()).dtype
        normal = ((image.float() - mean) / deviation).to(kind)
        normal = normal.contiguous(memory_format=torch.channels_last)
        levels = self.body(normal) if self.casts else with_strays(self.body, normal, self.body)
        return [level.to(image.dtype).contiguous() for level in levels[-len(STRIDES) :]]


def _timm_body(
    name: str, pretrained: bool
) -> tuple[nn.Module, tuple[int, ...], tuple[float, ...], tuple[float, ...]]:
    """A timm network's feature maps, their channels, and the mean and deviation it was trained with."""
    ensure_torchvision()
    import timm

    if not timm.is_model(name):
        raise ValueError(f"there is no backbone '{name}'")
    body = timm.create_model(name, pretrained=pretrained, features_only=True, out_indices=(1, 2, 3, 4))
    info = cast("Any", body).feature_info
    found = tuple(info.reduction())
    if found != STRIDES:
        raise ValueError(f"the backbone '{name}' has maps at strides {found}, needed are {STRIDES}")
    usual = timm.get_pretrained_cfg(name)
    mean, deviation = (_HALF, _HALF) if usual is None else (usual.mean, usual.std)
    return body, tuple(info.channels()), tuple(mean), tuple(deviation)
