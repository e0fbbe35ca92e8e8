"""The precision in which numbers are computed, whatever they are stored in."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

WITHOUT_DOUBLE = {"mps"}


def widen(x: Tensor) -> Tensor:
    """At least float32, float64 stays: statistics, logits and pixels are never computed in half precision."""
    return x if x.dtype == torch.float64 else x.float()


def has_double(device: torch.device) -> bool:
    """Whether a device computes in float64; where it does not, the CPU does what needs it."""
    return device.type not in WITHOUT_DOUBLE


def doubled(x: Tensor) -> Tensor:
    """In float64: on its device, or on the CPU where that has none."""
    return x.double() if has_double(x.device) else x.cpu().double()


def without_autocast(x: Tensor) -> AbstractContextManager[object]:
    """Products inside keep their own precision, on any device (the meta device knows no autocast)."""
    return nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False)
