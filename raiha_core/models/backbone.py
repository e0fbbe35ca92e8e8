"""The pretrained trunk of `raiha-plus`: a timm network's maps at strides 4 to 32.

Source: timm; EfficientNet-Lite0's ImageNet weights come with the package that the embedded encoder uses.
Besides features/encoders.py the only file that imports timm, and only when a network is built.
Shapes: B images, C channels of a level, h x w the network's size.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn

from ..features.encoders import lite0_classifier
from ..features.tv_ops import ensure_torchvision
from ..features.weights import load_strictly

LITE0 = "tf_efficientnet_lite0"
STRIDES = (4, 8, 16, 32)
_LEVELS = (1, 2, 3, 4)  # timm's index of each stride
_HALF = (0.5, 0.5, 0.5)  # Lite0's weights were trained with this mean and deviation, not with ImageNet's


class Backbone(nn.Module):
    """Feature maps of a classifier. Batch norms stay in evaluation mode, the first stages may stay frozen."""

    def __init__(self, name: str, frozen_stages: int, *, pretrained: bool) -> None:
        """
        Args:
            name: a timm model with maps at strides 4, 8, 16 and 32.
            frozen_stages: 0 trains everything; n freezes the stem and the first n groups of blocks.
            pretrained: Lite0's weights are read from the installed package; any other name asks timm.
        Raises: ValueError where the strides are others, or Lite0's weights are not installed.
        """
        super().__init__()
        ensure_torchvision()
        import timm

        hub = pretrained and name != LITE0
        self.body = timm.create_model(name, pretrained=hub, features_only=True, out_indices=_LEVELS)
        info = cast("Any", self.body).feature_info
        found = tuple(info.reduction())
        if found != STRIDES:
            raise ValueError(f"the backbone '{name}' has maps at strides {found}, needed are {STRIDES}")
        self.channels: tuple[int, ...] = tuple(info.channels())
        if pretrained and name == LITE0:
            full = lite0_classifier().state_dict()
            load_strictly(self.body, {key: full[key] for key in self.body.state_dict()}, "EfficientNet-Lite0")
        cast("Any", self.body).to(
            memory_format=torch.channels_last
        )  # a third faster on a CPU, and what GPUs prefer
        usual = timm.get_pretrained_cfg(name)
        mean, deviation = (_HALF, _HALF) if name == LITE0 or usual is None else (usual.mean, usual.std)
        self.mean, self.deviation = tuple(mean), tuple(deviation)
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
        weight = next(self.body.parameters())
        shape = (1, 3, 1, 1)
        mean = torch.tensor(self.mean, device=image.device).view(shape)
        deviation = torch.tensor(self.deviation, device=image.device).view(shape)
        # the body has no casting layers: it computes in the type its weights are in
        normal = ((image.float() - mean) / deviation).to(weight.dtype)
        levels = self.body(normal.contiguous(memory_format=torch.channels_last))
        return [level.to(image.dtype).contiguous() for level in levels]
