"""Which mask belongs to which composite of a folder, and where the result goes."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ..images import Picture, list_photos, read_mask, read_picture


@dataclass(frozen=True, slots=True)
class Job:
    composite: Path
    mask: Path
    output: Path


def read_pair(composite: Path, mask: Path) -> tuple[Picture, Tensor]:
    """A picture and its mask (1, 1, H, W). Raises: ValueError naming both files where the sizes differ."""
    picture, pixels = read_picture(composite), read_mask(mask)
    if picture.pixels.shape[-2:] != pixels.shape[-2:]:
        raise ValueError(
            f"{mask} is {pixels.shape[-1]}x{pixels.shape[-2]} but {composite} is "
            f"{picture.pixels.shape[-1]}x{picture.pixels.shape[-2]}; they must have the same size"
        )
    return picture, pixels


def file_digest(path: Path) -> str:
    """SHA-256 of a file, by which a gallery knows its photos: a composite must not be its own reference."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def mask_for(composite: Path, masks: dict[str, Path]) -> Path | None:
    """The mask by equal stem, else by iHarmony4's rule: NAME_VARIANT.jpg -> NAME.png."""
    stem = composite.stem
    if stem in masks:
        return masks[stem]
    return masks.get(stem.rsplit("_", 1)[0]) if "_" in stem else None


def _by_stem(paths: Sequence[Path], what: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in paths:
        if path.stem in found:
            raise ValueError(f"two {what} have the stem '{path.stem}': {found[path.stem]} and {path}")
        found[path.stem] = path
    return found


def folder_jobs(
    composites: Sequence[Path], mask_folder: Path, output: Path, overwrite: bool
) -> tuple[list[Job], list[Job]]:
    """Jobs to do and jobs already done, in the order of the composites.

    Raises: ValueError where stems repeat, or where masks are missing
        (how many, and which first), before any work is done.
    """
    masks = _by_stem(list_photos(mask_folder), "masks")
    _by_stem(composites, "composites")
    jobs, missing = [], []
    for composite in composites:
        mask = mask_for(composite, masks)
        if mask is None:
            missing.append(composite)
        else:
            jobs.append(Job(composite, mask, output / f"{composite.stem}.png"))
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(composites)} composites have no mask in {mask_folder}; "
            f"the first is {missing[0]}"
        )
    done = [job for job in jobs if job.output.exists() and not overwrite]
    return [job for job in jobs if job not in done], done
