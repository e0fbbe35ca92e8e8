"""ComfyUI's services, as far as Raiha's nodes use them: folders, devices and memory, progress.

The names inside `folder_paths`, `model_management` and `model_patcher` are ComfyUI's own.
"""

import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from . import host_session
from .host_session import InterruptProcessingException

_ANNOTATIONS = ("input", "output", "temp")
IMAGE_ENDINGS = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"}


def _inside(folder: str, path: str) -> bool:
    folder, path = os.path.realpath(folder), os.path.realpath(path)
    return os.path.commonpath([folder, path]) == folder if folder[:1] == path[:1] else False


class FolderPaths:
    """`folder_paths`: where pictures, models and the user's files lie."""

    @property
    def models_dir(self) -> str:
        return str(host_session.current().folder("models"))

    @property
    def folder_names_and_paths(self) -> dict[str, tuple[list[str], set[str]]]:
        return host_session.current().model_folders

    def get_input_directory(self) -> str:
        return str(host_session.current().folder("input"))

    def get_output_directory(self) -> str:
        return str(host_session.current().folder("output"))

    def get_temp_directory(self) -> str:
        return str(host_session.current().folder("temp"))

    def get_user_directory(self) -> str:
        return str(host_session.current().folder("user"))

    def add_model_folder_path(self, name: str, folder: str) -> None:
        folders, _ = self.folder_names_and_paths.setdefault(name, ([], set()))
        if folder not in folders:
            folders.append(folder)

    def get_filename_list(self, name: str) -> list[str]:
        folders, endings = self.folder_names_and_paths.get(name, ([], set()))
        found = set()
        for folder in folders:
            for path in Path(folder).rglob("*"):
                if path.is_file() and (not endings or path.suffix in endings):
                    found.add(path.relative_to(folder).as_posix())
        return sorted(found)

    def get_full_path_or_raise(self, name: str, file: str) -> str:
        for folder in self.folder_names_and_paths.get(name, ([], set()))[0]:
            path = os.path.join(folder, file)
            if _inside(folder, path) and os.path.isfile(path):
                return path
        raise FileNotFoundError(f"Model in folder '{name}' with filename '{file}' not found.")

    def filter_files_content_types(self, files: list[str], kinds: list[str]) -> list[str]:
        if kinds != ["image"]:
            raise ValueError(f"the embedded host only filters pictures, not {kinds}")
        return [name for name in files if os.path.splitext(name)[1].lower() in IMAGE_ENDINGS]

    def get_annotated_filepath(self, name: str) -> str:
        """`x.png`, `folder/x.png`, `x.png [output]` -> path. Raises: ValueError outside the folder."""
        folder, kind = self.get_input_directory(), "input"
        for annotation in _ANNOTATIONS:
            if name.endswith(f"[{annotation}]"):
                kind, name = annotation, name[: -len(annotation) - 2].rstrip()
                folder = str(host_session.current().folder(kind))
        path = os.path.join(folder, name)
        if not _inside(folder, path):
            raise ValueError(f"'{name}' lies outside the {kind} folder")
        return path

    def exists_annotated_filepath(self, name: str) -> bool:
        try:
            return os.path.isfile(self.get_annotated_filepath(name))
        except ValueError:
            return False

    def get_save_image_path(
        self, prefix: str, folder: str, width: int = 0, height: int = 0
    ) -> tuple[str, str, int, str, str]:
        """Returns: folder, file prefix, next free counter, subfolder, prefix with its variables filled."""
        now = time.localtime()
        variables = {
            "width": f"{width}",
            "height": f"{height}",
            "year": f"{now.tm_year}",
            "month": f"{now.tm_mon:02}",
            "day": f"{now.tm_mday:02}",
            "hour": f"{now.tm_hour:02}",
            "minute": f"{now.tm_min:02}",
            "second": f"{now.tm_sec:02}",
        }
        for name, value in variables.items():
            prefix = prefix.replace(f"%{name}%", value)
        subfolder, file = os.path.split(os.path.normpath(prefix))
        target = os.path.join(folder, subfolder)
        if not _inside(folder, target):
            raise ValueError(f"the prefix '{prefix}' leaves the output folder; saving there is not allowed")
        os.makedirs(target, exist_ok=True)
        start = f"{file}_"
        counters = [0]
        for name in os.listdir(target):
            if os.path.normcase(name).startswith(os.path.normcase(start)):
                digits = name[len(start) :].split(".")[0].split("_")[0]
                counters.append(int(digits) if digits.isdigit() else 0)
        return target, file, max(counters) + 1, subfolder, prefix


class CoreModelPatcher:
    """`comfy.model_patcher.CoreModelPatcher`: a model, where it computes and where it rests."""

    def __init__(self, model: Any, load_device: Any, offload_device: Any, size: int = 0) -> None:
        self.model = model
        self.load_device = torch.device(load_device)
        self.offload_device = torch.device(offload_device)
        self.size = size


class ModelManagement:
    """`comfy.model_management` of a host that computes on the CPU."""

    InterruptProcessingException = InterruptProcessingException

    def get_torch_device(self) -> torch.device:
        return torch.device("cpu")

    def intermediate_device(self) -> torch.device:
        return torch.device("cpu")

    def unet_offload_device(self) -> torch.device:
        return torch.device("cpu")

    def intermediate_dtype(self) -> torch.dtype:
        return torch.float32

    def load_models_gpu(self, models: list[CoreModelPatcher], memory_required: int = 0) -> None:
        for patcher in models:
            patcher.model.to(patcher.load_device)

    def soft_empty_cache(self) -> None:
        """Nothing to empty on the CPU."""

    def throw_exception_if_processing_interrupted(self) -> None:
        session = host_session.current()
        if session.interrupted:
            session.interrupted = False
            raise InterruptProcessingException


class ProgressBar:
    """`comfy.utils.ProgressBar`: reports to whoever runs the session."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.current = 0

    def update_absolute(self, value: int, total: int | None = None) -> None:
        self.total = total if total is not None else self.total
        self.current = min(value, self.total)
        session = host_session.current()
        if session.on_progress is not None and session.node_id is not None:
            session.on_progress(session.node_id, self.current, self.total)

    def update(self, value: int) -> None:
        self.update_absolute(self.current + value)


class PromptServer:
    """`server.PromptServer` of a host without a page."""

    instance: "PromptServer"

    def send_progress_text(self, text: str, node_id: str) -> None:
        """Nowhere to show it: what a node says is also in its `ui`, which the runner prints."""


PromptServer.instance = PromptServer()
folder_paths = FolderPaths()
model_management = ModelManagement()
model_patcher = SimpleNamespace(CoreModelPatcher=CoreModelPatcher)
operations = torch.nn  # `comfy.ops.manual_cast` where there is ComfyUI
