"""Hypothesis grammars: JSON of any kind, documents that are nearly right, text that is nearly a list."""

import copy
import json
import time
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

SECONDS = 2.0  # for one file of a stranger, at most
EXTREMES = (0, -1, 1, 2**31, 2**63, -(2**63), 10**40, 1e308, float("nan"), float("inf"))
NAMES = (
    "",
    ".",
    "..",
    "../x",
    "/etc/passwd",
    "a/../../b",
    "C:\\x",
    "\\\\host\\x",
    "CON",
    "a" * 5000,
    "\u0000",
)
NAMES += ("é", "e\u0301", "\ud800", "/dev/zero", "~", "x\ny", "-rf")
PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from(EXTREMES),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(NAMES),
)
VALUES = st.recursive(
    PLAIN,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=6), inner, max_size=4)
    ),
    max_leaves=8,
)


def _places(document: Any, path: tuple = ()) -> list[tuple]:
    found = [path] if path else []
    if len(path) > 20:
        return found
    if isinstance(document, dict):
        for key, value in document.items():
            found += _places(value, (*path, key))
    elif isinstance(document, list):
        for index, value in enumerate(document[:20]):
            found += _places(value, (*path, index))
    return found


class _Given:
    """A value that hypothesis need not print."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        return "given"


def nearly(document: Any) -> st.SearchStrategy[Any]:
    """A document in which a few values are others, gone, or doubled under a new name."""
    return _nearly(_Given(document))


@st.composite
def _nearly(draw: Callable, document: _Given) -> Any:
    changed = copy.deepcopy(document.value)
    for _ in range(draw(st.integers(0, 3))):
        places = _places(changed)
        if not places:
            return draw(VALUES)
        *way, last = draw(st.sampled_from(places))
        holder = changed
        for step in way:
            holder = holder[step]
        how = draw(st.sampled_from(("other", "other", "other", "gone", "more", "deep")))
        if how == "gone":
            del holder[last]
        elif how == "more" and isinstance(holder, dict):
            holder[draw(st.text(max_size=8))] = draw(VALUES)
        elif how == "deep":
            for _ in range(draw(st.sampled_from((3, 70, 3000)))):
                holder[last] = [holder[last]]
        else:
            holder[last] = draw(VALUES)
    return changed


def as_json(document: Any) -> bytes:
    """JSON text; surrogates and NaN as Python writes them; what is nested too deep for it as brackets."""
    try:
        return json.dumps(document).encode()
    except RecursionError:
        return b"[" * 100_000


def nearly_bytes(data: bytes) -> st.SearchStrategy[bytes]:
    """Bytes of which a few are others, a part is gone, or more stands behind."""
    return _nearly_bytes(_Given(data))


@st.composite
def _nearly_bytes(draw: Callable, data: _Given) -> bytes:
    changed = bytearray(data.value)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(changed)))
        how = draw(st.sampled_from(("flip", "flip", "cut", "insert")))
        if how == "flip" and at < len(changed):
            changed[at] ^= 1 << draw(st.integers(0, 7))
        elif how == "cut":
            del changed[at:]
        else:
            changed[at:at] = draw(st.binary(max_size=30))
    return bytes(changed)


def nearly_lines(text: str) -> st.SearchStrategy[bytes]:
    """A list of which lines are damaged, in one encoding or another."""
    lines = st.lists(
        st.one_of(
            st.sampled_from(text.splitlines()),
            st.sampled_from(text.splitlines()).map(lambda line: line[: len(line) // 2]),
            st.sampled_from(NAMES).map(lambda name: name.replace("\ud800", "?")),
            st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
        ),
        max_size=5,
    )
    ends = st.sampled_from(("\n", "\r\n", "\r", "\n\n"))
    encodings = st.sampled_from(("utf-8", "utf-8", "utf-8-sig", "utf-16"))
    whole = st.builds(lambda parts, end, kind: end.join(parts).encode(kind), lines, ends, encodings)
    return st.one_of(whole, nearly_bytes(text.encode()))


def _shown(example: Any) -> str:
    try:
        return f"{example!r:.300}"
    except RecursionError:
        return "nested deeply"


def first_fault(
    number: int, count: int, strategy: st.SearchStrategy, judge: Callable[[Any], str]
) -> str | None:
    """Examples of a strategy, decided by a seed, until `judge` has something to say."""
    told: list[str] = []

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def every(example: Any) -> None:
        if told:
            return
        if fault := judge(example):
            told.append(f"{fault}; example {_shown(example)}")

    every()
    return told[0] if told else None


def too_long(begun: float) -> str:
    """What is wrong with the time that was worked since `begun`, of `time.process_time`; "" for nothing."""
    spent = time.process_time() - begun
    return f"took {spent:.1f} s, more than {SECONDS:g}" if spent > SECONDS else ""


def fault_of(
    call: Callable[[], object], refusals: tuple[type[BaseException], ...] = (ValueError, OSError)
) -> str:
    """ "" where a call ends well or in one sentence for the user, in time; else what is wrong with it."""
    begun = time.process_time()
    try:
        call()
        return too_long(begun)
    except refusals as error:
        if slow := too_long(begun):
            return slow
        text = str(error)
        return "" if text.strip() and "\n" not in text.strip() else f"no sentence: {text[:120]!r}"
    except Exception as error:
        return f"{type(error).__name__} instead of a sentence: {str(error)[:120]}"
