"""Settings of an experiment changed on the command line: `FIELD=VALUE`, `STAGE:PART.FIELD=VALUE`.

All values are set at once and then checked as a config's are, so that fields that hang together can change
together. What comes of it is an experiment like any other: weight files keep it, a resume compares it.
"""

import ast
import difflib
import math
from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from raiha_core.records import typed

from .experiment import Experiment

_Record = TypeVar("_Record")
# the file's name says these; another is another config
FIXED = ("name", "start", "preset")
_WORDS = {"true": True, "false": False}


def with_settings(stages: Sequence[Experiment], given: Sequence[str]) -> list[Experiment]:
    """The stages of a run, the last of which is the one that was named, with settings changed.

    Args: given: 'optimisation.rate=1e-3' changes the last stage, 'STAGE:steps=10' the one of that name.
    Raises: ValueError naming the setting whose stage, field or value is unknown or not allowed.
    """
    changes: dict[str, dict[str, str]] = {stage.name: {} for stage in stages}
    for text in given:
        place, equals, value = text.partition("=")
        stage, colon, path = place.rpartition(":")
        stage = stage if colon else stages[-1].name
        if not equals or not path:
            raise ValueError(f"a setting is FIELD=VALUE, got '{text}'")
        if stage not in changes:
            raise ValueError(f"'{text}' is for no stage of this run; its stages: {', '.join(changes)}")
        if path in changes[stage]:
            raise ValueError(f"'{path}' of '{stage}' is set twice")
        changes[stage][path] = value
    return [_changed_stage(stage, changes[stage.name]) for stage in stages]


def _changed_stage(stage: Experiment, changes: dict[str, str]) -> Experiment:
    if not changes:
        return stage
    if fixed := next((name for name in FIXED if name in changes), None):
        raise ValueError(f"'{fixed}' of '{stage.name}' is not set here: copy its config under another name")
    if "size" in changes:  # the network is made for what it is trained at
        changes = {"network.size": changes["size"], **changes}
    try:
        return _changed(stage, changes, "")
    except ValueError as error:
        raise ValueError(f"'{stage.name}' with {_words(changes)}: {error}") from None


def _words(changes: dict[str, str]) -> str:
    return " ".join(f"{path}={value}" for path, value in changes.items())


def _changed(record: _Record, changes: dict[str, str], where: str) -> _Record:
    """A frozen dataclass with some fields, by dotted path, from text; parts first, then the whole at once."""
    assert is_dataclass(record)
    hints = get_type_hints(type(record))
    known = [field.name for field in fields(record)]
    parts: dict[str, dict[str, str]] = {}
    values: dict[str, Any] = {}
    for path, text in changes.items():
        name, _, rest = path.partition(".")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            meant = f"did you mean '{where}{near[0]}'?" if near else f"known: {', '.join(known)}"
            raise ValueError(f"there is no field '{where}{path}'; {meant}")
        if is_dataclass(getattr(record, name)):
            if not rest:
                raise ValueError(f"'{where}{name}' has fields of its own: set '{where}{name}.FIELD'")
            parts.setdefault(name, {})[rest] = text
        elif rest:
            raise ValueError(f"'{where}{name}' has no fields of its own, got '{where}{path}'")
        else:
            values[name] = read_value(hints[name], text, f"'{where}{name}'")
    inner = {n: _changed(getattr(record, n), part, f"{where}{n}.") for n, part in parts.items()}
    return replace(record, **inner, **values)


def read_value(hint: Any, text: str, what: str) -> Any:
    """A value of a type from text: numbers and tuples as Python writes them, words for themselves.

    Raises: ValueError where the text is no such value.
    """
    if hint is str or text in get_args(hint):
        return text
    value: Any = _WORDS.get(text.lower(), text)
    if value is text:
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            value = text
    if get_origin(hint) is tuple:
        value = tuple(value) if isinstance(value, tuple | list) else (value,)
        inner = get_args(hint)
        value = tuple(float(v) if float in inner and type(v) is int else v for v in value)
    elif hint is float and type(value) is int:
        value = float(value)
    found = typed(hint, value, f"{what},")
    if isinstance(found, float) and not math.isfinite(found):
        raise ValueError(f"{what} must be a finite number, got {text}")
    return found
