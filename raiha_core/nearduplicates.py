"""Photos of the same view, found by the signs of their brightness gradients (a difference hash).

A composite's own real photo is known; other shots of it are not always named alike. Only the
background is compared, because the object is what the data set's makers changed between shots.
Shapes: N photos, C cells per side, K = 2 C (C - 1) gradient signs.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .background import TOUCHED
from .resizing import BOX, resize_picture

CELLS = 12
BITS = 2 * CELLS * (CELLS - 1)
LEAST_BITS = BITS // 4  # with less background than this, agreement says nothing


def _signs(grid: NDArray[np.float64]) -> NDArray[np.int8]:
    """(C, C) brightness -> (K,) +1 or -1: rightwards, then downwards."""
    steps = np.concatenate([np.diff(grid, axis=1).ravel(), np.diff(grid, axis=0).ravel()])
    return np.where(steps >= 0, 1, -1).astype(np.int8)


def difference_hash(photo: NDArray[np.uint8]) -> NDArray[np.int8]:
    """(H, W, 3) uint8 -> (K,) int8, +1 or -1."""
    grey = Image.fromarray(photo).convert("L").convert("F")  # float, so that flat steps are not rounded away
    return _signs(np.asarray(resize_picture(grey, (CELLS, CELLS), BOX), dtype=np.float64))


def background_bits(mask: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """(H, W) uint8 -> (K,) whether both cells of a gradient are free of the object."""
    cover = np.asarray(resize_picture(Image.fromarray(mask).convert("F"), (CELLS, CELLS), BOX))
    free = cover < TOUCHED * 255  # an edge pixel or two does not turn a gradient
    right, down = free[:, 1:] & free[:, :-1], free[1:] & free[:-1]
    return np.concatenate([right.ravel(), down.ravel()])


def agreement(
    query: NDArray[np.int8], valid: NDArray[np.bool_], hashes: NDArray[np.int8]
) -> NDArray[np.float64]:
    """Share of the query's valid signs that each photo shares: (K,), (K,), (N, K) -> (N,) in 0..1.

    0.5 is chance. Where too little background is left, all are 0: nothing can be said.
    """
    count = int(valid.sum())
    if count < LEAST_BITS:
        return np.zeros(len(hashes))
    product = hashes[:, valid].astype(np.float32) @ query[valid].astype(np.float32)  # whole numbers: exact
    return (product.astype(np.float64) / count + 1) / 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Threshold:
    """From which agreement two photos count as one view, and how that was found."""

    value: float
    false_positive_rate: float  # share of unrelated pairs at or above it
    recall: float | None  # share of known siblings at or above it; None where none were given
    siblings: int
    unrelated: int
    source: str


# Measured on 5,337 web photos; siblings are frames of one sequence, of which half are no near-duplicates.
DEFAULT = Threshold(
    value=0.8,
    false_positive_rate=1.1e-4,
    recall=0.577,
    siblings=1234,
    unrelated=2_134_800,
    source="default: 5,337 web photos, as the pool at hand has too few pairs to calibrate on",
)


def calibrate_threshold(
    siblings: Iterable[float],
    unrelated: Iterable[float],
    rate: float = 1e-5,
    least: int = 2000,
    floor: float = DEFAULT.value,
) -> Threshold:
    """The lowest threshold from `floor` on that at most `rate` of the unrelated pairs reach.

    The floor is there because a mean rate hides landscapes, which all share the gradient of the sky: at
    0.72, where one pair in 10,000 of a small pool lay, one of them lost 36 of 1,200 photos.
    Returns: `DEFAULT` where fewer than `least` unrelated pairs are given.
    """
    known, others = np.sort(np.fromiter(siblings, float)), np.sort(np.fromiter(unrelated, float))
    if len(others) < least:
        return DEFAULT
    allowed = int(rate * len(others))
    value = max(floor, float(np.nextafter(others[-1 - allowed], 2)))  # just above the first pair too many
    return Threshold(
        value=value,
        false_positive_rate=float((others >= value).mean()),
        recall=float((known >= value).mean()) if len(known) else None,
        siblings=len(known),
        unrelated=len(others),
        source=f"calibrated at a false-positive rate of {rate:g}, at least {floor:g}",
    )
