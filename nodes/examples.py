"""The files that come with the pack, as entries of a list beside those of ComfyUI's input folder."""

import os
from collections.abc import Sequence
from pathlib import Path

from .compat import folder_paths

_ASSETS = Path(__file__).resolve().parent.parent / "assets"
_FOLDERS = ("demo", "scenes/photos", "scenes/cutouts")
EXAMPLE = "example: "  # in a list of files; no file of the input folder is meant


def _examples(endings: Sequence[str]) -> dict[str, Path]:
    """Names in the list -> files that come with the pack."""
    found = {}
    for folder in _FOLDERS:
        for path in sorted((_ASSETS / folder).glob("*")):
            if path.suffix.lower() in endings:
                found[f"{EXAMPLE}{path.relative_to(_ASSETS).as_posix()}"] = path
    return found


def file_choices(endings: Sequence[str]) -> list[str]:
    """The user's files first, then the examples."""
    folder = folder_paths.get_input_directory()
    files = [name for name in os.listdir(folder) if name.lower().endswith(tuple(endings))]
    return [*sorted(files), *_examples(endings)]


def chosen_file(name: str, endings: Sequence[str], kind: str) -> Path:
    """The file behind an entry of the list. Raises: ValueError where there is none, naming its kind."""
    if name.startswith(EXAMPLE):
        found = _examples(endings).get(name)
        if found is None:
            raise ValueError(f"there is no {kind} '{name}' in this version of the pack")
        return found
    path = Path(folder_paths.get_annotated_filepath(name))
    if not path.is_file():
        raise ValueError(f"there is no {kind} '{name}' in ComfyUI's input folder")
    return path


def choice_problem(name: str | None, endings: Sequence[str], kind: str) -> bool | str:
    """True, or why that entry cannot be taken, as the host's validation wants it."""
    if name is None:  # linked: known only when it runs
        return True
    try:
        chosen_file(name, endings, kind)
    except Exception as error:  # ComfyUI raises several types for names that leave the input folder
        return str(error)
    return True
