"""Eqs. 3 and 5 by way of the index, in the compiled kernel; what it leaves undecided torch decides.

Shapes: n photos of P patches, D content numbers, m patches of a query, K numbers of the index per patch.
"""

import ctypes
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from ..features.spec import FeatureSpec
from ..gallery.bound import whole_query
from .bounded_torch import Found, QuerySide, TorchSearch
from .exact import TIE, band
from .kernel import Compiled

_STRETCH = 1024  # photos per call: a search can be cancelled between two
LEAST_PER_THREAD = 64
_LANES = 16
_CONTENT, _LIGHT = 1, 2
_QUALIFIES, _UNDECIDED = 1, 2
# Of the time that comparing all pairs takes: the bound, and all pairs one by one (measured, AVX-512).
_OF_BOUND, _OF_READING = 0.1, 2.5
MOST_BINS = 1 << 15  # of a histogram: sums of squares within int32


class _Shape(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in ("patches", "dim", "columns", "bins", "pairs")]


class _Side(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int64) for name in ("count", "vectors")),
        *(
            (name, ctypes.c_void_p)
            for name in ("numbers", "least", "unit", "slack", "exact", "colours", "squares")
        ),
    ]


class _Question(ctypes.Structure):
    _fields_ = [
        ("asked", ctypes.c_int64),
        *((name, ctypes.c_double) for name in ("content_threshold", "appearance_threshold", "band", "tie")),
    ]


@dataclass(frozen=True, slots=True)
class _Patches:
    """Patches of a query as the kernel reads them, and the memory that it reads."""

    side: _Side
    memory: tuple[np.ndarray, ...]


def _patches(side: QuerySide, threshold: float) -> _Patches:
    """m patches in lanes of 16, and their columns in pairs of numbers."""
    whole, (columns, count) = whole_query(side.columns, threshold), side.columns.shape
    vectors, pairs = -(-count // _LANES), -(-columns // 2)
    numbers = np.zeros((vectors * _LANES, 2 * pairs), dtype=np.int16)
    numbers[:count, :columns] = whole.numbers.numpy()
    least = np.full(vectors * _LANES, np.iinfo(np.int32).max, dtype=np.int32)
    least[:count] = whole.least.numpy()
    lanes = numbers.reshape(vectors, _LANES, pairs, 2).transpose(0, 2, 1, 3)
    memory = (
        np.ascontiguousarray(lanes),
        least,
        whole.unit.numpy(),
        whole.slack.numpy(),
        side.vectors.fast.contiguous().numpy(),
        side.colours.contiguous().numpy(),
        side.colours.double().square().sum(1).numpy(),
    )
    return _Patches(_Side(count, vectors, *(part.ctypes.data for part in memory)), memory)


class KernelSearch:
    """Some queries, ready to be compared with photos of one index."""

    stretch = _STRETCH

    def __init__(self, twin: TorchSearch, spec: FeatureSpec, kernel: Compiled) -> None:
        self.twin, self.kernel = twin, kernel
        self.request, self.index = twin.request, twin.index
        columns, eps = self.index.rotation.columns, self.request.content_threshold
        self._shape = _Shape(spec.patches, spec.dim, columns, spec.histogram.bins, -(-columns // 2))
        nothing = _Patches(_Side(), ())
        by_light, by_content = self.request.by == "illumination", self.request.by == "content"
        self._objects = [nothing if by_light else _patches(side, eps) for side in twin.objects]
        self._behind = [nothing if by_content else _patches(side, eps) for side in twin.behind]
        asked = {"content": _CONTENT, "illumination": _LIGHT, "both": _CONTENT | _LIGHT}[self.request.by]
        near = band(spec.dim, torch.device("cpu"))
        self._question = _Question(asked, eps, self.request.appearance_threshold, near, TIE)

    def burden(self, query: int, rows: np.ndarray) -> float:
        """The work for some covered photos, where that of comparing all pairs in full is 1."""
        sides = self.twin.behind if self.request.by == "illumination" else self.twin.objects
        read = self._compare(query, rows)[1]
        return _OF_BOUND + _OF_READING * read / (len(rows) * self._shape.patches * max(1, len(sides[query])))

    def find(self, query: int, rows: np.ndarray) -> Found:
        """What qualifies among some covered photos."""
        (state, found, content, light), _ = self._compare(query, rows)
        passing = np.flatnonzero(state == _QUALIFIES)
        share = found[passing] / max(1, len(self.twin.objects[query]))
        certain = Found(rows[passing], share, light[passing], content[passing])
        if self.request.by == "illumination":
            certain = self.twin.with_content(query, certain)
        left = rows[state == _UNDECIDED]
        return certain.joined(self.twin.find(query, left)) if len(left) else certain

    def _compare(self, query: int, rows: np.ndarray) -> tuple[tuple[np.ndarray, ...], int]:
        """The kernel's answer for each photo, and how many stored vectors it read."""
        n = len(rows)
        outputs = (np.empty(n, np.uint8), np.zeros(n, np.int32), np.empty(n), np.full(n, np.nan))
        threads = max(1, min(torch.get_num_threads(), n // LEAST_PER_THREAD))
        cuts = np.linspace(0, n, threads + 1).astype(int)
        parts = [slice(first, last) for first, last in pairwise(cuts)]
        places = self.index.addresses(rows)

        def work(part: slice) -> int:
            return self._call(query, [array[part] for array in (*places, *outputs)])

        if threads == 1:
            read = [work(part) for part in parts]
        else:
            with ThreadPoolExecutor(threads) as pool:
                read = list(pool.map(work, parts))
        if min(read, default=0) < 0:
            raise MemoryError("there is not enough memory to compare photos")
        return outputs, sum(read)

    def _call(self, query: int, arrays: Sequence[np.ndarray]) -> int:
        return self.kernel.library.raiha_search(
            ctypes.c_int64(self.kernel.level),
            ctypes.byref(self._shape),
            ctypes.byref(self._objects[query].side),
            ctypes.byref(self._behind[query].side),
            ctypes.byref(self._question),
            ctypes.c_int64(len(arrays[0])),
            *(ctypes.c_void_p(array.ctypes.data) for array in arrays),
        )
