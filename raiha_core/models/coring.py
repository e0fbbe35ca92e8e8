"""Coring: detail below a camera's noise is taken out of a picture, so that a network does not answer to it.

Noise moves the features of smooth surfaces the same way wherever it falls, so that no mean over views helps.
Source: the coring of television engineering, as in Rossi, "Digital techniques for reducing television noise",
SMPTE Journal 87 (1978); here a soft threshold on what a small Gaussian leaves.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

_DEVIATION = 1.0  # pixels, of the Gaussian
_REACH = 3  # pixels


def cored(image: Tensor, levels: float) -> Tensor:
    """The picture whose fine detail is smaller by `levels`, and gone where it was no larger.

    Args: image (B, 3, H, W), 0..1, the sides longer than 3; levels: grey levels of 255; 0 changes nothing.
    """
    if levels == 0:
        return image
    places = torch.arange(-_REACH, _REACH + 1, dtype=image.dtype, device=image.device)
    weights = torch.exp(-places.square() / (2 * _DEVIATION**2))
    row = (weights / weights.sum()).expand(image.shape[1], 1, 1, -1)
    smooth = F.pad(image, (_REACH,) * 4, mode="replicate")
    for kernel in (row, row.transpose(2, 3)):
        smooth = F.conv2d(smooth, kernel, groups=image.shape[1])
    detail = image - smooth
    return smooth + F.softshrink(detail, levels / 255)
