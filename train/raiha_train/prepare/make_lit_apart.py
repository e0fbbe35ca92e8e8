"""Composites whose object is lit from another side than its scene, from photos with masks.

    python train/make_lit_apart.py --photos ECSSD --numbers 601 1000 --out TRIPLES

PHOTOS as for make_held_out.py. Kinds take turns, and names begin with them: `ramp`, the object gets
brighter to one side; `halves`, it is lit by two lights that meet in its middle; `scene`, the photo gets
brighter to one side and the object, taken from the photo as it was, does not; `evened`, the photo is the
truth, and the object has lost the ramp of brightness that it has there; `right`, nothing is wrong. Ramps
are gains of linear light, 0.25 to 1.25 stops from the object's centre to its edge, in any direction, and
leave the mean of its stops as it was. TRIPLES gets composite/, mask/ and real/, the same bytes each time.
"""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from raiha_core.color import linear_to_srgb, srgb_to_linear
from raiha_core.data.pictures import decode_mask, decode_rgb
from raiha_core.images import write_picture
from raiha_core.local_light import LightRamp, object_place, object_ramp

from ..command import command_parser, exit_code
from ..data.batch import as_batch
from ..seeds import generator
from .make_held_out import SMALLEST_OBJECT, candidates

KINDS = ("ramp", "halves", "scene", "evened", "right")
LEAST, MOST = 0.25, 1.25  # stops per half length of the object
_MEETING = 0.25  # half lengths over which two lights meet


def gained(picture: Tensor, stops: Tensor) -> Tensor:
    """sRGB (1, 3, H, W), 0..1, with a gain of linear light in stops (1, 1, H, W)."""
    return linear_to_srgb((srgb_to_linear(picture) * torch.exp2(stops)).clamp(0, 1))


def lit_apart(photo: Tensor, mask: Tensor, kind: str, draws: torch.Generator) -> tuple[Tensor, Tensor]:
    """Composite and truth, (1, 3, H, W) each, equal outside the mask.

    Args: photo sRGB (1, 3, H, W), 0..1; mask (1, 1, H, W), 0 or 1; kind: one of KINDS.
    """
    angle = 2 * math.pi * float(torch.rand(1, generator=draws))
    amount = LEAST + (MOST - LEAST) * float(torch.rand(1, generator=draws))
    centre, extent = object_place(mask)
    size = (photo.shape[-2], photo.shape[-1])
    rise = torch.tensor([[math.cos(angle), math.sin(angle)]]) * amount
    stops = LightRamp(rise=rise, centre=centre, extent=extent).stops(size, slice(0, size[0]))
    if kind == "halves":
        stops = amount * torch.tanh(stops / (amount * _MEETING))
    if kind == "evened":
        stops = -object_ramp(photo, mask).stops(size, slice(0, size[0]))
    stops = stops - (stops * mask).sum() / mask.sum()
    if kind == "right":
        return photo, photo
    lit = gained(photo, stops)
    if kind == "scene":
        return torch.where(mask > 0, photo, lit), lit
    return torch.where(mask > 0, lit, photo), photo


def make_lit_apart(pairs: Sequence[tuple[Path, Path]], out: Path, seed: int) -> dict[str, int]:
    """Writes the triples; returns how many there are of each kind."""
    counts = dict.fromkeys(KINDS, 0)
    for name in ("composite", "mask", "real"):
        (out / name).mkdir(parents=True, exist_ok=True)
    for turn, (path, mask_path) in enumerate(pairs):
        kind = KINDS[turn % len(KINDS)]
        photo = as_batch(decode_rgb(path)).float() / 255
        mask = (as_batch(decode_mask(mask_path)) > 127).float()
        if photo.shape[-2:] != mask.shape[-2:] or not SMALLEST_OBJECT < float(mask.mean()) < 0.8:
            continue
        composite, truth = lit_apart(photo, mask, kind, generator("lit apart", seed, path.stem))
        for name, picture in (("composite", composite), ("real", truth), ("mask", mask.expand_as(photo))):
            write_picture(out / name / f"{kind}-{path.stem}.png", picture)
        counts[kind] += 1
    return counts


def report_lit_apart(arguments: argparse.Namespace) -> None:
    numbers = range(arguments.numbers[0], arguments.numbers[1] + 1) if arguments.numbers else None
    counts = make_lit_apart(candidates(arguments.photos, numbers), arguments.out, arguments.seed)
    print(f"{sum(counts.values())} triples in {arguments.out}: {counts}")


def main(argv: Sequence[str] | None = None) -> int:
    parser = command_parser(__doc__)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--numbers", type=int, nargs=2, metavar=("FIRST", "LAST"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    return exit_code("make_lit_apart", lambda: report_lit_apart(arguments))
