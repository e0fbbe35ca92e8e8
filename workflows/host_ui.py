"""What ComfyUI calls `ui`, as far as Raiha's nodes use it: previews and saved pictures.

Like ComfyUI's own, these truncate to 8 bits; only Raiha's saver rounds.
"""

import json
import os
import random
import string
from collections.abc import Iterable
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from .host_io import ComfyNode, FolderType, HiddenValues
from .host_services import folder_paths


class SavedResult(dict):
    """Where a picture was written: filename, subfolder, type."""

    def __init__(self, filename: str, subfolder: str, type: FolderType) -> None:
        super().__init__(filename=filename, subfolder=subfolder, type=FolderType(type).value)


def to_bytes(image: Tensor) -> np.ndarray:
    """(H, W, C) float -> uint8, truncated as the host does: 0.99999 becomes 254."""
    return np.clip(255.0 * image.cpu().numpy(), 0, 255).astype(np.uint8)


def _metadata(hidden: HiddenValues | None) -> PngInfo | None:
    if hidden is None:
        return None
    info = PngInfo()
    if hidden.prompt is not None:
        info.add_text("prompt", json.dumps(hidden.prompt))
    for name, value in (hidden.extra_pnginfo or {}).items():
        info.add_text(name, json.dumps(value))
    return info


def write_pngs(
    images: Iterable[Tensor],
    prefix: str,
    kind: FolderType,
    hidden: HiddenValues | None = None,
    compress_level: int = 4,
) -> list[SavedResult]:
    """One file per image (H, W, C): `prefix_00001_.png` and so on, below the folder of that kind."""
    images = list(images)
    base = (
        folder_paths.get_output_directory()
        if kind is FolderType.output
        else folder_paths.get_temp_directory()
    )
    height, width = images[0].shape[:2]
    target, file, counter, subfolder, _ = folder_paths.get_save_image_path(prefix, base, width, height)
    results = []
    for number, image in enumerate(images):
        name = f"{file.replace('%batch_num%', str(number))}_{counter + number:05}_.png"
        picture = Image.fromarray(to_bytes(image))
        picture.save(os.path.join(target, name), pnginfo=_metadata(hidden), compress_level=compress_level)
        results.append(SavedResult(name, subfolder, kind))
    return results


class PreviewImage:
    """Pictures for the page, in the temp folder."""

    def __init__(self, image: Tensor, cls: type[ComfyNode] | None = None) -> None:
        prefix = f"ComfyUI_temp_{''.join(random.choices(string.ascii_lowercase, k=5))}"
        hidden = None if cls is None else cls.hidden
        self.values = write_pngs(image, prefix, FolderType.temp, hidden, compress_level=1)

    def as_dict(self) -> dict[str, Any]:
        return {"images": self.values, "animated": (False,)}


class PreviewText:
    """A line of text for the page."""

    def __init__(self, value: str) -> None:
        self.value = value

    def as_dict(self) -> dict[str, Any]:
        return {"text": (self.value,)}


class SavedImages:
    """Pictures that a node has saved itself."""

    def __init__(self, results: list[SavedResult]) -> None:
        self.results = results

    def as_dict(self) -> dict[str, Any]:
        return {"images": self.results}
