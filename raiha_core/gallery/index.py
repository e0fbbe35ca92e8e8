"""The derived index of a gallery: for each shard a small file that a search reads in the shard's place.

Everything in the folder `index` can be deleted at any time: a search then reads the shards, and the next
writer builds it again. A file counts only where it names the very bytes of the shard that it covers, and
the rotation that lies beside it.

Shapes: n photos, P patches each, D content numbers, K numbers of the index per patch.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

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

    def numbers(self, rows: np.ndarray, room: Tensor) -> Tensor:
        """The numbers of covered photos, (n * P, K) float32, written into `room`."""
        patches = len(room) // max(1, len(rows))
        wide = room.view(len(rows), patches, -1)
        for here, shard, inside in self._parts(rows):
            index = self._indexes[shard]
            assert index is not None, "only covered photos are asked for"
            if bool((inside.diff() == 1).all()) and bool((here.diff() == 1).all()):  # side by side
                wide[here[0] : here[-1] + 1] = index.numbers[inside[0] : inside[-1] + 1]
            else:
                wide[here] = index.numbers[inside].float()
        return room

    def content(self, rows: np.ndarray, patches: np.ndarray) -> Tensor:
        """Single patches of photos, pairwise: (m, D) float16."""
        dim = self.rotation.dim
        found = torch.empty(len(rows), dim, dtype=torch.float16)
        for here, shard, inside in self._parts(rows):
            stored = self._shards[shard].content
            place = inside * stored.shape[1] + torch.from_numpy(patches)[here]
            part = stored.flatten(0, 1).index_select(0, place)
            if len(part) == len(rows):
                return part
            found[here] = part
        return found

    def histograms(self, rows: np.ndarray) -> Tensor:
        """All histograms of photos: (n * P, K) uint8."""
        found = [(here, self._shards[shard].histogram[inside]) for here, shard, inside in self._parts(rows)]
        joined = torch.empty(len(rows), *found[0][1].shape[1:], dtype=torch.uint8)
        for here, part in found:
            joined[here] = part
        return joined.flatten(0, 1)

    def _parts(self, rows: np.ndarray) -> list[tuple[Tensor, int, Tensor]]:
        """Which of the rows lie in which shard, and where: (positions, shard, rows inside)."""
        of, inside = self._shard_of[rows], self._row_in[rows]
        parts = []
        for number in np.unique(of):
            here = np.flatnonzero(of == number)
            parts.append((torch.from_numpy(here), int(number), torch.from_numpy(inside[here])))
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
    tensors = {"basis": rotation.basis, "scale": torch.tensor([rotation.scale], dtype=torch.float64)}
    with durable.durable_path(layout.rotation) as temporary:
        temporary.write_bytes(save(tensors))


def read_rotation(layout: Layout) -> Rotation | None:
    """The gallery's rotation, None where it is missing or broken: it can always be made again."""
    try:
        tensors = load(read_regular(layout.rotation, _LARGEST))
        return Rotation(tensors["basis"], float(tensors["scale"][0]))
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
