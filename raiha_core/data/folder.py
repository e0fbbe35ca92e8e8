"""Triples in three folders of a root, joined by equal stem: composite/, mask/, real/."""

from pathlib import Path

from .item import Triple
from .pictures import PICTURE_ENDINGS

FOLDERS = ("composite", "mask", "real")


def is_triple_folder(root: Path) -> bool:
    return all((root / name).is_dir() for name in FOLDERS)


def _by_stem(folder: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in PICTURE_ENDINGS:
            continue
        if path.stem in found:
            raise ValueError(f"'{folder}' holds two pictures named '{path.stem}'")
        found[path.stem] = f"{folder.name}/{path.name}"
    return found


def read_triples(root: Path) -> list[Triple]:
    """Items sorted by stem, without a subset.

    Raises: ValueError where a folder is missing or empty, or a stem lacks one of its three pictures
        (how many, and which first).
    """
    if not is_triple_folder(root):
        missing = next(name for name in FOLDERS if not (root / name).is_dir())
        raise ValueError(f"'{root}' has no folder '{missing}'")
    composites, masks, reals = (_by_stem(root / name) for name in FOLDERS)
    stems = sorted({*composites, *masks, *reals})
    if not stems:
        raise ValueError(f"'{root}' holds no pictures")
    lacking = [stem for stem in stems if not (stem in composites and stem in masks and stem in reals)]
    if lacking:
        raise ValueError(
            f"{len(lacking)} of {len(stems)} triples in '{root}' are incomplete, the first is '{lacking[0]}'"
        )
    return [
        Triple(id=s, subset="", root=root, composite=composites[s], mask=masks[s], real=reals[s])
        for s in stems
    ]
