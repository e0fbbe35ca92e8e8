"""Choose the settings of the `statistics` preset on recoloured photos of the validation split.

    python train/tune_statistics.py --photos TRAIN --illuminants CCHARMONY --out runs/tune_statistics

TRAIN holds manifest.jsonl (image, mask, cls, sequence or labelme); CCHARMONY the colour matrices with
train_list.txt. No evaluation set is read. Half of the objects are masks of the photo itself, half are
another photo's mask laid anywhere: the two ends between which pasted objects lie. Of two recolourings,
the one that moved the object further from its ring is "picked": people bring what looks wrong.
"""

import argparse
import csv
import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from raiha_core import regions, render
from raiha_core.data.pictures import decode_mask, decode_rgb
from raiha_core.durable import write_text
from raiha_core.masked_statistics import measure
from raiha_core.models.statistics import Statistics, StatisticsConfig, reinhard
from raiha_core.resizing import bilinear

from ..command import command_parser, exit_code
from ..data.batch import as_batch
from ..data.recolour import illuminant_names, load_illuminants
from ..data.synthesis import Synthesis, SynthesisConfig, foreground_error

PHOTO_SIDE = 160  # the long side of the photos; regions are fractions, so settings carry over
VALIDATION = 12  # per cent of the groups
FAMILY_SHARES = {"retouch": 0.3, "illuminant": 0.35, "transfer": 0.2, "light": 0.15}
REGION_WEIGHTS = {"object": 0.6, "region": 0.4}  # weights of the score: mostly real objects
AREA = (0.002, 0.8)
LEAST_CHANGE = 20.0  # fMSE of a recolouring worth correcting
HARMED_BELOW = -1.0  # dB

_CHOSEN = StatisticsConfig()
CANDIDATES: dict[str, StatisticsConfig] = {
    "Reinhard, whole background, 100 %": reinhard(1.0),
    "Reinhard, whole background, 50 %": reinhard(0.5),
    "whole background": replace(_CHOSEN, rings=()),
    "ring 11 %": replace(_CHOSEN, rings=(0.11,)),
    "ring 5 %": replace(_CHOSEN, rings=(0.05, 0.11)),
    "chosen: ring 3 %, half of every difference": _CHOSEN,
    "ring 1.6 %": replace(_CHOSEN, rings=(0.016, 0.05, 0.11)),
    "no gap, no margin": replace(_CHOSEN, gap=0.0, margin=0.0),
    "lightness 0.35": replace(_CHOSEN, lightness=0.35),
    "lightness 0.65": replace(_CHOSEN, lightness=0.65),
    "lightness_limit 25": replace(_CHOSEN, lightness_limit=25.0),
    "chroma 0.35": replace(_CHOSEN, chroma=0.35),
    "chroma 0.65": replace(_CHOSEN, chroma=0.65),
    "chroma_limit 15": replace(_CHOSEN, chroma_limit=15.0),
    "no chroma_limit": replace(_CHOSEN, chroma_limit=None),
    "deviation 0.35": replace(_CHOSEN, deviation=0.35),
    "deviation 0.7": replace(_CHOSEN, deviation=0.7),
    "contrast 0.4": replace(_CHOSEN, contrast=0.4),
    "a and b apart": replace(_CHOSEN, joint_chroma=False),
    "lightness_limit 25, deviation 0.35, contrast 0.4": replace(
        _CHOSEN, lightness_limit=25.0, deviation=0.35, contrast=0.4
    ),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """Two recolourings of one object, as bytes."""

    composites: Tensor  # (2, 3, h, w) uint8
    truth: Tensor  # (1, 3, h, w) uint8
    mask: Tensor  # (1, 1, h, w) uint8, 0 or 255
    family: str
    kind: str
    picked: int  # 0 or 1


def group_of(row: dict) -> str:
    """Rows of one group show one scene and stay on one side of the split."""
    return str(row.get("sequence") or row.get("labelme") or row["image"])


def is_validation(row: dict) -> bool:
    return int(hashlib.sha256(group_of(row).encode()).hexdigest(), 16) % 100 < VALIDATION


class TuningPhotos:
    """Validation photos at the working size."""

    def __init__(self, folder: Path, generator: np.random.Generator) -> None:
        lines = (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [row for row in map(json.loads, lines) if row.get("mask") and is_validation(row)]
        if not rows:
            raise ValueError(f"'{folder}/manifest.jsonl' names no masked photo of the validation split")
        self.folder, self.rows, self.generator = folder, rows, generator

    def draw(self, like: dict | None = None) -> dict:
        """Any row, or one of the same class."""
        rows = self.rows if like is None else [row for row in self.rows if row["cls"] == like["cls"]]
        return rows[int(self.generator.integers(len(rows)))]

    def load(self, row: dict) -> tuple[Tensor, Tensor]:
        """Picture (1, 3, h, w) and mask (1, 1, h, w), 0..1, soft edges from the resize."""
        picture = as_batch(decode_rgb(self.folder / row["image"])).float() / 255
        mask = as_batch(decode_mask(self.folder / row["mask"])).float() / 255
        factor = PHOTO_SIDE / max(picture.shape[-2:])
        size = (max(16, round(picture.shape[-2] * factor)), max(16, round(picture.shape[-1] * factor)))
        return render.shrink(picture, size), render.shrink(mask, size)

    def lay(self, shape: Tensor, size: tuple[int, int]) -> Tensor:
        """Another photo's mask at a random size and place: (1, 1, *size)."""
        rows, columns = (shape[0, 0] >= 0.5).nonzero(as_tuple=True)
        laid = torch.zeros(1, 1, *size)
        if not len(rows):
            return laid
        box = shape[..., rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        factor = self.generator.uniform(0.08, 0.6) * max(size) / max(box.shape[-2:])
        height, width = (min(s, max(4, int(b * factor))) for s, b in zip(size, box.shape[-2:], strict=True))
        top, left = (
            int(self.generator.integers(0, s - b + 1)) for s, b in zip(size, (height, width), strict=True)
        )
        laid[..., top : top + height, left : left + width] = bilinear(box, (height, width), antialias=True)
        return laid


def rgb_distance_to_ring(image: Tensor, mask: Tensor) -> Tensor:
    """How far each object's RGB statistics are from those of its 3 % ring: (B,)."""
    found = measure(image, mask)
    ring = measure(image, regions.ring(mask, 0.03).expand(len(image), -1, -1, -1))
    means = (found.mean - ring.mean).norm(dim=1)
    return means + 0.5 * (found.variance.sqrt() - ring.variance.sqrt()).norm(dim=1)


def make_pair(photos: TuningPhotos, recipes: dict[str, Synthesis], seeds: torch.Generator) -> Pair | None:
    """A photo, a region of it, and two looks of one family; None where the draw is of no use."""
    generator = photos.generator
    family = str(generator.choice(list(FAMILY_SHARES), p=list(FAMILY_SHARES.values())))
    kind = "object" if generator.random() < 0.5 else "region"
    row = photos.draw()
    truth, mask = photos.load(row)
    if kind == "region":
        mask = photos.lay(photos.load(photos.draw())[1], (truth.shape[-2], truth.shape[-1]))
    mask = (mask >= 0.5).float()
    if not AREA[0] < float(mask.mean()) < AREA[1] or not regions.ring(mask, 0.03).any():
        return None
    donor, donor_mask = photos.load(photos.draw(row if generator.random() < 0.5 else None))
    size = (truth.shape[-2], truth.shape[-1])
    donor, donor_mask = render.shrink(donor, size), render.shrink(donor_mask, size)
    wide = [x.expand(2, -1, -1, -1) for x in (truth, mask, donor, donor_mask)]
    composites = recipes[family].recolour(wide[0], wide[1], wide[2], wide[3], seeds)[1]
    composites = (composites * 255).round() / 255
    if float(foreground_error(composites, wide[0], wide[1]).min()) < LEAST_CHANGE:
        return None
    moved = rgb_distance_to_ring(composites, mask.expand(2, -1, -1, -1))
    return Pair(
        composites=(composites * 255).round().to(torch.uint8),
        truth=(truth * 255).round().to(torch.uint8),
        mask=(mask * 255).to(torch.uint8),
        family=family,
        kind=kind,
        picked=int(moved.argmax()),
    )


def make_pairs(photos: TuningPhotos, illuminants: Tensor, count: int, seed: int) -> list[Pair]:
    """Draw `count` pairs; draws of no use are repeated, without an end if none ever is of use.

    Args: illuminants: (N, 2, 3, 11), as `load_illuminants` gives. seed: for the recolourings. Photos, regions
        and families come from the generator of `photos`: only both alike give the same pairs.
    """
    none = dict.fromkeys(("untouched", "graded", *FAMILY_SHARES), 0.0)
    recipes = {f: Synthesis(SynthesisConfig(**{**none, f: 1.0}), illuminants) for f in FAMILY_SHARES}
    seeds = torch.Generator().manual_seed(seed)
    pairs: list[Pair] = []
    with tqdm(total=count, desc="recolouring", unit="pair") as bar:
        while len(pairs) < count:
            pair = make_pair(photos, recipes, seeds)
            if pair is not None:
                pairs.append(pair)
                bar.update()
    return pairs


def gains(config: StatisticsConfig, pairs: Sequence[Pair]) -> Tensor:
    """fPSNR of the result minus that of the composite, (pairs, 2), in dB, after 8-bit rounding."""
    model, rows = Statistics(config), []
    for pair in pairs:
        composite, truth, mask = (x.float() / 255 for x in (pair.composites, pair.truth, pair.mask))
        wide = mask.expand(2, -1, -1, -1)
        result = render.apply(model.predict(composite, wide), composite, wide)
        result = (result * 255).round() / 255
        before, after = (foreground_error(x, truth, mask) + 1e-3 for x in (composite, result))
        rows.append(10 * torch.log10(before / after))
    return torch.stack(rows)


def summarise_gains(gain: Tensor, pairs: Sequence[Pair]) -> dict[str, float]:
    """Mean gains per family and kind of the picked, their weighted mean, and what it costs."""
    first = torch.arange(len(pairs))
    picked = gain[first, torch.tensor([pair.picked for pair in pairs])]
    plain = gain[:, 0]
    summary, scores = {}, {}
    for name, values in (("picked", picked), ("plain", plain)):
        total = 0.0
        for family in FAMILY_SHARES:
            for kind, weight in REGION_WEIGHTS.items():
                chosen = torch.tensor([p.family == family and p.kind == kind for p in pairs])
                mean = float(values[chosen].mean())
                total += weight * mean / len(FAMILY_SHARES)
                if name == "picked":
                    summary[f"{family} {kind}"] = mean
        scores[name] = total
        scores[f"{name} harmed"] = float((values < HARMED_BELOW).float().mean())
    return {**scores, **summary}


def tune(arguments: argparse.Namespace) -> None:
    """Measure every candidate, print and write the table."""
    torch.set_grad_enabled(False)
    photos = TuningPhotos(arguments.photos, np.random.default_rng(arguments.seed))
    names = illuminant_names(arguments.illuminants / "train_list.txt")
    illuminants = load_illuminants(arguments.illuminants / "polynomial_matching_coefficients", names)
    pairs = make_pairs(photos, illuminants, arguments.pairs, arguments.seed)
    rows = []
    for name, config in tqdm(CANDIDATES.items(), desc="settings"):
        rows.append({"settings": name, **summarise_gains(gains(config, pairs), pairs)})
    for row in rows:
        cells = "  ".join(f"{key} {value:+.2f}" for key, value in row.items() if isinstance(value, float))
        print(f"{row['settings']:50s} {cells}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(arguments.out / "table.csv", buffer.getvalue())


def main(argv: Sequence[str] | None = None) -> int:
    parser = command_parser(__doc__)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--illuminants", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder for table.csv")
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    return exit_code("tune_statistics", lambda: tune(arguments))
