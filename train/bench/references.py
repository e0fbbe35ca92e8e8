"""What references are worth: the same composites without one, and with one of each kind of gallery.

Example: python train/bench/references.py --photos GATHERED --store STORE --models statistics raiha-plus

GATHERED is a folder of gather_photos.py, STORE a gallery built of (some of) its photos. Objects are held-out
ones, recoloured by measured lights or a retoucher. Kinds: `other crop` of the true photo (a ceiling),
`own shoot` (another photo of the object's own group), foreign photos found by both conditions, by content
alone, by content and in *another* light (Table III), the best four, and a random photo. The gain is that of
the foreground's PSNR over the same model without a reference, with a 95 % bootstrap interval over objects;
better and worse count changes of more than 0.1 dB.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the modules of train/

from feeding import generator
from gather_photos import NEAR, signs
from scoring.listed import ListedReferences
from sources import MATRICES

from raiha_core.data.augment import self_references
from raiha_core.data.photos import PhotoRow, in_validation, read_photos
from raiha_core.data.pictures import decode_mask, decode_rgb
from raiha_core.data.recolour import illuminant_names, load_illuminants
from raiha_core.data.synthesis import Synthesis, SynthesisConfig
from raiha_core.features.encoders import build_encoder
from raiha_core.features.patches import PatchFeatures
from raiha_core.features.references import Reference
from raiha_core.gallery.memory import memory_gallery
from raiha_core.gallery.protocol import Gallery
from raiha_core.gallery.store import open_gallery
from raiha_core.harmonizer import Harmonizer, load_harmonizer
from raiha_core.pipeline import harmonize
from raiha_core.protocols import to_tensor
from raiha_core.retrieval.search import Exclusion, make_query, references, search_many

SAME = 0.1  # dB: smaller differences count as none
KINDS = (
    "other crop",
    "own shoot",
    "by both",
    "by content",
    "other light",
    "best four",
    "random",
)
OTHER_LIGHT = (0.7, 0.85)  # appearance cosines that are clearly below the threshold


@dataclass(frozen=True, slots=True)
class Object:
    """A recoloured object of a held-out photo."""

    row: PhotoRow
    truth: Tensor  # (1, 3, H, W)
    mask: Tensor  # (1, 1, H, W)
    composite: Tensor
    features: PatchFeatures


def decibels(new: Tensor, truth: Tensor, mask: Tensor) -> float:
    """PSNR over the object, after rounding to 8 bits."""
    error = (255 * ((new * 255).round() / 255 - truth)).square() * mask
    mean = float(error.sum() / (3 * mask.sum()))
    return 10 * float(np.log10(255**2 / max(mean, 0.1)))


def interval(gains: Sequence[float]) -> tuple[float, float]:
    draws = np.random.default_rng(0).integers(len(gains), size=(2000, len(gains)))
    low, high = np.quantile(np.asarray(gains)[draws].mean(1), [0.025, 0.975])
    return float(low), float(high)


class Galleries:
    """References of each kind for an object."""

    def __init__(self, gallery: Gallery, rows: Sequence[PhotoRow], encoder: ListedReferences) -> None:
        self.gallery, self.listed = gallery, encoder
        self.stored = {photo.id for photo in gallery.photos}
        self.looks: dict[str, NDArray[np.uint8]] = {}
        self.groups: dict[str, set[str]] = {}
        for row in rows:
            if row.group:
                self.groups.setdefault(row.group, set()).add(row.image.name)

    def group(self, row: PhotoRow) -> list[str]:
        """All other files of the object's group, copies of its photo among them, by name."""
        return sorted(self.groups.get(row.group, set()) - {row.image.name})

    def mates(self, row: PhotoRow) -> list[str]:
        """Other *photos* of the group: a copy of the true photo under another name is no reference."""
        own = self._look(row.image.name)
        return [n for n in self.group(row) if int(np.unpackbits(self._look(n) ^ own).sum()) >= NEAR]

    def _look(self, name: str) -> NDArray[np.uint8]:
        if name not in self.looks:
            self.looks[name] = signs(Image.open(self.listed.root / name))
        return self.looks[name]

    def of(self, kind: str, thing: Object, seed: int) -> list[Reference]:
        """One reference, up to four for the best four, or none where the kind has none."""
        g = generator("references", seed, thing.row.id, kind)
        own = [name for name in (thing.row.image.name, *self.group(thing.row)) if name in self.stored]
        query = make_query(thing.composite, thing.mask, features=thing.features, query_id=thing.row.id)
        if kind == "other crop":
            crop = self_references(thing.truth, thing.mask, g)
            found = search_many(memory_gallery([crop], self.listed.encoder), [query], by="content", top_k=1)
            return list(references(found[0]))
        if kind in ("own shoot", "random"):
            pool = self.mates(thing.row) if kind == "own shoot" else sorted(self.stored - set(own))
            if not pool:
                return []
            name = pool[int(torch.randint(len(pool), (1,), generator=g))]
            return [self.listed.reference(name, thing.features, thing.mask)]
        exclude = Exclusion(ids=own)
        if kind == "other light":
            hits = search_many(self.gallery, [query], by="content", top_k=40, exclude=exclude)[0]
            wider = search_many(
                self.gallery, [query], by="both", top_k=None, exclude=exclude,
                appearance_threshold=OTHER_LIGHT[0],
            )[0]  # fmt: skip
            light = {item.row: item.illumination for item in wider.items}
            rows = {item.row for item in hits.items if light.get(item.row, 0.0) < OTHER_LIGHT[1]}
            return [r for r, item in zip(references(hits), hits.items, strict=True) if item.row in rows][:1]
        by = "content" if kind == "by content" else "both"
        top = 4 if kind == "best four" else 1
        return list(references(search_many(self.gallery, [query], by=by, top_k=top, exclude=exclude)[0]))


def objects(
    rows: Sequence[PhotoRow], synthesis: Synthesis, listed: ListedReferences, seed: int
) -> Iterator[Object]:
    for row in rows:
        assert row.mask is not None
        truth = to_tensor(decode_rgb(row.image)).float() / 255
        mask = (to_tensor(decode_mask(row.mask)) > 127).float()
        if not 0.01 < float(mask.mean()) < 0.7:
            continue
        g = generator("object", seed, row.id)
        truth, composite, _ = synthesis.recolour(truth, mask, truth, mask, g)
        yield Object(row, truth, mask, composite, listed.encode(composite))


def line(title: str, gains: Sequence[float]) -> str:
    if len(gains) < 5:
        return f"| {title} | {len(gains)} | too few | |"
    low, high = interval(gains)
    better, worse = (sum(sign * g > SAME for g in gains) for sign in (1, -1))
    return (
        f"| {title} | {len(gains)} | {np.mean(gains):+.2f} [{low:+.2f}, {high:+.2f}] "
        f"| {better} / {len(gains) - better - worse} / {worse} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--illuminants", type=Path, required=True, help="CCHarmony's folder")
    parser.add_argument("--models", nargs="+", default=["statistics"])
    parser.add_argument("--objects", type=int, default=120, help="held-out ones, and as many with a group")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), metavar="KIND")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON lines with every gain")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = [row for row in read_photos(arguments.photos) if row.mask is not None]
    order = torch.randperm(len(rows), generator=generator("objects", arguments.seed)).tolist()
    lists = illuminant_names(arguments.illuminants / "test_list.txt")
    config = SynthesisConfig(untouched=0, retouch=1, illuminant=1, transfer=0, light=0, graded=0)
    synthesis = Synthesis(config, load_illuminants(arguments.illuminants / MATRICES, lists))
    encoder = build_encoder("lite0")
    listed = ListedReferences(arguments.photos / "images", encoder)
    galleries = Galleries(open_gallery(arguments.store, photos=None), rows, listed)
    held = [rows[i] for i in order if in_validation(rows[i], 0.07)][: arguments.objects]
    grouped = [rows[i] for i in order if galleries.mates(rows[i])][: arguments.objects]
    models: dict[str, Harmonizer] = {name: load_harmonizer(name) for name in arguments.models}
    gains: dict[tuple[str, str], list[tuple[float, float]]] = {}
    records = []
    for source, kinds in ((held, [k for k in KINDS if k != "own shoot"]), (grouped, ["own shoot"])):
        kinds = [kind for kind in kinds if kind in arguments.kinds]
        for thing in objects(source if kinds else [], synthesis, listed, arguments.seed):
            alone = {
                name: decibels(
                    harmonize(thing.composite, thing.mask, [[]], model), thing.truth, thing.mask
                )
                for name, model in models.items()
            }  # fmt: skip
            for kind in kinds:
                found = galleries.of(kind, thing, arguments.seed)
                if not found:
                    continue
                quality = max(reference.weight for reference in found)
                for name, model in models.items():
                    new = harmonize(thing.composite, thing.mask, [found], model, encoder=encoder)
                    gain = decibels(new, thing.truth, thing.mask) - alone[name]
                    gains.setdefault((name, kind), []).append((quality, gain))
                    records.append(
                        {
                            "model": name,
                            "kind": kind,
                            "object": thing.row.id,
                            "quality": quality,
                            "gain": gain,
                        }
                    )
    for name in models:
        print(
            f"\n**{name}**\n\n| reference | objects | gain, dB | better / same / worse |\n|---|---|---|---|"
        )
        for kind in arguments.kinds:
            found_gains = gains.get((name, kind), [])
            print(line(kind, [gain for _, gain in found_gains]))
            if kind in ("by both", "own shoot") and len(found_gains) >= 15:
                cuts = np.quantile([quality for quality, _ in found_gains], [1 / 3, 2 / 3])
                for third, (low, high) in enumerate(((-1, cuts[0]), (cuts[0], cuts[1]), (cuts[1], 2))):
                    part = [gain for quality, gain in found_gains if low < quality <= high]
                    print(line(f"- {kind}, match quality third {third + 1}", part))
    if arguments.out:
        arguments.out.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")


if __name__ == "__main__":
    main()
