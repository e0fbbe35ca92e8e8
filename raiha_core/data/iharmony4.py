"""iHarmony4 as published: four subsets, their names, and the list files.

Source: arXiv:1911.13239 and its released folders. Names are cut from the file name, never from the
path, because the folders `composite_images` and `real_images` hold underscores too.
"""

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..opening import read_list_text
from ..regular import stays_inside
from .item import Triple, require_unique

SUBSETS = ("HAdobe5k", "HFlickr", "HCOCO", "Hday2night")
TEST_COUNTS = {"HAdobe5k": 2160, "HFlickr": 828, "HCOCO": 4283, "Hday2night": 133}
TRAIN_COUNTS = {"HAdobe5k": 19437, "HFlickr": 7449, "HCOCO": 38545, "Hday2night": 311}
TEST_LIST, TRAIN_LIST = "IHD_test.txt", "IHD_train.txt"

_LETTER = {"a": "HAdobe5k", "f": "HFlickr", "c": "HCOCO", "d": "Hday2night"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Name:
    """The parts of a composite's file name `IMAGE_MASK_VARIANT.jpg`."""

    subset: str
    image: str  # the real photo's stem, "d18959-20120615-084228"
    mask: str  # "1"
    variant: str  # "6"

    @property
    def stem(self) -> str:
        return f"{self.image}_{self.mask}_{self.variant}"

    @property
    def mask_path(self) -> str:
        return f"{self.subset}/masks/{self.image}_{self.mask}.png"

    @property
    def real_path(self) -> str:
        return real_path(self.subset, self.image)


def real_path(subset: str, image: str) -> str:
    return f"{subset}/real_images/{image}.jpg"


def parse_name(path: str) -> Name:
    """The name behind 'SUBSET/composite_images/NAME.jpg'.

    Raises: ValueError naming the path where it is not of this form.
    """
    pure = PurePosixPath(path)
    parts = pure.stem.rsplit("_", 2)
    if len(parts) != 3 or not all(parts) or len(pure.parts) < 3 or pure.parts[-2] != "composite_images":
        raise ValueError(f"'{path}' is not SUBSET/composite_images/IMAGE_MASK_VARIANT.jpg")
    return Name(subset=pure.parts[-3], image=parts[0], mask=parts[1], variant=parts[2])


def subset_of(image: str) -> str:
    """The subset of a stem by its first letter. Raises: ValueError naming it where it has none."""
    if image[:1] not in _LETTER:
        raise ValueError(f"'{image}' does not begin with one of {', '.join(_LETTER)}")
    return _LETTER[image[0]]


def camera(image: str) -> str:
    """The camera of an Hday2night image, which is its id up to the first hyphen.

    'd18959-20120615-084228' -> 'd18959'; an id without a hyphen is returned whole.
    """
    return image.split("-", 1)[0]


def number(image: str) -> int:
    """The number in an id of HAdobe5k, HFlickr or HCOCO: 'a0041' -> 41. Raises: ValueError naming it."""
    match = re.fullmatch(r"[afc](\d+)", image)
    if match is None:
        raise ValueError(f"'{image}' has no image number")
    return int(match.group(1))


def triple(root: Path, path: str) -> Triple:
    """The item behind one line of a list file.

    Raises: ValueError naming a path that leads out of the data folder, or is not of its form.
    """
    if not stays_inside(path):
        raise ValueError(f"'{path:.200}' leads out of the data folder")
    name = parse_name(path)
    return Triple(
        id=name.stem, subset=name.subset, root=root, composite=path, mask=name.mask_path, real=name.real_path
    )


def read_list(path: Path) -> list[str]:
    """Lines of a list file, 'SUBSET/composite_images/NAME.jpg', in order; empty lines are dropped.

    A subset's own list (SUBSET_test.txt) holds bare names; they get their folder here.
    Raises: ValueError where the file is missing or not text.
    """
    try:
        lines = read_list_text(path).split("\n")
    except FileNotFoundError:
        raise ValueError(f"the list '{path}' does not exist") from None
    names = [line.strip().replace("\\", "/") for line in lines if line.strip()]
    return [n if "/" in n else f"{subset_of(n)}/composite_images/{n}" for n in names]


def read_iharmony4(root: Path, list_file: str | Path = TEST_LIST) -> list[Triple]:
    """Items of a list file (relative to `root` unless absolute), in its order.

    The files themselves are not looked at. Raises: ValueError naming the line or the repeated item.
    """
    return require_unique([triple(root, path) for path in read_list(root / list_file)])
