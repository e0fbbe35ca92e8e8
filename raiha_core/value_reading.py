"""Whether code may read values of tensors: on a GPU each look makes Python wait for all work before it.

Training makes its own inputs, checks them where they come from, and does without; everyone else looks.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

_ALLOWED: ContextVar[bool] = ContextVar("raiha_values_may_be_read", default=True)


def may_read(tensor: Tensor) -> bool:
    """Whether the values of a tensor may be read for a check or a shortcut.

    Never where there are none, as on the meta device and while torch compiles.
    """
    return not torch.compiler.is_compiling() and _ALLOWED.get() and not tensor.is_meta


@contextmanager
def unread() -> Iterator[None]:
    """Inside the block values are neither checked nor used for shortcuts: the caller vouches for them."""
    token = _ALLOWED.set(False)
    try:
        yield
    finally:
        _ALLOWED.reset(token)
