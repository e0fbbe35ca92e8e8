"""What several places ask about one batch, answered once: a training step looks at the same pictures often.

Nothing is kept but inside `remembering`, and nothing whose gradient is wanted.
"""

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import torch
from torch import Tensor

_Answer = TypeVar("_Answer")
# question, address of what it is about, the rest -> what it is about (so that its address stays its own), how
# often that had been written to, the answer
_Kept = dict[tuple[Any, ...], tuple[Tensor, int, Any]]
_KEPT: ContextVar[_Kept | None] = ContextVar("raiha_remembered", default=None)


@contextmanager
def remembering() -> Iterator[None]:
    """Inside the block `once` answers a question about the same tensor once."""
    token = _KEPT.set({})
    try:
        yield
    finally:
        _KEPT.reset(token)


def remembers(about: Tensor) -> bool:
    """Whether `once` keeps answers about a tensor here."""
    if torch.compiler.is_compiling() or _KEPT.get() is None:  # a compiler removes what is done twice itself
        return False
    return not about.requires_grad and not about.is_inference()


def once(question: Callable[..., _Answer], about: Tensor, *rest: Hashable) -> _Answer:
    """`question(about, *rest)`, or what it gave for the same tensor before; nobody may write into that.

    Args: question: a function of its arguments alone.
    """
    if not remembers(about):
        return question(about, *rest)
    kept = _KEPT.get()
    assert kept is not None
    key = (question, id(about), *rest)
    if key in kept and kept[key][1] == about._version:
        answer: _Answer = kept[key][2]
        return answer
    answer = question(about, *rest)
    kept[key] = about, about._version, answer
    return answer
