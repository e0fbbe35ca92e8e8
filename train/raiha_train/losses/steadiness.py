"""How far the answers to two views of one composite lie apart: what should not matter does not.

A view is the picture moved, a little larger or smaller, with a camera's noise, and half of the time mirrored.
Shapes: B pictures of H x W.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from raiha_core.color import srgb_to_lab
from raiha_core.masked_statistics import measure
from raiha_core.models.statistics import LEVELS_PER_LAB
from raiha_core.render import LabTransfer
from raiha_core.resizing import at_places

FARTHEST = 16.0  # pixels: half a cell of the trunk's last map
ZOOM = 0.08  # larger or smaller by up to this share
MOST_NOISE = 3 / 255  # its deviation
LEAST_LEFT = 0.5  # of an object's area, in the picture
NOTICEABLE = 1.0  # grey level: nearer answers are the same


def another_view(image: Tensor, mask: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A view of each picture, each of its own, that shows at least half of its object.

    Args: image (B, 3, H, W), sRGB 0..1; mask (B, 1, H, W); generator: on their device.
    Returns: image and mask, of the same sizes and ranges.
    """
    b, _, height, width = image.shape

    def draw(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, device=image.device, dtype=image.dtype)

    theta = image.new_zeros(b, 2, 3)
    theta[:, 1, 1] = 1 + ZOOM * (2 * draw(b) - 1)
    theta[:, 0, 0] = torch.where(draw(b) < 0.5, -1.0, 1.0) * theta[:, 1, 1]
    # coordinates run from -1 to 1
    theta[:, :, 2] = (2 * draw(b, 2) - 1) * FARTHEST * 2 / image.new_tensor([width, height])
    grid = F.affine_grid(theta, [b, 1, height, width], align_corners=False)
    both = at_places(torch.cat((image, mask), 1), grid)
    # a small object at the edge may have left the picture: that one stays where it is
    left = (both[:, 3:].sum((1, 2, 3)) < LEAST_LEFT * mask.sum((1, 2, 3)))[:, None, None, None]
    both = torch.where(left, torch.cat((image, mask), 1), both)
    deviation = MOST_NOISE * draw(b, 1, 1, 1)
    noise = torch.randn(image.shape, generator=generator, device=image.device, dtype=image.dtype)
    return (both[:, :3] + deviation * noise).clamp(0, 1), both[:, 3:]


def apart(
    first: LabTransfer, second: LabTransfer, image: Tensor, mask: Tensor, noticeable: float = NOTICEABLE
) -> Tensor:
    """Root mean square over the object of what two transfers make of it differently, by their closed form.

    Args: image (B, 3, H, W), sRGB 0..1, and mask (B, 1, H, W): of either view;
        noticeable: grey levels below which answers count as the same.
    Returns: (B,), of a range of 1, never below `noticeable` of 255.
    """
    variance = measure(srgb_to_lab(image.float()), mask.float()).variance
    squares = (first.shift - second.shift).square() + (first.scale - second.scale).square() * variance
    levels = (squares * squares.new_tensor(LEVELS_PER_LAB)).sum(1)
    return (levels + noticeable**2).sqrt() / 255
