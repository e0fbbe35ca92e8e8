"""Other views of the same photo: crops and flips that keep the object, and references made from the truth.

Shapes: B pictures of H x W, output side S. Random numbers are drawn on the CPU.
Sources: the crop that holds the object, 196 of 256 pixels, after Raiha's released loader
(arXiv:2412.13916, section III-D), which takes the *whole* truth where five tries fail; ours shrinks the
object's share instead, so that a reference never is the answer itself.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from raiha_core.resizing import at_places, block_means


@dataclass(frozen=True, kw_only=True, slots=True)
class CropConfig:
    """Crops for training pairs."""

    smallest: float = 0.6  # side of the crop, as a share of the picture's
    largest: float = 1.0
    object_share: float = 0.5  # of the object's area that the crop must hold
    tries: int = 5
    flip: float = 0.5

    def __post_init__(self) -> None:
        for name in ("smallest", "largest", "object_share", "flip"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"crop {name} must lie in 0..1, got {getattr(self, name)}")
        if not 0 < self.smallest <= self.largest or self.tries < 1:
            raise ValueError(f"a crop needs a side, smallest <= largest, and a try: {self}")


def choose_boxes(mask: Tensor, config: CropConfig, generator: torch.Generator) -> Tensor:
    """(B, 4) boxes (left, top, right, bottom) in shares of the sides, holding enough of each object.

    Args: mask (B, 1, H, W), 0..1. A picture whose tries all fail keeps the whole frame.
    """
    batch, _, height, width = mask.shape
    spread = config.largest - config.smallest
    sides = config.smallest + spread * torch.rand(batch, config.tries, 1, generator=generator)
    corner = torch.rand(batch, config.tries, 2, generator=generator) * (1 - sides)
    boxes = torch.cat([corner, corner + sides], 2)  # (B, tries, 4)
    integral = F.pad(
        mask[:, 0].cpu().double().cumsum(1).cumsum(2), (1, 0, 1, 0)
    )  # not all devices have float64
    scale = torch.tensor([width, height, width, height])
    pixels = (boxes * scale).round().long()
    left, top, right, bottom = pixels.unbind(2)
    rows = torch.arange(batch)[:, None]
    inside = (
        integral[rows, bottom, right]
        - integral[rows, top, right]
        - integral[rows, bottom, left]
        + integral[rows, top, left]
    )
    enough = inside >= config.object_share * integral[:, -1, -1, None].clamp_min(1e-6)
    first = torch.where(enough.any(1), enough.int().argmax(1), 0)
    chosen = boxes[rows[:, 0], first]
    whole = torch.tensor([0.0, 0.0, 1.0, 1.0])
    return torch.where(enough.any(1, keepdim=True), chosen, whole)


def take(pictures: Tensor, boxes: Tensor, size: int, flip: Tensor) -> Tensor:
    """Cut boxes out and resize them, bilinear: (B, C, H, W), (B, 4), S, (B,) bool -> (B, C, S, S)."""
    height, width = pictures.shape[-2:]
    side = float((boxes[:, 2:] - boxes[:, :2]).min())  # the smallest box decides: none may be blurred
    boxes = boxes.to(pictures)
    centre = (torch.arange(size, dtype=pictures.dtype, device=pictures.device) + 0.5) / size
    x = boxes[:, 0, None] + (boxes[:, 2] - boxes[:, 0])[:, None] * centre
    y = boxes[:, 1, None] + (boxes[:, 3] - boxes[:, 1])[:, None] * centre
    x = torch.where(flip.to(x.device)[:, None], x.flip(1), x)
    grid = torch.stack(
        [(x * 2 - 1)[:, None, :].expand(-1, size, -1), (y * 2 - 1)[:, :, None].expand(-1, -1, size)], 3
    )
    factor = max(1, round(side * min(height, width) / size))
    # average first: plain bilinear sampling would skip pixels and alias
    return at_places(block_means(pictures, factor), grid)


def draw_view(mask: Tensor, config: CropConfig, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A crop and whether it is flipped, for each mask (B, 1, H, W), 0..1: boxes (B, 4) and (B,) bool.

    Args: generator: on the CPU; waits for the mask where it is not.
    """
    boxes = choose_boxes(mask, config, generator)
    return boxes, torch.rand(len(mask), generator=generator) < config.flip


def take_with_mask(
    pictures: Tensor, mask: Tensor, view: tuple[Tensor, Tensor], size: int
) -> tuple[Tensor, Tensor]:
    """What `draw_view` gave, of photos and their masks alike.

    Args:
        pictures: (B, 3, H, W), sRGB 0..1. mask: (B, 1, H, W), 0..1. size: the side S of what comes back.
    Returns: pictures (B, 3, S, S) and masks (B, 1, S, S), 0..1; a mask's edge is soft from the resize.
    """
    boxes, flip = view
    both = take(torch.cat([pictures, mask.to(pictures)], 1), boxes, size, flip)
    return both[:, :3].clamp(0, 1), both[:, 3:].clamp(0, 1)


def _around_the_object(mask: Tensor, side: float) -> Tensor:
    """Boxes (B, 4) of a side, as near as the frame allows to having the mask's surest pixel in the middle."""
    height, width = mask.shape[-2:]
    place = mask[:, 0].flatten(1).argmax(1).cpu()
    middle = torch.stack([(place % width + 0.5) / width, (place // width + 0.5) / height], 1)
    corner = (middle - side / 2).clamp(0, 1 - side)
    return torch.cat([corner, corner + side], 1)


def self_references(
    truth: Tensor, mask: Tensor, generator: torch.Generator, side: float = 196 / 256
) -> Tensor:
    """A reference made from the truth: (B, 3, H, W), a crop that holds more than half of the object.

    Where no try holds that much, the share is halved, down to 1 %; where none holds even that, the crop is
    laid over a pixel of the object. So it always shows some of the object, and never the whole truth.
    """
    size = truth.shape[-1]
    boxes = torch.zeros(len(truth), 4)
    missing = torch.ones(len(truth), dtype=torch.bool)
    share = 0.5
    while missing.any() and share > 0.01:
        rows = missing.nonzero().flatten()
        config = CropConfig(smallest=side, largest=side, object_share=share)
        found = choose_boxes(mask[rows], config, generator)
        whole = (found == torch.tensor([0.0, 0.0, 1.0, 1.0])).all(1)
        boxes[rows[~whole]] = found[~whole]
        missing[rows[~whole]] = False
        share /= 2
    if missing.any():
        boxes[missing] = _around_the_object(mask[missing.to(mask.device)], side)
    flip = torch.rand(len(truth), generator=generator) < 0.5
    return take(truth, boxes, size, flip).clamp(0, 1)
