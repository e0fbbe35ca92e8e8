"""In which order the nodes of a prompt run.

A prompt is API format: {id: {"class_type", "inputs", "_meta"?}}; a link is ["id", slot].
"""

from collections.abc import Iterator
from typing import Any

Prompt = dict[str, dict[str, Any]]


def is_wire(value: Any) -> bool:
    return isinstance(value, list) and [type(part) for part in value] == [str, int]


def run_order(prompt: Prompt, outputs: list[str]) -> list[str]:
    """The outputs' nodes, each after all that it needs; links to nodes that are absent are left out.

    Raises: ValueError naming the nodes of a loop.
    """
    done: dict[str, None] = {}
    path: dict[str, Iterator[str]] = {}  # no recursion: a chain may be longer than Python's stack
    for output in outputs:
        path[output] = _above(prompt, output)
        while path:
            node_id, above = next(reversed(path.items()))
            source = next(above, None)
            if source is None:
                del path[node_id]
                done[node_id] = None
            elif source in path:
                loop = [*path][[*path].index(source) :]
                names = " -> ".join(f"{name} ({prompt[name]['class_type']})" for name in [*loop, source])
                raise ValueError(f"the nodes depend on each other in a loop: {names}")
            elif source not in done:
                path[source] = _above(prompt, source)
    return [*done]


def _above(prompt: Prompt, node_id: str) -> Iterator[str]:
    links = [value for value in prompt[node_id]["inputs"].values() if is_wire(value)]
    return iter([link[0] for link in links if link[0] in prompt])
