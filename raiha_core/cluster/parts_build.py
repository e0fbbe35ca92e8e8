"""Galleries built by parts: each subfolder of a photo folder by a worker of a cluster, then united."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..codecs.raster import MAX_PIXELS
from ..features.encoders import build_encoder
from ..gallery.build import BuildReport, build
from ..gallery.listing import folder_group, list_folder
from ..gallery.united import unite
from .connection import join, ray_module

ATTEMPTS_AT_A_PART = 3  # each goes on where the one before was killed


@dataclass(frozen=True, kw_only=True, slots=True)
class PartRules:
    """How every part is built; as the arguments of `gallery.build.build`."""

    encoder: str = "lite0"
    encoder_weights: Path | None = None
    device: str = "cpu"
    workers: int = 1
    group_by: str = ""
    max_pixels: int = MAX_PIXELS
    allow_damaged: bool = False


def build_parts(
    photos: str | Path,
    united: str | Path,
    address: str,
    rules: PartRules,
    *,
    progress: Callable[[int, int, str], object] | None = None,
) -> list[BuildReport]:
    """Build UNITED/parts/NAME of each subfolder NAME, and unite them; a second call goes on.

    Ids, contents and groups are those of a gallery of the whole folder. Nothing is encoded twice.

    Args: progress: called with (photos done, photos in all, name of the part just done).
    Raises: ValueError where photos lie outside of subfolders, or a part cannot be built;
        ConnectionError where no cluster answers or a part's workers keep dying, naming the part.
    """
    folder, place = Path(photos).resolve(), Path(united).resolve()
    listing = list_folder(folder)
    counts: dict[str, int] = {}
    for file in listing.files:
        name, inside, _ = file.partition("/")
        if not inside:
            raise ValueError(f"{folder / file} lies in no subfolder: a gallery is built by its subfolders")
        counts[name] = counts.get(name, 0) + 1
    if not counts:
        raise ValueError(f"photo folder {folder} holds no photos; nothing was changed")
    join(address)
    ray = ray_module()
    task = ray.remote(num_cpus=1, max_retries=ATTEMPTS_AT_A_PART - 1)(_build_part)
    waiting = {
        task.remote(folder / name, place / "parts" / name, rules): name
        for name in sorted(counts, key=lambda name: (-counts[name], name))  # the longest first
    }
    reports: dict[str, BuildReport] = {}
    while waiting:
        (ready, *_), _ = ray.wait(list(waiting), num_returns=1)
        name = waiting.pop(ready)
        try:
            reports[name] = ray.get(ready)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except ray.exceptions.RayError as error:
            raise ConnectionError(f"the part '{name}' was not built: {type(error).__name__}") from None
        if progress is not None:
            progress(sum(counts[done] for done in reports), sum(counts.values()), name)
    unite(place, [(name, place / "parts" / name) for name in sorted(reports)])
    return [reports[name] for name in sorted(reports)]


def _build_part(photos: Path, store: Path, rules: PartRules) -> BuildReport:
    groups = None
    if rules.group_by == "folder":  # by the path from the folder of all parts
        files = list_folder(photos).files
        groups = {file: folder_group(f"{photos.name}/{file}") for file in files}
    return build(
        photos,
        store,
        encoder=build_encoder(rules.encoder, weights=rules.encoder_weights, device=rules.device),
        workers=rules.workers,
        groups=groups,
        max_pixels=rules.max_pixels,
        allow_damaged=rules.allow_damaged,
    )
