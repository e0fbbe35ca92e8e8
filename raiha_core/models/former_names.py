"""What tensors and config fields were called before: old weights, training states and configs open by this.

One table each for tensors, for fields and for values; to rename another, add a line.
"""

import ast
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
PREFIXES = ("", "network.")  # in training states the harmonizer's tensors stand below its name
FIELDS: dict[str, str] = {"hesitation": "shrinkage", "doubt": "learned_shrinkage", "look": "region_colour"}
VALUES: dict[str, dict[str, str]] = {"references": {"judged": "gated", "measured": "gated"}}
# of the statistics: how references were followed before the gate did it for every network
DROPPED = ("reference_trust", "reference_power", "reference_whole")
GATE_NUMBERS = (23, 30)  # that gates of earlier kinds read of each reference: none of them can be used
# gates whose file names no feature space were fitted on matches of this one, the embedded encoder's
GATE_SPEC: dict[str, Any] = {
    "name": "lite0-384-s32-c320",
    "encoder": "lite0",
    "layer": "stride 32, linear, centred",
    "input_size": 384,
    "grid": 12,
    "dim": 320,
    "weights": "579344248a93e230",
    "centring": "2b5e95ff9c995ace",
    "histogram": {"hue": 24, "saturation": 12, "value": 24, "pixels": 16, "version": 1},
    "content_threshold": 0.6,
    "appearance_threshold": 0.9,
    "threshold_source": "the embedded encoder's own",
    "version": 1,
}

Value = TypeVar("Value")


def _renamed(name: str, table: Mapping[str, str]) -> str:
    for part in PREFIXES:
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


class _Calls(ast.NodeTransformer):
    """Renames the keywords with which a config file in Python calls our configs."""

    def visit_Call(self, node: ast.Call) -> ast.Call:
        self.generic_visit(node)
        called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        if called == "StatisticsConfig":
            node.keywords = [keyword for keyword in node.keywords if keyword.arg not in DROPPED]
        elif called == "PlusConfig":
            for keyword in node.keywords:
                if keyword.arg is None:
                    continue
                keyword.arg = FIELDS.get(keyword.arg, keyword.arg)
                value = keyword.value
                if isinstance(value, ast.Constant) and isinstance(value.value, str):
                    value.value = VALUES.get(keyword.arg, {}).get(value.value, value.value)
        return node


def source(text: str, file: str) -> ast.Module:
    """The source of a config in Python with the fields and values of today."""
    return ast.fix_missing_locations(_Calls().visit(ast.parse(text, file)))


def config(data: Any) -> Any:
    """A config as JSON with the fields and values of today; what is no table of fields is left to its reader.

    Where a field stands under both names the former one stays, and its reader refuses it as unknown.
    """
    if not isinstance(data, dict):
        return data
    found: dict[str, Any] = {}
    if isinstance(statistics := data.get("statistics"), dict):
        kept = {name: value for name, value in statistics.items() if name not in DROPPED}
        data = {**data, "statistics": kept}
    for name, value in data.items():
        given = str(name)
        now = FIELDS.get(given, given)
        values = VALUES.get(now, {})
        found[given if now in data else now] = values.get(str(value), value)
    return found
