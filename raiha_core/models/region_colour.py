"""The colours of the object and of what surrounds it, in numbers a network can read.

Ours; why these numbers: measured, rings around the object say more than the whole background.
Shapes: B images, R = 5 regions, h x w working size, N = h*w, S numbers.
"""

import torch
from torch import Tensor, nn

from ..background import outside
from ..color import srgb_to_lab
from ..masked_statistics import VARIANCE_FLOOR, region_moments, shares_of
from ..regions import rim, ring
from ..remembered import once
from ..resizing import area_means

WORKING = 128  # side at which regions are measured
NEAR, FAR = 0.03, 0.11  # reach of the two rings, as fractions of the sides
QUANTILES = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)
LAB_UNIT = 100.0
_OBJECT, _RIM, _NEAR, _FAR, _OUTSIDE = range(5)
# means and deviations of 5 regions; object and rim against what is near; quantiles of 3; clipping; areas
COUNT = 5 * 6 + 4 * 6 + 3 * 7 + 2 * 7 + 2 * 2 + 5


def regions(mask: Tensor) -> Tensor:
    """Weights of object, inner rim, near ring, far ring, outside: (B, 1, h, w) -> (B, 5, h, w), 0..1."""
    return torch.cat((mask, rim(mask, NEAR), ring(mask, NEAR), ring(mask, FAR), outside(mask)), 1)


def running_sums(values: Tensor) -> Tensor:
    """Sums of all up to each along the last axis, which a GPU in deterministic mode cannot take by itself."""
    if values.device.type == "cpu" or not torch.are_deterministic_algorithms_enabled():
        return values.cumsum(-1)
    return _scan(values)


def _scan(values: Tensor) -> Tensor:
    step = 1
    while step < values.shape[-1]:  # each sum takes in the one that ends where it begins
        values = torch.cat((values[..., :step], values[..., step:] + values[..., :-step]), -1)
        step *= 2
    return values


def quantiles(values: Tensor, weights: Tensor) -> Tensor:
    """Weighted quantiles: values (B, N), weights (B, R, N) -> (B, R, 7); 0 for an empty region."""
    ordered, order = values.sort(1)
    share = running_sums(torch.gather(weights, 2, order[:, None].expand(-1, weights.shape[1], -1)))
    total = share[..., -1:]
    wanted = torch.tensor(QUANTILES, device=values.device, dtype=values.dtype) * total
    index = torch.searchsorted(share, wanted).clamp_max(values.shape[1] - 1)  # (B, R, 7)
    found = torch.gather(ordered[:, None].expand(-1, weights.shape[1], -1), 2, index)
    return torch.where(total > 0, found, torch.zeros_like(found))


@torch.no_grad()
def region_colour_descriptor(image: Tensor, mask: Tensor) -> Tensor:
    """Colours of five regions and how they differ: (B, 3, H, W), (B, 1, H, W) -> (B, COUNT) float32.

    An empty region (no ring where the object fills the frame) has zeros, and an area of 0 that says so.
    """
    size = (min(WORKING, image.shape[-2]), min(WORKING, image.shape[-1]))
    small, inside = area_means(image.float(), size), once(area_means, mask.float(), size)
    lab = srgb_to_lab(small).flatten(2) / LAB_UNIT  # (B, 3, N)
    weights = regions(inside).flatten(2)  # (B, 5, N)
    area = weights.sum(2)  # (B, 5)
    share = shares_of(weights)
    mean, variance = region_moments(lab, share)
    spread = 0.5 * (variance + VARIANCE_FLOOR).log()
    known = (area > 0)[..., None]
    colours = torch.cat((mean, spread), 2).masked_fill(~known, 0)  # (B, 5, 6)
    pairs = ((_OBJECT, _NEAR), (_OBJECT, _FAR), (_OBJECT, _OUTSIDE), (_RIM, _NEAR))
    both = torch.stack([known[:, a] & known[:, b] for a, b in pairs], 1)
    differences = torch.stack([colours[:, b] - colours[:, a] for a, b in pairs], 1) * both
    chosen = [_OBJECT, _FAR, _OUTSIDE]
    light = quantiles(lab[:, 0], weights[:, chosen])
    steps = (light[:, 1:] - light[:, :1]) * torch.stack([known[:, 0] & known[:, r] for r in chosen[1:]], 1)
    dark_bright = torch.stack(((small < 0.02).all(1), (small > 0.98).any(1)), 1).float().flatten(2)
    clipped = torch.einsum("brn,bcn->brc", share[:, [_OBJECT, _FAR]], dark_bright)
    areas = ((area / inside[0].numel()) + 1e-3).log()
    parts = (colours, differences, light, steps, clipped, areas)
    return torch.cat([part.flatten(1) for part in parts], 1)


class RunningScale(nn.Module):
    """Standardises a vector by statistics gathered over training; the same in training and evaluation.

    Not BatchNorm: an image must not change with its neighbours in the batch, and batch 1 must train.
    """

    mean: Tensor
    square: Tensor
    seen: Tensor

    def __init__(self, count: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(count))
        self.register_buffer("square", torch.ones(count))
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """(B, S) -> (B, S), about mean 0 and deviation 1, within -5..5."""
        if self.training:
            with torch.no_grad():
                self.seen += 1
                # a plain average at first, a slow one later
                pace = (1 / self.seen).clamp_min(0.005)
                self.mean += pace * (x.mean(0) - self.mean)
                self.square += pace * (x.square().mean(0) - self.square)
        mean, square = self.mean.to(x.device), self.square.to(x.device)  # a host may leave them on the CPU
        deviation = (square - mean.square()).clamp_min(1e-4).sqrt()
        return ((x - mean) / deviation).clamp(-5, 5)
