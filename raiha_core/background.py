"""What counts as background: not one thing, so each meaning has its name here, and its reason.

- `background_patches`: patches of which the mask touches no pixel, however faintly. For retrieval: eq. 5
  compares light, and the object's own must not be in it.
- `outside`: pixels or cells that hold at most 2 % of the object. For rings and their colours, where the soft
  edge of a resized mask is no surroundings.
- what `touched_cells` leaves: cells of a feature map whose pixels are all 0 in the mask. The rule of the
  published attention (eqs. 6-10).
- `complement`: 1 - mask; soft edges belong to both sides by their share. For RAIN, style fusion and the
  region means of feature maps.
- `pure_cells`: cells whose mean share of the complement is over 99.9 %. For the reference colour attention:
  their colours are then the background's alone.

Shapes: B images, G patches per side, h x w picture or map.
"""

import torch.nn.functional as F
from torch import Tensor

from .masks import coverage
from .strips import any_pixel, value_range

TOUCHED = 0.02  # a cell with more of the mask than this is no clean background, whatever resized the mask
_NO_REGION = 1e-3  # cells; a smaller sum of weights is rounding, not a region
_PURE = 0.999


def background_patches(mask: Tensor, grid: int) -> Tensor:
    """Patches the mask does not touch at all: (B, 1, H, W) -> (B, G*G) bool, row-major."""
    return (coverage(mask, grid).flatten(1) == 0).to(mask.device)


def touched(mask: Tensor) -> Tensor:
    """Cells that hold some of the object: (B, 1, h, w) bool. A mask that is faint everywhere counts
    where it is at least half as strong as at its strongest, so that a resized speck is not lost.
    """
    strongest = mask.amax((1, 2, 3), keepdim=True)
    return (mask > TOUCHED) | ((mask > 0) & (mask >= strongest / 2))


def outside(mask: Tensor) -> Tensor:
    """All clean background: (B, 1, h, w) float32, 0 or 1."""
    return (~touched(mask)).float()


def has_outside(mask: Tensor) -> bool:
    """Whether `outside` of one mask (1, 1, h, w) is somewhere 1, without making it."""
    # as `touched`: not above TOUCHED, and either 0 or fainter than half of the strongest
    strongest = value_range(mask)[1]
    return any_pixel(mask, lambda part: (part <= TOUCHED) & ((part <= 0) | (part < strongest / 2)))


def touched_cells(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """Cells that the mask touches at all: (B, 1, H, W) -> (B, h*w) bool (`maxpool(m) > 0`)."""
    return F.adaptive_max_pool2d(mask, size).flatten(1) > 0


def complement(mask: Tensor) -> Tensor:
    """Each cell's share of background, soft: like the mask, 0..1."""
    return 1 - mask


def pure_cells(share: Tensor) -> Tensor:
    """Cells that are background alone, by its mean share of them (0..1, any shape): bool."""
    return share > _PURE


def is_empty(weight: Tensor) -> Tensor:
    """Whether a soft region (B, 1, h, w) holds nothing but rounding: (B, 1, 1, 1) bool."""
    return weight.sum((1, 2, 3), keepdim=True) < _NO_REGION
