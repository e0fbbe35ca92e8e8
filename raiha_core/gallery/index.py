"""The derived index of a gallery: for each shard a small file that a search reads in the shard's place.

Everything in the folder `index` can be deleted at any time: a search then reads the shards, and the next
writer builds it again. A file counts only where it names the very bytes of the shard that it covers, and
the rotation that lies beside it.

Shapes: n photos, P patches each, D content numbers, K numbers of the index per patch.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor

from .. import durable
from ..regular import read_regular
from .bound import Rotation, encode_photos, fit_rotation
from .layout import Layout
from .manifest import State
from .shards import Shard, map_tensors, open_shard, shard_names

_LARGEST = 1 << 28  # bytes of a rotation: 5,000 content numbers
_BROKEN = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)


@dataclass(frozen=True, slots=True)
class ShardIndex:
    """The mapped numbers of one shard."""

    numbers: Tensor  # (n, P, K) int8
    covered: Tensor  # (n,) uint8: 0 where the photo must be scanned


class PatchIndex:
    """The indexes of an open gallery, by its rows; photos of shards without one are not covered."""

    def __init__(
        self,
        rotation: Rotation,
        shards: Sequence[Shard],
        indexes: Sequence[ShardIndex | None],
        shard_of: np.ndarray,
        row_in: np.ndarray,
    ) -> None:
        self.rotation = rotation
        self._shards, self._indexes = shards, indexes
        self._shard_of, self._row_in = shard_of, row_in
        covered = np.zeros(len(shard_of), dtype=bool)
        for number, index in enumerate(indexes):
            if index is not None:
                here = np.flatnonzero(shard_of == number)
                covered[here] = index.covered.numpy()[row_in[here]] != 0
        self.covered = covered  # (photos,) bool

    def in_order(self, rows: np.ndarray) -> np.ndarray:
        """The same rows as they lie on the disk."""
        return rows[np.lexsort((self._row_in[rows], self._shard_of[rows]))]

    def addresses(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where numbers, content and histograms of covered photos lie in memory, as long as this lives."""
        of, inside = self._shard_of[rows], self._row_in[rows]
        numbers, content, histogram = (starts[of] + inside * size for starts, size in self._places)
        return numbers, content, histogram

    @cached_property
    def _places(self) -> list[tuple[np.ndarray, int]]:
        """Per kind of number: the address of each shard's, and the bytes of one photo's."""
        kinds: list[list[Tensor | None]] = [
            [None if index is None else index.numbers for index in self._indexes],
            [shard.content for shard in self._shards],
            [shard.histogram for shard in self._shards],
        ]
        places = []
        for kind in kinds:
            starts = np.array([0 if part is None else part.data_ptr() for part in kind], dtype=np.int64)
            size = next(part[0].numel() * part.element_size() for part in kind if part is not None)
            places.append((starts, size))
        return places

    def numbers(self, rows: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, Tensor]]:
        """At most `size` covered photos at a time: (positions in `rows`, their numbers (n, P, K) int8)."""
        for here, shard, inside in self._parts(rows):
            index = self._indexes[shard]
            assert index is not None, "only covered photos are asked for"
            for start in range(0, len(here), size):
                part = inside[start : start + size]
                first, last = int(part[0]), int(part[-1]) + 1
                beside = last - first == len(part) and bool((np.diff(part) == 1).all())
                yield (
                    here[start : start + size],
                    index.numbers[first:last] if beside else index.numbers[torch.from_numpy(part)],
                )

    def content(self, rows: np.ndarray, patches: np.ndarray) -> Tensor:
        """Single patches of photos, pairwise: (m, D) float16."""
        found = torch.empty(len(rows), self.rotation.dim, dtype=torch.float16)
        for here, shard, inside in self._parts(rows):
            stored = self._shards[shard].content
            place = torch.from_numpy(inside * stored.shape[1] + patches[here])
            part = stored.flatten(0, 1).index_select(0, place)
            if len(part) == len(rows):
                return part
            found[torch.from_numpy(here)] = part
        return found

    def histograms(self, rows: np.ndarray, patches: np.ndarray) -> Tensor:
        """Their histograms: (m, K) uint8."""
        bins = self._shards[0].histogram.shape[2]
        found = torch.empty(len(rows), bins, dtype=torch.uint8)
        for here, shard, inside in self._parts(rows):
            stored = self._shards[shard].histogram
            place = torch.from_numpy(inside * stored.shape[1] + patches[here])
            found[torch.from_numpy(here)] = stored.flatten(0, 1).index_select(0, place)
        return found

    def _parts(self, rows: np.ndarray) -> list[tuple[np.ndarray, int, np.ndarray]]:
        """Which of the rows lie in which shard, and where: (positions, shard, rows inside)."""
        of, inside = self._shard_of[rows], self._row_in[rows]
        if len(of) and (of == of[0]).all():
            return [(np.arange(len(rows)), int(of[0]), inside)]
        parts = []
        for number in np.unique(of):
            here = np.flatnonzero(of == number)
            parts.append((here, int(number), inside[here]))
        return parts


def build_index(layout: Layout, state: State, *, renew: bool = False) -> int:
    """Write what is missing of the index; the caller holds the lock. Returns: how many shards it did.

    The rotation is made from the first shard and then kept, whatever photos come later.

    Args: renew: make a new rotation from the gallery as it is now, and all indexes again.
    Raises: OSError; ValueError where a shard is damaged.
    """
    for name in shard_names(layout.index):
        if name not in state.shards:
            layout.index_of(name).unlink()
    rotation = None if renew else read_rotation(layout)
    done = 0
    for name, info in sorted(state.shards.items()):
        if rotation is not None and read_index(layout, name, info.sha256, rotation) is not None:
            continue
        content = open_shard(layout.shard(name)).content
        if rotation is None:
            rotation = fit_rotation(_sample(layout, state) if renew else content)
            _write_rotation(layout, rotation)
        numbers, covered = encode_photos(rotation, content)
        index = ShardIndex(numbers, covered.to(torch.uint8))
        notes = {"shard": info.sha256, "rotation": rotation.digest, "sha256": _digest(index)}
        tensors = {"numbers": index.numbers, "covered": index.covered}
        with durable.durable_path(layout.index_of(name)) as temporary:
            temporary.write_bytes(save(tensors, {"raiha": json.dumps(notes)}))
        done += 1
    return done


def _digest(index: ShardIndex) -> str:
    found = hashlib.sha256(index.numbers.contiguous().numpy().tobytes())
    found.update(index.covered.contiguous().numpy().tobytes())
    return found.hexdigest()


def is_spoilt(layout: Layout, name: str) -> bool:
    """Whether the index of a shard is there, but not what was written: a search by it may miss photos."""
    if not layout.index_of(name).exists():
        return False
    try:
        tensors, notes = map_tensors(layout.index_of(name), ("numbers", "covered"))
        return json.loads(notes["raiha"])["sha256"] != _digest(ShardIndex(*tensors))
    except (*_BROKEN, RuntimeError):
        return True


def _sample(layout: Layout, state: State, most: int = 8) -> Tensor:
    """Photos of a few shards spread over the gallery: (n, P, D) float16."""
    names = sorted(state.shards)
    step = max(1, len(names) // most)
    return torch.cat([open_shard(layout.shard(name)).content for name in names[::step][:most]])


def _write_rotation(layout: Layout, rotation: Rotation) -> None:
    durable.make_folder(layout.index)
    tensors = {"basis": rotation.basis, "scale": rotation.scale}
    with durable.durable_path(layout.rotation) as temporary:
        temporary.write_bytes(save(tensors))


def read_rotation(layout: Layout) -> Rotation | None:
    """The gallery's rotation, None where it is missing or broken: it can always be made again."""
    try:
        tensors = load(read_regular(layout.rotation, _LARGEST))
        return Rotation(tensors["basis"].double(), tensors["scale"].double())
    except Exception as error:  # safetensors has an error type of its own, which is no ValueError
        if isinstance(error, (*_BROKEN, RuntimeError)) or type(error).__module__.startswith("safetensors"):
            return None
        raise


def read_index(layout: Layout, name: str, shard_sha256: str, rotation: Rotation) -> ShardIndex | None:
    """The index of one shard, mapped; None where it is missing, broken, or of other bytes."""
    try:
        tensors, notes = map_tensors(layout.index_of(name), ("numbers", "covered"))
        said = json.loads(notes["raiha"])
        if (said["shard"], said["rotation"]) != (shard_sha256, rotation.digest):
            return None
        index = ShardIndex(*tensors)
        right = index.numbers.dtype == torch.int8 and index.covered.dtype == torch.uint8
        right = right and index.numbers.ndim == 3 and index.numbers.shape[2] == rotation.columns
        return index if right and index.covered.shape == index.numbers.shape[:1] else None
    except (*_BROKEN, RuntimeError):
        return None
