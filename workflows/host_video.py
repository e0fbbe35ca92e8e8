"""ComfyUI's clips, as far as Raiha's nodes and workflows use them: files, and pictures with a frame rate.

Names and argument names are ComfyUI's own (`InputImpl`, `Types`); nothing here decodes anything.
"""

import os
import shutil
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from torch import Tensor

from . import host_io as io
from . import host_ui as ui
from .host_services import folder_paths

VIDEO_ENDINGS_OF_THE_HOST = (".mp4", ".mkv", ".webm", ".mov")


@dataclass
class VideoComponents:
    images: Tensor  # (T, H, W, C)
    frame_rate: Fraction
    audio: Any = None
    metadata: dict[str, Any] | None = None
    alpha: Tensor | None = None


class VideoFromFile:
    """A clip that stays in its file."""

    def __init__(self, file: str, *, start_time: float = 0, duration: float = 0) -> None:
        self._file, self._window = file, (float(start_time), float(duration))

    def get_stream_source(self) -> str:
        return self._file

    def get_active_trim_window(self) -> tuple[float, float]:
        return self._window


class VideoFromComponents:
    """A clip of pictures in memory."""

    def __init__(self, components: VideoComponents, bit_depth: int = 8) -> None:
        self._components, self._bit_depth = components, bit_depth

    def get_components(self) -> VideoComponents:
        return self._components

    def get_bit_depth(self) -> int:
        return self._bit_depth

    def get_active_trim_window(self) -> tuple[float, float]:
        return 0.0, 0.0


class LoadVideo(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        folder = folder_paths.get_input_directory()
        files = [name for name in os.listdir(folder) if name.lower().endswith(VIDEO_ENDINGS_OF_THE_HOST)]
        return io.Schema(
            node_id="LoadVideo",
            inputs=[io.Combo.Input("file", options=sorted(files), upload=io.UploadType.video)],
            outputs=[io.Video.Output()],
        )

    @classmethod
    def validate_inputs(cls, file: str) -> bool | str:
        return folder_paths.exists_annotated_filepath(file) or f"Invalid video file: {file}"

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        return io.NodeOutput(VideoFromFile(folder_paths.get_annotated_filepath(file)))


@io.core_node(
    "SaveVideo",
    [
        io.Video.Input("video"),
        io.String.Input("filename_prefix", default="video/ComfyUI"),
        io.Combo.Input("format", options=["auto"], default="auto"),
    ],
    [io.Video.Output()],
    is_output_node=True,
)
def save_video(video: Any, filename_prefix: str, format: str) -> io.NodeOutput:
    """Without encoding anything: as ComfyUI does with `auto` where the stream can stay."""
    if not isinstance(video, VideoFromFile):
        raise ValueError("the embedded host saves only clips that are files; run this workflow in ComfyUI")
    source = video.get_stream_source()
    folder, file, counter, subfolder, _ = folder_paths.get_save_image_path(
        filename_prefix, folder_paths.get_output_directory()
    )
    name = f"{file}_{counter:05}_{os.path.splitext(source)[1]}"
    shutil.copyfile(source, os.path.join(folder, name))
    saved = ui.SavedResult(name, subfolder, io.FolderType.output)
    return io.NodeOutput(video, ui={"images": [saved], "animated": (True,)})


NODES = [LoadVideo, save_video]
