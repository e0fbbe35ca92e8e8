"""ComfyUI's entry into Raiha; does nothing outside of ComfyUI (pytest imports this file too)."""

import sys

if __package__ and "comfy_api" in sys.modules:  # ComfyUI is running, not merely importable
    from .nodes import comfy_entrypoint

    WEB_DIRECTORY = "./web"
    __all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
