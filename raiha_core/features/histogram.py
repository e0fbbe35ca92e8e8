"""HSV appearance of each patch (eq. 4): how its colours are distributed, whatever its texture.

The paper says "HSV histogram" and no more. Ours: three marginals with linear soft binning, concatenated,
without a gate for greys, which kept same-light pairs together and other-light pairs apart best at the
paper's 0.9 (95-98 % of same-light patches against 1-14 %; joint histograms need twice the numbers).
Shapes: B images, G patches per side, p pixels per patch side, K bins.
"""

import torch
from torch import Tensor

from ..color import srgb_to_hsv
from ..resizing import block_means, exact_area
from .spec import HistogramSpec


def _marginal(values: Tensor, bins: int, pixels: int, circular: bool) -> Tensor:
    """Soft counts of one channel: (B, 1, G*p, G*p) in 0..1 -> (B, bins, G, G); they sum to 1.

    Bin b is centred on (b + 0.5) / bins. A value gives to its two neighbours linearly; before the first
    and after the last centre all goes to the end bin, or around the circle.
    """
    position = values * bins - 0.5
    if not circular:
        position = position.clamp(0, bins - 1)
    counts = []
    for b in range(bins):  # one bin at a time: (B, bins, G*p, G*p) at once would be 270 MB for 16 images
        distance = (position - b).abs()
        if circular:
            distance = torch.minimum(distance, bins - distance)
        counts.append(block_means((1 - distance).clamp_min(0), pixels))
    return torch.cat(counts, 1)


def hsv_histograms(images: Tensor, grid: int, spec: HistogramSpec) -> Tensor:
    """HSV histogram of each patch.

    Args:
        images: sRGB (B, 3, H, W), values 0..1, any size; a patch is 1/grid of each side.
        grid: patches per side, G.
    Returns: (B, K, G, G) float32, >= 0: hue (circular), saturation and value bins, each part summing
        to 1. Greys have hue 0. The cosine of two such vectors is eq. 4's h . h.
    Raises: ValueError where the images are not (B, 3, H, W).
    Source: definition and bin counts of this project; oracle in tests/test_histogram.py.
    """
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"histograms need images (B, 3, H, W), got {tuple(images.shape)}")
    side = grid * spec.pixels
    small = exact_area(images.to(torch.float32), (side, side)).clamp(0, 1)
    hue, saturation, value = srgb_to_hsv(small).split(1, 1)
    return torch.cat(
        [
            _marginal(hue, spec.hue, spec.pixels, circular=True),
            _marginal(saturation, spec.saturation, spec.pixels, circular=False),
            _marginal(value, spec.value, spec.pixels, circular=False),
        ],
        1,
    )
