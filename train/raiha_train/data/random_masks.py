"""Regions to recolour where no object mask exists, after the idea of LEMaRT (arXiv:2304.10727).

People, horses and sky differ from their surroundings by nature; a random region does not, so it teaches
what the surroundings say. Shapes: B masks of S x S. Random numbers are drawn on the CPU.
"""

import math

import torch
from torch import Tensor

from raiha_core.resizing import between_corners

SMALLEST, LARGEST = 0.005, 0.7  # share of the picture


def random_regions(batch: int, size: int, generator: torch.Generator) -> Tensor:
    """(B, 1, S, S) masks 0..1: wobbly ellipses, boxes and half planes, soft at the edge.

    Each covers between 0.5 and 70 % of the picture (nearly; a shape may lose a part beyond the frame).
    """
    line = torch.linspace(-1, 1, size)
    y, x = line[:, None], line[None, :]

    def draw(*shape: int) -> Tensor:
        return torch.rand(batch, *shape, generator=generator)

    centre = (draw(2, 1, 1) * 2 - 1) * 0.7
    angle = draw(1, 1) * math.pi
    u = (x - centre[:, 0]) * torch.cos(angle) + (y - centre[:, 1]) * torch.sin(angle)
    v = (y - centre[:, 1]) * torch.cos(angle) - (x - centre[:, 0]) * torch.sin(angle)
    half = 0.08 + 0.62 * draw(2, 1, 1) ** 1.5  # more small ones than large ones, as objects are
    coarse = torch.randn(batch, 1, 6, 6, generator=generator)
    wobble = 0.25 * between_corners(coarse, (size, size), "bicubic")[:, 0]
    ellipse = 1 - ((u / half[:, 0]) ** 2 + (v / half[:, 1]) ** 2).sqrt()
    box = 1 - torch.maximum(u.abs() / half[:, 0], v.abs() / half[:, 1])
    plane = u / 0.5
    kind = draw(1, 1)
    field = torch.where(kind < 0.6, ellipse, torch.where(kind < 0.9, box, plane)) + wobble
    softness = 4.0 / size + 0.1 * draw(1, 1) ** 3
    mask = (field / softness + 0.5).clamp(0, 1)[:, None]
    share = mask.mean((1, 2, 3))
    bad = (share < SMALLEST) | (share > LARGEST)
    if bad.any():  # a plain disc instead, which is always in bounds
        disc = ((0.35 - ((x * 1.0) ** 2 + y**2).sqrt()) * size / 2 + 0.5).clamp(0, 1)
        mask[bad] = disc
    return mask
