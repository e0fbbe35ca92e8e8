"""Gather photos to train on from folders of known layout: small copies, masks, groups, kinds, one manifest.

    python train/gather_photos.py --photos PHOTOS --checkouts FOLDER --beside DEV_SETS --out GATHERED
    python train/gather_photos.py --own-shoots --checkouts FOLDER --out SHOOTS    # to measure by

PHOTOS holds a manifest.jsonl of its own, whose rows are taken as they are. FOLDER holds checkouts of the
repositories of SOURCES as owner+name; those that are not there are left out, and named. Photos that look
like one below a --beside folder are left out, so that nothing is trained on what it is measured by; so are
those in black and white.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from tqdm import tqdm

from raiha_core.data.pictures import decode_mask, decode_rgb
from raiha_core.durable import write_text
from raiha_core.images import list_photos
from raiha_core.resizing import BILINEAR, resize_picture, shrink_within

from ..command import command_parser, exit_code
from ..data.photos import read_manifest

COPY_SIDE = 320  # the long side of the copies
GREY = 2.0  # of 255, mean spread of a pixel's channels: a picture with less has no colour to learn from
NEAR = 5  # of 64 bits: pictures whose signs of brightness differ in fewer are taken for the same


@dataclass(frozen=True, kw_only=True, slots=True)
class PhotoRepository:
    """One public repository of photographs, at the commit that was looked through."""

    repository: str
    commit: str
    photos: str  # pattern
    licence: str
    masks: str | None = None  # folder of PNG masks of the photos' names
    outlines: str = ""  # file beside the photos, of COCO's format: the largest object of each is its mask
    numbers: range | None = None  # of photos named by a number; the others are kept for measuring
    every: int = 1  # of the photos in order, one in so many is taken: variety, not bulk
    # a folder's photos show one and the same thing: kept for measuring what such photos are worth
    own_shoots: bool = False
    leave_out: str = ""  # pattern of what is no photograph, or may be in a set to measure by


REPOSITORIES = (
    PhotoRepository(
        repository="total-black/U2Net-ECSSD-Evaluation",
        commit="244b47300a096c131666c02ed51c809db756dc0c",
        photos="data/ECSSD/images/*.jpg",
        masks="data/ECSSD/ground_truth_mask",
        numbers=range(1, 601),
        licence="none stated (ECSSD)",
    ),
    PhotoRepository(
        repository="NilsRublein/DL",
        commit="c7b007c1388c5bb95a6994c160e9ce5ed4515618",
        photos="data/images/*.png",
        licence="none stated",
    ),
    PhotoRepository(
        repository="jbhuang0604/SelfExSR",
        commit="8f6dd8c1d20cb7e8792a7177b4f6fd677633f598",
        photos="data/*/image_SRF_[48]/*_HR.png",
        licence="none stated (Urban100, Sun-Hays80, BSD100)",
    ),
    PhotoRepository(
        repository="zhangtao7750/syn",
        commit="f0503091488f67b6809a6da2eaa43c25f2f277fc",
        photos="hymenoptera_data/*/*/*.jpg",
        licence="none stated",
    ),
    PhotoRepository(
        repository="djbielejeski/Stable-Diffusion-Regularization-Images-man_unsplash",
        commit="279c4a62da2a409c4e21137aef0ed192ec1b101e",
        photos="man_unsplash/*.jpg",
        licence="none stated (Unsplash)",
    ),
    PhotoRepository(
        repository="chanakya2734/Image-classification-using-CNN",
        commit="bf746c6e53f1edacd97b383de350f7a495cef0e1",
        photos="dataset/test_set/*/*.jpg",
        every=4,
        licence="none stated (cats and dogs)",
    ),
    PhotoRepository(
        repository="google/dreambooth",
        commit="4f887af7970a06fc0cd3adaa1d0b368547d6a1d0",
        photos="dataset/*/*.jpg",
        own_shoots=True,
        leave_out="red_cartoon/*",
        licence="CC BY 4.0 (Unsplash)",
    ),
    PhotoRepository(
        repository="maxogden/cats",
        commit="97329b40d7bf3e0fc05314f7d1422e8c08a95a1a",
        photos="cat_photos/*.jpg",
        licence="BSD (README)",
    ),
    PhotoRepository(
        repository="BernieChen96/ImageClassification",
        commit="69098f42fc2c4a7cc3b753065b936380406b53d6",
        photos="JPEGImages/*.jpg",
        licence="none stated (streets, cars, trains, people, cats)",
    ),
    PhotoRepository(
        repository="KomaHomu/Applying-Mask-RCNN-in-endangered-animals-detection",
        commit="609dc5553c744a77dca2dfd3eb433cb4ad02042d",
        photos="dataset/*/*.jpg",
        outlines="_annotations.coco.json",
        leave_out=f"000000{'[0-9]' * 6}_*",  # COCO's numbers: iHarmony4's HCOCO is made of such
        licence="CC BY 4.0 (dataset/*/_annotations.coco.json)",
    ),
)


def photo_name(name: str) -> str:
    """A file name of its own for each photo; it also decides which side of the validation split it is on."""
    return hashlib.sha256(name.encode()).hexdigest()[:16]


def brightness_signs(image: Image.Image) -> NDArray[np.uint8]:
    """64 bits that say where a tiny copy grows brighter to the right: alike for alike pictures."""
    grey = np.asarray(resize_picture(image.convert("L"), (9, 8), BILINEAR)).astype(int)
    return np.packbits((grey[:, 1:] > grey[:, :-1]).ravel())


def listed(photos: Path) -> Iterator[dict[str, Any]]:
    """The rows of `photos`/manifest.jsonl, with `image` and `mask` as full paths.

    `mask` is None where none is named. `key` and `mask_key` are the same two relative to the folder, so
    that they stay equal wherever it lies.
    Raises: ValueError naming the line that is no photo; OSError where there is no manifest.
    """
    for entry in read_manifest(photos / "manifest.jsonl"):
        mask = entry.get("mask")
        places = {"image": photos / entry["image"], "mask": None if mask is None else photos / mask}
        yield {**entry, **places, "key": entry["image"], "mask_key": mask}


def found_in(checkouts: Path, *, own_shoots: bool) -> Iterator[dict[str, Any]]:
    """Photos of SOURCES, of those that are own shoots or of the others, alike."""
    for source in REPOSITORIES:
        if source.own_shoots != own_shoots:
            continue
        root = checkouts / source.repository.replace("/", "+")
        found = sorted(p for p in root.glob(source.photos) if not p.match(source.leave_out or "-"))
        if not found:
            print(f"gather_photos: no {source.photos} in {root}, left out", file=sys.stderr)
        for path in found[:: source.every]:
            if source.numbers is not None and not (path.stem.isdigit() and int(path.stem) in source.numbers):
                continue
            mask = None if source.masks is None else root / source.masks / f"{path.stem}.png"
            name = f"{source.repository}/{path.relative_to(root).as_posix()}"
            entry = {"image": path, "mask": mask, "key": name, "mask_key": name}
            entry |= {"source": source.repository, "license": source.licence}
            if source.outlines:
                entry |= outlined(path.parent / source.outlines).get(path.name, {})
            if own_shoots:
                entry["group"] = f"{source.repository}/{path.parent.name}"
            yield entry


@lru_cache
def outlined(path: Path) -> dict[str, dict[str, Any]]:
    """The largest object of each photo in a file of COCO's format: its polygons ("mask") and kind ("cls").

    Raises: ValueError naming the file that is no such file.
    """
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        names = {image["id"]: image["file_name"] for image in told["images"]}
        kinds = {category["id"]: category["name"] for category in told["categories"]}
        objects = sorted(told["annotations"], key=lambda thing: thing["area"])  # the last one wins
        return {
            names[thing["image_id"]]: {"mask": thing["segmentation"], "cls": kinds[thing["category_id"]]}
            for thing in objects
            if isinstance(thing["segmentation"], list)
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no list of objects in COCO's format: {error!r}") from None


def small(path: Path) -> tuple[Image.Image, tuple[int, int]]:
    """A photo's copy, and the size it was."""
    picture = Image.fromarray(decode_rgb(path))
    return shrink_within(picture, COPY_SIDE), picture.size


def small_mask(mask: Path | list[list[float]], size: tuple[int, int]) -> Image.Image:
    """A mask's copy, from its file or from polygons x, y, x, y, ... on a photo of that size."""
    if isinstance(mask, Path):
        picture = Image.fromarray(decode_mask(mask))
    else:
        picture = Image.new("L", size)
        pen = ImageDraw.Draw(picture)
        for polygon in mask:
            if len(polygon) >= 6:
                pen.polygon(polygon, fill=255)
    return shrink_within(picture, COPY_SIDE)


def copy_all(
    entries: Sequence[dict[str, Any]], kept: Sequence[NDArray[np.uint8]], out: Path
) -> tuple[list[str], int, int]:
    """Small copies of all photos that may be trained on.

    Args: kept: `brightness_signs` of what is measured by.
    Returns: the lines of the manifest; how many look like one to measure by, and how many have no colour.
    """
    lines, near, grey = [], 0, 0
    for entry in tqdm(entries, unit="img", disable=not sys.stderr.isatty()):
        try:
            image, size = small(entry["image"])
            shape = None if entry["mask"] is None else small_mask(entry["mask"], size)
        except ValueError as error:
            print(f"gather_photos: {error}, left out", file=sys.stderr)
            continue
        if np.ptp(np.asarray(image), axis=2).mean() < GREY:
            grey += 1
            continue
        bits = brightness_signs(image)
        if any(int(np.unpackbits(bits ^ other).sum()) < NEAR for other in kept):
            near += 1
            continue
        line = {k: v for k, v in entry.items() if k not in ("mask", "key", "mask_key")}
        line["image"] = f"images/{photo_name(entry['key'])}.jpg"
        image.save(out / line["image"], quality=95)
        if shape is not None:
            line["mask"] = f"masks/{photo_name(entry['mask_key'])}.png"
            shape.save(out / line["mask"])
        lines.append(json.dumps(line, sort_keys=True))
    return lines, near, grey


def gather_and_count(arguments: argparse.Namespace) -> None:
    """Copy the photos, write their manifest and say what was left out."""
    if (arguments.out / "images").is_dir() and any((arguments.out / "images").iterdir()):
        raise ValueError(f"{arguments.out} holds photos already: give a new folder, or empty it")
    kept = [brightness_signs(Image.open(p)) for folder in arguments.beside for p in list_photos(folder)]
    rows = [] if arguments.own_shoots else list(listed(arguments.photos))
    rows += found_in(arguments.checkouts, own_shoots=arguments.own_shoots)
    for name in ("images", "masks"):
        (arguments.out / name).mkdir(parents=True, exist_ok=True)
    lines, near, grey = copy_all(rows, kept, arguments.out)
    write_text(arguments.out / "manifest.jsonl", "\n".join(lines) + "\n")
    print(
        f"{len(lines)} rows in {arguments.out}; left out {near} that look like one to measure by, "
        f"{grey} without colour"
    )


def main(argv: list[str] | None = None) -> int:
    parser = command_parser(__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--photos", type=Path, help="folder with a manifest.jsonl")
    what.add_argument("--own-shoots", action="store_true", help="those photos of one thing, and no others")
    parser.add_argument("--checkouts", type=Path, required=True, help="folder of checkouts, owner+name each")
    parser.add_argument("--beside", type=Path, nargs="*", default=[], help="folders to measure by")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args(argv)
    return exit_code("gather_photos", lambda: gather_and_count(arguments))
