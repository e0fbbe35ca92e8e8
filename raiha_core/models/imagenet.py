"""ImageNet's colours: how networks that were built on its habits want their pictures.

Shapes: B images, h x w.
"""

import torch
from torch import Tensor

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of red, green, blue


def statistics(like: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation as (3, 1, 1), of the type and on the device of another tensor."""
    mean, deviation = (torch.tensor(numbers).to(like)[:, None, None] for numbers in (MEAN, DEVIATION))
    return mean, deviation


def standardise(image: Tensor) -> Tensor:
    """sRGB 0..1 (B, 3, h, w) -> about -2..2."""
    mean, deviation = statistics(image)
    return (image - mean) / deviation


def unstandardise(image: Tensor) -> Tensor:
    """The inverse of `standardise`; nothing is clamped."""
    mean, deviation = statistics(image)
    return image * deviation + mean
