"""Shard files: the features of up to 128 photos, and enough about them to stand alone.

Shapes: n photos, P patches each, D content numbers, K histogram bins.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from .. import durable
from ..features.spec import FeatureSpec, spec_from_json
from ..opening import openable
from ..reasons import reason
from ..regular import open_regular
from .manifest import Entry, Folder, ShardInfo, entry_from_line, folder_from_line, folder_line, photo_line

SUFFIX = ".safetensors"
_MOST_PHOTOS = 128  # what a kill may cost: ten seconds of encoding on two cores
_MOST_BYTES = 128 << 20  # and what a shard may take in memory before it is written
_LONGEST_HEADER = 100 << 20  # the limit of the safetensors format
_TYPES = {"F16": torch.float16, "U8": torch.uint8, "I8": torch.int8, "I64": torch.int64, "F32": torch.float32}
_NAME = re.compile(r"\d{6,}")
_TENSORS = ("content", "histogram", "norms")


@dataclass(frozen=True, slots=True)
class Shard:
    """An open shard. The tensors are mapped from the file: nothing is read until it is used."""

    content: Tensor  # (n, P, D) float16
    histogram: Tensor  # (n, P, K) uint8
    norms: Tensor  # (n, P) float32, lengths of the content vectors rounded up: for bounds and checks


@dataclass(frozen=True, slots=True)
class ShardNotes:
    """What a shard says about itself, so that a gallery outlives its manifest."""

    spec: FeatureSpec
    folders: tuple[Folder, ...]
    entries: tuple[Entry, ...]  # the photos written with it; some may have their features in an older shard
    rows: int


def capacity(spec: FeatureSpec) -> int:
    """Photos per shard: the same for every build of a space, so that shards come out the same."""
    per_photo = spec.patches * (2 * spec.dim + spec.histogram.bins + 4)
    return max(1, min(_MOST_PHOTOS, _MOST_BYTES // per_photo))


def norms_up(content: Tensor) -> Tensor:
    """Lengths of float16 vectors (..., D), as float32 numbers that are never too small."""
    exact = content.double().square().sum(-1).sqrt()
    below = exact.float()
    above = torch.nextafter(below, torch.full_like(below, torch.inf))
    # sqrt may itself have rounded down by half a unit of float64, hence the step even where equal
    return torch.where(exact == 0, below, torch.where(below.double() > exact, below, above))


def encode_shard(
    spec: FeatureSpec,
    folders: Sequence[Folder],
    entries: Sequence[Entry],
    content: Tensor,
    histogram: Tensor,
) -> bytes:
    """The bytes of a shard file; the same features and photos give the same bytes.

    Args:
        entries: the photos written with it: at least one for each row, and those that share older rows.
        content, histogram: (n, P, D) float16 and (n, P, K) uint8.
    """
    tensors = {"content": content, "histogram": histogram, "norms": norms_up(content)}
    notes: dict[str, object] = {
        "spec": spec.to_json(),
        "folders": [folder_line(index, folder) for index, folder in enumerate(folders)],
        "photos": [photo_line(entry) for entry in entries],
    }
    notes["sha256"] = _own_digest(notes, tensors)
    # one metadata entry only: the order of several is not fixed
    return save(tensors, {"raiha": json.dumps(notes, separators=(",", ":"))})


def write_shard(path: Path, rows: int, data: bytes) -> ShardInfo:
    """Put a shard's bytes on the disk. Raises: OSError, and then no file is there."""
    with durable.durable_path(path) as temporary:
        temporary.write_bytes(data)
    return ShardInfo(rows, len(data), hashlib.sha256(data).hexdigest())


def open_shard(path: Path, place: tuple[dict, int] | None = None) -> Shard:
    """Map a shard, touching none of its numbers. Raises: OSError; ValueError where it is no shard.

    `safe_open` would touch a page of each tensor, and the system then counts 2 MB of each as in use.

    Args: place: what `place_of` said of this file, so that its header need not be read.
    """
    return Shard(*map_tensors(path, _TENSORS, place)[0])


def place_of(path: Path) -> tuple[dict, int]:
    """Where the tensors of a shard lie: what its header says of each, and where the numbers start."""
    header, start = _read_header(path)
    return {name: header[name] for name in _TENSORS}, start


def map_tensors(
    path: Path, names: Sequence[str], place: tuple[dict, int] | None = None
) -> tuple[list[Tensor], dict]:
    """Some tensors of a safetensors file, mapped, and its metadata. Raises: as `open_shard`."""
    header, start = place or _read_header(path)
    size = path.stat().st_size
    try:
        with openable(path) as name:
            mapped = torch.from_file(name, shared=False, size=size, dtype=torch.uint8)
        return [_view(mapped[start:], header[name]) for name in names], header.get("__metadata__", {})
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path} is not a whole shard: {reason(error)}") from None


def _read_header(path: Path) -> tuple[dict, int]:
    """The JSON header of a safetensors file, and where its numbers start."""
    with open_regular(path) as file:
        length = int.from_bytes(file.read(8), "little")
        text = file.read(min(length, _LONGEST_HEADER))
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not a whole shard: {reason(error)}") from None
    if len(text) != length or not isinstance(header, dict):
        raise ValueError(f"{path} is not a whole shard: its header is cut")
    return header, 8 + length


def _view(numbers: Tensor, entry: dict) -> Tensor:
    """One tensor of a mapped file. Raises: RuntimeError or ValueError where its header lies."""
    first, last = entry["data_offsets"]
    if not 0 <= first <= last <= len(numbers):
        raise ValueError("it ends before its numbers do")
    if any(not isinstance(side, int) or side < 0 for side in entry["shape"]):
        raise ValueError(f"a tensor of shape {entry['shape']!r:.80}")
    return numbers[first:last].view(_TYPES[entry["dtype"]]).view(entry["shape"])


def read_notes(path: Path) -> ShardNotes:
    """What a shard says about itself, once all of it is proved whole.

    Raises: OSError; ValueError naming the file where anything in it is broken.
    """
    shard = open_shard(path)
    try:
        notes = json.loads(_read_header(path)[0]["__metadata__"]["raiha"])
        spec = spec_from_json(notes["spec"])
        folders = tuple(folder_from_line(line) for line in notes["folders"])
        entries = tuple(entry_from_line(line, len(folders)) for line in notes["photos"])
        digest = notes.pop("sha256")
    except (AttributeError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is not a whole shard: {reason(error)}") from None
    tensors = {"content": shard.content, "histogram": shard.histogram, "norms": shard.norms}
    if _own_digest(notes, tensors) != digest:
        raise ValueError(f"{path} is damaged: it does not add up to its checksum")
    return ShardNotes(spec, folders, entries, len(shard.content))


def shard_path(folder: Path, name: str) -> Path:
    return folder / f"{name}{SUFFIX}"


def next_name(used: Sequence[str]) -> str:
    """The number after the largest one in `used`."""
    return f"{max((int(name) for name in used), default=-1) + 1:06d}"


def shard_names(folder: Path) -> list[str]:
    """The shard files that lie in a folder, in order."""
    names = [path.stem for path in folder.glob(f"*{SUFFIX}") if _NAME.fullmatch(path.stem)]
    return sorted(names, key=int)


def _own_digest(notes: dict[str, object], tensors: dict[str, Tensor]) -> str:
    """What a shard says of itself, by which it can be proved without a manifest."""
    digest = hashlib.sha256(json.dumps(notes, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(np.ascontiguousarray(tensor.numpy()).data)
    return digest.hexdigest()
