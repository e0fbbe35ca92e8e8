"""Dataclasses through JSON: the round trip, and every way in which a record may be wrong."""

import json
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from raiha_core.records import LATER, from_json, to_json


@dataclass(frozen=True, kw_only=True, slots=True)
class Inner:
    share: float = 0.5
    ends: tuple[float, float] = (0.0, 1.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Outer:
    name: str
    count: int = 3
    right: bool = True
    kind: Literal["a", "b"] = "a"
    limit: float | None = None
    rings: tuple[float, ...] = ()
    inner: Inner = field(default_factory=Inner)
    other: Inner | None = None
    scores: dict[str, float] = field(default_factory=dict)
    anything: Any = None
    late: int = field(default=7, metadata=LATER)

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError(f"count must not be negative, got {self.count}")


RECORD = Outer(
    name="x",
    kind="b",
    limit=2.5,
    rings=(1.0, 2),
    other=Inner(ends=(3, 4.5)),
    scores={"psnr": 30},
    anything=[1, "y"],
)


def test_a_record_survives_json_as_text():
    assert from_json(Outer, json.loads(json.dumps(to_json(RECORD))), "it") == RECORD


def test_tuples_are_lists_and_dataclasses_tables():
    assert to_json(Inner()) == {"share": 0.5, "ends": [0.0, 1.0]}


def test_what_earlier_files_lack_is_its_default():
    data = to_json(RECORD)
    del data["late"]
    assert from_json(Outer, data, "it").late == 7


@pytest.mark.parametrize(
    ("changes", "said"),
    {
        "unknown": ({"zeal": 1, "colour": 2}, "it has unknown fields: colour, zeal"),
        "text": ({"count": "3"}, "it, 'count', must be int, got '3'"),
        "truth": ({"count": True}, "it, 'count', must be int, got True"),
        "fraction": ({"count": 1.5}, "it, 'count', must be int, got 1.5"),
        "number": ({"right": 1}, "it, 'right', must be bool, got 1"),
        "choice": ({"kind": "c"}, "it, 'kind', must be Literal['a', 'b'], got 'c'"),
        "optional": ({"limit": "far"}, "it, 'limit', must be float, got 'far'"),
        "item": ({"rings": [1, "2"]}, "it, 'rings', must be float, got '2'"),
        "length": (
            {"inner": {"share": 1, "ends": [1]}},
            "it, 'inner', 'ends', must be tuple[float, float], got [1]",
        ),
        "inner": ({"inner": {"share": 1}}, "it, 'inner', lacks the fields: ends"),
        "no table": ({"inner": 5}, "it, 'inner', must be a table of fields, got 5"),
        "value": ({"scores": {"psnr": None}}, "it, 'scores', 'psnr', must be float, got None"),
        "not allowed": ({"count": -1}, "count must not be negative, got -1"),
    }.values(),
)
def test_what_does_not_fit_is_named(changes, said):
    with pytest.raises(ValueError, match=r".") as raised:
        from_json(Outer, {**to_json(RECORD), **changes}, "it")
    assert str(raised.value) == said


def test_missing_fields_and_other_things_than_tables_are_named():
    with pytest.raises(ValueError, match="it lacks the fields: anything, count"):
        from_json(Outer, {"name": "x"}, "it")
    with pytest.raises(ValueError, match=r"it must be a table of fields, got \['x'\]"):
        from_json(Outer, ["x"], "it")
