"""The preset for regions that continue their surroundings: the jump across their border is taken away.

What a repaint (inpainting) brings back differs from the photo by a few levels that drift slowly, and so
leaves a seam. A pasted object differs because it is another thing; a region that continues its surroundings
does not, so what jumps across its border is the fault itself, wherever the photo is calm enough to tell.

1. Across the border stand pairs of neighbours, along rows and columns (`border_pairs`). Their difference
   is the photo's own, of which we know how large it is there, plus the jump.
2. The change over the region is a smooth surface of second degree and a contrast, three times: for
   lightness and two opponent colours, in which texture is weak. Weighted least squares find it: pairs in
   texture count little, pairs on an edge of the photo nothing, and what no pair shows stays 0 (a prior).
3. What was found is taken away as far as it stands above its own uncertainty; where nothing is certain
   nothing is done. Black stays black, white stays white.

Source: this project; measured by `train/bench/seam.py`. Robust weights: Student's t, as Lange, Little and
Taylor (JASA 84, 1989). The uncertainty allows for neighbours that err alike: Liang and Zeger (Biometrika
73, 1986). Shrinkage: the positive part of James and Stein's.
Shapes: H x W picture; N pairs; 7 terms of the change. Levels are of 0..255.
"""

import math
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor

from ..border_pairs import OPPONENT, Pairs, across_border, habit
from ..enlargement import Window
from ..precision import widen
from ..render import Prediction, Renderer
from ..resizing import block_means
from ..strips import row_strips, touched_rows

_TERMS = 7  # 1, u, v, u^2, u v, v^2, own value
_SAMPLE = 40_000  # pixels of the region at which sizes are measured
_ALIKE = 6.0  # pairs that err as one, where this cannot be measured
_ROUNDS = 12  # of reweighting; the weights no longer move then


@dataclass(frozen=True, kw_only=True, slots=True)
class SeamConfig:
    """What changes are expected, before anything is seen. Levels are of 0..255, along opponent axes."""

    shift: float = 10.0  # standard deviation of the shift in lightness
    slope: float = 4.0  # of its change from the region's middle to its end
    bend: float = 1.5  # of its curvature
    chroma: float = 0.6  # the colours' deviations, as shares of lightness'
    contrast: float = 0.03  # of the change of contrast
    grain: float = 0.5  # of the calmest photo: rounding
    edge: float = 14.0  # a jump much larger than this is an edge of the photo and no seam
    tail: float = 3.0  # degrees of freedom of the photo's own differences
    patch: int = 12  # pixels of border that may err alike
    caution: float = 3.0  # variances that the change must stand above
    most_pairs: int = 60_000  # of each direction; more are thinned out

    def __post_init__(self) -> None:
        for name in ("shift", "slope", "bend", "chroma", "contrast", "grain", "edge", "tail"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        if not self.caution >= 0:
            raise ValueError(f"caution must not be negative, got {self.caution}")
        for name in ("patch", "most_pairs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class SeamChange:
    """What the region has too much, as a step that `render.apply` takes away.

    With u, v from -1 to 1 over the region's longer side, in levels along each opponent axis:
    change = c0 + c1 u + c2 v + c3 (u^2 - 1/3) + c4 u v + c5 (v^2 - 1/3) + c6 (own value - mean).
    """

    terms: Tensor  # (3, 7) float64
    mean: Tensor  # (3,) float64: the region's along each opponent axis, levels
    centre: tuple[float, float]  # row, column
    half: float  # pixels, of the region's longer side

    @property
    def count(self) -> int:
        return 1

    @property
    def halo(self) -> int:
        return 0

    @property
    def blends(self) -> bool:
        return False

    def start(self, composite: Tensor, mask: Tensor, *, exact: bool) -> Renderer:
        """As `render.Step`; nothing has to be known beforehand."""
        wide = widen(composite[..., :0, :0])
        turn, terms, mean = (part.to(wide) for part in (_axes(), self.terms, self.mean))

        def changed(image: Tensor, window: Window) -> Tensor:
            rows = torch.arange(window.rows.start, window.rows.stop).to(turn)[:, None]
            columns = torch.arange(window.columns.start, window.columns.stop).to(turn)
            own = torch.einsum("ij,bjhw->bihw", turn, image * 255) - mean[:, None, None]
            surface = torch.einsum("ck,khw->chw", terms[:, :-1], self.surface(rows, columns))
            found = surface + terms[:, -1:, None] * own
            return _taken_away(image, torch.einsum("ij,bihw->bjhw", turn, found) / 255)

        return changed

    def surface(self, rows: Tensor, columns: Tensor) -> Tensor:
        """The six smooth terms at places whose shapes broadcast: (6, ...)."""
        v, u = torch.broadcast_tensors(
            (rows - self.centre[0]) / self.half, (columns - self.centre[1]) / self.half
        )
        return torch.stack((torch.ones_like(u), u, v, u * u - 1 / 3, u * v, v * v - 1 / 3))

    def terms_at(self, places: Tensor, axis: int) -> Tensor:
        """All terms (7, N) at places (5, N): row, column, and the value along each axis."""
        own = places[2 + axis] - self.mean[axis]
        return torch.cat((self.surface(places[0], places[1]), own[None]))


def _axes() -> Tensor:
    return torch.tensor(OPPONENT, dtype=torch.float64)


def _taken_away(image: Tensor, change: Tensor) -> Tensor:
    """image - change, less of it where only as much room is left: what is black or white stays so."""
    room = torch.where(change < 0, image, 1 - image)
    return image - change * (room / change.abs().clamp_min(1e-6)).clamp(0, 1)


def seam(composite: Tensor, mask: Tensor, config: SeamConfig | None = None) -> Prediction:
    """What a region has too much, by the jump across its border.

    Args: composite sRGB (1, 3, H, W), values 0..1; mask (1, 1, H, W), values 0..1: the one by which the
        region was blended into the photo, soft edges included.
    Returns: a step that takes it away; it changes nothing where the mask has no border in the picture.
    Raises: ValueError for a batch: each picture has its own border.
    """
    if len(composite) != 1 or len(mask) != 1:
        raise ValueError(f"one picture at a time, got {len(composite)} pictures and {len(mask)} masks")
    config = config or SeamConfig()
    side = max(1, round(_ramp(mask) / 4))
    if side > 1:  # a wide ramp looks like the photo's own slopes; in cells of a quarter it is steep
        small = seam(block_means(composite, side), block_means(mask, side), config)
        change = cast("SeamChange", small.step)
        centre = (side * (change.centre[0] + 0.5) - 0.5, side * (change.centre[1] + 0.5) - 0.5)
        return Prediction(step=replace(change, centre=centre, half=side * change.half))
    nothing, sample = _region(composite, mask)
    pairs = [across_border(composite, mask, along, config.most_pairs) for along in (0, 1)]
    if not any(len(border) for border, _ in pairs):
        return Prediction(step=nothing)
    terms = [_found(pairs, nothing, sample, axis, config) for axis in range(3)]
    return Prediction(step=replace(nothing, terms=torch.stack(terms)))


def _ramp(mask: Tensor) -> float:
    """How many pixels wide the mask's soft edge is, in the mean; 0 where it is hard."""
    soft, length = 0.0, 0.0
    for strip in row_strips(mask):
        soft += float(((strip > 0) & (strip < 1)).sum())
        # the mean of |cos| + |sin| over directions makes 4 / pi of the border's length
        length += float(strip.diff(dim=-1).abs().sum() + strip.diff(dim=-2).abs().sum()) * math.pi / 4
    return soft / max(length, 1.0)


def _region(composite: Tensor, mask: Tensor) -> tuple[SeamChange, Tensor]:
    """No change, with the region's place and mean; and a sample of the region, (5, K) of `terms_at`."""
    nothing = torch.zeros(3, _TERMS, dtype=torch.float64)
    box = _box(mask)
    if box is None:
        return SeamChange(terms=nothing, mean=nothing[:, 0], centre=(0.0, 0.0), half=1.0), nothing[:0]
    (top, bottom), (left, right) = box
    step = max(1, math.isqrt((bottom - top) * (right - left) // _SAMPLE))
    inside = mask[0, 0, top:bottom:step, left:right:step] > 0
    if not inside.any():  # strokes thinner than the grid
        step, inside = 1, mask[0, 0, top:bottom, left:right] > 0
    rows, columns = inside.nonzero().unbind(1)
    rows, columns = rows * step + top, columns * step + left
    values = _axes() @ (composite[0][:, rows, columns].cpu().double() * 255)
    return SeamChange(
        terms=nothing,
        mean=values.mean(1),
        centre=((top + bottom - 1) / 2, (left + right - 1) / 2),
        half=max(bottom - top, right - left) / 2,
    ), torch.cat((torch.stack((rows, columns)).cpu().double(), values))


def _box(mask: Tensor) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """First and last + 1 of the rows, then of the columns, that a mask (1, 1, H, W) touches."""
    rows = touched_rows(mask)
    if not len(rows):
        return None
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    touched = torch.stack([(strip > 0).any(-2)[0, 0] for strip in row_strips(mask[..., top:bottom, :])])
    columns = touched.any(0).nonzero().flatten()
    return (top, bottom), (int(columns[0]), int(columns[-1]) + 1)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the pairs say of one axis: jumps = design * terms + the photo's own."""

    jumps: Tensor  # (N,) levels
    design: Tensor  # (7, N)
    variance: Tensor  # (N,) of the photo's own there
    patch: Tensor  # (N,) number of the stretch of border it lies on


def _seen(pairs: list[tuple[Pairs, Pairs]], region: SeamChange, axis: int, config: SeamConfig) -> _Seen:
    parts, still = [], []
    for border, elsewhere in pairs:
        learned = habit(elsewhere, axis, config.grain)
        places = torch.cat((torch.stack((border.rows, border.columns)), border.values))
        variance = learned.variance(border, axis, config.grain)
        steps = learned.unforeseen(border.steps.nan_to_num(0, posinf=0))
        cell = (border.rows // config.patch) * 2**20 + border.columns // config.patch
        jumps = learned.unforeseen(border.differences[axis])
        parts.append((jumps, region.terms_at(places, axis) * steps, variance, cell))
        idle = learned.unforeseen(elsewhere.differences[axis]) * elsewhere.inwards
        still.append((idle, learned.variance(elsewhere, axis, config.grain), elsewhere.depth))
    jumps, design, variance, cells = (torch.cat(part, -1) for part in zip(*parts, strict=True))
    idle, expected, depth = (torch.cat(part) for part in zip(*still, strict=True))
    alike = _alike(idle, expected, depth, config)
    return _Seen(jumps, design, alike * variance, cells.unique(return_inverse=True)[1])


def _alike(idle: Tensor, variance: Tensor, depth: Tensor, config: SeamConfig) -> float:
    """How many pairs err as one, since the photo's edges run along the border: at least 1.

    Measured where the answer is known: on each line parallel to the border nothing jumps, so what is found
    there, squared, is what the variance of such a finding should be.
    Args: (N,) each: what cannot be foreseen, inwards; its variance; pixels inwards from the border.
    """
    shares = []
    for far in depth.unique():
        own, expected = idle[depth == far], variance[depth == far]
        found = torch.zeros((), dtype=torch.float64)
        for _ in range(_ROUNDS):
            weight = _weight(own - found, expected, config)
            found = (weight * own).sum() / (weight.sum() + config.shift**-2)
        shares.append(float(found.square() * weight.sum()))
    return max(1.0, sum(shares) / len(shares)) if shares else _ALIKE


def _found(
    pairs: list[tuple[Pairs, Pairs]], region: SeamChange, sample: Tensor, axis: int, config: SeamConfig
) -> Tensor:
    """(7,) terms of the change along one axis, shrunk by their uncertainty."""
    seen = _seen(pairs, region, axis, config)
    expected = config.shift, *(config.slope,) * 2, *(config.bend,) * 3
    share = 1.0 if axis == 0 else config.chroma
    sizes = [*(share * size for size in expected), config.contrast]
    precision = torch.diag(torch.tensor(sizes, dtype=torch.float64) ** -2)
    terms = torch.zeros(_TERMS, dtype=torch.float64)
    for _ in range(_ROUNDS):
        weight = _weight(seen.jumps - terms @ seen.design, seen.variance, config)
        weighted = seen.design * weight
        normal = weighted @ seen.design.T + precision
        terms = torch.linalg.solve(normal, weighted @ seen.jumps)
    # stretches of border err as a whole, so what counts is how far their sums are off
    off = seen.jumps - terms @ seen.design
    off = off * _weight(off, seen.variance, config)
    count = int(seen.patch.max()) + 1
    sums = torch.zeros(_TERMS, count, dtype=torch.float64).index_add_(1, seen.patch, seen.design * off)
    spread = sums @ sums.T * (count / max(count - _TERMS / 2, 1)) + precision
    inverse = torch.linalg.inv(normal)
    robust = inverse @ spread @ inverse
    inside = region.terms_at(sample, axis)
    inside = inside @ inside.T / inside.shape[1]
    variance = max(float((part * inside).sum()) for part in (inverse, robust))
    return terms * max(0.0, 1 - config.caution * variance / max(float(terms @ inside @ terms), 1e-12))


def _weight(off: Tensor, variance: Tensor, config: SeamConfig) -> Tensor:
    """(N,) of each pair by how far it is off: little in texture, none on an edge of the photo."""
    off = off.square()
    return (config.tail + 1) / (config.tail * variance + off) * torch.exp(-off / (2 * config.edge**2))
