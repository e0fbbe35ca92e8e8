"""Why something failed, in words for the user: libraries speak to programmers."""

import json


def reason(error: BaseException) -> str:
    """The end of a sentence such as "FILE cannot be read: ...", for an error that a library may have raised.

    A plain ValueError speaks for itself: ours are sentences.
    """
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if isinstance(error, json.JSONDecodeError):
        return f"its line {error.lineno} is no JSON"
    if isinstance(error, UnicodeError):
        return "it is no UTF-8 text"
    if isinstance(error, RecursionError):
        return "it is nested without end"
    if isinstance(error, KeyError):
        return f"it lacks {error}"
    if isinstance(error, ValueError):
        return one_line(error)
    return "it holds a value of the wrong kind"


def one_line(said: object) -> str:
    """Words of a file's author as they may stand in a sentence of ours: nothing of them ends its line.

    Args: said: a name or a text; line ends and other characters that are not shown become escapes.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(said))
