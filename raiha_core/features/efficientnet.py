"""EfficientNet's convolutions without a classifier: Lite0 for the embedded encoder and for `raiha-plus`, B0.

Source: arXiv:1905.11946 and TensorFlow's weights: SAME padding (an odd cell at the bottom or the right),
batch norms with their stored statistics and epsilon 1e-3. Tensors have timm's names, as our files have.
Shapes: B images, C channels of a map, h x w its size.
"""

import re
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .antialiasing import halved

BATCH_NORM_EPSILON = 1e-3  # of the batch norms, as trained
STEM = 32  # channels
# per stage: blocks, kernel, stride, channels within a block per channel it reads, channels
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Flavour:
    """In what networks with these stages differ."""

    activation: str  # of torch.nn.functional, which computes it in place
    squeeze: float  # channels of a block's squeeze-and-excitation per channel it reads; 0: it has none
    # what halves a map answers at every cell, and is smoothed behind its activation: `antialiasing.halved`
    antialias: bool = False


LITE0 = Flavour(activation="relu6", squeeze=0)
B0 = Flavour(activation="silu", squeeze=0.25)


class EfficientNet(nn.Module):
    """Five maps of a picture. Batch norms always use their stored statistics, in training too."""

    STRIDES = (2, 4, 8, 16, 32)
    CHANNELS = (16, 24, 40, 112, 320)

    def __init__(self, flavour: Flavour, operations: Any = nn) -> None:
        """
        Args: operations: the namespace of layer classes (Conv2d, BatchNorm2d); a host hands in casting ones.
        """
        super().__init__()
        self.activation, self.antialias = flavour.activation, flavour.antialias
        stride, margin = (1, 1) if self.antialias else (2, 0)
        self.conv_stem = operations.Conv2d(3, STEM, 3, stride, margin, bias=False)
        self.bn1 = operations.BatchNorm2d(STEM, eps=BATCH_NORM_EPSILON)
        self.blocks = stages(flavour, operations)
        self.train(self.training)

    def train(self, mode: bool = True) -> "EfficientNet":
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def forward(self, x: Tensor) -> list[Tensor]:
        """Normalised picture (B, 3, s, s) -> maps (B, C, s/2^n, s/2^n), linear: the last of each size."""
        x = _activate(_convolved(self.conv_stem, self.bn1, x), self.activation)
        if self.antialias:
            x = halved(x)
        maps: list[Tensor] = []
        following = [stride for _, _, stride, _, _ in STAGES[1:]]
        for stage, stride in zip(self.blocks, (*following, 2), strict=True):
            x = stage(x)
            if stride == 2:
                maps.append(x)
        return maps


def stages(flavour: Flavour, operations: Any = nn) -> nn.ModuleList:
    """The seven stages, from the stem's channels to 320."""
    found, width = nn.ModuleList(), STEM
    for count, kernel, stride, expansion, channels in STAGES:
        stage = nn.Sequential()
        for number in range(count):
            step = 1 if number else stride
            stage.append(InvertedResidual(width, channels, kernel, step, expansion, flavour, operations))
            width = channels
        found.append(stage)
    return found


class InvertedResidual(nn.Module):
    """Widen, convolve each channel for itself, weigh the channels, narrow; the first stage does not widen."""

    def __init__(
        self,
        width: int,
        channels: int,
        kernel: int,
        stride: int,
        expansion: int,
        flavour: Flavour,
        operations: Any,
    ) -> None:
        super().__init__()
        self.activation = flavour.activation
        self.skip = stride == 1 and width == channels
        inner = width * expansion
        self.smooths = flavour.antialias and stride == 2
        step = 1 if self.smooths else stride

        def pointwise(inputs: int, outputs: int) -> nn.Module:
            return operations.Conv2d(inputs, outputs, 1, bias=False)

        def norm(of: int) -> nn.Module:
            return operations.BatchNorm2d(of, eps=BATCH_NORM_EPSILON)

        depthwise = operations.Conv2d(
            inner, inner, kernel, step, kernel // 2 if step == 1 else 0, groups=inner, bias=False
        )
        squeeze = Squeeze(inner, round(width * flavour.squeeze), operations) if flavour.squeeze else None
        # timm numbers the norms by their order, and calls the narrowing layer by another name where there
        # is a widening one
        self.widens = expansion > 1
        if self.widens:
            self.conv_pw, self.bn1 = pointwise(width, inner), norm(inner)
            self.conv_dw, self.bn2 = depthwise, norm(inner)
            self.se = squeeze
            self.conv_pwl, self.bn3 = pointwise(inner, channels), norm(channels)
        else:
            self.conv_dw, self.bn1 = depthwise, norm(inner)
            self.se = squeeze
            self.conv_pw, self.bn2 = pointwise(inner, channels), norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C', h', w'), linear."""
        y = x
        if self.widens:
            y = _activate(_convolved(self.conv_pw, self.bn1, y), self.activation)
        middle, narrow, last = (
            (self.bn2, self.conv_pwl, self.bn3) if self.widens else (self.bn1, self.conv_pw, self.bn2)
        )
        y = _activate(_convolved(self.conv_dw, middle, y), self.activation)
        if self.smooths:
            y = halved(y)
        if self.se is not None:
            y = self.se(y)
        y = _convolved(narrow, last, y)
        return y + x if self.skip else y


class Squeeze(nn.Module):
    """A weight per channel, from the means of all channels (B0)."""

    def __init__(self, channels: int, hidden: int, operations: Any) -> None:
        super().__init__()
        self.conv_reduce = operations.Conv2d(channels, hidden, 1)
        self.conv_expand = operations.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> the same, each channel times 0..1."""
        wide = torch.promote_types(x.dtype, torch.float32)  # a mean of many cells is none of half precision's
        mean = x.mean((2, 3), keepdim=True, dtype=wide).to(x.dtype)
        return x * self.conv_expand(F.silu(self.conv_reduce(mean))).sigmoid()


def _activate(x: Tensor, name: str) -> Tensor:
    return getattr(F, name)(x, inplace=True)


def convolve_same(layer: Any, x: Tensor) -> Tensor:
    """A convolution that leaves 1/stride of the cells, rounded up (SAME)."""
    return layer(_framed(layer, x))


def _framed(layer: Any, x: Tensor) -> Tensor:
    """A map with the margin of zeros that the layer does not add itself."""
    (kernel, _), (stride, _) = layer.kernel_size, layer.stride
    if stride == 1:
        return x  # the same on all sides, which the layer does itself without a copy
    down, across = (max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in x.shape[-2:])
    return F.pad(x, (across // 2, across - across // 2, down // 2, down - down // 2))


def _convolved(layer: Any, norm: Any, x: Tensor) -> Tensor:
    """A convolution and its norm; in a training step, where neither learns, in one, rounded elsewhere."""
    steps = layer.training and torch.is_grad_enabled()
    if not steps or layer.weight.requires_grad or norm.weight.requires_grad:
        return norm(convolve_same(layer, x))
    with torch.no_grad():
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        weight, bias = layer.weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale
    return F.conv2d(
        _framed(layer, x), weight, bias, layer.stride, layer.padding, layer.dilation, layer.groups
    )


# ---- the names of other hands

_WIDENING = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_FIRST = {"_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_BOTH = {"_depthwise_conv": "conv_dw", "_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand"}
_OUTER = {"_conv_stem": "conv_stem", "_bn0": "bn1"}
_CLASSIFIER = ("_conv_head", "_bn1", "_fc")  # behind the last map


def _places() -> list[str]:
    """Stage and number of each block, in order."""
    return [f"{stage}.{n}" for stage, (count, *_) in enumerate(STAGES) for n in range(count)]


def package_names() -> tuple[tuple[str, str], ...]:
    """The other way: patterns of our blocks' names and what the family calls them, to be applied in order."""
    rules = [(rf"^blocks\.{re.escape(place)}\.", f"_blocks.{i}.") for i, place in enumerate(_places())]
    rules += [(rf"^_blocks\.0\.{ours}\.", f"_blocks.0.{theirs}.") for theirs, ours in _FIRST.items()]
    rules += [(rf"^(_blocks\.\d+)\.{ours}\.", rf"\1.{theirs}.") for theirs, ours in _WIDENING.items()]
    return (*rules, *((rf"^(_blocks\.\d+)\.{ours}\.", rf"\1.{theirs}.") for theirs, ours in _BOTH.items()))


def from_package_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state with the names of the `efficientnet_pytorch` family, under ours and without its classifier.

    Raises: ValueError naming a tensor that such a network has not.
    """
    places = _places()
    named: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name.split(".")[0] in _CLASSIFIER:
            continue
        outer = re.fullmatch(r"(_\w+)\.(\w+)", name)
        inner = re.fullmatch(r"_blocks\.(\d+)\.(_\w+)\.(\w+)", name)
        if outer and outer[1] in _OUTER:
            named[f"{_OUTER[outer[1]]}.{outer[2]}"] = tensor
        elif inner and int(inner[1]) < len(places):
            layer = (_BOTH | (_WIDENING if int(inner[1]) else _FIRST)).get(inner[2])
            if layer is None:
                raise ValueError(f"no EfficientNet has the tensor {name}")
            named[f"blocks.{places[int(inner[1])]}.{layer}.{inner[3]}"] = tensor
        else:
            raise ValueError(f"no EfficientNet has the tensor {name}")
    return named
