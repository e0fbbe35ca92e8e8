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
        return str(error)
    return "it holds a value of the wrong kind"
