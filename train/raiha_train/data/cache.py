"""Decoded photos at one size, packed in two memory-mapped files: reading never limits the device.

Layout of a cache folder: images.npy (N, S, S, 3) uint8, masks.npy (N, S, S) uint8 (0 where there is no
mask), rows.json (what is in it). The folder appears whole or not at all.
"""

import json
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from PIL import Image
from torch import Tensor

from raiha_core.data.pictures import decode_mask, decode_rgb
from raiha_core.durable import sync_folder, write_text
from raiha_core.resizing import resize_codes

from .photos import PhotoRow, fingerprint

VERSION = 1


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


def create_map(path: Path, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """A new .npy file of zeros, mapped for writing. Raises: OSError where the disk has no room for it."""
    values = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    if hasattr(os, "posix_fallocate"):  # else a full disk would end the process on the write that meets it
        with open(path, "rb+") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return values


def _decode(row: PhotoRow, size: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
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
    workers: int = 2,
    allowed_bad: float = 0.01,
    progress: Callable[[int, int], object] | None = None,
) -> PhotoCache:
    """The packed photos, made on first use and read from `folder` after that.

    Args:
        size: S, the side of the square each photo is squashed to.
        folder: where caches lie; each set of rows and size has a folder of its own in it.
        allowed_bad: share of unreadable photos that are skipped; more are an error.
    Raises: ValueError naming how many photos cannot be read and the first of them; OSError where the
        disk is full, with nothing half made left behind.
    """
    if not rows:
        raise ValueError("there is no photo to pack")
    rows = list(rows)
    mark = fingerprint(rows)
    target = folder / f"{mark}-{size}"
    if not (target / "rows.json").is_file():
        _make(rows, size, target, workers, allowed_bad, progress)
    about = json.loads((target / "rows.json").read_text(encoding="utf-8"))
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


def _make(
    rows: list[PhotoRow],
    size: int,
    target: Path,
    workers: int,
    allowed_bad: float,
    progress: Callable[[int, int], object] | None,
) -> None:
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    part.mkdir(parents=True)
    try:
        images = create_map(part / "all_images.npy", (len(rows), size, size, 3), np.uint8)
        masks = create_map(part / "all_masks.npy", (len(rows), size, size), np.uint8)
        skipped: list[tuple[str, str]] = []
        good = []
        with ThreadPoolExecutor(workers) as pool:
            jobs = [pool.submit(_decode, row, size) for row in rows]
            for i, job in enumerate(jobs):
                try:
                    images[i], masks[i] = job.result()
                    good.append(i)
                except (ValueError, OSError) as error:
                    skipped.append((rows[i].id, str(error)))
                    if len(skipped) > allowed_bad * len(rows):
                        for left in jobs:
                            left.cancel()
                        raise ValueError(
                            f"{len(skipped)} of {len(rows)} photos cannot be read (allowed: "
                            f"{allowed_bad:.1%}); the first: {skipped[0][1]}"
                        ) from None
                if progress is not None:
                    progress(i + 1, len(rows))
        _keep(images, good, part / "images.npy")
        _keep(masks, good, part / "masks.npy")
        del images, masks
        for name in ("all_images.npy", "all_masks.npy"):
            (part / name).unlink(missing_ok=True)
        write_text(part / "rows.json", json.dumps({"version": VERSION, "skipped": skipped}))
        if target.exists():  # a folder without rows.json: an older, broken attempt
            shutil.rmtree(target)
        part.rename(target)
        sync_folder(target.parent)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


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
