"""What references are worth: the same composites without one, and with one of each kind of gallery.

Example: python train/bench/references.py --photos GATHERED --store STORE --models statistics raiha-plus

GATHERED is a folder of gather_photos.py, STORE a gallery built of (some of) its photos. Objects are held-out
ones, recoloured by measured lights or a retoucher. Kinds: `other crop` of the true photo (a ceiling),
`relit crop` (the same in another light), `own shoot` (the photo of the object's own group that
matches best; `own four`: the best four, `own random`: any, `own other light`: the best one, relit), foreign
photos found by both conditions, by content alone, by content and in *another* light (Table III), the best
four, a random photo, the four most alike of ordinary galleries (`gallery 100`, 400, 2000: so many random
photos of STORE, drawn for each object by the seed, none of its own), the best of 400 in another light, and
`nothing suitable`: the four nearest of a gallery without the photos that qualify, by a lowered threshold (by
the usual one nothing is found, and nothing changes). The gain is that of the foreground's PSNR
over the same model without a reference, with a 95 % bootstrap interval over scenes;
better and worse count changes of more than 0.1 dB; acted on are those that moved by a grey level or more.
The cases' digest names composites and references, so that two tables are known to be of the same.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from raiha_core.features.encoders import build_encoder
from raiha_core.gallery.store import open_gallery
from raiha_core.harmonizer import Harmonizer, load_harmonizer
from raiha_core.pipeline import harmonize
from raiha_train.command import command_parser, exit_code
from raiha_train.data.photos import in_validation, read_photos
from raiha_train.data.recolour import listed_lights
from raiha_train.data.synthesis import Synthesis, SynthesisConfig
from raiha_train.evaluation.intervals import bootstrap_mean
from raiha_train.evaluation.listed_references import ListedReferences
from raiha_train.evaluation.summary import NOTICEABLE_DB
from raiha_train.seeds import generator
from raiha_train.weights.gate_fit import ACTED
from raiha_train.weights.reference_kinds import (
    HELD_OUT_SHARE,
    OWN,
    REFERENCE_KINDS,
    ReferencesOfKinds,
    recoloured_objects,
    shoot_teaches,
)

TABLE_HEAD = (
    "| reference | objects | gain, dB | better / same / worse | acted on | gain there, dB | worst, dB |"
)


def decibels(new: Tensor, truth: Tensor, mask: Tensor) -> float:
    """PSNR over the object, after rounding to 8 bits."""
    error = (255 * ((new * 255).round() / 255 - truth)).square() * mask
    mean = float(error.sum() / (3 * mask.sum()))
    return 10 * float(np.log10(255**2 / max(mean, 0.1)))


@dataclass(frozen=True, slots=True)
class Gain:
    """What one reference, or four, did for one object by one model."""

    model: str
    kind: str
    object: str
    scene: str  # objects of one scene are not independent
    quality: float  # of the best match
    gain: float  # dB
    moved: float  # grey levels, root mean square over the object


def rms_change(first: Tensor, second: Tensor, mask: Tensor) -> float:
    """Root mean square difference over the object, in grey levels."""
    return float((((255 * (first - second)).square() * mask).sum() / (3 * mask.sum())).sqrt())


def gain_line(title: str, gains: Sequence[Gain]) -> str:
    if len(gains) < 5:
        return f"| {title} | {len(gains)} | too few | | | | |"
    values = [g.gain for g in gains]
    found = bootstrap_mean(values, [g.scene for g in gains])
    acted = [g.gain for g in gains if g.moved >= ACTED]
    there = f"{np.mean(acted):+.2f}" if acted else "-"
    better, worse = (sum(sign * value > NOTICEABLE_DB for value in values) for sign in (1, -1))
    return (
        f"| {title} | {len(gains)} | {found.mean:+.2f} [{found.low:+.2f}, {found.high:+.2f}] "
        f"| {better} / {len(gains) - better - worse} / {worse} "
        f"| {len(acted) / len(gains):.0%} | {there} | {min(values):+.2f} |"
    )


def gains_by_kind(gains: Sequence[Gain], model: str) -> str:
    """Every kind of reference, and thirds of match quality where they say most."""
    lines = [f"\n**{Path(model).stem}**\n", TABLE_HEAD, "|---|---|---|---|---|---|---|"]
    for kind in REFERENCE_KINDS:
        own = [g for g in gains if (g.model, g.kind) == (model, kind)]
        if not own:
            continue
        lines.append(gain_line(kind, own))
        if kind in ("by both", "own shoot") and len(own) >= 15:
            cuts = np.quantile([g.quality for g in own], [1 / 3, 2 / 3])
            for third, (low, high) in enumerate(((-1, cuts[0]), (cuts[0], cuts[1]), (cuts[1], 2)), 1):
                part = [g for g in own if low < g.quality <= high]
                lines.append(gain_line(f"- {kind}, match quality third {third}", part))
    return "\n".join(lines)


def measure_gains(arguments: argparse.Namespace) -> list[Gain]:
    """The gains of every object, kind and model."""
    torch.set_num_threads(1)
    rows = [row for row in read_photos(arguments.photos) if row.mask is not None]
    order = torch.randperm(len(rows), generator=generator("objects", arguments.seed)).tolist()
    config = SynthesisConfig(untouched=0, retouch=1, illuminant=1, transfer=0, light=0, graded=0)
    synthesis = Synthesis(config, listed_lights(arguments.illuminants, "test"))
    encoder = build_encoder("lite0")
    listed = ListedReferences(arguments.photos / "images", encoder)
    galleries = ReferencesOfKinds(
        open_gallery(arguments.store, photos=None), rows, listed, synthesis.illuminants
    )
    share = 1.0 if arguments.unseen else HELD_OUT_SHARE
    held = [rows[i] for i in order if in_validation(rows[i], share)][: arguments.objects]
    own = [rows[i] for i in order if arguments.unseen or not shoot_teaches(rows[i])]
    grouped = [row for row in own if galleries.mates(row)][: arguments.objects]
    models: dict[str, Harmonizer] = {name: load_harmonizer(name) for name in arguments.models}
    gains, digest = [], hashlib.sha256()
    for source, kinds in ((held, [k for k in REFERENCE_KINDS if k not in OWN]), (grouped, OWN)):
        # PHOTOS has the random ones' pictures where it is what STORE was built of
        kinds = [k for k in kinds if k in arguments.kinds and not (arguments.unseen and k == "random")]
        for thing in recoloured_objects(source if kinds else [], synthesis, listed, arguments.seed):
            composite, mask = thing.composite, thing.mask
            alone = {
                name: harmonize(composite, mask, [[]], model, as_stored=True)
                for name, model in models.items()
            }
            for kind in kinds:
                found = galleries.of(kind, thing, arguments.seed)
                if not found:
                    continue
                digest.update(repr((thing.row.id, kind, [reference.id for reference in found])).encode())
                quality = max(reference.score or 0.0 for reference in found)
                scene = thing.row.group or thing.row.image.name
                for name, model in models.items():
                    new = harmonize(composite, mask, [found], model, encoder=encoder, as_stored=True)
                    change = decibels(new, thing.truth, mask) - decibels(alone[name], thing.truth, mask)
                    moved = rms_change(new, alone[name], mask)
                    gains.append(Gain(name, kind, thing.row.id, scene, quality, change, moved))
    print(f"cases {digest.hexdigest()[:16]}")
    return gains


def report_gains(arguments: argparse.Namespace) -> None:
    """Print a table for each model, and keep every gain where a file is named."""
    gains = measure_gains(arguments)
    for model in arguments.models:
        print(gains_by_kind(gains, model))
    if arguments.out:
        arguments.out.write_text("".join(json.dumps(asdict(g)) + "\n" for g in gains), encoding="utf-8")


def main() -> int:
    parser = command_parser(__doc__)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--illuminants", type=Path, required=True, help="CCHarmony's folder")
    parser.add_argument("--models", nargs="+", default=["statistics"])
    parser.add_argument("--objects", type=int, default=120, help="held-out ones, and as many with a group")
    parser.add_argument(
        "--kinds", nargs="+", choices=REFERENCE_KINDS, default=list(REFERENCE_KINDS), metavar="KIND"
    )
    parser.add_argument("--unseen", action="store_true", help="nothing learned from PHOTOS: any is held out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON lines with every gain")
    arguments = parser.parse_args()
    return exit_code("references", lambda: report_gains(arguments))


if __name__ == "__main__":
    sys.exit(main())
