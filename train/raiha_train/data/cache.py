"""Decoded photos at one size, packed in two memory-mapped files: reading never limits the device.

Layout of a cache folder: images.npy (N, S, S, 3) uint8, masks.npy (N, S, S) uint8 (0 where there is no
mask), rows.json (what is in it). The folder appears whole or not at all (see made_once.py).
"""

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from raiha_core.data.pictures import decode_mask, decode_rgb
from raiha_core.durable import write_text
from raiha_core.resizing import resize_codes

from .made_once import DONE, ROWS, cores, create_map, keep_progress, make_once, progress_of
from .paper_copies import dithered, paper_copy
from .photos import PhotoRow, fingerprint

VERSION = 1
Copies = Literal["antialiased", "paper"]
OURS: Copies = "antialiased"
PhotoAndMask = tuple[NDArray[np.uint8], NDArray[np.uint8]]  # a photo and its mask
_CHUNK = 512  # photos between two notes of how far the packing is


@dataclass(frozen=True, slots=True)
class PhotoCache:
    """Photos and masks as bytes; index i is `rows[i]`."""

    rows: tuple[PhotoRow, ...]
    images: NDArray[np.uint8]  # (N, S, S, 3)
    masks: NDArray[np.uint8]  # (N, S, S)
    skipped: tuple[tuple[str, str], ...]  # (id, reason) of photos that could not be read
    fingerprint: str

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def size(self) -> int:
        return int(self.images.shape[1])

    def gather(self, indices: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Photos (B, 3, S, S) and masks (B, 1, S, S), uint8, and which rows have a mask (B,) bool."""
        chosen = np.asarray(indices)
        images = torch.from_numpy(self.images[chosen]).permute(0, 3, 1, 2).contiguous()
        masks = torch.from_numpy(self.masks[chosen])[:, None]
        has = torch.tensor([self.rows[i].mask is not None for i in chosen])
        return images, masks, has


@dataclass(frozen=True, slots=True)
class UnpackedPhotos:
    """The same photos without a cache: each is decoded when it is asked for. For a look, not for a run."""

    rows: tuple[PhotoRow, ...]
    size: int
    fingerprint: str
    skipped: tuple[tuple[str, str], ...] = ()
    copies: Copies = OURS

    def __len__(self) -> int:
        return len(self.rows)

    def gather(self, indices: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
        """As `PhotoCache.gather`. Raises: ValueError naming a photo that cannot be read."""
        chosen = [self.rows[i] for i in indices]
        with ThreadPoolExecutor(cores()) as pool:
            decode = _decode if self.copies == OURS else _decode_for_paper
            found = list(pool.map(decode, chosen, repeat(self.size)))
        images = torch.from_numpy(np.stack([image for image, _ in found])).permute(0, 3, 1, 2).contiguous()
        masks = torch.from_numpy(np.stack([mask for _, mask in found]))[:, None]
        return images, masks, torch.tensor([row.mask is not None for row in chosen])


class Photos(Protocol):
    """What a feed reads photos from."""

    @property
    def rows(self) -> tuple[PhotoRow, ...]: ...

    @property
    def size(self) -> int: ...

    @property
    def fingerprint(self) -> str: ...

    def gather(self, indices: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]: ...


def _decode_for_paper(row: PhotoRow, size: int) -> PhotoAndMask:
    """As `_decode`, but the copies that the paper's code trains on."""
    image = paper_copy(decode_rgb(row.image), size)
    if row.mask is None:
        return image, np.zeros((size, size), np.uint8)
    return image, dithered(paper_copy(decode_mask(row.mask), size), size)


def _decode(row: PhotoRow, size: int) -> PhotoAndMask:
    image = decode_rgb(row.image)
    mask = np.zeros(image.shape[:2], np.uint8) if row.mask is None else decode_mask(row.mask)
    if mask.shape != image.shape[:2]:
        raise ValueError(
            f"'{row.mask}' is {mask.shape[1]}x{mask.shape[0]}, its photo {image.shape[1]}x{image.shape[0]}"
        )
    # Both with antialiasing: the networks squash to a square too, and a soft mask edge is the true one.
    small = [resize_codes(x, (size, size), Image.Resampling.BILINEAR) for x in (image, mask)]
    return small[0], small[1]


def open_cache(
    rows: Sequence[PhotoRow],
    size: int,
    folder: Path,
    *,
    allowed_bad: float = 0.01,
    progress: Callable[[int, int], object] | None = None,
    mine: bool = True,
    copies: Copies = OURS,
) -> PhotoCache:
    """The packed photos, made on first use and read from `folder` after that.

    Args:
        size: S, the side of the square each photo is squashed to.
        folder: where caches lie; each set of rows and size has a folder of its own in it.
        allowed_bad: share of unreadable photos that are skipped; more are an error.
        copies: how they are squashed: antialiased, or as the paper's code does.
        mine: whether this process packs, with all cores; the others wait until it is done.
    Raises: ValueError naming how many photos cannot be read and the first of them; OSError where the
        disk is full, with nothing half made left behind. A kill leaves what is packed, and the next call
        goes on from there.
    """
    if not rows:
        raise ValueError("there is no photo to pack")
    rows = list(rows)
    mark = fingerprint(rows)
    target = cache_folder(mark, size, folder, copies)
    make_once(target, lambda part: _make(rows, size, copies, part, allowed_bad, progress), mine=mine)
    about = json.loads((target / ROWS).read_text(encoding="utf-8"))
    if about["version"] != VERSION:
        raise ValueError(f"{target} was packed by another version; delete it and run again")
    bad = {entry[0] for entry in about["skipped"]}
    kept = tuple(row for row in rows if row.id not in bad)
    images = np.load(target / "images.npy", mmap_mode="r")
    masks = np.load(target / "masks.npy", mmap_mode="r")
    if len(images) != len(kept):
        raise ValueError(
            f"{target} holds {len(images)} photos, expected {len(kept)}; delete it and run again"
        )
    return PhotoCache(kept, images, masks, tuple((a, b) for a, b in about["skipped"]), mark)


def cache_folder(mark: str, size: int, folder: Path, copies: Copies = OURS) -> Path:
    """Where the photos of a fingerprint are packed at a size."""
    return folder / (f"{mark}-{size}" if copies == OURS else f"{mark}-{size}-{copies}")


def _make(
    rows: list[PhotoRow],
    size: int,
    copies: Copies,
    part: Path,
    allowed_bad: float,
    progress: Callable[[int, int], object] | None,
) -> None:
    key = f"{VERSION} {len(rows)} {size}"
    said = progress_of(part, key)
    names = {"all_images.npy": (len(rows), size, size, 3), "all_masks.npy": (len(rows), size, size)}
    if said:
        images, masks = (np.load(part / name, mmap_mode="r+") for name in names)
    else:
        images, masks = (create_map(part / name, shape, np.uint8) for name, shape in names.items())
    begin = said.get("done", 0)
    skipped: list[tuple[str, str]] = [(name, reason) for name, reason in said.get("skipped", [])]
    bad = {name for name, _ in skipped}
    good = [i for i in range(begin) if rows[i].id not in bad]
    if begin and progress is not None:
        progress(begin, len(rows))
    with ThreadPoolExecutor(cores()) as pool:
        for start in range(begin, len(rows), _CHUNK):
            chunk = pool.map(_try, rows[start : start + _CHUNK], repeat(size), repeat(copies))
            for i, (found, reason) in enumerate(chunk, start):
                if found is None:
                    skipped.append((rows[i].id, reason))
                    if len(skipped) > allowed_bad * len(rows):
                        raise ValueError(
                            f"{len(skipped)} of {len(rows)} photos cannot be read (allowed: "
                            f"{allowed_bad:.1%}); the first: {skipped[0][1]}"
                        )
                else:
                    images[i], masks[i] = found
                    good.append(i)
                if progress is not None:
                    progress(i + 1, len(rows))
            done = min(start + _CHUNK, len(rows))
            if done < len(rows):
                keep_progress(part, key, (images, masks), done=done, skipped=skipped)
    (part / DONE).unlink(missing_ok=True)  # what comes now renames the maps: a kill begins anew
    _keep(images, good, part / "images.npy")
    _keep(masks, good, part / "masks.npy")
    del images, masks
    for name in names:
        (part / name).unlink(missing_ok=True)
    write_text(part / ROWS, json.dumps({"version": VERSION, "skipped": skipped}))


def _try(row: PhotoRow, size: int, copies: Copies) -> tuple[PhotoAndMask | None, str]:
    """A photo and its mask, or why they cannot be read."""
    try:
        return (_decode if copies == OURS else _decode_for_paper)(row, size), ""
    except (ValueError, OSError) as error:
        return None, str(error)


def _keep(values: NDArray[Any], good: list[int], path: Path) -> None:
    """The rows that could be read; a whole file only changes its name, a second one would double the disk."""
    if len(good) == len(values):
        values.flush()
        path.with_name(f"all_{path.name}").rename(path)
        return
    kept = create_map(path, (len(good), *values.shape[1:]), values.dtype)
    for start in range(0, len(good), 256):  # in parts: the whole does not fit a laptop's memory
        kept[start : start + 256] = values[good[start : start + 256]]
    kept.flush()
