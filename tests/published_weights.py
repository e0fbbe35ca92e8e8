"""Weights by formula for the published networks, under the authors' own names."""

import zlib

import torch
from torch import Tensor

from raiha_core import render
from raiha_core.models.cost import on_meta
from raiha_core.models.network import Network
from raiha_core.models.presets import filed
from raiha_core.models.published import their_name
from tests.network_cases import noise


def layout(name: str) -> dict[str, Tensor]:
    """The authors' state dict as shapes and types: tensors on the meta device."""
    preset = filed()[name]
    assert preset.published is not None
    found: dict[str, Tensor] = {}
    for ours, tensor in on_meta(preset).state_dict().items():
        theirs, part, _ = their_name(ours, preset.published.keys).partition(" (")
        found[theirs] = torch.cat((found[theirs], tensor)) if part and theirs in found else tensor
    return found


def number(name: str, tensor: Tensor) -> Tensor:
    """One tensor by its name: of a size at which no layer dies or explodes."""
    shape, index = tuple(tensor.shape), zlib.crc32(name.encode()) % 4096
    if not tensor.is_floating_point():
        return torch.zeros(shape, dtype=tensor.dtype)
    wave = noise(shape, index)
    if name.endswith("running_var"):
        return 1 + wave / 2
    if name.endswith("mask_blurring.weight"):  # made by their constructor, and no weight
        bell = torch.exp(-torch.arange(-3, 4).float().square() / 2)
        return (bell[:, None] * bell / bell.sum() ** 2)[None, None]
    if name.endswith("fc_b_1.fc1.bias"):  # slopes of curves, which are divided by their sum
        return 1 + wave / 2
    if name.endswith(".LUT"):  # entries of colour tables: the colour itself, or a change of it
        level = torch.linspace(0, 1, shape[-1])
        still = torch.stack(torch.meshgrid(level, level, level, indexing="ij")[::-1])
        return wave / 8 + (still if "LUT0" in name else 0)
    if tensor.ndim == 1:
        return 1 + wave / 2 if name.endswith("weight") else wave / 4
    fan_in = tensor[0].numel()
    return wave * (3 / fan_in) ** 0.5


def state(name: str) -> dict[str, Tensor]:
    """The authors' state dict, filled."""
    return {key: number(key, tensor) for key, tensor in layout(name).items()}


def picture(height: int = 256, width: int = 256) -> tuple[Tensor, Tensor]:
    """A composite (1, 3, H, W) with structure at every scale, and a mask with a soft edge (1, 1, H, W)."""
    y, x = torch.linspace(0, 1, height)[:, None], torch.linspace(0, 1, width)
    planes = [0.5 + 0.4 * torch.sin(6.3 * (a * x + b * y)) for a, b in ((1, 0.3), (0.2, 1.7), (2.1, -1))]
    image = torch.stack(planes)[None] + 0.1 * noise((1, 3, height, width), 7)
    distance = ((x - 0.45) ** 2 + (y - 0.55) ** 2).sqrt()
    return image.clamp(0, 1), ((0.3 - distance) * 20 + 0.5).clamp(0, 1)[None, None]


def rendered(network: Network, image: Tensor, mask: Tensor) -> Tensor:
    """The picture at the network's size as its authors' code leaves it inside the mask."""
    return render.apply(network(image, mask), image, mask, exact=True)
