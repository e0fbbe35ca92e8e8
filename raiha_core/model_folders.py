"""Where a user's weight files lie: ComfyUI's folder, the one that RAIHA_MODELS names, the platform's.

Nothing is made here; a folder is made when something is written into it.
"""

import os
import sys
from pathlib import Path

VARIABLE = "RAIHA_MODELS"
PACK = Path(__file__).parents[1]


def comfyui_folder() -> Path | None:
    """`models/raiha` of the ComfyUI that this checkout is a pack of; None where it is none."""
    models = PACK.parent.parent / "models"
    return models / "raiha" if PACK.parent.name == "custom_nodes" and models.is_dir() else None


def platform_folder() -> Path | None:
    """The user's data folder as the operating system has it; None for a user who has no home."""
    try:
        home = Path.home()
    except RuntimeError:  # a container may run as a user whom its system does not know
        return None
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = home / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    return base / "raiha" / "models"


def user_folders() -> list[Path]:
    """All of them, in the order in which a name is looked up; the first is where files are brought to."""
    named = os.environ.get(VARIABLE)
    found = [comfyui_folder(), Path(named) if named else None, platform_folder()]
    return [folder for folder in found if folder is not None]


def user_weights() -> dict[str, Path]:
    """Weight files of ours in these folders, by name without ending."""
    found: dict[str, Path] = {}
    for folder in user_folders():
        for path in sorted(folder.glob("*.safetensors")):
            if not path.name.startswith("."):  # a part file
                found.setdefault(path.stem, path)
    return found
