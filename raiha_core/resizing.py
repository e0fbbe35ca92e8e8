"""Every resampling of pictures, masks and maps, each kernel under a name that says what it is.

Nothing else here or in training calls torch's, Pillow's or OpenCV's own; what differs between two calls
is then seen where they are made. `s` is cells of the result, `S` of what it is made from.

| name | what a cell of the result is | made for |
|---|---|---|
| `bilinear` | between the four nearest, centres upon centres; OpenCV's linear | maps; networks trained so |
| `bilinear`, antialiased | a triangle of S / s cells; Pillow's bilinear | photos and masks made small |
| `bicubic` | of 4 x 4, a = -0.75; OpenCV's cubic | published networks' maps |
| `bicubic`, antialiased | the kernel stretched, a = -0.5; Pillow's bicubic | encoders |
| `between_corners` | between the nearest, corners upon corners | iSSAM's maps; coarse random nets |
| `area_means` | mean of all that its place touches, cut ones fully | masks and colours at a map's size |
| `exact_area` | mean of its place, cut ones by their share | histograms of patches |
| `block_means` | mean of n x n, fewer at the end | the working copy |
| `nearest` | one of them | the public codes' masks |
| `resize_codes`, `resize_picture` | Pillow's kernels, on whole levels of 8 bits | files, sheets, protocol A |

OpenCV's own, which protocol B and the masks of photos ask for, stand in `raiha_train.data.opencv_resizing`.
Shapes: B images, C channels; sizes are (height, width), of Pillow's pictures (width, height).
"""

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

BOX = Image.Resampling.BOX
LANCZOS = Image.Resampling.LANCZOS
BILINEAR, BICUBIC, NEAREST = Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.NEAREST


def bilinear(values: Tensor, size: tuple[int, int], *, antialias: bool = False) -> Tensor:
    """(B, C, H, W) -> (B, C, *size), within the range of what is there up to rounding."""
    return F.interpolate(values, size=size, mode="bilinear", antialias=antialias, align_corners=False)


def bicubic(values: Tensor, size: tuple[int, int], *, antialias: bool = False) -> Tensor:
    """(B, C, H, W) -> (B, C, *size); overshoots at edges, so pictures are clamped by who asks."""
    return F.interpolate(values, size=size, mode="bicubic", antialias=antialias, align_corners=False)


def between_corners(
    values: Tensor, size: tuple[int, int], kind: Literal["bilinear", "bicubic"] = "bilinear"
) -> Tensor:
    """(B, C, h, w) -> (B, C, *size): the four corner cells keep their values."""
    return F.interpolate(values, size=size, mode=kind, align_corners=True)


def nearest(values: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, C, H, W) -> (B, C, *size): the cell at floor(i * S / s)."""
    return F.interpolate(values, size=size, mode="nearest")


def area_means(values: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, C, H, W) -> (B, C, *size): means; a mask's small object gets faint and is never lost."""
    return F.adaptive_avg_pool2d(values, size)


def block_means(values: Tensor, side: int) -> Tensor:
    """Means over side x side cells; blocks that the frame cuts average what they have.

    (B, C, H, W) -> (B, C, ceil(H / side), ceil(W / side)); of a side of 1, the values themselves.
    """
    if side == 1:
        return values
    return F.avg_pool2d(values, side, ceil_mode=True, count_include_pad=False)


def moving_means(values: Tensor, side: int) -> Tensor:
    """Means over the side x side cells around each, zeros beyond the frame: (B, C, h, w), like it."""
    return F.avg_pool2d(values, side, 1, side // 2)


def window_sums(values: Tensor, side: int, step: int) -> Tensor:
    """Sums over side x side cells, one window every `step` cells, all inside: -> (B, C, h, w)."""
    return F.avg_pool2d(values, side, step, divisor_override=1)


def moving_means_in_two(values: Tensor, side: int) -> Tensor:
    """`moving_means`, first along rows, then along columns: quicker for large windows, rounded otherwise."""
    rows = F.avg_pool2d(values, (1, side), 1, (0, side // 2))
    return F.avg_pool2d(rows, (side, 1), 1, (side // 2, 0))


def at_places(
    values: Tensor, places: Tensor, kind: Literal["bilinear", "bicubic", "nearest"] = "bilinear"
) -> Tensor:
    """Sample pictures at given places.

    Args:
        values: (B, C, H, W).
        places: (B, h, w, 2), x before y; -1 and 1 are the outer edges of the picture. From the centres of
            the outermost pixels outwards, the outermost pixels repeat.
    Returns: (B, C, h, w).
    """
    return F.grid_sample(values, places, mode=kind, padding_mode="border", align_corners=False)


def in_table(table: Tensor, places: Tensor) -> Tensor:
    """Trilinear in a table of colours: (B, C, n, n, n), (B, d, h, w, 3) in -1..1, x first -> (B, C, d, h, w).

    The centres of the outer cells are at -1 and 1; beyond them they repeat.
    """
    return F.grid_sample(table, places, mode="bilinear", padding_mode="border", align_corners=True)


def _windows(size: int, cells: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Pixels under each of `cells` equal cells of a side, and their shares: (cells, k) index and weight."""
    edges = torch.arange(cells + 1, dtype=torch.float64) * (size / cells)
    first = edges[:-1].floor()
    k = int((edges[1:].ceil() - first).max())
    pixel = first[:, None] + torch.arange(k, dtype=torch.float64)  # (cells, k)
    overlap = torch.minimum(edges[1:, None], pixel + 1) - torch.maximum(edges[:-1, None], pixel)
    weight = overlap.clamp_min(0)
    weight = weight / weight.sum(1, keepdim=True)
    index = pixel.long().clamp_max(size - 1)  # beyond the side the weight is 0
    return index.to(device), weight.to(device, torch.float32)


def exact_area(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Mean over each of h x w equal cells: (B, C, H, W) float32 -> (B, C, h, w), any sizes.

    Pixels that a cell's edge cuts count by their share; where cells are smaller than pixels, pixels repeat.
    """
    for dim, cells, shape in ((-2, size[0], (-1, 1)), (-1, size[1], (-1,))):
        index, weight = _windows(images.shape[dim], cells, images.device)
        # One pass per pixel of the window: a matrix product would be slow on large photos
        total = torch.zeros((), device=images.device)
        for t in range(index.shape[1]):
            total = total + images.index_select(dim, index[:, t]) * weight[:, t].view(shape)
        images = total
    return images


def resize_picture(picture: Image.Image, size: tuple[int, int], kernel: Image.Resampling) -> Image.Image:
    """Pillow's own, of any mode; kernels other than NEAREST are antialiased. size: (width, height)."""
    return picture.resize(size, kernel)


def shrink_within(picture: Image.Image, side: int) -> Image.Image:
    """A copy of at most `side` pixels a side, by LANCZOS, the aspect kept; smaller ones stay as they are."""
    small = picture.copy()
    small.thumbnail((side, side), LANCZOS)
    return small


def resize_codes(
    pixels: NDArray[np.uint8], size: tuple[int, int], kernel: Image.Resampling
) -> NDArray[np.uint8]:
    """Across, then down, rounded to whole levels in between: (H, W) or (H, W, 3) -> (h, w) or (h, w, 3).

    Pillow did so in one call while the papers' scores were made. From 13 on it begins with the height where
    that shrinks much more than the width, and levels differ: by 7 where a narrow picture became wide.
    Args: size: (w, h), pixels.
    """
    picture = Image.fromarray(pixels)
    across = picture.resize((size[0], picture.height), kernel)
    return np.asarray(across.resize(size, kernel))
