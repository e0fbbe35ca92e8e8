"""Halving a map without aliasing: it is smoothed behind the activation before every second cell is kept.

A convolution with stride 2 keeps every second answer, so that a shift by one pixel shows other ones. Here it
answers at every cell, and what its activation leaves is smoothed, as in Zhang, "Making Convolutional Networks
Shift-Invariant Again", arXiv:1904.11486. The filter is a half-band one: beside that source's binomial ones it
leaves more of what the smaller map can hold, and less of what it cannot.
Shapes: B images, C channels, h x w a map.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

HALF_BAND = (-1 / 32, 0.0, 9 / 32, 16 / 32, 9 / 32, 0.0, -1 / 32)


def halved(x: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, C, h/2, w/2), rounded up: smoothed, at the cells at which SAME convolutions answer.

    Those are the odd ones of an even side, the even ones of an odd one. Beyond the edge its cells go on.
    """
    taps = torch.tensor(HALF_BAND, dtype=torch.float32, device=x.device)
    kernel = torch.outer(taps, taps).to(x.dtype).expand(x.shape[1], 1, -1, -1)
    reach = len(HALF_BAND) // 2
    down, across = (1 - side % 2 for side in x.shape[-2:])
    padded = F.pad(x, (reach - across, reach, reach - down, reach), mode="replicate")
    return F.conv2d(padded, kernel, stride=2, groups=x.shape[1])
