"""One photo file -> its features, or why not."""

import stat
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ..codecs.raster import Limits
from ..features.patches import StoredPatches, store
from ..images import open_picture
from ..reasons import reason
from ..regular import file_digest
from .manifest import Entry, Photo
from .plan import PhotoFile
from .protocol import PatchEncoder
from .shots import view_of


@dataclass(frozen=True, slots=True)
class PhotoOutcome:
    """What became of one file."""

    item: PhotoFile
    entry: Entry | None = None
    patches: StoredPatches | None = None  # None where the content was known: the entry says where
    reason: str = ""  # why there is no entry
    damage: str = ""  # what is wrong with a file of which the rest was read


def read_photo(
    item: PhotoFile, folder: int, known: Mapping[str, Entry], encoder: PatchEncoder, limits: Limits
) -> PhotoOutcome:
    """Hash a file, and read and encode it unless `known` has its content. Bad files give a reason."""
    try:
        return _read(item, folder, known, encoder, limits)
    except FileNotFoundError:
        return PhotoOutcome(item, reason="gone while the gallery was built")
    except OSError as error:
        return PhotoOutcome(item, reason=_brief(reason(error), item.path))
    except ValueError as error:
        return PhotoOutcome(item, reason=_brief(reason(error), item.path))
    except MemoryError:
        return PhotoOutcome(item, reason="there is not enough memory to read it")


def _read(
    item: PhotoFile, folder: int, known: Mapping[str, Entry], encoder: PatchEncoder, limits: Limits
) -> PhotoOutcome:
    before = item.path.stat()
    if not stat.S_ISREG(before.st_mode):
        raise ValueError("not a regular file")
    digest = file_digest(item.path)
    photo = Photo(
        id=item.id,
        path="",
        size=before.st_size,
        mtime_ns=before.st_mtime_ns,
        ctime_ns=before.st_ctime_ns,
        sha256=digest,
        width=0,
        height=0,
        group=item.group,
    )
    same = known.get(digest)
    if same is not None and same.photo.view:
        photo = replace(photo, width=same.photo.width, height=same.photo.height, view=same.photo.view)
        return PhotoOutcome(item, replace(same, photo=photo, folder=folder))
    picture = open_picture(item.path, max_pixels=limits.pixels, allow_damaged=limits.damaged)
    pixels = picture.pixels
    photo = replace(photo, width=pixels.shape[3], height=pixels.shape[2], view=view_of(pixels))
    if same is not None:  # encoded by a version that stored no view
        return PhotoOutcome(item, replace(same, photo=photo, folder=folder))
    with torch.no_grad():
        patches = store(encoder.encode(pixels))
    after = item.path.stat()
    if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise ValueError("changed while it was read; build again")
    return PhotoOutcome(item, Entry(photo, folder, "", 0), patches, damage=picture.damage)


def _brief(reason: str, path: Path) -> str:
    """Without the path in front: a report names the file itself."""
    return reason.removeprefix(f"{path}: ").removeprefix(f"{path} ") or "cannot be read"
