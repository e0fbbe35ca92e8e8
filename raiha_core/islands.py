"""The islands that a mask consists of, so that what surrounds each counts by how much object it surrounds.

A mask may hold one object, several, or one with the specks that segmenters leave. Specks share one
group: each alone says nothing, and there may be thousands.
Shapes: B masks of h x w; N groups of islands, in the order of their masks.
"""

from dataclasses import dataclass
from itertools import count

import torch
import torch.nn.functional as F
from torch import Tensor

from .precision import has_double
from .resizing import block_means
from .runs import label_by_runs
from .value_reading import may_read

_MOST = 8  # groups per mask; the islands beyond the largest share the last
_UNIT = 65536  # parts of a cell in which areas are counted
_LEAST = 200  # times it is the largest island: what is smaller shares the last group
_EXACT = 1 << 24  # whole numbers below are exact in float32
_ROUNDS = 16  # of labelling where no value may be read
_CELLS = 256  # per side, in which specks are looked for
_SPECK = 1e-3  # of the mask's area: an island of less is a speck
_SPECKS = 0.1  # of the mask's area: what together has more is no dirt


@dataclass(frozen=True, slots=True)
class Islands:
    """Groups of islands; a mask without any has one empty group. G is the most that a mask here has."""

    inside: Tensor  # (N, 1, h, w) bool
    row: Tensor  # (N,) int64: which mask a group is of
    group: Tensor  # (B, G) int64: the groups of each mask, -1 where it has fewer
    area: Tensor  # (B, G) float: sum of the mask over each group, 0 where there is none


@torch.no_grad()
def label_islands(inside: Tensor) -> Tensor:
    """Cells that touch, also by corners, get one number: (B, 1, h, w) bool -> (B, h*w) int64, -1 outside.

    The number is the index of one of the island's cells. Cells take over their neighbours' largest
    number, and so does the cell that they had their own from (Zhang, Azad and Hu's FastSV, SIAM PP 2020):
    some ten rounds for any shape.
    Where no value may be read (`value_reading`), there are `_ROUNDS` of them, whatever the shape; on a CPU
    runs of cells are joined instead, with the same numbers.
    """
    batch, _, height, width = inside.shape
    if not may_read(inside):
        return _labels(inside)
    if inside.device.type == "cpu":
        return torch.from_numpy(label_by_runs(inside[:, 0].numpy()))
    rows, columns = (inside.any(0)[0].any(axis).nonzero().flatten() for axis in (1, 0))
    label = torch.full((batch, height, width), -1, dtype=torch.int64, device=inside.device)
    if not len(rows):
        return label.flatten(1)
    # only the box around what is inside: most of a picture is none of it
    top, left = int(rows[0]), int(columns[0])
    box = inside[..., top : int(rows[-1]) + 1, left : int(columns[-1]) + 1]
    found = _labels(box)
    y, x = found // box.shape[-1] + top, found % box.shape[-1] + left
    numbers = torch.where(found >= 0, y * width + x, -1).view(box[:, 0].shape)
    label[:, top : top + box.shape[-2], left : left + box.shape[-1]] = numbers
    return label.flatten(1)


def _labels(inside: Tensor) -> Tensor:
    """`label_islands` of a whole picture."""
    batch, _, height, width = inside.shape
    flat = inside.flatten(1)
    start = torch.arange(height * width, device=inside.device).expand(batch, -1)
    label = torch.where(flat, start, -1)
    reading = may_read(inside)
    for turn in count():
        near = _largest_near(label.view(batch, 1, height, width)).flatten(1)
        near = torch.where(flat, near, -1)
        # a cell outside has -1 and leaves cell 0 as it is
        hooked = torch.maximum(label, near).scatter_reduce(1, label.clamp_min(0), near, "amax")
        new = torch.where(flat, hooked.gather(1, hooked.clamp_min(0)), -1)
        if (reading and torch.equal(new, label)) or (not reading and turn == _ROUNDS):
            break
        label = new
    return label


def _largest_near(numbers: Tensor) -> Tensor:
    """The largest of each cell and its eight neighbours: (B, 1, h, w) int64, at least -1."""
    if numbers.shape[-2] * numbers.shape[-1] < _EXACT:
        return F.max_pool2d(numbers.float(), 3, stride=1, padding=1).long()
    wide = F.pad(numbers, (1, 1, 1, 1), value=-1)
    rows = torch.stack((wide[..., :-2, :], wide[..., 1:-1, :], wide[..., 2:, :])).amax(0)
    return torch.stack((rows[..., :-2], rows[..., 1:-1], rows[..., 2:])).amax(0)


@torch.no_grad()
def find_islands(mask: Tensor, inside: Tensor) -> Islands:
    """The larger islands one by one, and the others together.

    Where no value may be read, each mask has all the groups that it may have; those it lacks are empty.
    Args: mask (B, 1, h, w), 0..1; inside (B, 1, h, w) bool, its cells that count.
    """
    if mask.is_meta:  # shapes only: islands need the numbers
        every = torch.arange(len(mask), device=mask.device)
        return Islands(inside, every, every[:, None], mask.sum((2, 3)).float())
    label = label_islands(inside)
    # whole numbers: their sums do not depend on the order in which a GPU takes them
    weight = (mask * inside).flatten(1).mul(_UNIT).round().long()
    areas = torch.zeros_like(weight).scatter_add_(1, label.clamp_min(0), weight)
    largest, root = areas.topk(min(_MOST - 1, areas.shape[1]), 1)
    alone = (largest > 0) & (largest * _LEAST >= largest[:, :1])
    reading = may_read(mask)
    most = max(1, int(alone.sum(1).max())) if reading else largest.shape[1]
    single = label[:, None] == torch.where(alone, root, -2)[:, :most, None]  # (B, G - 1, h*w)
    rest = inside.flatten(1) & ~single.any(1)
    groups = torch.cat((single, rest[:, None]), 1)
    used = groups.any(2)
    used[:, 0] |= ~used.any(1)  # an empty mask keeps one group
    area = (groups * weight[:, None]).sum(2).float() / _UNIT
    if not reading:
        places = torch.arange(used.numel(), device=used.device).view_as(used)
        row = (places // used.shape[1]).flatten()
        return Islands(groups.view(-1, *inside.shape[1:]), row, torch.where(used, places, -1), area)
    row, place = used.nonzero(as_tuple=True)
    number = torch.full_like(used, -1, dtype=torch.int64)
    number[row, place] = torch.arange(len(row), device=row.device)
    last = used.any(0)  # mostly there is one object and no speck
    return Islands(groups[row, place].view(-1, *inside.shape[1:]), row, number[:, last], area[:, last])


@torch.no_grad()
def without_specks(mask: Tensor) -> Tensor:
    """The mask without islands of less than a thousandth of its area, for what asks which patches it touches.

    Where such islands together are much of the mask, as in a mesh or in leaves, they are the object, and
    stay. A large mask is looked at in blocks of some pixels: what touches the object's block stays too.
    Args: mask (B, 1, H, W), 0..1. Returns: the same shape; the mask itself where it has no specks.
    """
    block = max(1, -(-max(mask.shape[-2:]) // _CELLS))
    height, width = mask.shape[-2:]
    if not has_double(mask.device):
        return without_specks(mask.cpu()).to(mask.device)
    weight = F.pad(mask.double(), (0, -width % block, 0, -height % block))
    area = block_means(weight, block) * block**2  # (B, 1, h, w)
    label = label_islands(area > 0)
    total = area.flatten(2).sum(2)  # (B, 1)
    areas = torch.zeros_like(area.flatten(1)).scatter_add_(1, label.clamp_min(0), area.flatten(1))
    speck = (label >= 0) & (areas.gather(1, label.clamp_min(0)) < _SPECK * total)
    share = (area.flatten(1) * speck).sum(1, keepdim=True) / total.clamp_min(1e-9)
    speck &= share < _SPECKS
    if not speck.any():
        return mask
    cells = speck.view_as(area).repeat_interleave(block, 2).repeat_interleave(block, 3)
    return mask.masked_fill(cells[..., :height, :width], 0)
