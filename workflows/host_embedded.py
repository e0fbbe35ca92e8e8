"""The embedded host as a runner of prompts: folders of its own, uploads by copying."""

import hashlib
import math
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from .host import Host, PromptError
from .host_graph import Prompt
from .host_runner import Outputs


def unused_name(folder: Path, path: Path) -> str:
    """The file's own name, or `stem (1).png` where other bytes have it; equal bytes share a name."""
    digest = hashlib.sha256(path.read_bytes()).digest()
    number = 0
    while True:
        name = path.name if number == 0 else f"{path.stem} ({number}){path.suffix}"
        there = folder / name
        if not there.exists() or hashlib.sha256(there.read_bytes()).digest() == digest:
            return name
        number += 1


class Embedded:
    """Runs prompts in this process, without ComfyUI."""

    def __init__(self, base: Path | None, on_progress: Callable[[str, int, int], None] | None = None) -> None:
        self._base = base
        self._on_progress = on_progress
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._deadline = math.inf

    def __enter__(self) -> "Embedded":
        if self._base is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="raiha-")
        self.host = Host(self._base or Path(str(self._temporary and self._temporary.name)), self._on_progress)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._temporary is not None:
            self._temporary.cleanup()

    def start_clock(self, seconds: float) -> None:
        """What is done from now on must end within so many seconds."""
        self._deadline = time.monotonic() + seconds

    def inputs_of(self, class_type: str) -> dict[str, dict[str, Any]] | None:
        node = self.host.nodes.get(class_type)
        if node is None:
            return None
        with self.host.session():
            entries = node.define_schema().inputs
        return {
            entry.id: {"type": entry.io_type, "image_upload": getattr(entry, "upload", None) is not None}
            for entry in entries
        }

    def upload(self, path: Path) -> str:
        folder = self.host.folder("input")
        name = unused_name(folder, path)
        shutil.copyfile(path, folder / name)
        return name

    def run(self, prompt: Prompt) -> Outputs:
        """Raises: PromptError naming the node; TimeoutError where the clock has run out."""
        if self._temporary is not None:  # many runs must not fill the disk with pictures that were fetched
            for kind in ("output", "temp"):
                shutil.rmtree(self.host.folder(kind))
        late = TimeoutError("the workflow did not finish in time and was stopped")
        if (left := self._deadline - time.monotonic()) <= 0:
            raise late
        timer = threading.Timer(min(left, threading.TIMEOUT_MAX), self.host.interrupt)
        timer.daemon = True
        timer.start()
        try:
            outputs = self.host.run(prompt).outputs
        except PromptError:
            if time.monotonic() >= self._deadline:
                raise late from None
            raise
        finally:
            timer.cancel()
        if time.monotonic() >= self._deadline:  # the clock ran out where nothing looked at it
            raise late
        return outputs

    def fetch(self, entry: Mapping[str, str]) -> bytes:
        return (self.host.folder(entry["type"]) / entry["subfolder"] / entry["filename"]).read_bytes()
