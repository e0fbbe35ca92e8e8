"""What a network's head reads, measured once: with the trunk frozen, a head trains on this in a minute.

Shapes: B pictures of h x w, P pixels of an object kept of each, C channels of a map.
"""

import torch
from torch import Tensor

from raiha_core.background import complement
from raiha_core.color import srgb_to_lab
from raiha_core.masked_statistics import masked_moments, measure
from raiha_core.models.blocks import resize_mask
from raiha_core.models.plus import SHIFT_STEP, Plus
from raiha_core.models.region_colour import FAR, region_colour_descriptor
from raiha_core.models.statistics import ring_statistics_transfer
from raiha_core.regions import ring

Pooled = dict[str, Tensor]  # each with B rows; what they are: `pool`


@torch.no_grad()
def pool(network: Plus, image: Tensor, mask: Tensor) -> Pooled:
    """What the head of `network` reads of composites, and the means of a finer map that it does not read.

    Args: image sRGB (B, 3, h, w), 0..1, sides multiples of 32; mask (B, 1, h, w), 0..1.
    Returns: numbers (B, S) of the ring transfer and the region colours; the transfer's centre, scale and
        shift (B, 3); variance (B, 3) of the object's Lab; deep (B, 2, C), the deepest map inside and outside;
        near2, near3, finer (B, 3, C), the maps at strides 16, 32 and 8 inside, beside and outside.
    """
    base = ring_statistics_transfer(image, mask, network.config.statistics)
    levels = network.backbone(image)
    numbers = [base.scale.clamp_min(1e-3).log(), base.shift / SHIFT_STEP]
    if network.config.region_colour:
        numbers.append(region_colour_descriptor(image, mask))
    near = (mask, ring(mask, FAR), complement(mask))
    inside = resize_mask(mask, (levels[-1].shape[-2], levels[-1].shape[-1]), "area")
    return {
        "numbers": torch.cat(numbers, 1).float(),
        "centre": base.centre,
        "scale": base.scale,
        "shift": base.shift,
        "variance": measure(srgb_to_lab(image), mask).variance,
        "deep": _means(levels[-1], (inside, complement(inside))),
        "near2": _means(levels[-2], near),
        "near3": _means(levels[-1], near),
        "finer": _means(levels[-3], near),
    }


def _means(level: Tensor, regions: tuple[Tensor, ...]) -> Tensor:
    """(B, C, h', w') and regions of any size -> (B, regions, C)."""
    size = (level.shape[-2], level.shape[-1])
    return torch.stack(
        [masked_moments(level, resize_mask(region, size, "area"))[0].flatten(1) for region in regions], 1
    )


def object_pixels(pictures: Tensor, mask: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Pixels drawn from where each mask is at least one half: (B, D, h, w) -> (B, D, count, 1), a picture
    that `losses.terms` scores as it would the whole. A mask that is nowhere so strong: from all of it.
    """
    weight = (mask >= 0.5).float().flatten(1)
    weight = torch.where(weight.sum(1, keepdim=True) > 0, weight, torch.ones_like(weight))
    place = torch.multinomial(weight.cpu(), count, replacement=True, generator=generator).to(pictures.device)
    flat = pictures.flatten(2)
    return torch.gather(flat, 2, place[:, None].expand(-1, flat.shape[1], -1))[..., None]
