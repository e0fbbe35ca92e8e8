"""ComfyUI's entry into Raiha; does nothing where there is no ComfyUI (pytest imports this file too)."""

import importlib.util

if __package__ and importlib.util.find_spec("comfy_api"):
    from .nodes import comfy_entrypoint

    WEB_DIRECTORY = "./web"
    __all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
