"""The object's own colours at its soft edges, without those of the background it was photographed on.

A pixel of a soft edge shows alpha parts of the object and 1 - alpha of what was behind; pasted as it is, it
brings a fringe of the old background along. Object and old background are estimated from near by: the
object from pixels that are wholly its own, the old background by least squares over the edge itself, so
that a cut-out whose edges are clean already is left as it is, and none has to hold its old background.
Shapes: one cut-out (1, 3, H, W) with its alpha (1, 1, H, W).
"""

import torch
from torch import Tensor

from .colour_fill import filled
from .resizing import bilinear, block_means, moving_means_in_two

OPAQUE = 0.98  # alpha from which a pixel is the object's alone
REACH = 7  # pixels around an edge pixel over which the old background is estimated
_PRIOR = (
    0.05  # weight, in pixels, of there being no old background in the edge: settles what noise leaves open
)


def own_colours(image: Tensor, alpha: Tensor) -> Tensor:
    """The object's colours, also in its soft edges and beyond them.

    Args: image sRGB (1, 3, H, W), values 0..1; alpha (1, 1, H, W), values 0..1.
    Returns: (1, 3, H, W): where alpha is at least `OPAQUE` the image's own bits, in soft edges the colour of
        the object alone, outside colours that continue it, so that resampling finds nothing else there.
    """
    image, alpha = image.float(), alpha.float()
    sure = alpha >= min(OPAQUE, float(alpha.amax()))
    near = filled(image, sure.float())
    edge = (alpha > 0) & ~sure
    if not edge.any():
        return torch.where(sure, image, near)
    rows, columns = (edge[0, 0].any(axis).nonzero().flatten() for axis in (1, 0))
    part = (..., slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1))
    result = torch.where(sure, image, near)
    solved = _solved(image[part], alpha[part], near[part], edge[part])
    result[part] = torch.where(edge[part], solved, result[part])
    return result


def _solved(image: Tensor, alpha: Tensor, near: Tensor, edge: Tensor) -> Tensor:
    """image = alpha * object + (1 - alpha) * behind, solved for the object; `near` is its first guess."""
    rest = (1 - alpha) * edge
    behind = _around(rest * (image - alpha * near)) + _PRIOR / (2 * REACH + 1) ** 2 * near
    behind = (behind / (_around(rest.square()) + _PRIOR / (2 * REACH + 1) ** 2)).clamp(0, 1)
    left = image - alpha * near - (1 - alpha) * behind
    return (near + alpha / (alpha.square() + (1 - alpha).square()) * left).clamp(0, 1)


def _around(values: Tensor) -> Tensor:
    """Means over a square of about `REACH` pixels to each side; at half size, for speed."""
    means = moving_means_in_two(block_means(values, 2), REACH)
    return bilinear(means, (values.shape[-2], values.shape[-1]))
