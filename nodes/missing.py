"""What the pack shows where its requirements are not installed: one node with the command that does it."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

_PACK = Path(__file__).resolve().parents[1]


def command() -> str:
    """Installs the requirements into the Python that ComfyUI runs in, whichever that is."""
    return f'"{sys.executable}" -m pip install -r "{_PACK / "requirements.txt"}"'


def entrypoint_without(module: str | None) -> Callable[[], Any]:
    """The pack's entry point while a module is missing."""
    from comfy_api.latest import ComfyExtension, io

    sentence = f"Raiha needs the Python package '{module}', which is not installed. Close ComfyUI, run"
    logging.getLogger("raiha").error("%s: %s", sentence, command())

    class Missing(io.ComfyNode):
        @classmethod
        def define_schema(cls) -> io.Schema:
            return io.Schema(
                node_id="Raiha_Missing",
                display_name="Raiha: requirements are missing",
                category="Raiha",
                description=f"{sentence} the command in this node, and start ComfyUI again.",
                search_aliases=["harmonize", "paste object", "match lighting"],
                is_output_node=True,
                inputs=[
                    io.String.Input(
                        "command", default=command(), multiline=True, tooltip="To run in a terminal, once."
                    )
                ],
                outputs=[],
            )

        @classmethod
        def execute(cls, command: str) -> io.NodeOutput:
            raise ValueError(f"{sentence} this, and start it again: {command}")

    class Raiha(ComfyExtension):
        async def get_node_list(self) -> list[type[io.ComfyNode]]:
            return [Missing]

    async def comfy_entrypoint() -> Raiha:
        return Raiha()

    return comfy_entrypoint
