"""ComfyUI's image nodes that our workflows use, to the letter of what they compute.

Shapes: images (B, H, W, C), masks (B, H, W).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from . import host_io as io
from .host_masks import LARGEST_SIDE

_METHODS = ["nearest-exact", "bilinear", "area", "bicubic"]  # the host's lanczos goes through 8 bits


def _repeat_to_batch(tensor: Tensor, batch: int) -> Tensor:
    """Repeat the batch cyclically, or cut it."""
    times = math.ceil(batch / len(tensor))
    return tensor.repeat(times, *[1] * (tensor.ndim - 1))[:batch]


def _scale(image: Tensor, width: int, height: int, method: str, crop: str) -> Tensor:
    """(B, H, W, C) at another size, without antialias as in the host; `crop` "center" keeps the aspect."""
    if crop == "center":
        old_height, old_width = image.shape[1:3]
        old, new = old_width / old_height, width / height
        x = round((old_width - old_width * (new / old)) / 2) if old > new else 0
        y = round((old_height - old_height * (old / new)) / 2) if old < new else 0
        image = image[:, y : old_height - y, x : old_width - x]
    return F.interpolate(image.movedim(-1, 1), size=(height, width), mode=method).movedim(1, -1)


@io.core_node(
    "ImageScale",
    [
        io.Image.Input("image"),
        io.Combo.Input("upscale_method", options=_METHODS),
        io.Int.Input("width", default=512, min=0, max=LARGEST_SIDE),
        io.Int.Input("height", default=512, min=0, max=LARGEST_SIDE),
        io.Combo.Input("crop", options=["disabled", "center"]),
    ],
    [io.Image.Output()],
)
def image_scale(image: Tensor, upscale_method: str, width: int, height: int, crop: str) -> Tensor:
    old_height, old_width = image.shape[1:3]
    if width == 0 and height == 0:
        return image
    if width == 0:
        width = max(1, round(old_width * height / old_height))
    elif height == 0:
        height = max(1, round(old_height * width / old_width))
    return _scale(image, width, height, upscale_method, crop)


@io.core_node("ImageBatch", [io.Image.Input("image1"), io.Image.Input("image2")], [io.Image.Output()])
def image_batch(image1: Tensor, image2: Tensor) -> Tensor:
    channels = max(image1.shape[-1], image2.shape[-1])
    first, second = (F.pad(image, (0, channels - image.shape[-1]), value=1.0) for image in (image1, image2))
    if first.shape[1:] != second.shape[1:]:
        second = _scale(second, first.shape[2], first.shape[1], "bilinear", "center")
    return torch.cat([first, second])


@io.core_node(
    "ImageCompositeMasked",
    [
        io.Image.Input("destination"),
        io.Image.Input("source"),
        io.Int.Input("x", default=0, min=0, max=LARGEST_SIDE),
        io.Int.Input("y", default=0, min=0, max=LARGEST_SIDE),
        io.Boolean.Input("resize_source", default=False),
        io.Mask.Input("mask", optional=True),
    ],
    [io.Image.Output()],
)
def image_composite_masked(
    destination: Tensor, source: Tensor, x: int, y: int, resize_source: bool, mask: Tensor | None = None
) -> Tensor:
    """Paste: m * source + (1 - m) * destination, clipped at the right and bottom borders."""
    batch, height, width, channels = destination.shape
    source = F.pad(source[..., :channels], (0, max(0, channels - source.shape[-1])), value=1.0)
    if resize_source:
        source = _scale(source, width, height, "bilinear", "disabled")
    source = _repeat_to_batch(source, batch)
    x, y = min(x, width), min(y, height)
    size = source.shape[1:3]
    if mask is None:
        weight = torch.ones_like(source)
    else:
        stretched = F.interpolate(mask.reshape(-1, 1, *mask.shape[-2:]), size=size, mode="bilinear")
        weight = _repeat_to_batch(stretched, batch).movedim(1, -1)
    window = (slice(None), slice(y, y + size[0]), slice(x, x + size[1]))
    visible = (slice(None), slice(0, height - y), slice(0, width - x))
    weight = weight[visible]
    out = destination.clone()
    out[window] = weight * source[visible] + (1.0 - weight) * destination[window]
    return out


NODES = [image_scale, image_batch, image_composite_masked]
