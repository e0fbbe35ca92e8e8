"""Batch normalisation whose statistics are taken in float32, whatever the network computes in.

Source: arXiv:1502.03167. Shapes: B images, C channels, h x w feature map.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..precision import widen, without_autocast
from .blocks import Operations


class BatchNorm(nn.BatchNorm2d):
    """torch's layer and its tensors; half precision loses the small variances of deep layers."""

    running_mean: Tensor
    running_var: Tensor

    def forward(self, x: Tensor) -> Tensor:  # (B, C, h, w) -> (B, C, h, w) in the input's type
        wide = widen(x)
        mean, variance = self.running_mean.to(wide), self.running_var.to(wide)
        with without_autocast(x):
            y = F.batch_norm(
                wide,
                mean,
                variance,
                self.weight.to(wide),
                self.bias.to(wide),
                self.training,
                self.momentum or 0.0,
                self.eps,
            )
        if self.training and mean.dtype != self.running_mean.dtype:
            with torch.no_grad():  # in half precision it was a copy that learned
                self.running_mean.copy_(mean)
                self.running_var.copy_(variance)
        return y.to(x.dtype)


def batch_norm(channels: int, operations: Operations = nn) -> nn.Module:
    """A host's own layer casts to what it is handed; torch's does not, so ours takes its place."""
    layer = BatchNorm if operations is nn else operations.BatchNorm2d
    return layer(channels)
