"""ComfyUI's mask nodes, to the letter of what they compute, for running without ComfyUI.

Shapes: images (B, H, W, C), masks (B, H, W) or, from old nodes, (H, W).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from . import host_io as io

LARGEST_SIDE = 16384  # the host's largest picture side
_CHANNELS = ["red", "green", "blue", "alpha"]


def _masks(mask: Tensor) -> Tensor:
    return mask.reshape(-1, *mask.shape[-2:])


@io.core_node("InvertMask", [io.Mask.Input("mask")], [io.Mask.Output()])
def invert_mask(mask: Tensor) -> Tensor:
    return 1.0 - mask


@io.core_node(
    "SolidMask",
    [
        io.Float.Input("value", default=1.0, min=0.0, max=1.0, step=0.01),
        io.Int.Input("width", default=512, min=1, max=LARGEST_SIDE),
        io.Int.Input("height", default=512, min=1, max=LARGEST_SIDE),
    ],
    [io.Mask.Output()],
)
def solid_mask(value: float, width: int, height: int) -> Tensor:
    return torch.full((1, height, width), value, dtype=torch.float32)


@io.core_node("MaskToImage", [io.Mask.Input("mask")], [io.Image.Output()])
def mask_to_image(mask: Tensor) -> Tensor:
    return _masks(mask)[..., None].expand(-1, -1, -1, 3)


@io.core_node(
    "ImageToMask",
    [io.Image.Input("image"), io.Combo.Input("channel", options=_CHANNELS)],
    [io.Mask.Output()],
)
def image_to_mask(image: Tensor, channel: str) -> Tensor:
    index = _CHANNELS.index(channel)
    if index >= image.shape[-1]:
        raise ValueError(f"the image has {image.shape[-1]} channels and no '{channel}'")
    return image[..., index]


@io.core_node(
    "GrowMask",
    [
        io.Mask.Input("mask"),
        io.Int.Input("expand", default=0, min=-LARGEST_SIDE, max=LARGEST_SIDE),
        io.Boolean.Input("tapered_corners", default=True, advanced=True),
    ],
    [io.Mask.Output()],
)
def grow_mask(mask: Tensor, expand: int, tapered_corners: bool) -> Tensor:
    """|expand| passes of grey dilation (erosion if negative) with a 3 x 3 cross, or the full square."""
    sign = 1.0 if expand > 0 else -1.0  # erosion is the dilation of the negative
    grown = sign * _masks(mask)[:, None]
    for _ in range(abs(expand)):
        # max_pool pads with -inf, which equals scipy's reflecting border for a 3 x 3 footprint
        if tapered_corners:
            row = F.max_pool2d(grown, (1, 3), stride=1, padding=(0, 1))
            grown = torch.maximum(row, F.max_pool2d(grown, (3, 1), stride=1, padding=(1, 0)))
        else:
            grown = F.max_pool2d(grown, 3, stride=1, padding=1)
    return (sign * grown)[:, 0]


NODES = [invert_mask, solid_mask, mask_to_image, image_to_mask, grow_mask]
