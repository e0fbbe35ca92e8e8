"""What the three ways of running a prompt have in common."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from .host_graph import Prompt

Outputs = Mapping[str, Mapping[str, Any]]  # node id -> its UI entry, as in ComfyUI's history


class Runner(Protocol):
    """Where a prompt runs: embedded, on a checkout, or on a server."""

    def start_clock(self, seconds: float) -> None:
        """All that follows, up to the next call of this, must be done within so many seconds."""

    def inputs_of(self, class_type: str) -> dict[str, dict[str, Any]] | None:
        """Input names of a node class with "type" and options such as "image_upload"; None if unknown."""

    def upload(self, path: Path) -> str:
        """Put a picture into the input folder. Returns: the name to use for it."""

    def run(self, prompt: Prompt) -> Outputs:
        """Raises: ValueError or OSError with one sentence that names the node."""

    def fetch(self, entry: Mapping[str, str]) -> bytes:
        """The bytes of a saved picture: {"filename", "subfolder", "type"}."""
