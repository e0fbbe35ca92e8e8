"""Convolutions that halve a map without aliasing: the old one and a binomial filter, as one wider kernel.

A convolution with stride 2 keeps every second answer, so that a shift by one pixel shows other ones. Smoothed
by [1, 2, 1] / 4 in both directions before every second is kept, they hardly differ. As nothing lies between
the convolution and the filter, both are one convolution, two cells wider.
Source: Zhang, "Making Convolutional Networks Shift-Invariant Again", arXiv:1904.11486; there the filter
follows the activation.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

BINOMIAL = (0.25, 0.5, 0.25)
GROWTH = len(BINOMIAL) - 1  # cells by which a kernel grows


def widened(kernel: Tensor) -> Tensor:
    """A kernel (C', C, k, k) and the filter behind it as one kernel, (C', C, k + 2, k + 2)."""
    taps = torch.tensor(BINOMIAL, dtype=torch.float64)
    filtered = F.conv2d(
        kernel.double().flatten(0, 1)[:, None], torch.outer(taps, taps)[None, None], padding=GROWTH
    )
    return filtered.view(*kernel.shape[:2], *filtered.shape[-2:]).to(kernel.dtype)


def fitted(given: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state for a network whose halving kernels are wider, and else the same.

    Kernels that are two cells narrower than the network's are widened; all else is left as it is.
    """

    def fit(name: str, tensor: Tensor) -> Tensor:
        wanted = own[name].shape if name in own else tensor.shape
        narrower = tensor.ndim == 4 and wanted == (*tensor.shape[:2], *(k + GROWTH for k in tensor.shape[2:]))
        return widened(tensor) if narrower else tensor

    return {name: fit(name, tensor) for name, tensor in given.items()}
