"""A prompt before a run: read from a file, changed by settings. It is in API format (`host_graph`)."""

import copy
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .host_graph import Prompt
from .host_runner import Runner

_DEEPEST = 64  # objects and lists inside each other; a real workflow has 4


class WrongCallError(ValueError):
    """The command line asks for something that the workflow does not have."""


@dataclass(frozen=True, slots=True)
class Setting:
    node: str  # id, title or class
    input: str
    value: str
    origin: str = "--set"  # for errors
    folder: Path = Path()  # where a picture with a relative path lies

    def __str__(self) -> str:
        return f"{self.origin} {self.node}.{self.input}={self.value}"

    def picture(self) -> Path | None:
        """The file that the value names, if there is one."""
        path = self.folder / self.value
        return path if self.value and path.is_file() else None


def _fault(data: Any) -> str | None:
    """What no workflow can hold, though JSON can: nesting without end, numbers and texts that are none."""
    level = [data]
    for _ in range(_DEEPEST):
        deeper: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                deeper += [*value, *value.values()]
            elif isinstance(value, list):
                deeper += value
            elif isinstance(value, float) and not math.isfinite(value):
                return "it holds a number that is not finite"
            elif isinstance(value, str) and ("\0" in value or not _is_unicode(value)):
                return f"it holds a text that is none: {value!r:.40}"
        level = deeper
    return f"it is nested more than {_DEEPEST} levels deep" if level else None


def _is_unicode(text: str) -> bool:
    try:
        return bool(text.encode()) or True
    except UnicodeEncodeError:  # half of a surrogate pair
        return False


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"'{next(name for name in names if names.count(name) > 1)}' stands in it twice")
    return found


def read_prompt(path: Path) -> Prompt:
    """A workflow file in API format, without the fingerprints that a prompt from a picture carries.

    Raises: ValueError naming the file where it is no JSON, or a workflow in the page's format; OSError.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_unique)
        fault = _fault(data)
    except UnicodeDecodeError:
        fault = "it is no UTF-8 text"
    except RecursionError:
        fault = f"it is nested more than {_DEEPEST} levels deep"
    except ValueError as error:
        fault = str(error)
    if fault is not None:
        raise ValueError(f"{path} is not a workflow: {fault}")
    if isinstance(data, dict) and isinstance(data.get("nodes"), list):
        other = path.parent / "api" / path.name
        advice = f"run {other}" if other.is_file() else "save it with 'Export (API)' in ComfyUI's page"
        raise ValueError(f"{path} is in the page's format, and only API format can run headless: {advice}")
    if not isinstance(data, dict) or not all(isinstance(node, dict) for node in data.values()) or not data:
        raise ValueError(f"{path} is not a workflow in API format: it must be an object of nodes by id")
    for node_id, node in data.items():
        # ComfyUI believes a fingerprint that comes with the prompt, and would not see changed files.
        node.pop("is_changed", None)
        for name, kind, what in (
            ("inputs", dict, "an object"),
            ("_meta", dict, "an object"),
            ("class_type", str, "a text"),
        ):
            if not isinstance(node.get(name, kind()), kind):
                raise ValueError(
                    f"{path} is not a workflow in API format: '{name}' of node {node_id} is not {what}"
                )
        node.setdefault("inputs", {})
    return data


def parse_setting(text: str, origin: str = "--set") -> Setting:
    """`NODE.INPUT=VALUE`; a title may hold dots. Raises: WrongCallError."""
    found = re.fullmatch(r"(?P<node>[^=]+)\.(?P<input>[^=.]+)=(?P<value>.*)", text, re.DOTALL)
    if found is None:
        form = (
            "NODE.INPUT=VALUE, such as 3.strength=0.5" if origin == "--set" else "NODE.INPUT, such as 1.image"
        )
        raise WrongCallError(f"{origin} {text.removesuffix('=')}: write {form}")
    return Setting(**found.groupdict(), origin=origin)


def _node_id(prompt: Prompt, setting: Setting) -> str:
    name = setting.node
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
            f"{setting.origin} {name}: several nodes are called so ({', '.join(found)}); name one by its id"
        )
    known = ", ".join(f"{node_id} ({node.get('class_type')})" for node_id, node in prompt.items())
    raise WrongCallError(f"{setting.origin} {name}: the workflow has no such node; it has {known}")


def require_nodes(prompt: Prompt, settings: Sequence[Setting]) -> None:
    """Raises: WrongCallError where a setting names a node that is not there, before anything is started."""
    for setting in settings:
        _node_id(prompt, setting)


def require_inputs(prompt: Prompt, settings: Sequence[Setting], runner: Runner) -> None:
    """Raises: WrongCallError where a setting names an input that its node does not have."""
    for setting in settings:
        kind = prompt[_node_id(prompt, setting)].get("class_type", "")
        inputs = runner.inputs_of(kind)
        if inputs is not None and setting.input not in inputs:  # an unknown class: the run itself says so
            where = f"{setting.origin} {setting.node}.{setting.input}"
            raise WrongCallError(f"{where}: {kind} has {', '.join(inputs)}")


def _convert(setting: Setting, kind: str) -> Any:
    """A setting's text as the value of an input of that type. Raises: WrongCallError."""
    text = setting.value
    try:
        if kind == "INT":
            return int(text)
        if kind == "FLOAT":
            return float(text)
    except ValueError:
        raise WrongCallError(f"{setting}: a number is needed") from None
    if kind == "BOOLEAN":  # ComfyUI takes any text for true
        if text.lower() not in ("true", "false"):
            raise WrongCallError(f"{setting}: true or false is needed")
        return text.lower() == "true"
    return text


def apply_settings(prompt: Prompt, settings: Sequence[Setting], runner: Runner) -> Prompt:
    """The prompt with other inputs; a local picture file given to a picture input is uploaded.

    Raises: WrongCallError for an unknown input or a value of the wrong type.
    """
    require_inputs(prompt, settings, runner)
    prompt = copy.deepcopy(prompt)
    for setting in settings:
        node = prompt[_node_id(prompt, setting)]
        options = (runner.inputs_of(node.get("class_type", "")) or {}).get(setting.input, {})
        value = _convert(setting, options.get("type", "*"))
        picture = setting.picture() if options.get("image_upload") else None
        node["inputs"][setting.input] = value if picture is None else runner.upload(picture)
    return prompt
