"""Composites of every family, and of one that no run is trained on, from photos that no run has seen.

    python train/make_held_out.py --photos ECSSD --illuminants CCHARMONY --seen GATHERED --out TRIPLES

PHOTOS holds images/ and masks/ (or ground_truth_mask/) of equal names; --numbers takes those named by a
number in the range. Photos that look like one of --seen are left out. Families take turns, so each has
its share; the measured lights are those of CCHarmony's *test* list. TRIPLES gets composite/, mask/ and
real/ for evaluate.py; names begin with the family. Whole pictures, the same bytes each time. With --halves
one half of each object is recoloured, a kind of mask that no run is trained on: its other half is beside it.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from raiha_core import render
from raiha_core.data.pictures import decode_mask, decode_rgb
from raiha_core.images import list_photos, write_picture

from ..command import command_parser, exit_code
from ..data.batch import as_batch
from ..data.recolour import listed_lights
from ..data.synthesis import FAMILIES, Synthesis, SynthesisConfig, limit_change
from ..seeds import generator
from .gather_photos import NEAR, brightness_signs, small

KEPT_OUT = "veil"
ORDER = (*FAMILIES, KEPT_OUT)
SMALLEST_OBJECT = 0.01  # smallest share of the picture that an object covers


def veil(picture: Tensor, draws: torch.Generator) -> Tensor:
    """A look that is in no training family: a coloured haze laid over it, and its hues turned a little.

    Args: picture (1, 3, H, W) sRGB 0..1. Returns: the same shape and range.
    """
    haze, amount = torch.rand(3, generator=draws), torch.rand(1, generator=draws)
    out = picture + (0.1 + 0.4 * amount) * (0.35 + 0.4 * haze.view(1, 3, 1, 1) - picture)
    angle = float(torch.randn(1, generator=draws)) * 0.3
    # a turn around the grey axis (1, 1, 1): Rodrigues' formula
    cosine, sine = np.cos(angle), np.sin(angle)
    third, root = (1 - cosine) / 3, sine / np.sqrt(3)
    turn = torch.tensor(
        [
            [cosine + third, third - root, third + root],
            [third + root, cosine + third, third - root],
            [third - root, third + root, cosine + third],
        ],
        dtype=torch.float32,
    )
    return torch.einsum("ij,bjhw->bihw", turn, out).clamp(0, 1)


def half(mask: Tensor, draws: torch.Generator) -> Tensor:
    """One side of an object, cut by a line through its middle at any angle.

    Args: mask (1, 1, H, W), 0 or 1, not empty. Returns: the same shape.
    """
    rows, columns = torch.meshgrid(*(torch.arange(side) for side in mask.shape[-2:]), indexing="ij")
    inside = mask[0, 0] > 0
    angle = float(torch.rand(1, generator=draws)) * 2 * np.pi
    across = np.cos(angle) * rows + np.sin(angle) * columns
    return mask * (across > across[inside].median())


def recipes(lights: Tensor) -> dict[str, Synthesis]:
    """One synthesis per family of training, each with that family alone."""
    return {
        family: Synthesis(SynthesisConfig(**{f: float(f == family) for f in FAMILIES}), lights)
        for family in FAMILIES
    }


def candidates(photos: Path, numbers: range | None) -> list[tuple[Path, Path]]:
    """Photos and their masks. Raises: ValueError where there is none."""
    masks = next((photos / n for n in ("masks", "ground_truth_mask") if (photos / n).is_dir()), None)
    found = []
    for path in list_photos(photos / "images"):
        mask = None if masks is None else masks / f"{path.stem}.png"
        wanted = numbers is None or (path.stem.isdigit() and int(path.stem) in numbers)
        if wanted and mask is not None and mask.is_file():
            found.append((path, mask))
    if not found:
        raise ValueError(f"{photos} holds no images/ with masks of the same names")
    return found


def make_held_out(
    pairs: Sequence[tuple[Path, Path]],
    lights: Tensor,
    seen: Sequence[Path],
    out: Path,
    seed: int,
    *,
    halves: bool = False,
) -> dict[str, int]:
    """Writes the triples; returns how many there are of each family."""
    known = (
        np.stack([brightness_signs(Image.open(path)) for path in seen])
        if seen
        else np.zeros((0, 8), np.uint8)
    )
    made, counts = recipes(lights), dict.fromkeys(ORDER, 0)
    for name in ("composite", "mask", "real"):
        (out / name).mkdir(parents=True, exist_ok=True)
    fresh = [
        (path, mask)
        for path, mask in pairs
        if not (np.unpackbits(known ^ brightness_signs(small(path)[0]), axis=1).sum(1) < NEAR).any()
    ]
    for turn, (path, mask_path) in enumerate(tqdm(fresh, unit="photo", disable=not sys.stderr.isatty())):
        family = ORDER[turn % len(ORDER)]
        photo = as_batch(decode_rgb(path)).float() / 255
        mask = (as_batch(decode_mask(mask_path)) > 127).float()
        if photo.shape[-2:] != mask.shape[-2:] or not SMALLEST_OBJECT < float(mask.mean()) < 0.8:
            continue
        other, other_mask = fresh[(turn + len(fresh) // 2) % len(fresh)]
        size = (photo.shape[-2], photo.shape[-1])
        donor = render.shrink(as_batch(decode_rgb(other)).float() / 255, size)
        donor_mask = render.shrink((as_batch(decode_mask(other_mask)) > 127).float(), size)
        draws = generator("held out", seed, path.stem)
        if halves:
            mask = half(mask, generator("half", seed, path.stem))
        if family == KEPT_OUT:
            truth, composite = photo, limit_change(photo, veil(photo, draws), mask, 7000.0)
        else:
            truth, composite, _ = made[family].recolour(photo, mask, donor, donor_mask, draws)
        stem = f"{family}-{path.stem}"
        for name, picture in (("composite", composite), ("real", truth), ("mask", mask.expand_as(photo))):
            write_picture(out / name / f"{stem}.png", picture)
        counts[family] += 1
    return counts


def make_and_report(arguments: argparse.Namespace) -> None:
    """Write the triples and say how many there are of each family."""
    lights = listed_lights(arguments.illuminants, "test")
    numbers = range(arguments.numbers[0], arguments.numbers[1] + 1) if arguments.numbers else None
    pairs = candidates(arguments.photos, numbers)
    seen = [path for folder in arguments.seen for path in list_photos(folder)]
    counts = make_held_out(pairs, lights, seen, arguments.out, arguments.seed, halves=arguments.halves)
    print(f"{sum(counts.values())} triples of {len(pairs)} photos in {arguments.out}: {counts}")


def main(argv: Sequence[str] | None = None) -> int:
    parser = command_parser(__doc__)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--numbers", type=int, nargs=2, metavar=("FIRST", "LAST"))
    parser.add_argument("--illuminants", type=Path, required=True)
    parser.add_argument("--seen", type=Path, nargs="*", default=[], help="folders of photos that were seen")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--halves", action="store_true", help="recolour one half of each object")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    return exit_code("make_held_out", lambda: make_and_report(arguments))
