"""What a run left: pictures to be written, lines to be shown."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from ..raiha_core.durable import durable_path, make_folder
from .host_runner import Outputs, Runner


def _entries(outputs: Outputs, kind: str) -> list[tuple[str, Any]]:
    """(node id, entry) of every list of that kind, in the order of the nodes; a server may send anything."""
    return [
        (node_id, entry)
        for node_id, shown in outputs.items()
        if isinstance(shown, Mapping) and isinstance(shown.get(kind), list | tuple)
        for entry in shown[kind]
    ]


def saved_pictures(outputs: Outputs) -> list[Mapping[str, str]]:
    """Entries of the pictures that were saved for good, in the order of the nodes."""
    return [
        entry
        for _, entry in _entries(outputs, "images")
        if isinstance(entry, Mapping) and entry.get("type") == "output"
    ]


def texts(outputs: Outputs) -> dict[str, list[str]]:
    """Lines that nodes show, by node id."""
    found: dict[str, list[str]] = {}
    for node_id, text in _entries(outputs, "text"):
        if text:
            found.setdefault(node_id, []).append(str(text))
    return found


def _place(folder: Path, entry: Mapping[str, str]) -> Path:
    """Where a picture goes. Raises: ValueError where that would not be a plain file below `folder`."""
    name, sub = entry.get("filename"), entry.get("subfolder", "")
    if not isinstance(name, str) or not isinstance(sub, str) or not name or not f"{name}{sub}".isprintable():
        raise ValueError("the workflow ran, but what it saved has no proper name")
    path = folder / sub / name
    plain = PureWindowsPath(name).name == name and not PureWindowsPath(sub).drive
    if not plain or PurePosixPath(name).name != name or not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"the output '{path}' would lie outside {folder}")
    return path


def save_outputs(outputs: Outputs, runner: Runner, folder: Path) -> list[Path]:
    """Write every saved picture below `folder`, under the name it was saved by.

    Raises: ValueError where there is none, or one has a name that leaves the folder; OSError.
    """
    entries = saved_pictures(outputs)
    if not entries and not texts(outputs):
        raise ValueError("the workflow ran but saved no picture: it needs a node that saves, not a preview")
    places = [_place(folder, entry) for entry in entries]
    for path, entry in zip(places, entries, strict=True):
        data = runner.fetch(entry)
        make_folder(path.parent)
        with durable_path(path) as temporary:
            temporary.write_bytes(data)
    return places
