"""ComfyUI's `LoadImage`, for running without ComfyUI.

The host decodes with FFmpeg. Its pixels equal Pillow's for 8-bit RGB, RGBA and palette PNG, and follow
one formula for 8-bit grey PNG; for every other kind a warning says that they may differ by a few levels.
"""

import logging
import os

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from . import host_io as io
from .host_services import folder_paths

_LOG = logging.getLogger("raiha.host")


def _input_pictures() -> list[str]:
    folder = folder_paths.get_input_directory()
    files = [name for name in os.listdir(folder) if os.path.isfile(os.path.join(folder, name))]
    return sorted(folder_paths.filter_files_content_types(files, ["image"]))


def _floats(picture: Image.Image) -> Tensor:
    return torch.from_numpy(np.asarray(picture).astype(np.float32) / 255.0)[None]


def decode_upload(path: str) -> tuple[Tensor, Tensor]:
    """Returns: image (1, H, W, 3) 0..1; mask = 1 - alpha (1, H, W), or zeros (1, 64, 64) without alpha.

    Raises: ValueError naming the file where it cannot be decoded.
    """
    try:
        with Image.open(path) as opened:
            opened.load()
            kind, mode = opened.format, opened.mode
            picture = ImageOps.exif_transpose(opened)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f"'{os.path.basename(path)}' cannot be read as a picture: {error}") from None
    if kind == "PNG" and mode == "L":
        levels = np.asarray(picture).astype(np.float32) * 256 / 65535  # FFmpeg's grey: 255 becomes 0.99611
        return torch.from_numpy(levels)[None, ..., None].repeat(1, 1, 1, 3), torch.zeros(1, 64, 64)
    if not (kind == "PNG" and mode in ("RGB", "RGBA", "P")):
        _LOG.warning(
            "'%s' is %s %s: ComfyUI's LoadImage may read it a few levels differently",
            os.path.basename(path),
            kind,
            mode,
        )
    if mode in ("RGBA", "LA", "PA", "P"):
        pixels = _floats(picture.convert("RGBA"))
        return pixels[..., :3].contiguous(), 1.0 - pixels[..., 3]
    return _floats(picture.convert("RGB")), torch.zeros(1, 64, 64)


class LoadImage(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoadImage",
            inputs=[io.Combo.Input("image", options=_input_pictures(), upload=io.UploadType.image)],
            outputs=[io.Image.Output(), io.Mask.Output()],
        )

    @classmethod
    def validate_inputs(cls, image: str) -> bool | str:
        return folder_paths.exists_annotated_filepath(image) or f"Invalid image file: {image}"

    @classmethod
    def execute(cls, image: str) -> io.NodeOutput:
        return io.NodeOutput(*decode_upload(folder_paths.get_annotated_filepath(image)))


NODES = [LoadImage]
