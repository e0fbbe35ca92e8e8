"""Which mask belongs to which composite of a folder, and where the result goes."""

import argparse
import contextlib
import os
import sys
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..images import Picture, list_photos, read_picture
from ..mask_files import LabelAbsentError, MaskFile, read_mask_file
from ..mask_meaning import MaskWarning, Meaning, Origin, SeveralLabelsError, understand
from .reading import DEFAULT_READING, Reading, with_remedy
from .values import label

MASK_ENDING = "_mask"  # NAME_mask.png is the mask of NAME.png, also in one folder
_FRAMES, _ANNOTATIONS = "JPEGImages", "Annotations"  # the folders of DAVIS, which repeat one tree


@dataclass(frozen=True, slots=True)
class Job:
    composite: Path
    mask: Path
    output: Path


def add_mask_options(parser: argparse.ArgumentParser) -> None:
    """What `read_pair` may be told about the mask."""
    parser.add_argument("--invert-mask", action="store_true", help="black = object")
    parser.add_argument("--label", type=label, metavar="N", help="the object's value in a mask of labels")


def read_pair(
    composite: Path,
    mask: Path,
    reading: Reading = DEFAULT_READING,
    *,
    label: int | None = None,
    invert: bool = False,
    label_may_lack: bool = False,
) -> tuple[Picture, Meaning]:
    """A picture and its mask as it was meant, which is empty where `label` may lack and does.

    Raises: ValueError naming the files, as `mask_files.read_mask_file` and `mask_meaning.understand` do.
    """
    most, damaged = reading.max_pixels, reading.allow_damaged
    try:
        with with_remedy(reading):
            picture = read_picture(composite, max_pixels=most, allow_damaged=damaged)
            found = read_mask_file(mask, max_pixels=most, allow_damaged=damaged, label=label)
    except SeveralLabelsError as error:
        raise ValueError(f"{error} (--label N)") from None
    except LabelAbsentError as error:
        if not label_may_lack:
            raise
        found = MaskFile(
            values=picture.pixels.new_zeros(1, 1, *picture.pixels.shape[-2:]), notes=(str(error),)
        )
    origin = Origin(
        mask=str(mask),
        composite=str(composite),
        mask_orientation=found.orientation,
        composite_orientation=picture.orientation,
        remedy="--invert-mask turns it round",
    )
    meant = understand(picture.pixels, found.values, invert=invert, origin=origin)
    return picture, Meaning(meant.mask, found.notes + meant.notes)


@contextlib.contextmanager
def mask_notes_told() -> Iterator[None]:
    """What `read_pair` has noted with the files' names is not said again by what reads the mask next."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MaskWarning)
        yield


def _inside(path: Path, folder: Path) -> bool:
    return Path(os.path.abspath(folder)) in Path(os.path.abspath(path)).parents


def _key(stem: str) -> str:
    """A stem as masks are looked up by: NAME_Mask and NAME_MASK are NAME_mask."""
    named = stem.lower().endswith(MASK_ENDING)
    return stem[: -len(MASK_ENDING)] + MASK_ENDING if named else stem


def _is_mask_name(path: Path) -> bool:
    return path.stem.lower().endswith(MASK_ENDING)


def list_composites(folder: Path, masks: Path) -> tuple[list[Path], list[Path]]:
    """The composites below a folder, and the pictures there that are masks and so are none.

    Args: masks: the folder of masks, which may be the same one, or the one mask for all.
    A mask is what lies below `masks` where that is a folder inside, `masks` itself, what lies below
    Annotations where the folders are one, and NAME_mask.png: beside NAME.png, or where the folders are one.
    """
    photos = list_photos(folder)
    one_folder = masks.is_dir() and masks.samefile(folder)
    named = {path.with_suffix("") for path in photos}

    def is_mask(path: Path) -> bool:
        if _is_mask_name(path):
            beside = path.with_name(path.stem[: -len(MASK_ENDING)])
            if one_folder or beside in named:
                return True
        if one_folder:
            return _ANNOTATIONS in path.relative_to(folder).parts[:-1]
        if masks.is_dir():
            return _inside(masks, folder) and _inside(path, masks)
        return os.path.abspath(path) == os.path.abspath(masks)

    composites = [path for path in photos if not is_mask(path)]
    return composites, [path for path in photos if is_mask(path)]


def _list_masks(mask_folder: Path, composites: Sequence[Path]) -> list[Path]:
    """The pictures below a folder that are not composites themselves."""
    taken = {os.path.abspath(path) for path in composites}
    return [path for path in list_photos(mask_folder) if os.path.abspath(path) not in taken]


def _tree(path: Path, folder: Path) -> tuple[str, ...]:
    """The folders of a picture below `folder`, without those that part frames from annotations."""
    return tuple(part for part in path.relative_to(folder).parts[:-1] if part not in (_FRAMES, _ANNOTATIONS))


def _shared_folders(first: Path, second: Path) -> int:
    """How many folders two files lie in that are named alike, counted upwards from the files."""
    count = 0
    for one, other in zip(
        reversed(Path(os.path.abspath(first)).parts[:-1]),
        reversed(Path(os.path.abspath(second)).parts[:-1]),
        strict=False,
    ):
        if one != other:
            break
        count += 1
    return count


class Masks:
    """The masks below a folder, by their names."""

    def __init__(self, folder: Path, composite_folder: Path, composites: Sequence[Path]) -> None:
        self._folder = folder
        self._composite_folder = composite_folder
        self._by_stem: dict[str, list[Path]] = {}
        for path in _list_masks(folder, composites):
            self._by_stem.setdefault(_key(path.stem), []).append(path)
        self._repeats = Counter(path.stem for path in composites)
        self._sequences = max(self._repeats.values(), default=0) > 1

    def find(self, composite: Path) -> Path | None:
        """The mask by relative path, else by its stem, by NAME_mask, and by iHarmony4's rule
        (NAME_VARIANT.jpg -> NAME.png), each time in the folders named most like the composite's.

        Raises: ValueError naming two masks that fit equally well.
        """
        stem = composite.stem
        names = [_key(stem), stem + MASK_ENDING]
        if "_" in stem:
            names.append(stem.rsplit("_", 1)[0])
        tree = _tree(composite, self._composite_folder)
        for name in names[:2]:
            same = [path for path in self._by_stem.get(name, ()) if _tree(path, self._folder) == tree]
            if same:
                return self._only(composite, same)
        for name in names:
            if found := self._nearest(composite, self._by_stem.get(name, [])):
                return self._only(composite, found)
        return None

    def _nearest(self, composite: Path, masks: list[Path]) -> list[Path]:
        """Those in the folders named most like the composite's.

        A frame's number that comes back in every sequence says nothing without its folder.
        """
        shared = {path: _shared_folders(composite, path) for path in masks}
        most = max(shared.values(), default=0)
        numbered = self._sequences and _tree(composite, self._composite_folder)
        if most == 0 and (numbered or self._repeats[composite.stem] > 1):
            return []
        return [path for path in masks if shared[path] == most]

    @staticmethod
    def _only(composite: Path, found: list[Path]) -> Path:
        if len(found) > 1:
            raise ValueError(f"two masks fit {composite}: {found[0]} and {found[1]}; rename one")
        return found[0]


def _outputs(composites: Iterable[Path], folder: Path, output: Path) -> dict[Path, Path]:
    """Composite -> result, sub-folders kept. Raises: ValueError where two would be one file."""
    taken: dict[str, Path] = {}
    results: dict[Path, Path] = {}
    for composite in composites:
        result = output / composite.relative_to(folder).with_name(f"{composite.stem}.png")
        name = _as_one_file(result)
        if name in taken:
            raise ValueError(
                f"{taken[name]} and {composite} would both become {result}; if one of them is a mask, "
                f"name it NAME{MASK_ENDING}.png"
            )
        taken[name] = composite
        results[composite] = result
    return results


def _as_one_file(path: Path) -> str:
    """What two names have in common that are one file here: Windows and macOS fold case."""
    if sys.platform not in ("win32", "darwin"):
        return str(path)
    return unicodedata.normalize("NFC", str(path)).casefold()


def folder_jobs(
    folder: Path, masks: Path, output: Path, overwrite: bool
) -> tuple[list[Job], list[Job], list[Path]]:
    """Jobs to do, jobs already done, both in the order of the composites, and masks among the composites.

    Args: masks: a folder, which may be `folder` itself, or one mask for all.
    Raises: ValueError where there is no composite, where two masks fit one, where two results would be
        one file, or where masks are missing (how many, and which first), before any work is done.
    """
    composites, passed_over = list_composites(folder, masks)
    if not composites:
        raise ValueError(f"the folder {folder} holds no picture" + (" but masks" if passed_over else ""))
    outputs = _outputs(composites, folder, output)
    known = Masks(masks, folder, composites) if masks.is_dir() else None
    found = {composite: known.find(composite) if known else masks for composite in composites}
    missing = [composite for composite in composites if found[composite] is None]
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(composites)} composites have no mask in {masks}; "
            f"the first is {missing[0]}"
        )
    jobs = [Job(c, mask, outputs[c]) for c, mask in found.items() if mask is not None]
    done = {job for job in jobs if job.output.exists() and not overwrite}
    return [job for job in jobs if job not in done], [job for job in jobs if job in done], passed_over
