"""Checks a prompt in ComfyUI's order and with its error types, before anything runs.

A prompt is API format: {id: {"class_type", "inputs", "_meta"?}}; a link is ["id", slot].
Errors are dicts {type, message, details, extra_info}, as the server answers them.
"""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from . import host_io as io

Prompt = dict[str, dict[str, Any]]
Error = dict[str, Any]

_CONVERT = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}


@dataclass(slots=True)
class Verdict:
    """Which outputs may run; `error` where nothing may, `node_errors` by node id in any case."""

    outputs: list[str] = field(default_factory=list)
    error: Error | None = None
    node_errors: dict[str, dict[str, Any]] = field(default_factory=dict)

    def sentences(self) -> list[str]:
        """Everything that is wrong, one sentence each, naming node and input."""
        found = []
        for node_id, entry in self.node_errors.items():
            for error in entry["errors"]:
                found.append(
                    f"node {node_id} ({entry['class_type']}): {error['message']}: {error['details']}"
                )
        if not found and self.error is not None:
            found.append(" ".join(filter(None, [self.error["message"], self.error["details"]])))
        return found


def _error(kind: str, message: str, details: str = "", **extra: Any) -> Error:
    return {"type": kind, "message": message, "details": details, "extra_info": extra}


def is_link(value: Any) -> bool:
    """["id", slot]. In a prompt that is not yet checked every list stands for a link, and a list that is a
    value is wrapped as {"__value__": [...]}; the check unwraps it.
    """
    return (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], str)
        and isinstance(value[1], int)
    )


def literals(schema: io.Schema, inputs: dict[str, Any]) -> dict[str, Any]:
    """The inputs that the schema knows, links as None."""
    known = {entry.id for entry in schema.inputs}
    return {name: None if is_link(value) else value for name, value in inputs.items() if name in known}


def types_match(received: str, expected: str) -> bool:
    """Types share a name; `A,B` is a set, `*` matches all."""
    if "*" in (received, expected):
        return True
    return bool(set(received.split(",")) & set(expected.split(",")))


class Validator:
    """One prompt's checks. Widget values in `prompt` are converted in place, as the host does."""

    def __init__(self, prompt: Prompt, nodes: dict[str, type[io.ComfyNode]]) -> None:
        self.prompt = prompt
        self.nodes = nodes
        self.found: dict[str, tuple[bool, list[Error]]] = {}  # node id -> fit to run, its own errors

    def check(self) -> Verdict:
        outputs = []
        for node_id, node in self.prompt.items():
            kind = node.get("class_type")
            if kind not in self.nodes:
                title = node.get("_meta", {}).get("title", kind or f"ID #{node_id}")
                what = (
                    f"Node '{title}' not found. The custom node may not be installed."
                    if kind is not None
                    else f"Node '{title}' has no class_type."
                )
                return Verdict(error=_error("missing_node_type", what, f"Node ID '#{node_id}'"))
            if self.nodes[kind].define_schema().is_output_node:
                outputs.append(node_id)
        if not outputs:
            return Verdict(error=_error("prompt_no_outputs", "Prompt has no outputs"))
        verdict = Verdict()
        for output in outputs:
            if self._node(output, ()):
                verdict.outputs.append(output)
                continue
            for node_id, (fit, errors) in self.found.items():
                if not fit and errors:
                    entry = verdict.node_errors.setdefault(
                        node_id,
                        {
                            "errors": errors,
                            "dependent_outputs": [],
                            "class_type": self.prompt[node_id]["class_type"],
                        },
                    )
                    entry["dependent_outputs"].append(output)
        if not verdict.outputs:
            own = [error for output in outputs for error in self.found[output][1]]
            details = "\n".join(f"{error['message']}: {error['details']}" for error in own)
            verdict.error = _error(
                "prompt_outputs_failed_validation", "Prompt outputs failed validation", details
            )
        return verdict

    def _node(self, node_id: str, path: tuple[str, ...]) -> bool:
        """Check a node after everything above it. Returns: may it run?"""
        if node_id in path:
            loop = [*path[path.index(node_id) :], node_id]
            text = " -> ".join(f"{name} ({self.prompt[name]['class_type']})" for name in loop)
            for name in loop:
                self.found[name] = (False, [_error("dependency_cycle", "Dependency cycle detected", text)])
            return False
        if node_id in self.found:
            return self.found[node_id][0]
        schema = self.nodes[self.prompt[node_id]["class_type"]].define_schema()
        inputs = self.prompt[node_id].setdefault("inputs", {})
        fit, errors = True, []
        for entry in schema.inputs:
            if entry.id not in inputs:
                if not entry.optional:
                    errors.append(
                        _error(
                            "required_input_missing",
                            "Required input is missing",
                            entry.id,
                            input_name=entry.id,
                        )
                    )
            elif isinstance(inputs[entry.id], list):
                above, error = self._link(entry, inputs[entry.id], (*path, node_id))
                fit = fit and above
                errors.extend([error] if error else [])
            elif error := self._value(entry, inputs, self._named(node_id)):
                errors.append(error)
        errors.extend(self._own_check(node_id, schema, inputs))
        earlier = self.found.get(node_id, (True, []))  # a loop through this node has marked it
        self.found[node_id] = (earlier[0] and fit and not errors, [*earlier[1], *errors])
        return self.found[node_id][0]

    def _named(self, node_id: str) -> set[str]:
        """Inputs that the node checks itself; the host then leaves its own range checks out."""
        check = getattr(self.nodes[self.prompt[node_id]["class_type"]], "validate_inputs", None)
        return set() if check is None else set(inspect.signature(check).parameters)

    def _link(self, entry: io.Input, link: list[Any], path: tuple[str, ...]) -> tuple[bool, Error | None]:
        """Returns: is everything above fit; the error of the link itself."""
        if len(link) != 2:
            what = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
            return True, _error("bad_linked_input", what, entry.id, input_name=entry.id)
        source, slot = link
        if source not in self.prompt:
            return True, self._broken(
                entry, f"input '{entry.id}' is linked to node '{source}', which is absent"
            )
        outputs = self.nodes[self.prompt[source]["class_type"]].define_schema().outputs
        if not (isinstance(slot, int) and 0 <= slot < len(outputs)):
            what = (
                f"input '{entry.id}' is linked to output {slot} of node '{source}', which has {len(outputs)}"
            )
            return True, self._broken(entry, what)
        received = outputs[slot].io_type
        if not types_match(received, entry.io_type):
            details = f"{entry.id}, received_type({received}) mismatch input_type({entry.io_type})"
            what = "Return type mismatch between linked nodes"
            return True, _error("return_type_mismatch", what, details, input_name=entry.id)
        return self._node(source, path), None

    @staticmethod
    def _broken(entry: io.Input, details: str) -> Error:
        what = "Exception when validating node"
        return _error("exception_during_validation", what, details, input_name=entry.id)

    @staticmethod
    def _value(entry: io.Input, inputs: dict[str, Any], named: set[str]) -> Error | None:
        name, value = entry.id, inputs[entry.id]
        if isinstance(value, dict) and "__value__" in value:
            value = inputs[name] = value["__value__"]
        if entry.io_type in _CONVERT:
            try:
                value = inputs[name] = _CONVERT[entry.io_type](value)
            except (TypeError, ValueError, OverflowError) as error:
                what = f"Failed to convert an input value to a {entry.io_type} value"
                return _error("invalid_input_type", what, f"{name}, {value}, {error}", input_name=name)
        if name in named:
            return None
        low, high = getattr(entry, "min", None), getattr(entry, "max", None)
        if low is not None and value < low:
            what = f"Value {value} smaller than min of {low}"
            return _error("value_smaller_than_min", what, name, input_name=name, received_value=value)
        if high is not None and value > high:
            what = f"Value {value} bigger than max of {high}"
            return _error("value_bigger_than_max", what, name, input_name=name, received_value=value)
        options = getattr(entry, "options", None)
        if options is not None and value not in options:
            shown = str(options) if len(options) <= 20 else f"(list of length {len(options)})"
            details = f"{name}: {value!r} not in {shown}"
            return _error("value_not_in_list", "Value not in list", details, input_name=name)
        return None

    def _own_check(self, node_id: str, schema: io.Schema, inputs: dict[str, Any]) -> Iterator[Error]:
        """What the node's `validate_inputs` says; repeated for each input that it names."""
        named = self._named(node_id)
        if not named:
            return
        node = self.nodes[self.prompt[node_id]["class_type"]]
        given = {name: value for name, value in literals(schema, inputs).items() if name in named}
        try:
            answer = node.validate_inputs(**given)  # type: ignore[attr-defined]
        except Exception as error:  # the host reports whatever the check raises
            yield _error("exception_during_validation", "Exception when validating node", str(error))
            return
        if answer is True:
            return
        for name in given:
            details = name if answer is False else f"{name} - {answer}"
            what = "Custom validation failed for node"
            yield _error("custom_validation_failed", what, details, input_name=name)
