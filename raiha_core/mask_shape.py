"""A mask grown, shrunk or feathered by pixels: what an artist does to its border.

The mask made here is the one outside which nothing changes. The picture's frame is no border: an object
that the frame cuts is neither shrunk nor faded there.
Shapes: B masks (B, 1, H, W), 1 = pasted object; soft edges keep their values.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

LARGEST = 512  # pixels of either


def shaped(mask: Tensor, grow: int = 0, feather: int = 0) -> Tensor:
    """The mask grown, then feathered; itself where both are 0.

    Args:
        mask: (B, 1, H, W), values 0..1.
        grow: pixels by which the border moves outwards, inwards where negative.
        feather: width in pixels of the ramp that the border becomes, half of it to each side.
    Returns: like mask, values 0..1.
    Raises: ValueError where a number is too large, or feather is negative.
    """
    if not abs(grow) <= LARGEST:
        raise ValueError(f"grow must lie in -{LARGEST}..{LARGEST} pixels, got {grow}")
    if not 0 <= feather <= LARGEST:
        raise ValueError(f"feather must lie in 0..{LARGEST} pixels, got {feather}")
    if (grow == 0 and feather == 0) or not (mask > 0).any():
        return mask
    top, bottom, left, right = _around(mask, max(grow, 0) + feather + 1)
    part = mask[..., top:bottom, left:right]
    if grow > 0:
        part = dilated(part, grow)
    elif grow < 0:
        part = 1 - dilated(1 - part, -grow)
    if feather:
        part = _blurred(part, feather).to(mask.dtype)
    result = mask.clone()
    result[..., top:bottom, left:right] = part
    return result


def _around(mask: Tensor, margin: int) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of all objects, with a margin."""
    inside = (mask > 0).any(0)[0]
    rows, columns = inside.any(1).nonzero().flatten(), inside.any(0).nonzero().flatten()
    height, width = inside.shape
    top, left = (max(0, int(found[0]) - margin) for found in (rows, columns))
    bottom, right = (
        min(side, int(found[-1]) + 1 + margin)
        for side, found in zip((height, width), (rows, columns), strict=True)
    )
    return top, bottom, left, right


def dilated(values: Tensor, radius: int) -> Tensor:
    """The maximum over a disc around each pixel: (B, 1, H, W), in the type and on the device of `values`.

    Beyond the picture counts as 0.
    Args: values: (B, 1, H, W), at least 0. radius: in pixels, at least 0.
    Row by row of the disc; the maximum of a row is that of two runs whose length is a power of two.
    """
    height, width = values.shape[-2:]
    runs = [F.pad(values, (radius, radius))]  # runs[n][..., x] is the maximum over x .. x + 2**n - 1
    while 1 << len(runs) <= 2 * radius + 1:
        half = 1 << (len(runs) - 1)
        runs.append(torch.maximum(runs[-1][..., :-half], runs[-1][..., half:]))
    result = values
    for step in range(min(radius, height - 1) + 1):
        reach = math.isqrt(radius**2 - step**2)
        level = (2 * reach + 1).bit_length() - 1
        first, last = radius - reach, radius + reach + 1 - (1 << level)  # where the two runs begin
        row = torch.maximum(runs[level][..., first : first + width], runs[level][..., last : last + width])
        if step == 0:
            result = row.clone()
            continue
        result[..., step:, :] = torch.maximum(result[..., step:, :], row[..., :-step, :])
        result[..., :-step, :] = torch.maximum(result[..., :-step, :], row[..., step:, :])
    return result


def _blurred(values: Tensor, width: int) -> Tensor:
    """Averages that fall off linearly with the distance; a hard border becomes a ramp of about `width`."""
    half = width / 2 + 0.75
    reach = math.ceil(half) - 1
    taps = half - torch.arange(-reach, reach + 1, device=values.device).abs().float()
    taps = taps / taps.sum()
    wide = F.pad(values.float(), (reach, reach, reach, reach), mode="replicate")
    wide = F.conv2d(wide, taps.view(1, 1, 1, -1))
    soft = F.conv2d(wide, taps.view(1, 1, -1, 1))
    # sums that rounding has kept from 0 or 1
    return torch.where(soft < 1e-5, 0.0, torch.where(soft > 1 - 1e-5, 1.0, soft))
