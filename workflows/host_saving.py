"""ComfyUI's output nodes: `SaveImage`, `PreviewImage`, `PreviewAny`."""

import json
from typing import Any

from torch import Tensor

from . import host_io as io
from . import host_ui as ui


class SaveImage(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SaveImage",
            inputs=[io.Image.Input("images"), io.String.Input("filename_prefix", default="ComfyUI")],
            outputs=[io.Image.Output(display_name="images")],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, images: Tensor, filename_prefix: str) -> io.NodeOutput:
        results = ui.write_pngs(images, filename_prefix, io.FolderType.output, cls.hidden)
        return io.NodeOutput(images, ui={"images": results})


@io.core_node("PreviewImage", [io.Image.Input("images")], [io.Image.Output()], is_output_node=True)
def preview_image(images: Tensor) -> io.NodeOutput:
    return io.NodeOutput(images, ui={"images": ui.PreviewImage(images).values})


@io.core_node("PreviewAny", [io.AnyType.Input("source")], [io.String.Output()], is_output_node=True)
def preview_any(source: Any) -> io.NodeOutput:
    try:
        text = source if isinstance(source, str) else json.dumps(source, indent=4, ensure_ascii=False)
    except (TypeError, ValueError):
        text = str(source)
    return io.NodeOutput(text, ui={"text": (text,)})


NODES = [SaveImage, preview_image, preview_any]
