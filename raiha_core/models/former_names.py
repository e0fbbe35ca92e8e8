"""What tensors and config fields were called before: old weights, training states and configs open by this.

One table each for tensors, for fields and for values; to rename another, add a line.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

# beginnings of names, longest first where one begins like another
TENSORS = {
    "judge.trust.": "reference_gate.to_belief.",
    "judge.light": "reference_gate.light_share",
    "judge.": "reference_gate.",
    "evidence.": "from_references.attention.",
    "from_evidence.": "from_references.to_summary.",
    "doubt.": "learned_shrinkage.",
}
PARTS = ("", "network.")  # in training states the harmonizer's tensors stand below its name
FIELDS: dict[str, str] = {"hesitation": "shrinkage", "doubt": "learned_shrinkage", "look": "region_colour"}
VALUES: dict[str, dict[str, str]] = {"references": {"judged": "gated"}}

Value = TypeVar("Value")


def _renamed(name: str, table: Mapping[str, str]) -> str:
    for part in PARTS:
        for before, after in table.items():
            if name.startswith(part + before):
                return part + after + name[len(part + before) :]
    return name


def tensor_name(name: str) -> str:
    """A tensor's name today; a name of today is itself."""
    return _renamed(name, TENSORS)


def former_tensor_name(name: str) -> str:
    """The reverse: what digests over names are made of, so that they outlive a renaming."""
    return _renamed(name, {after: before for before, after in TENSORS.items()})


def tensors(state: Mapping[str, Value]) -> dict[str, Value]:
    """A state with the names of today, in its own order."""
    return {tensor_name(name): value for name, value in state.items()}


def config(data: Any) -> Any:
    """A config as JSON with the fields and values of today; what is no table of fields is left to its reader.

    Where a field stands under both names the former one stays, and its reader refuses it as unknown.
    """
    if not isinstance(data, dict):
        return data
    found: dict[str, Any] = {}
    for name, value in data.items():
        given = str(name)
        now = FIELDS.get(given, given)
        values = VALUES.get(now, {})
        found[given if now in data else now] = values.get(str(value), value)
    return found
