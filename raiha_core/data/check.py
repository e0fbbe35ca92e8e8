"""Is a data set whole, and what about it moves scores?"""

from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from . import iharmony4, raharmony4
from .folder import is_triple_folder
from .item import Triple
from .layout import read_root
from .pictures import decode_mask, decode_rgb

ORIENTATION = 0x0112  # the EXIF tag


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What one triple shows. `problem` is '' where it can be scored."""

    item: Triple
    problem: str = ""
    missing: bool = False
    size: tuple[int, int] = (0, 0)  # width, height
    soft_mask: bool = False
    colour_mask: bool = False
    faint_mask: bool = False  # nothing left at >= 128
    oriented: bool = False
    grey: bool = False
    background_mse: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What `raiha data check` prints."""

    root: Path
    layout: str
    counts: dict[str, int]
    expected: dict[str, int]  # of the published test list; {} where it does not apply
    missing: tuple[str, ...]
    broken: tuple[str, ...]
    pitfalls: tuple[str, ...]
    lists: dict[str, str] = field(default_factory=dict)  # list file -> what it holds

    @property
    def whole(self) -> bool:
        return not self.missing and not self.broken


def inspect(item: Triple) -> Facts:
    """Decode one triple and look at it."""
    for path in (item.composite_path, item.mask_path, item.real_path):
        if not path.is_file():
            return Facts(item=item, problem=f"'{path}' does not exist", missing=True)
    try:
        composite, mask, real = (
            decode_rgb(item.composite_path),
            decode_mask(item.mask_path),
            decode_rgb(item.real_path),
        )
    except ValueError as error:
        return Facts(item=item, problem=str(error))
    if composite.shape != real.shape or composite.shape[:2] != mask.shape:
        sizes = ", ".join(f"{x.shape[1]}x{x.shape[0]}" for x in (composite, mask, real))
        return Facts(item=item, problem=f"'{item.id}': composite, mask and real differ in size ({sizes})")
    if not mask.any():
        return Facts(item=item, problem=f"'{item.mask_path}' is empty")
    with Image.open(item.mask_path) as image:
        mode = image.mode
    with Image.open(item.composite_path) as image:
        oriented, grey = image.getexif().get(ORIENTATION, 1) != 1, image.mode == "L"
    sample = np.s_[::4, ::4]  # a sixteenth of the pixels: only a hint is wanted
    outside = mask[sample] == 0
    difference = composite[sample][outside].astype(np.float32) - real[sample][outside]
    return Facts(
        item=item,
        size=(composite.shape[1], composite.shape[0]),
        soft_mask=bool(((mask > 0) & (mask < 255)).any()),
        colour_mask=mode not in ("1", "L"),
        faint_mask=not (mask >= 128).any(),
        oriented=oriented,
        grey=grey,
        background_mse=float((difference**2).mean()) if outside.any() else 0.0,
    )


def _share(facts: list[Facts], chosen: Iterable[Facts]) -> str:
    found = list(chosen)
    return f"{len(found)} of {len(facts)} (first: {found[0].item.id})" if found else ""


def pitfalls(facts: list[Facts]) -> tuple[str, ...]:
    """Sentences about what in these triples makes protocols disagree."""
    whole = [f for f in facts if not f.problem]
    adobe = [f for f in whole if f.item.subset == "HAdobe5k"]
    checks = (
        (
            [f for f in whole if f.soft_mask],
            "masks have grey edges: C weighs by them, A cuts at 128, B dithers them into speckle",
        ),
        (
            [f for f in whole if f.faint_mask],
            "masks have nothing at 128 or above: empty, and an error, under A",
        ),
        ([f for f in whole if f.colour_mask], "masks have several channels: the first is taken"),
        (
            [f for f in whole if f.oriented],
            "pictures carry an EXIF orientation: ignored, as published scripts do",
        ),
        ([f for f in whole if f.grey], "composites are grey JPEGs: converted to RGB"),
        (
            [f for f in whole if f.background_mse > 0.01],
            "backgrounds differ from the real photo (JPEG): protocols that count them (DoveNet, iDIH) differ",
        ),
        (
            [f for f in adobe if max(f.size) <= 1024],
            "HAdobe5k photos are at most 1024 pixels long, a shrunk copy: C must not be compared with "
            "published full-resolution figures",
        ),
        (
            [f for f in adobe if max(f.size) > 1024],
            "HAdobe5k photos have their own size: iDIH's and PCT-Net's LR figures used copies of 1024",
        ),
        (
            [f for f in whole if f.size in ((256, 256), (512, 512))],
            "triples are squares of a preprocessing script: only B is meaningful on them",
        ),
    )
    return tuple(f"{_share(whole, found)} {text}" for found, text in checks if found)


def _lists(root: Path) -> dict[str, str]:
    """What each list file of an iHarmony4 root holds; a bad list says what is wrong with it."""
    found = {}
    for path in sorted([*root.glob("*.txt"), *root.glob("*.jsonl"), *root.glob("*/*_t*.txt")]):
        try:
            if path.suffix == ".jsonl":
                names = [entry.input for entry in raharmony4.read_references(path)]
            else:
                names = iharmony4.read_list(path)
            subsets = Counter(iharmony4.parse_name(name).subset for name in names)
            text = f"{len(names)} items" + "".join(f", {k} {v}" for k, v in sorted(subsets.items()))
        except ValueError as error:
            text = f"not a list of composites: {error}"
        found[path.relative_to(root).as_posix()] = text
    return found


def check_data_set(
    root: Path,
    list_file: Path | None = None,
    workers: int = 2,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Decode every triple of a list and report.

    Args: progress: called with how many triples are done, and of how many.
    Raises: ValueError where the folder is no data set or the list cannot be read.
    """
    items = read_root(root, list_file)
    facts: list[Facts] = []
    with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        for fact in pool.map(inspect, items):
            facts.append(fact)
            progress(len(facts), len(items))
    triples = is_triple_folder(root)
    expected: dict[str, int] = {}
    if not triples:
        expected = (
            raharmony4.LISTED_COUNTS if list_file and list_file.suffix == ".jsonl" else iharmony4.TEST_COUNTS
        )
        if list_file and list_file.name == iharmony4.TRAIN_LIST:
            expected = iharmony4.TRAIN_COUNTS
    return Report(
        root=root,
        layout="triples by equal name" if triples else "iHarmony4",
        counts=dict(sorted(Counter(item.subset for item in items).items())),
        expected=dict(expected),
        missing=tuple(f.problem for f in facts if f.missing),
        broken=tuple(f.problem for f in facts if f.problem and not f.missing),
        pitfalls=pitfalls(facts),
        lists={} if triples else _lists(root),
    )
