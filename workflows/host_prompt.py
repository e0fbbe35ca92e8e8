"""A prompt before and after a run: read from a file, changed by --set, its pictures saved.

A prompt is API format: {id: {"class_type", "inputs", "_meta"?}}.
"""

import copy
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..raiha_core.durable import durable_path

Prompt = dict[str, dict[str, Any]]
Outputs = Mapping[str, Mapping[str, Any]]  # node id -> its UI entry, as in ComfyUI's history


class WrongCallError(ValueError):
    """The command line asks for something that the workflow does not have."""


class Runner(Protocol):
    """Where a prompt runs: embedded, on a checkout, or on a server."""

    def inputs_of(self, class_type: str) -> dict[str, dict[str, Any]] | None:
        """Input names of a node class with "type" and options such as "image_upload"; None if unknown."""

    def upload(self, path: Path) -> str:
        """Put a picture into the input folder. Returns: the name to use for it."""

    def run(self, prompt: Prompt, *, timeout: float) -> Outputs:
        """Raises: ValueError or OSError with one sentence that names the node."""

    def fetch(self, entry: Mapping[str, str]) -> bytes:
        """The bytes of a saved picture: {"filename", "subfolder", "type"}."""


@dataclass(frozen=True, slots=True)
class Setting:
    node: str  # id, title or class
    input: str
    value: str


def read_prompt(path: Path) -> Prompt:
    """A workflow file in API format, without the fingerprints that a prompt from a picture carries.

    Raises: ValueError naming the file where it is no JSON, or a workflow in the page's format; OSError.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not a workflow: {error}") from None
    if isinstance(data, dict) and isinstance(data.get("nodes"), list):
        other = path.parent / "api" / path.name
        advice = f"run {other}" if other.is_file() else "save it with 'Export (API)' in ComfyUI's page"
        raise ValueError(f"{path} is in the page's format, and only API format can run headless: {advice}")
    if not isinstance(data, dict) or not all(isinstance(node, dict) for node in data.values()) or not data:
        raise ValueError(f"{path} is not a workflow in API format: it must be an object of nodes by id")
    for node in data.values():
        # ComfyUI believes a fingerprint that comes with the prompt, and would not see changed files.
        node.pop("is_changed", None)
        if not isinstance(node.setdefault("inputs", {}), dict):
            raise ValueError(f"{path} is not a workflow in API format: a node's inputs are not an object")
    return data


def parse_setting(text: str) -> Setting:
    """`NODE.INPUT=VALUE`; a title may hold dots. Raises: WrongCallError."""
    found = re.fullmatch(r"(?P<node>[^=]+)\.(?P<input>[^=.]+)=(?P<value>.*)", text, re.DOTALL)
    if found is None:
        raise WrongCallError(f"--set {text}: write NODE.INPUT=VALUE, such as 3.strength=0.5")
    return Setting(**found.groupdict())


def _node_id(prompt: Prompt, name: str) -> str:
    if name in prompt:
        return name
    found = [
        node_id
        for node_id, node in prompt.items()
        if name in (node.get("class_type"), node.get("_meta", {}).get("title"))
    ]
    if len(found) == 1:
        return found[0]
    if found:
        raise WrongCallError(
            f"--set {name}: several nodes are called so ({', '.join(found)}); name one by its id"
        )
    known = ", ".join(f"{node_id} ({node.get('class_type')})" for node_id, node in prompt.items())
    raise WrongCallError(f"--set {name}: the workflow has no such node; it has {known}")


def require_nodes(prompt: Prompt, settings: Sequence[Setting]) -> None:
    """Raises: WrongCallError where a setting names a node that is not there, before anything is started."""
    for setting in settings:
        _node_id(prompt, setting.node)


def _convert(text: str, kind: str, where: str) -> Any:
    """A command line's text as the value of an input of that type. Raises: WrongCallError."""
    try:
        if kind == "INT":
            return int(text)
        if kind == "FLOAT":
            return float(text)
    except ValueError:
        raise WrongCallError(f"--set {where}={text}: a number is needed") from None
    if kind == "BOOLEAN":  # ComfyUI takes any text for true
        if text.lower() not in ("true", "false"):
            raise WrongCallError(f"--set {where}={text}: true or false is needed")
        return text.lower() == "true"
    return text


def apply_settings(prompt: Prompt, settings: Sequence[Setting], runner: Runner) -> None:
    """Change inputs in place; a local picture file given to a picture input is uploaded.

    Raises: WrongCallError for an unknown input or a value of the wrong type.
    """
    for setting in settings:
        node_id = _node_id(prompt, setting.node)
        node = prompt[node_id]
        where = f"{setting.node}.{setting.input}"
        inputs = runner.inputs_of(node.get("class_type", ""))
        if inputs is None:  # an unknown class: the run itself says so, by name
            node["inputs"][setting.input] = setting.value
            continue
        if setting.input not in inputs:
            raise WrongCallError(f"--set {where}: {node['class_type']} has {', '.join(inputs)}")
        options = inputs[setting.input]
        value = _convert(setting.value, options["type"], where)
        if options.get("image_upload") and Path(setting.value).is_file():
            value = runner.upload(Path(setting.value))
        node["inputs"][setting.input] = value


def saved_pictures(outputs: Outputs) -> list[Mapping[str, str]]:
    """Entries of the pictures that were saved for good, in the order of the nodes."""
    return [
        entry
        for shown in outputs.values()
        for entry in shown.get("images", ())
        if isinstance(entry, Mapping) and entry.get("type") == "output"
    ]


def save_outputs(outputs: Outputs, runner: Runner, folder: Path) -> list[Path]:
    """Write every saved picture below `folder`, under the name it was saved by.

    Raises: ValueError where there is none; OSError.
    """
    entries = saved_pictures(outputs)
    if not entries and not texts(outputs):
        raise ValueError("the workflow ran but saved no picture: it needs a node that saves, not a preview")
    written = []
    for entry in entries:
        path = folder / entry.get("subfolder", "") / entry["filename"]
        if not path.resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"the output '{path}' would lie outside {folder}")
        path.parent.mkdir(parents=True, exist_ok=True)
        data = runner.fetch(entry)
        with durable_path(path) as temporary:
            temporary.write_bytes(data)
        written.append(path)
    return written


def texts(outputs: Outputs) -> dict[str, list[str]]:
    """Lines that nodes show, by node id."""
    found = {}
    for node_id, shown in outputs.items():
        if lines := [str(text) for text in shown.get("text", ()) if text]:
            found[node_id] = lines
    return found


def clean(prompt: Prompt) -> Prompt:
    """A copy to send: the runner may change its own."""
    return copy.deepcopy(prompt)
