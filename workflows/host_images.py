"""ComfyUI's image nodes that our workflows use, to the letter of what they compute; and its primitives.

Shapes: images (B, H, W, C), masks (B, H, W).
"""

import math
import sys
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from . import host_io as io
from .host_ui import to_bytes

_MOST = 16384
_METHODS = ["nearest-exact", "bilinear", "area", "bicubic", "lanczos"]


def repeat_to_batch(tensor: Tensor, batch: int) -> Tensor:
    """Repeat the batch cyclically, or cut it."""
    times = math.ceil(batch / len(tensor))
    return tensor.repeat(times, *[1] * (tensor.ndim - 1))[:batch]


def _lanczos(image: Tensor, width: int, height: int) -> Tensor:
    pictures = [Image.fromarray(to_bytes(one)) for one in image]
    resized = [picture.resize((width, height), Image.Resampling.LANCZOS) for picture in pictures]
    return torch.stack([torch.from_numpy(np.asarray(one).astype(np.float32) / 255.0) for one in resized])


def scale(image: Tensor, width: int, height: int, method: str, crop: str) -> Tensor:
    """(B, H, W, C) at another size, without antialias as in the host; `crop` "center" keeps the aspect."""
    if crop == "center":
        old_height, old_width = image.shape[1:3]
        old, new = old_width / old_height, width / height
        x = round((old_width - old_width * (new / old)) / 2) if old > new else 0
        y = round((old_height - old_height * (old / new)) / 2) if old < new else 0
        image = image[:, y : old_height - y, x : old_width - x]
    if method == "lanczos":
        return _lanczos(image, width, height)
    return F.interpolate(image.movedim(-1, 1), size=(height, width), mode=method).movedim(1, -1)


class ImageScale(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ImageScale",
            category="image/upscaling",
            inputs=[
                io.Image.Input("image"),
                io.Combo.Input("upscale_method", options=_METHODS),
                io.Int.Input("width", default=512, min=0, max=_MOST),
                io.Int.Input("height", default=512, min=0, max=_MOST),
                io.Combo.Input("crop", options=["disabled", "center"]),
            ],
            outputs=[io.Image.Output()],
        )

    @classmethod
    def execute(cls, image: Tensor, upscale_method: str, width: int, height: int, crop: str) -> io.NodeOutput:
        old_height, old_width = image.shape[1:3]
        if width == 0 and height == 0:
            return io.NodeOutput(image)
        if width == 0:
            width = max(1, round(old_width * height / old_height))
        elif height == 0:
            height = max(1, round(old_height * width / old_width))
        return io.NodeOutput(scale(image, width, height, upscale_method, crop))


class ImageBatch(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ImageBatch",
            category="image/batch",
            inputs=[io.Image.Input("image1"), io.Image.Input("image2")],
            outputs=[io.Image.Output()],
            is_deprecated=True,
        )

    @classmethod
    def execute(cls, image1: Tensor, image2: Tensor) -> io.NodeOutput:
        channels = max(image1.shape[-1], image2.shape[-1])
        first, second = (
            F.pad(image, (0, channels - image.shape[-1]), value=1.0) for image in (image1, image2)
        )
        if first.shape[1:] != second.shape[1:]:
            second = scale(second, first.shape[2], first.shape[1], "bilinear", "center")
        return io.NodeOutput(torch.cat([first, second]))


class ImageCompositeMasked(io.ComfyNode):
    """Paste: m * source + (1 - m) * destination, clipped at the right and bottom borders."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ImageCompositeMasked",
            category="image/compositing",
            inputs=[
                io.Image.Input("destination"),
                io.Image.Input("source"),
                io.Int.Input("x", default=0, min=0, max=_MOST),
                io.Int.Input("y", default=0, min=0, max=_MOST),
                io.Boolean.Input("resize_source", default=False),
                io.Mask.Input("mask", optional=True),
            ],
            outputs=[io.Image.Output()],
        )

    @classmethod
    def execute(
        cls,
        destination: Tensor,
        source: Tensor,
        x: int,
        y: int,
        resize_source: bool,
        mask: Tensor | None = None,
    ) -> io.NodeOutput:
        batch, height, width, channels = destination.shape
        source = F.pad(source[..., :channels], (0, max(0, channels - source.shape[-1])), value=1.0)
        if resize_source:
            source = scale(source, width, height, "bilinear", "disabled")
        source = repeat_to_batch(source, batch)
        x, y = min(x, width), min(y, height)
        size = source.shape[1:3]
        if mask is None:
            weight = torch.ones_like(source)
        else:
            stretched = F.interpolate(mask.reshape(-1, 1, *mask.shape[-2:]), size=size, mode="bilinear")
            weight = repeat_to_batch(stretched, batch).movedim(1, -1)
        window = (slice(None), slice(y, y + size[0]), slice(x, x + size[1]))
        visible = (slice(None), slice(0, height - y), slice(0, width - x))
        weight = weight[visible]
        out = destination.clone()
        out[window] = weight * source[visible] + (1.0 - weight) * destination[window]
        return io.NodeOutput(out)


def _primitive(node_id: str, socket: type[io.Socket], **widget: Any) -> type[io.ComfyNode]:
    """The node that only holds a widget."""

    def define_schema(cls: type[io.ComfyNode]) -> io.Schema:
        return io.Schema(
            node_id=node_id,
            category="utilities/primitive",
            inputs=[socket.Input("value", **widget)],
            outputs=[socket.Output()],
        )

    def execute(cls: type[io.ComfyNode], value: Any) -> io.NodeOutput:
        return io.NodeOutput(value)

    members = {"define_schema": classmethod(define_schema), "execute": classmethod(execute)}
    return type(io.ComfyNode)(node_id, (io.ComfyNode,), members)


NODES = [
    ImageScale,
    ImageBatch,
    ImageCompositeMasked,
    _primitive("PrimitiveString", io.String),
    _primitive("PrimitiveStringMultiline", io.String, multiline=True),
    _primitive("PrimitiveInt", io.Int, min=-sys.maxsize, max=sys.maxsize),
    _primitive("PrimitiveFloat", io.Float, min=-sys.maxsize, max=sys.maxsize),
    _primitive("PrimitiveBoolean", io.Boolean),
]
