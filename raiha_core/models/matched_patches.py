"""Colours over the patches of a reference that retrieval matched.

Source: this project. Shapes: g x g patches of c x c pixels, P = g * g.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..color import srgb_to_lab
from ..features.references import Match, Reference
from ..masked_statistics import RegionStatistics, measure
from ..render import shrink
from ..resizing import area_means


def patch_grid(reference: Reference) -> int:
    """Patches per side of a reference with matched patches.

    Raises: ValueError naming it where it has no features to tell the grid.
    """
    if reference.features is None:
        raise ValueError(f"reference '{reference.id}' has matched patches but no features to tell their grid")
    return reference.features.spec.grid


def matched_cells(matches: Sequence[Match], grid: int) -> Tensor:
    """The reference's patches that matches name, each weighed by its best cosine: (1, 1, g, g)."""
    cells = torch.zeros(grid * grid)
    for match in matches:
        cells[match.photo_patch] = max(float(cells[match.photo_patch]), match.content, 1e-3)
    return cells.view(1, 1, grid, grid)


def squash(image: Tensor, grid: int, working_side: int) -> Tensor:
    """Lab of a picture squashed so that patches are c x c pixels. Statistics need no aspect.

    Args: image sRGB (1, 3, H, W), values 0..1; working_side: g * c is at most that.
    Returns: Lab (1, 3, g c, g c).
    """
    side = max(1, min(working_side, *image.shape[-2:]) // grid)
    return srgb_to_lab(shrink(image, (grid * side, grid * side)))


def patch_means(lab: Tensor, grid: int) -> Tensor:
    """Mean of each patch of a squashed picture (1, 3, g c, g c): (P, 3), row-major."""
    return area_means(lab, (grid, grid))[0].flatten(1).T


def over_patches(lab: Tensor, matches: Sequence[Match], grid: int) -> RegionStatistics:
    """Statistics of a squashed reference (1, 3, g c, g c) over its patches that matched."""
    cells, side = matched_cells(matches, grid), lab.shape[-1] // grid
    return measure(lab, cells.to(lab).repeat_interleave(side, -1).repeat_interleave(side, -2))
