"""Frozen dataclasses as JSON and back: every field by its name and its type, nothing guessed.

A field that files of an earlier version lack is declared `field(default=..., metadata=LATER)`.
"""

import types
from dataclasses import asdict, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from .reasons import one_line

LATER = {"may_be_missing": True}
Record = TypeVar("Record")


def to_json(value: Any) -> dict[str, Any]:
    """A dataclass as JSON gives it back: tables for dataclasses, lists for tuples."""
    return cast("dict[str, Any]", _lists(asdict(value)))


def from_json(kind: type[Record], data: object, what: str) -> Record:
    """The dataclass that `to_json` gave.

    Args: what: names the record in errors, as in "the config of 'hdnet'".
    Raises: ValueError naming the fields that are unknown, missing, of another type or not allowed.
    """
    if not isinstance(data, dict):
        raise ValueError(f"{what} must be a table of fields, got {data!r:.60}")
    known = fields(cast("Any", kind))
    if unknown := sorted(set(data) - {field.name for field in known}):
        raise ValueError(f"{what} has unknown fields: {', '.join(map(one_line, unknown))}")
    needed = {field.name for field in known if not field.metadata.get("may_be_missing")}
    if missing := sorted(needed - set(data)):
        raise ValueError(f"{what} lacks the fields: {', '.join(missing)}")
    hints = get_type_hints(kind)
    return kind(**{name: typed(hints[name], value, _in(what, name)) for name, value in data.items()})


def _in(what: str, name: object) -> str:
    return f"{what.rstrip(',')}, '{one_line(name)}',"


def typed(hint: Any, value: object, what: str) -> object:
    """A value that JSON or a user gave, as the type that a field declares; lists become its tuples.

    Raises: ValueError naming `what` where it is of another type.
    """
    origin, inner = get_origin(hint), get_args(hint)
    if is_dataclass(hint):
        return from_json(cast("type", hint), value, what)
    if origin in (Union, types.UnionType):
        return _first_that_fits(inner, value, what)
    if origin is Literal and value in inner:
        return value
    if origin is tuple and isinstance(value, list | tuple):
        each = [inner[0]] * len(value) if inner[-1] is ... else list(inner)
        if len(each) == len(value):
            return tuple(typed(part, v, what) for part, v in zip(each, value, strict=True))
    if origin is dict and isinstance(value, dict):
        return {key: typed(inner[1], v, _in(what, key)) for key, v in value.items()}
    if hint is Any or (origin is None and isinstance(hint, type) and _is_plain(hint, value)):
        return value
    raise ValueError(f"{what} must be {_words(hint)}, got {value!r:.60}")


def _first_that_fits(hints: tuple[Any, ...], value: object, what: str) -> object:
    error: ValueError | None = None
    for hint in hints:
        try:
            return typed(hint, value, what)
        except ValueError as found:
            error = error or found
    assert error is not None
    raise error


def _is_plain(kind: type, value: object) -> bool:
    """JSON writes 1.0 as 1 in some hands; True is a number to Python only."""
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def _words(hint: Any) -> str:
    plain = isinstance(hint, type) and get_origin(hint) is None  # in Python 3.10 list[int] is a type too
    return hint.__name__ if plain else str(hint).replace("typing.", "")


def _lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _lists(part) for key, part in value.items()}
    return [_lists(part) for part in value] if isinstance(value, list | tuple) else value
