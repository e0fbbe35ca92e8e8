"""Raiha's nodes for ComfyUI: they convert, call `raiha_core`, and convert back."""

import sys

try:
    from .pack import NODES, comfy_entrypoint
except ModuleNotFoundError as _error:
    _ours = (_error.name or "").partition(".")[0] in ("", "nodes", "raiha_core", "comfy", "comfy_api")
    if _ours or "comfy_api" not in sys.modules:  # only ComfyUI's page can show what is missing
        raise
    from .missing import entrypoint_without

    NODES, comfy_entrypoint = [], entrypoint_without(_error.name)

__all__ = ["NODES", "comfy_entrypoint"]
