"""The precision in which numbers are computed, whatever they are stored in."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def widen(x: Tensor) -> Tensor:
    """At least float32, float64 stays: statistics, logits and pixels are never computed in half precision."""
    return x if x.dtype == torch.float64 else x.float()


def without_autocast(x: Tensor) -> AbstractContextManager[object]:
    """Products inside keep their own precision, on any device (the meta device knows no autocast)."""
    return nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False)
