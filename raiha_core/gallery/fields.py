"""What may stand in a line of a manifest: types and bounds, since a store may come from a stranger."""

import re
from collections.abc import Mapping

from ..regular import stays_inside

_DIGEST = re.compile(r"[0-9a-f]{64}")
_SHARD = re.compile(r"[0-9]{6,12}")
_VIEW = re.compile(r"|[0-9a-f]{66}")
_LONGEST_NAME = 1 << 14  # characters of a path
_LONGEST_TEXT = 1 << 20  # of a group or a reason
_BIGGEST = (1 << 63) - 1


def text_field(line: Mapping, name: str, default: str | None = None, most: int = _LONGEST_TEXT) -> str:
    """A string field without NUL. Raises: ValueError naming the field; KeyError where it must be there."""
    value = line[name] if default is None else line.get(name, default)
    if not isinstance(value, str) or len(value) > most or "\0" in value:
        raise ValueError(f"'{name}' must be a text, got {value!r:.80}")
    return value


def number_field(
    line: Mapping, name: str, least: int = 0, most: int = _BIGGEST, default: int | None = None
) -> int:
    """A whole number in `least`..`most`. Raises: as `text_field`."""
    value = line[name] if default is None else line.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"'{name}' must be a whole number of {least} to {most}, got {value!r:.80}")
    return value


def time_field(line: Mapping, name: str, default: int | None = None) -> int:
    """Nanoseconds since 1970, also before it. Raises: as `text_field`."""
    return number_field(line, name, -_BIGGEST, _BIGGEST, default)


def path_field(line: Mapping, name: str) -> str:
    """A path of any kind. Raises: as `text_field`."""
    return text_field(line, name, most=_LONGEST_NAME)


def inner_path_field(line: Mapping, name: str, default: str | None = None) -> str:
    """A path that stays below its folder. Raises: as `text_field`."""
    value = text_field(line, name, default, _LONGEST_NAME)
    if not stays_inside(value):
        raise ValueError(f"'{name}' leads out of its folder: {value!r:.80}")
    return value


def digest_field(line: Mapping, name: str) -> str:
    """A SHA-256 in hex. Raises: as `text_field`."""
    return _matching(line[name], name, _DIGEST)


def shard_field(line: Mapping, name: str) -> str:
    """The number that names a shard file. Raises: as `text_field`."""
    return _matching(line[name], name, _SHARD)


def view_field(line: Mapping, name: str) -> str:
    """A difference hash in hex; "" in stores that knew none yet. Raises: as `text_field`."""
    return _matching(line.get(name, ""), name, _VIEW)


def _matching(value: object, name: str, form: re.Pattern[str]) -> str:
    if not isinstance(value, str) or not form.fullmatch(value):
        raise ValueError(f"'{name}' is not of its form: {value!r:.80}")
    return value
