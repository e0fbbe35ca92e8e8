"""What a mask must be, and which patches it makes foreground. What is background: `background`.

Masks are (B, 1, H, W) with 1 on the pasted object; soft edges are allowed.
Shapes: B images, G patches per side of the square patch grid.
"""

import math

import torch
from torch import Tensor

from .precision import without_autocast
from .strips import all_finite, row_strips, value_range
from .value_reading import may_read

_WHOLE = 1 << 23  # pixels of masks that are added up at once
OVERSHOOT = 1.0  # no filter leaves 0..1 by as much: what does is on another scale


def check_tensors(composite: Tensor, mask: Tensor) -> None:
    """Check the form of both, whatever their sizes.

    Args:
        composite: sRGB (B, 3, H, W), floating point.
        mask: (B, 1, h, w), floating point.
    Raises: ValueError naming the shape, dtype or NaN that is wrong, or batches that do not match.
    """
    if composite.ndim != 4 or composite.shape[1] != 3:
        raise ValueError(f"the composite must be (B, 3, H, W), got {tuple(composite.shape)}")
    if mask.ndim != 4 or mask.shape[1] != 1:
        raise ValueError(f"the mask must be (B, 1, H, W), got {tuple(mask.shape)}")
    for name, tensor in (("composite", composite), ("mask", mask)):
        if not tensor.is_floating_point():
            raise ValueError(f"the {name} must be floating point, got {tensor.dtype}")
        if 0 in tensor.shape:
            raise ValueError(f"the {name} is empty: {tuple(tensor.shape)}")
    if not all_finite(composite):
        raise ValueError("the composite holds NaN or infinite values")
    low, high = value_range(mask)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"mask values must be finite numbers in 0..1, got {low:g}..{high:g}")
    images, weights = composite.shape[0], mask.shape[0]
    if images != weights and 1 not in (images, weights):
        raise ValueError(f"{images} composites and {weights} masks: the batches must match, or one be 1")


def clamped(mask: Tensor) -> Tensor:
    """The mask in 0..1; itself where it lies there. Blur, bicubic scaling and rounding leave that range.

    Raises: ValueError naming the range where it is no overshoot but another scale, such as 0..255.
    """
    low, high = value_range(mask)
    if low <= -OVERSHOOT or high >= 1 + OVERSHOOT:
        raise ValueError(f"mask values must lie in 0..1, got {low:g}..{high:g}: divide by full scale first")
    return mask if low >= 0 and high <= 1 else mask.clamp(0, 1)


def check_pair(composite: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The pair with equal batch sizes, batch 1 broadcasts, and the mask's overshoot clamped.

    Args:
        composite: sRGB (B, 3, H, W), floating point, values 0..1.
        mask: (B, 1, H, W), floating point, values 0..1.
    Raises: ValueError naming both shapes, or the offending value.
    """
    check_tensors(composite, mask)
    if composite.shape[-2:] != mask.shape[-2:]:
        raise ValueError(
            f"the mask is {mask.shape[-1]}x{mask.shape[-2]} but the composite is "
            f"{composite.shape[-1]}x{composite.shape[-2]}; they must have the same size"
        )
    batch = max(composite.shape[0], mask.shape[0])
    return repeated(composite, batch), repeated(clamped(mask), batch)


def repeated(picture: Tensor, batch: int) -> Tensor:
    """(B, C, H, W), or one for all of the batch; itself where there are as many."""
    return picture if len(picture) == batch else picture.expand(batch, -1, -1, -1)


def _cell_overlaps(size: int, grid: int) -> Tensor:
    """(G, size) length of each pixel inside each of G equal cells, in pixels / G: whole numbers.

    Whole, because a cell edge that is a rounding error beside a pixel's would make that pixel touch
    the neighbouring cell, which then was no background.
    """
    edges = torch.arange(grid + 1) * size
    pixel = torch.arange(size) * grid
    overlap = torch.minimum(edges[1:, None], pixel + grid) - torch.maximum(edges[:-1, None], pixel)
    return overlap.clamp_min(0).to(torch.float64)


def coverage(mask: Tensor, grid: int) -> Tensor:
    """Mean of the mask over each patch, exact for any size: (B, 1, H, W) -> (B, G, G) float64, on the CPU;

    on its own device in float32 where no value may be read (`value_reading`).

    Pixels that a patch edge cuts count by their share, so a 100-pixel side has 12 equal patches too.
    Sums over a mask of zeros and ones are whole numbers, so a half-covered patch has 0.5 to the bit.
    Raises: ValueError for a grid below 1 or a mask without pixels.
    """
    if grid < 1 or 0 in mask.shape[-2:]:
        raise ValueError(f"cannot lay a grid of {grid} over a mask of shape {tuple(mask.shape)}")
    height, width = mask.shape[-2:]
    # On the CPU always: some devices have no float64, and which patches count must not depend on one.
    down, across = _cell_overlaps(height, grid), _cell_overlaps(width, grid).T
    if not may_read(mask):
        wide = mask[:, 0].detach().float()
        with without_autocast(wide):
            return down.to(wide) @ wide @ across.to(wide) / (height * width)
    if mask.numel() <= _WHOLE:
        return down @ mask[:, 0].detach().to("cpu", torch.float64) @ across / (height * width)
    total, top = torch.zeros(len(mask), grid, grid, dtype=torch.float64), 0
    for strip in row_strips(mask):
        values = strip[:, 0].detach().to("cpu", torch.float64)
        total += down[:, top : top + values.shape[1]] @ (values @ across)
        top += values.shape[1]
    return total / (height * width)


def foreground_patches(mask: Tensor, grid: int) -> Tensor:
    """Patches of the pasted object: (B, G*G) bool, row-major.

    A patch is foreground when the mask covers at least half of it. Where none is and the mask is
    not empty, the best covered patch is (ties to the lowest index). An empty mask has none.
    """
    share = coverage(mask, grid).flatten(1)
    chosen = share >= 0.5
    if not may_read(mask):
        first = torch.zeros_like(chosen).scatter(1, share.argmax(1, keepdim=True), 1)
        alone = ~chosen.any(1, keepdim=True) & (share.amax(1, keepdim=True) > 0)
        return chosen | (first & alone)
    for row in (~chosen.any(1) & (share.amax(1) > 0)).nonzero().flatten().tolist():
        chosen[row, int(share[row].argmax())] = True
    return chosen.to(mask.device)
