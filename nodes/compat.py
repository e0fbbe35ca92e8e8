"""The host's names, in one place: ComfyUI's own, or those of the embedded host that stands in for it.

`workflows/run.py` loads the pack as the package `raiha_embedded` to run it without ComfyUI.
"""

# ruff: noqa: F401  the other modules import from here
if __name__.startswith("raiha_embedded."):

    def metadata_allowed() -> bool:
        """Whether the host's user lets pictures carry their workflow."""
        return True

    from ..workflows import host_io as io
    from ..workflows import host_ui as ui
    from ..workflows import host_video as InputImpl
    from ..workflows.host_io import ComfyExtension
    from ..workflows.host_services import (
        ProgressBar,
        PromptServer,
        folder_paths,
        model_management,
        model_patcher,
        operations,
    )
else:
    try:
        from comfy_api.v0_0_2 import ComfyExtension, InputImpl, io, ui
    except ImportError:  # an older or a newer ComfyUI
        from comfy_api.latest import ComfyExtension, InputImpl, io, ui
    import comfy.model_management as model_management
    import comfy.model_patcher as model_patcher
    import folder_paths
    from comfy.ops import manual_cast as operations
    from comfy.utils import ProgressBar
    from server import PromptServer

    def metadata_allowed() -> bool:
        """Whether the host's user lets pictures carry their workflow."""
        from comfy.cli_args import args

        return not args.disable_metadata
