"""Sentences of the core as a page's user needs them: of nodes and folders in place of commands."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

_WORDS = (
    (r"make it with `raiha gallery build`", "make it with Build Gallery (Raiha)"),
    (
        r"run `raiha gallery check [^`]*`, then `raiha gallery repair [^`]*`",
        "make one anew, under another name, with Build Gallery (Raiha)",
    ),
    (r"run `raiha gallery (?:build|add) [^`]*` again", "run Build Gallery (Raiha) again"),
    (r"run `raiha calibrate` again", "delete that file, and the usual thresholds count"),
)


def of_nodes(text: str) -> str:
    """The sentence without commands."""
    for pattern, words in _WORDS:
        text = re.sub(pattern, words, text)
    return text


@contextmanager
def nodes_named() -> Iterator[None]:
    """What is refused inside is told in the words of nodes."""
    try:
        yield
    except ValueError as error:
        told = of_nodes(str(error))
        if told == str(error):
            raise
        raise ValueError(told) from None
