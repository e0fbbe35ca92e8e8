"""ComfyUI's mask nodes, to the letter of what they compute, for running without ComfyUI.

Shapes: images (B, H, W, C), masks (B, H, W) or, from old nodes, (H, W).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from . import host_io as io

_MOST = 16384  # the host's largest picture side


def _masks(mask: Tensor) -> Tensor:
    return mask.reshape(-1, *mask.shape[-2:])


class InvertMask(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="InvertMask",
            category="image/mask",
            inputs=[io.Mask.Input("mask")],
            outputs=[io.Mask.Output()],
        )

    @classmethod
    def execute(cls, mask: Tensor) -> io.NodeOutput:
        return io.NodeOutput(1.0 - mask)


class SolidMask(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SolidMask",
            category="image/mask",
            inputs=[
                io.Float.Input("value", default=1.0, min=0.0, max=1.0, step=0.01),
                io.Int.Input("width", default=512, min=1, max=_MOST),
                io.Int.Input("height", default=512, min=1, max=_MOST),
            ],
            outputs=[io.Mask.Output()],
        )

    @classmethod
    def execute(cls, value: float, width: int, height: int) -> io.NodeOutput:
        return io.NodeOutput(torch.full((1, height, width), value, dtype=torch.float32))


class MaskToImage(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="MaskToImage",
            category="image/mask",
            inputs=[io.Mask.Input("mask")],
            outputs=[io.Image.Output()],
        )

    @classmethod
    def execute(cls, mask: Tensor) -> io.NodeOutput:
        return io.NodeOutput(_masks(mask)[..., None].expand(-1, -1, -1, 3))


class ImageToMask(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ImageToMask",
            category="image/mask",
            inputs=[
                io.Image.Input("image"),
                io.Combo.Input("channel", options=["red", "green", "blue", "alpha"]),
            ],
            outputs=[io.Mask.Output()],
        )

    @classmethod
    def execute(cls, image: Tensor, channel: str) -> io.NodeOutput:
        index = ["red", "green", "blue", "alpha"].index(channel)
        if index >= image.shape[-1]:
            raise ValueError(f"the image has {image.shape[-1]} channels and no '{channel}'")
        return io.NodeOutput(image[..., index])


class GrowMask(io.ComfyNode):
    """|expand| passes of grey dilation (erosion if negative) with a 3 x 3 cross, or the full square."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GrowMask",
            category="image/mask",
            inputs=[
                io.Mask.Input("mask"),
                io.Int.Input("expand", default=0, min=-_MOST, max=_MOST),
                io.Boolean.Input("tapered_corners", default=True, advanced=True),
            ],
            outputs=[io.Mask.Output()],
        )

    @classmethod
    def execute(cls, mask: Tensor, expand: int, tapered_corners: bool) -> io.NodeOutput:
        sign = 1.0 if expand > 0 else -1.0  # erosion is the dilation of the negative
        grown = sign * _masks(mask)[:, None]
        for _ in range(abs(expand)):
            # max_pool pads with -inf, which equals scipy's reflecting border for a 3 x 3 footprint
            if tapered_corners:
                row = F.max_pool2d(grown, (1, 3), stride=1, padding=(0, 1))
                grown = torch.maximum(row, F.max_pool2d(grown, (3, 1), stride=1, padding=(1, 0)))
            else:
                grown = F.max_pool2d(grown, 3, stride=1, padding=1)
        return io.NodeOutput((sign * grown)[:, 0])


class FeatherMask(io.ComfyNode):
    """Linear ramps at the picture's borders, not at the mask's."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        sides = ("left", "top", "right", "bottom")
        return io.Schema(
            node_id="FeatherMask",
            category="image/mask",
            inputs=[
                io.Mask.Input("mask"),
                *(io.Int.Input(side, default=0, min=0, max=_MOST) for side in sides),
            ],
            outputs=[io.Mask.Output()],
        )

    @classmethod
    def execute(cls, mask: Tensor, left: int, top: int, right: int, bottom: int) -> io.NodeOutput:
        out = _masks(mask).clone()
        height, width = out.shape[-2:]
        # left, right, top, bottom: the order of the products is the host's
        out = out * cls._ramp(min(left, width), width, out)[None, None]
        out = out * cls._ramp(min(right, width), width, out).flip(0)[None, None]
        out = out * cls._ramp(min(top, height), height, out)[None, :, None]
        return io.NodeOutput(out * cls._ramp(min(bottom, height), height, out).flip(0)[None, :, None])

    @staticmethod
    def _ramp(size: int, length: int, like: Tensor) -> Tensor:
        ramp = torch.ones(length, dtype=like.dtype, device=like.device)
        ramp[:size] = torch.tensor([(x + 1.0) / size for x in range(size)], dtype=like.dtype)
        return ramp


NODES = [InvertMask, SolidMask, MaskToImage, ImageToMask, GrowMask, FeatherMask]
