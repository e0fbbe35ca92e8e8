"""ComfyUI's output nodes: `SaveImage`, `PreviewImage`, `ImageCompare`, `MaskPreview`, `PreviewAny`."""

import json
from typing import Any

from torch import Tensor

from . import host_io as io
from . import host_ui as ui

_METADATA = [io.Hidden.prompt, io.Hidden.extra_pnginfo]


class SaveImage(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SaveImage",
            category="image",
            inputs=[io.Image.Input("images"), io.String.Input("filename_prefix", default="ComfyUI")],
            outputs=[io.Image.Output(display_name="images")],
            hidden=_METADATA,
            is_output_node=True,
        )

    @classmethod
    def execute(cls, images: Tensor, filename_prefix: str) -> io.NodeOutput:
        results = ui.write_pngs(images, filename_prefix, io.FolderType.output, cls.hidden)
        return io.NodeOutput(images, ui={"images": results})


class PreviewImage(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PreviewImage",
            category="image",
            inputs=[io.Image.Input("images")],
            outputs=[io.Image.Output(display_name="images")],
            hidden=_METADATA,
            is_output_node=True,
        )

    @classmethod
    def execute(cls, images: Tensor) -> io.NodeOutput:
        return io.NodeOutput(images, ui={"images": ui.PreviewImage(images, cls=cls).values})


class ImageCompare(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ImageCompare",
            category="image",
            inputs=[
                io.Image.Input("image_a", optional=True),
                io.Image.Input("image_b", optional=True),
                io.ImageCompare.Input("compare_view", socketless=True),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls, compare_view: Any, image_a: Tensor | None = None, image_b: Tensor | None = None
    ) -> io.NodeOutput:
        shown: dict[str, list[ui.SavedResult]] = {"a_images": [], "b_images": []}
        for name, image in (("a_images", image_a), ("b_images", image_b)):
            if image is not None and len(image):
                prefix = ui.preview_prefix(f"comfy.compare.{name[0]}")
                shown[name] = ui.write_pngs(image, prefix, io.FolderType.temp, compress_level=1)
        return io.NodeOutput(ui=shown)


class MaskPreview(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="MaskPreview",
            category="image/mask",
            inputs=[io.Mask.Input("mask")],
            outputs=[io.Mask.Output(display_name="mask")],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, mask: Tensor) -> io.NodeOutput:
        grey = mask.reshape(-1, *mask.shape[-2:])[..., None].expand(-1, -1, -1, 3)
        return io.NodeOutput(mask, ui={"images": ui.PreviewImage(grey).values})


class PreviewAny(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PreviewAny",
            category="utilities",
            inputs=[io.AnyType.Input("source")],
            outputs=[io.String.Output()],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, source: Any) -> io.NodeOutput:
        if isinstance(source, str):
            text = source
        elif isinstance(source, int | float):
            text = str(source)
        else:
            try:
                text = json.dumps(source, indent=4, ensure_ascii=False)
            except (TypeError, ValueError):
                text = str(source)
        return io.NodeOutput(text, ui={"text": (text,)})


NODES = [SaveImage, PreviewImage, ImageCompare, MaskPreview, PreviewAny]
