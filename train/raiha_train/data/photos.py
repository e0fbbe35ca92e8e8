"""Photos to train on: where they lie, which masks they have, and which of them belong together."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raiha_core.images import list_photos
from raiha_core.opening import read_list_text

_GROUP_FIELDS = ("group", "sequence", "labelme")  # the first one a manifest row has names its group
_BUCKETS = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class PhotoRow:
    """One photo with at most one mask; rows of one group show the same place, object or picture."""

    id: str
    image: Path
    mask: Path | None
    group: str
    kind: str = ""  # what the mask shows, where the manifest says so


def read_photos(root: Path) -> list[PhotoRow]:
    """Rows of `root/manifest.jsonl` (image, mask, group | sequence | labelme), or every photo below `root`.

    Raises: ValueError naming the manifest's line that is no row, or the folder without a photo.
    """
    manifest = root / "manifest.jsonl"
    if not root.is_dir():
        raise ValueError(f"there is no folder of photos {root}")
    if manifest.is_file():
        rows = _read_manifest(root, manifest)
    else:
        rows = [
            PhotoRow(id=path.relative_to(root).as_posix(), image=path, mask=None, group="")
            for path in list_photos(root)
        ]
    if not rows:
        raise ValueError(f"{root} holds no photo")
    return rows


def read_manifest(manifest: Path) -> list[dict[str, Any]]:
    """The rows of a manifest as they are. Raises: ValueError naming the line that is no photo."""
    entries = []
    for number, line in enumerate(read_list_text(manifest).splitlines(), 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            if not isinstance(entry["image"], str):
                raise TypeError("image is no name")
            if not isinstance(entry.get("mask"), str | None):
                raise TypeError("mask is no name")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"{manifest}, line {number} is no photo: {error!r}") from None
        entries.append(entry)
    return entries


def _read_manifest(root: Path, manifest: Path) -> list[PhotoRow]:
    rows = []
    for entry in read_manifest(manifest):
        if entry.get("kind", "photo") != "photo":
            continue  # cut-outs have no background
        image, mask = entry["image"], entry.get("mask")
        group = next((str(entry[name]) for name in _GROUP_FIELDS if entry.get(name)), "")
        rows.append(
            PhotoRow(
                id=image if mask is None else f"{image}|{mask}",
                image=root / image,
                mask=None if mask is None else root / mask,
                group=group,
                kind=str(entry.get("cls") or ""),
            )
        )
    return rows


def in_validation(row: PhotoRow, share: float, seed: int = 0) -> bool:
    """Whether a row is held out: by its group, else by its photo, so that no scene is on both sides."""
    key = row.group or row.image.name
    digest = hashlib.sha256(f"{seed}:{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % _BUCKETS < share * _BUCKETS


def fingerprint(rows: list[PhotoRow]) -> str:
    """Digest of which photos and masks there are, with their sizes on disk: what a run was trained on."""
    digest = hashlib.sha256()
    for row in rows:
        files = (row.image,) if row.mask is None else (row.image, row.mask)
        sizes = " ".join(str(file.stat().st_size) if file.exists() else "-1" for file in files)
        kind = f"\0{row.kind}" if row.kind else ""
        digest.update(f"{row.id}\0{row.group}\0{sizes}{kind}\n".encode())
    return digest.hexdigest()[:16]
