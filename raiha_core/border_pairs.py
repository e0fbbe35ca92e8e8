"""Pairs of neighbours across a mask's border, and how large the photo's own differences are there.

The difference of two neighbours is the photo's own plus what the mask's step brings in. The photo's own is
predicted from the differences beside it on the same line; how well that goes, and how badly it goes where
the differences beside it are large, is learned from pairs some pixels off, where the mask does not step.
Shapes: one picture H x W; N pairs, S = 7 differences on the line of each, its own amid. Levels are of
0..255 along three opponent axes, in float64 on the CPU.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .strips import row_strips

# orthonormal: lightness, red against blue, green against both; errors in it are errors in sRGB
OPPONENT = ((3**-0.5,) * 3, (2**-0.5, 0.0, -(2**-0.5)), (-(6**-0.5), 2 * 6**-0.5, -(6**-0.5)))
_REACH = 3  # differences on each side of a pair's own that are looked at
_NEARNESS = torch.tensor((0.2, 0.3, 0.5, 0.0, 0.5, 0.3, 0.2), dtype=torch.float64)  # of the texture there
_ELSEWHERE = (-16, -12, -8, -5, 5, 8, 12, 16)  # pixels along the line, where the photo's habit is learned
_UNKNOWN = 1e4  # squared levels: the texture where nothing beside the pair is known
_MEDIAN = 0.455  # of the square of a normal number


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs along one direction."""

    rows: Tensor  # (N,) float64, midway between the two
    columns: Tensor  # (N,)
    values: Tensor  # (3, N) the mean of the two, levels
    differences: Tensor  # (3, N, S) levels; 0 beyond the frame
    steps: Tensor  # (N, S) of the mask; not 0 beyond the frame
    inwards: Tensor  # (N,) 1 where the second of the border's pair has more of the mask, else -1
    depth: Tensor  # (N,) pixels from the border's pair inwards, along the line
    clipped: Tensor  # (N,) whether one of the two is black or white in a channel

    def __len__(self) -> int:
        return len(self.rows)

    def those(self, kept: Tensor) -> "Pairs":
        """Of (N,) bool."""
        return Pairs(
            self.rows[kept],
            self.columns[kept],
            self.values[:, kept],
            self.differences[:, kept],
            self.steps[kept],
            self.inwards[kept],
            self.depth[kept],
            self.clipped[kept],
        )


@dataclass(frozen=True, slots=True)
class Habit:
    """How the photo's own differences go on along a line, on one axis."""

    taps: Tensor  # (S,) that leave of a line of differences what cannot be predicted; 1 amid
    growth: float  # of its variance with the texture beside it

    def unforeseen(self, lines: Tensor) -> Tensor:
        """(N, S) -> (N,)."""
        return lines @ self.taps

    def variance(self, pairs: Pairs, axis: int, grain: float) -> Tensor:
        """(N,) of what cannot be foreseen at pairs, squared levels."""
        return grain**2 + self.growth * texture(pairs, axis)


def across_border(composite: Tensor, mask: Tensor, along: int, most: int) -> tuple[Pairs, Pairs]:
    """Pairs between which the mask steps, and pairs some pixels off between which it does not.

    Args: composite (1, 3, H, W), values 0..1; mask (1, 1, H, W); along: 0 for pairs of rows, 1 of columns;
        most: the former are thinned out evenly to so many.
    """
    rows, columns = _steps_of(mask, along)
    every = -(-len(rows) // most) or 1
    rows, columns = rows[::every], columns[::every]
    border = _pairs(composite, mask, rows, columns, along)
    inwards = border.steps[:, _REACH].sign()
    border = replace(border, inwards=inwards).those(~border.clipped)
    size = mask.shape[-2 + along]
    found = []
    for far in _ELSEWHERE:
        moved = (rows + far, columns) if along == 0 else (rows, columns + far)
        inside = (moved[along] >= 0) & (moved[along] < size - 1)
        off = _pairs(composite, mask, moved[0][inside], moved[1][inside], along)
        sides = inwards[inside.cpu()]
        off = replace(off, inwards=sides, depth=far * sides)
        found.append(off.those((off.steps == 0).all(1) & ~off.clipped))
    return border, _joined(found)


def _steps_of(mask: Tensor, along: int) -> tuple[Tensor, Tensor]:
    """Rows and columns of the first of each pair between which the mask (1, 1, H, W) steps, in order."""
    found, top = [], 0
    for strip in row_strips(mask):
        height = strip.shape[-2]
        seen = mask[0, 0, top : top + height + (along == 0)]  # with the next strip's first row
        found.append((seen.diff(dim=along) != 0).nonzero() + torch.tensor((top, 0), device=mask.device))
        top += height
    rows, columns = torch.cat(found).unbind(1)
    return rows, columns


def _pairs(composite: Tensor, mask: Tensor, rows: Tensor, columns: Tensor, along: int) -> Pairs:
    """The pairs whose first pixels are named, with their lines."""
    offsets = torch.arange(-_REACH, _REACH + 2, device=rows.device)
    places = [rows[:, None].expand(-1, len(offsets)), columns[:, None].expand(-1, len(offsets))]
    places[along] = places[along] + offsets
    size = mask.shape[-2 + along]
    beyond = (places[along] < 0) | (places[along] >= size)
    places[along] = places[along].clamp(0, size - 1)
    colours = composite[0][:, places[0], places[1]].cpu().double()  # (3, N, S + 1)
    line = torch.einsum("ij,jns->ins", torch.tensor(OPPONENT, dtype=torch.float64), colours * 255)
    weights = mask[0, 0][places[0], places[1]].cpu().double()
    cut = (beyond[:, 1:] | beyond[:, :-1]).cpu()
    own = colours[:, :, _REACH : _REACH + 2]
    half = torch.tensor(((0.5, 0.0), (0.0, 0.5))[along], dtype=torch.float64)
    return Pairs(
        rows=rows.cpu().double() + half[0],
        columns=columns.cpu().double() + half[1],
        values=line[:, :, _REACH : _REACH + 2].mean(-1),
        differences=line.diff(dim=-1).masked_fill(cut, 0),
        steps=weights.diff(dim=-1).masked_fill(cut, torch.inf),
        inwards=torch.ones(len(rows), dtype=torch.float64),
        depth=torch.zeros(len(rows), dtype=torch.float64),
        clipped=((own <= 0) | (own >= 1)).any(-1).any(0),
    )


def _joined(parts: list[Pairs]) -> Pairs:
    return Pairs(
        torch.cat([part.rows for part in parts]),
        torch.cat([part.columns for part in parts]),
        torch.cat([part.values for part in parts], 1),
        torch.cat([part.differences for part in parts], 1),
        torch.cat([part.steps for part in parts]),
        torch.cat([part.inwards for part in parts]),
        torch.cat([part.depth for part in parts]),
        torch.cat([part.clipped for part in parts]),
    )


def texture(pairs: Pairs, axis: int) -> Tensor:
    """(N,) squared levels: differences beside each pair, near ones counting most.

    Where the mask makes half a step or more they are left out: there they are of the jump.
    """
    weight = _NEARNESS * (pairs.steps.abs() < 0.5)
    amount = weight.sum(1)
    found = (weight * pairs.differences[axis].square()).sum(1) / amount.clamp_min(1e-9)
    return torch.where(amount > 0, found, _UNKNOWN)


def habit(elsewhere: Pairs, axis: int, grain: float) -> Habit:
    """How differences follow from those one and two pixels beside them, by weighted least squares.

    Args: grain: levels by which the calmest photo still differs.
    """
    lines = elsewhere.differences[axis]
    calm = texture(elsewhere, axis) + grain**2
    near, far = lines[:, _REACH - 1] + lines[:, _REACH + 1], lines[:, _REACH - 2] + lines[:, _REACH + 2]
    beside = torch.stack((near, far), 1)
    weighted = beside.T / calm
    normal = weighted @ beside
    # a sum of weighted squares is about the number of pairs; with few of them nothing is predicted
    a, b = torch.linalg.solve(normal + torch.eye(2, dtype=normal.dtype) * 20, weighted @ lines[:, _REACH])
    taps = -torch.stack((a * 0, b, a, a * 0, a, b, a * 0))
    taps[_REACH] = 1
    textured = calm > 4 * grain**2
    growth = 1.0
    if int(textured.sum()) >= 20:
        share = (lines[textured] @ taps).square() / calm[textured]
        growth = max(growth, float(share.median()) / _MEDIAN)
    return Habit(taps, growth)
