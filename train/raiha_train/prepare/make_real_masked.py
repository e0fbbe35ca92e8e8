"""Recolour the objects of real photos with measured lights: triples for evaluation, the same bytes each time.

    python train/make_real_masked.py --photos PHOTOS --illuminants CCHARMONY --out TRIPLES

PHOTOS holds manifest.jsonl with "image" and "mask" per line; CCHARMONY is the data set's folder of
colour matrices with its test_list.txt. TRIPLES gets composite/, mask/ and real/ for evaluate.py.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from raiha_core.data.pictures import decode_mask, decode_rgb
from raiha_core.data.raharmony4 import seeded_generator
from raiha_core.durable import durable_path, write_text
from raiha_core.images import write_picture

from ..command import command_parser, exit_code
from ..data.batch import as_batch
from ..data.photos import read_manifest
from ..data.recolour import illuminant_names, listed_lights, polynomial
from ..evaluation.metrics import foreground_mse

FMSE = (100.0, 6000.0)  # weaker is not a composite to correct, stronger no light we know
CLIPPED = 0.15  # largest share of object values that a recolouring may newly clip
DRAWS = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class Recolouring:
    """How one object was recoloured."""

    id: str
    first: str  # photo whose matrix leads to the standard light
    second: str  # photo whose matrix leads back
    draws: int
    fmse: float
    clipped: float


def newly_clipped(new: Tensor, old: Tensor, mask: Tensor) -> float:
    """Share of the object's values at 0 or 255 now and not before; uint8 images, mask (1, 1, H, W)."""
    inside = (mask > 0).expand_as(old)
    edge = ((new == 0) | (new == 255)) & ~((old == 0) | (old == 255))
    return float(edge[inside].float().mean())


def recolour_object(
    name: str, real: Tensor, mask: Tensor, lights: Tensor, names: Sequence[str], seed: int
) -> tuple[Tensor, Recolouring]:
    """The composite (1, 3, H, W) uint8: the object under another light, the rest the photo's own bytes.

    Args: real (1, 3, H, W) and mask (1, 1, H, W) uint8, lights (N, 2, 3, 11) of the photos `names`.
    Raises: ValueError naming the photo where no draw falls into the range.
    """
    generator = seeded_generator(seed, name)
    picture, weight = real.float() / 255, mask.float() / 255
    for draw in range(1, DRAWS + 1):
        a, b = (int(i) for i in generator.integers(len(names), size=2))
        standard = polynomial(picture, lights[a : a + 1, 0])
        changed = polynomial(standard, lights[b : b + 1, 1]).clamp(0, 1)
        composite = ((picture + weight * (changed - picture)) * 255).round().to(torch.uint8)
        fmse, clipped = float(foreground_mse(composite, real, mask)), newly_clipped(composite, real, mask)
        if FMSE[0] <= fmse <= FMSE[1] and clipped < CLIPPED:
            return composite, Recolouring(
                id=name, first=names[a], second=names[b], draws=draw, fmse=fmse, clipped=clipped
            )
    raise ValueError(
        f"'{name}': none of {DRAWS} pairs of lights gives an fMSE in {FMSE} with few clipped values"
    )


def masked_photos(folder: Path) -> list[tuple[Path, Path]]:
    """Image and mask per line. Raises: ValueError naming the manifest or its line."""
    path = folder / "manifest.jsonl"
    if not path.is_file():
        raise ValueError(f"'{path}' does not exist")
    rows = read_manifest(path)
    if without := [row["image"] for row in rows if not row.get("mask")]:
        raise ValueError(f"'{path}' names no mask for '{without[0]}'")
    return [(folder / row["image"], folder / row["mask"]) for row in rows]


def make_recoloured(photos: Path, illuminants: Path, out: Path, seed: int = 0) -> list[Recolouring]:
    """Write the triples and `recolouring.jsonl`. Raises: ValueError naming the first bad file."""
    pairs = masked_photos(photos)
    lights = listed_lights(illuminants, "test")
    names = illuminant_names(illuminants / "test_list.txt")
    for name in ("composite", "mask", "real"):
        (out / name).mkdir(parents=True, exist_ok=True)
    done = []
    for image, mask_path in tqdm(pairs, unit="photo", disable=not sys.stderr.isatty()):
        real, mask = as_batch(decode_rgb(image)), as_batch(decode_mask(mask_path))
        if real.shape[-2:] != mask.shape[-2:]:
            raise ValueError(f"'{mask_path}' and '{image}' differ in size")
        composite, found = recolour_object(image.stem, real, mask, lights, names, seed)
        write_picture(out / "composite" / f"{image.stem}.png", composite.float() / 255)
        for source, target in (
            (mask_path, out / "mask" / f"{image.stem}{mask_path.suffix}"),
            (image, out / "real" / image.name),
        ):
            with durable_path(target) as temporary:
                shutil.copyfile(source, temporary)
        done.append(found)
    write_text(out / "recolouring.jsonl", "".join(json.dumps(asdict(f)) + "\n" for f in done))
    return done


def make_and_count(arguments: argparse.Namespace) -> None:
    """Write the triples and say how strong they are."""
    done = make_recoloured(arguments.photos, arguments.illuminants, arguments.out, arguments.seed)
    spread = np.quantile([found.fmse for found in done], [0.1, 0.5, 0.9]).round()
    print(f"{len(done)} triples in {arguments.out}; fMSE 10 / 50 / 90 %: {spread}")


def main(argv: Sequence[str] | None = None) -> int:
    parser = command_parser(__doc__)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--illuminants", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    return exit_code("make_real_masked", lambda: make_and_count(arguments))
