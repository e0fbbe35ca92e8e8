"""The photos that may be retrieved, as a folder of links and a gallery of their features."""

import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from PIL import Image

from raiha_core.data.check import ORIENTATION
from raiha_core.data.iharmony4 import parse_name, read_list
from raiha_core.durable import durable_path
from raiha_core.gallery.build import build
from raiha_core.gallery.protocol import PatchEncoder
from raiha_core.gallery.store import StoredGallery, open_gallery


def reals_of(names: Iterable[str]) -> list[str]:
    """Real photos of a list of composites, each once, sorted."""
    return sorted({parse_name(name).real_path for name in names})


def present_reals(root: Path, list_file: Path) -> list[str]:
    """Real photos of a list, relative to `root`.

    Raises: ValueError naming the list where it is empty, or saying how many photos are missing.
    """
    reals = reals_of(read_list(list_file))
    if not reals:
        raise ValueError(f"the list '{list_file}' is empty: the pool would hold no photo")
    missing = [real for real in reals if not (root / real).is_file()]
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(reals)} photos of '{list_file}' are missing, the first is "
            f"'{root / missing[0]}'"
        )
    return reals


def is_shown_as_stored(path: Path) -> bool:
    """Whether a viewer that applies orientation and colour profile shows the very pixels that are stored.

    What is no picture counts as such: the gallery says what is wrong with it.
    """
    try:
        with Image.open(path) as image:
            return not image.info.get("icc_profile") and image.getexif().get(ORIENTATION, 1) == 1
    except (OSError, SyntaxError):
        return True


def without_metadata(data: bytes) -> bytes:
    """A JPEG's bytes without EXIF, XMP and colour profile (APP1, APP2); the coded pixels stay as they are.

    Raises: ValueError where the bytes are no JPEG.
    """
    if data[:2] != b"\xff\xd8":
        raise ValueError("no JPEG begins like this")
    kept, place = [data[:2]], 2
    while place + 4 <= len(data) and data[place] == 0xFF and data[place + 1] != 0xDA:  # up to the scan
        end = place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        if data[place + 1] not in (0xE1, 0xE2):
            kept.append(data[place:end])
        place = end
    return b"".join([*kept, data[place:]])


def _put(source: Path, target: Path) -> None:
    """The photo as its data set's readers see it: a link, or a copy without what turns or recolours it.

    Galleries apply orientation and profile, as users want it; composites and masks know nothing of either.
    """
    if not is_shown_as_stored(source):
        if target.is_symlink() or not target.is_file():
            with durable_path(target) as temporary:
                temporary.write_bytes(without_metadata(source.read_bytes()))
        return
    _link(source, target)


def _link(source: Path, target: Path) -> None:
    """A symbolic link; a copy where the system refuses links (Windows without the privilege)."""
    try:
        os.symlink(source, target)
    except FileExistsError:
        return
    except OSError:
        with durable_path(target) as temporary:
            shutil.copyfile(source, temporary)


def make_pool(root: Path, reals: Sequence[str], folder: Path) -> None:
    """Make `folder` hold exactly these photos, under their paths in the data set."""
    wanted = set(reals)
    for path in sorted(folder.rglob("*.jpg")):
        if path.relative_to(folder).as_posix() not in wanted:
            path.unlink()
    for real in reals:
        target = folder / real
        target.parent.mkdir(parents=True, exist_ok=True)
        _put((root / real).resolve(), target)


def make_gallery(
    root: Path,
    reals: Sequence[str],
    out: Path,
    encoder: PatchEncoder,
    workers: int,
    progress: Callable[[int, int, str], object],
) -> StoredGallery:
    """The gallery of a pool; an interrupted build goes on, a finished one is only opened.

    Raises: ValueError where a photo of the pool cannot be used: a list must not depend on luck.
    """
    make_pool(root, reals, out / "pool")
    report = build(out / "pool", out / "store", encoder=encoder, workers=workers, progress=progress)
    if report.bad:
        first = report.bad[0]
        raise ValueError(
            f"{len(report.bad)} photos of the pool cannot be used, the first is '{first.id}': {first.reason}"
        )
    return open_gallery(out / "store")
