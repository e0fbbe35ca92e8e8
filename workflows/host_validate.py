"""Checks a prompt before anything runs, in ComfyUI's order: one sentence per fault, naming node and input."""

import inspect
from typing import Any

from . import host_io as io
from .host_graph import Prompt, is_wire

Nodes = dict[str, type[io.ComfyNode]]

_CONVERT = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}


def unknown_nodes(prompt: Prompt, nodes: Nodes) -> list[str]:
    """A sentence per node that this host does not have."""
    return [
        f"node {node_id}: '{kind}' is not known to the embedded host, which has Raiha's nodes and the few of "
        "ComfyUI that its workflows use; --comfyui PATH runs it on a ComfyUI checkout"
        for node_id, node in prompt.items()
        if not isinstance(kind := node.get("class_type"), str) or kind not in nodes
    ]


def faults(node_id: str, prompt: Prompt, nodes: Nodes) -> list[str]:
    """What is wrong with one node's inputs; widget values are converted in place, as the host does."""
    kind, inputs = prompt[node_id]["class_type"], prompt[node_id]["inputs"]
    check = getattr(nodes[kind], "validate_inputs", None)
    own = set() if check is None else set(inspect.signature(check).parameters)  # the host leaves these alone
    found = []
    for entry in nodes[kind].define_schema().inputs:
        if entry.id not in inputs:
            fault = None if entry.optional else f"Required input is missing: {entry.id}"
        elif isinstance(inputs[entry.id], list):
            fault = _link_fault(entry, inputs[entry.id], prompt, nodes)
        else:
            fault = _value_fault(entry, inputs, entry.id in own)
        found += [fault] if fault else []
    if check is not None and not found:
        given = {name: None if is_wire(inputs[name]) else inputs[name] for name in own if name in inputs}
        if (answer := check(**given)) is not True:
            found.append(f"{', '.join(given)} - {answer}")
    return [f"node {node_id} ({kind}): {fault}" for fault in found]


def _link_fault(entry: io.Input, link: list[Any], prompt: Prompt, nodes: Nodes) -> str | None:
    if not is_wire(link):
        return f"{entry.id} must be linked by the id of a node and the number of its output, got {link}"
    source, slot = link
    if source not in prompt:
        return f"{entry.id} is linked to node '{source}', which is absent"
    outputs = nodes[prompt[source]["class_type"]].define_schema().outputs
    if not 0 <= slot < len(outputs):
        return f"{entry.id} is linked to output {slot} of node '{source}', which has {len(outputs)}"
    received = outputs[slot].io_type
    if "*" not in (received, entry.io_type) and received != entry.io_type:
        return f"{entry.id} takes {entry.io_type}, but output {slot} of node '{source}' gives {received}"
    return None


def _value_fault(entry: io.Input, inputs: dict[str, Any], own: bool) -> str | None:
    name, value = entry.id, inputs[entry.id]
    if entry.io_type in _CONVERT:
        try:
            value = inputs[name] = _CONVERT[entry.io_type](value)
        except (TypeError, ValueError, OverflowError):
            return f"{name} must be of the type {entry.io_type}, got {value!r:.60}"
    low, high, options = (getattr(entry, part, None) for part in ("min", "max", "options"))
    if options is not None and not isinstance(value, str):
        return f"{name} must be a text, got {value!r:.60}"
    if own:
        return None
    if low is not None and value < low:
        return f"Value {value} smaller than min of {low}: {name}"
    if high is not None and value > high:
        return f"Value {value} bigger than max of {high}: {name}"
    if options is not None and value not in options:
        shown = str(options) if len(options) <= 20 else f"a list of {len(options)} entries"
        return f"Value not in list: {name}: {value!r:.60} not in {shown}"
    return None
