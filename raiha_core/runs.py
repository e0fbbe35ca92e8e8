"""Islands of a mask by its runs, where values lie in the computer's own memory: what a GPU does cell by cell.

A run is a row's stretch of cells inside; a mask has hundreds of them where it has ten thousands of cells.
"""

import numpy as np
from numpy.typing import NDArray


def label_by_runs(inside: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Cells that touch, also by corners, get one number: (B, h, w) -> (B, h*w), -1 outside.

    The number is the largest index of the island's cells, row by row.
    """
    batch, height, width = inside.shape
    # a wall behind each row and a row of wall behind each mask: indices of neighbours differ by the pitch
    pitch = width + 2
    walled = np.zeros((batch, height + 1, pitch), dtype=np.int8)
    walled[:, :height, 1:-1] = inside
    turns = np.flatnonzero(np.diff(walled.reshape(-1), prepend=np.int8(0)))
    first, behind = turns[::2], turns[1::2]
    # the runs of the row above that a run touches: from the first that ends behind its left neighbour
    low = np.searchsorted(behind, first - pitch)
    high = np.searchsorted(first, behind - pitch, side="right")
    touching = np.maximum(high - low, 0)
    below = np.repeat(np.arange(len(first)), touching)
    above = np.arange(len(below)) + np.repeat(low - (np.cumsum(touching) - touching), touching)
    root = _largest_connected(len(first), above, below)
    labels = np.full((batch, height * width), -1, dtype=np.int64)
    place, column = np.divmod(behind - 1, pitch)
    mask, row = np.divmod(place, height + 1)
    last = row * width + column - 1  # of each run, within its mask
    length = behind - first
    start = mask * height * width + last - length + 1
    cells = np.arange(int(length.sum())) + np.repeat(start - (np.cumsum(length) - length), length)
    labels.reshape(-1)[cells] = np.repeat(last[root], length)
    return labels


def _largest_connected(count: int, above: NDArray[np.int64], below: NDArray[np.int64]) -> NDArray[np.int64]:
    """The largest number of each of `count` nodes' component, by edges (FastSV, as `islands` does it)."""
    root = np.arange(count)
    while len(above):
        new = root.copy()
        np.maximum.at(new, above, root[below])
        np.maximum.at(new, below, root[above])
        np.maximum.at(new, root, new.copy())  # and the node that each had its number from
        new = new[new]
        if np.array_equal(new, root):
            break
        root = new
    return root
