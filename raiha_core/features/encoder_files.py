"""Where an encoder's weights lie that come with no package: what was named, the variable, the models' folder.

A folder may hold one encoder's files, or those of several, each under the encoder's name.
"""

import os
from pathlib import Path

from ..model_folders import comfyui_folder, user_folders

WEIGHTS_VARIABLE = "RAIHA_ENCODER_WEIGHTS"
_ENDINGS = (".safetensors", ".pth")
DVT = "dvt-b14"
# of the release on huggingface.co: the denoiser's file in its folder
_RELEASED = ("voc_denoised/*reg4*.pth", "*reg4*.pth")
_BACKBONES = ("backbone", "model")  # the latter as timm's repository names it


def find_weights(name: str, given: Path | None = None) -> Path | None:
    """The file or folder for an encoder; None where there is none, and its package or hub must have them.

    Args:
        name: of the encoder; given: a file, which is taken as it is, or a folder, which is looked into.
    Raises: ValueError where what was given does not exist, or the folder holds nothing for this encoder
        and no package does either.
    """
    if given is not None:
        if not given.exists():
            raise ValueError(f"there are no encoder weights {given}")
        if given.is_file():
            return given
        found = within(given, name)
        if found is None and not name.startswith("lite0"):  # those come with a package
            raise ValueError(f"the folder {given} holds no weights of the encoder '{name}'; {_wanted(name)}")
        return found
    named = os.environ.get(WEIGHTS_VARIABLE)
    host = comfyui_folder()
    folders = [Path(named)] if named else []
    folders += [folder / "encoders" for folder in user_folders()]
    folders += [] if host is None else [host.parent / "raiha_encoders"]
    if named and Path(named).is_file() and not name.startswith("lite0"):
        return Path(named)
    return next((found for folder in folders if (found := within(folder, name)) is not None), None)


def within(folder: Path, name: str) -> Path | None:
    """What a folder holds for an encoder."""
    if (folder / name).is_dir():
        return folder / name
    for ending in _ENDINGS:
        if (path := folder / f"{name}{ending}").is_file():
            return path
    return folder if name == DVT and denoiser_file(folder) is not None else None


def denoiser_file(folder: Path) -> Path | None:
    """DVT's denoiser in a folder: ours by name, or as its authors released it."""
    for ending in _ENDINGS:
        if (path := folder / f"denoiser{ending}").is_file():
            return path
    return next((path for pattern in _RELEASED for path in sorted(folder.glob(pattern))), None)


def backbone_file(folder: Path) -> Path | None:
    """DVT's vision transformer in a folder, as timm or its authors released it."""
    for stem in _BACKBONES:
        for ending in _ENDINGS:
            if (path := folder / f"{stem}{ending}").is_file():
                return path
    return None


def _wanted(name: str) -> str:
    if name == DVT:
        return (
            "it must hold denoiser.safetensors or .pth (or the release's voc_denoised/*reg4*.pth) beside "
            "backbone.safetensors or .pth (or timm's model.safetensors)"
        )
    return f"it must hold {name}.safetensors or {name}.pth"
