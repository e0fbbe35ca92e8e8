"""Fit the reference gate: how far each reference is believed, by objects whose true colours are known.

    python train/fit_reference_gate.py --evidence FOLDER --photos GATHERED --store STORE --illuminants CC
    python train/fit_reference_gate.py --evidence FOLDER --weights W.safetensors --out W.safetensors

The first call gathers evidence (a second or two an object, kept in FOLDER, so a killed run goes on):
objects of photos that the networks hold out first, recoloured, with references of every kind: ordinary
galleries of random photos, the best of those in another light, crops of the true photo, crops in another
light, and other frames of half of the shoots. The second fits the gate to a network's answers (minutes); it
needs no photo, and is all that another network needs.
A bench (train/bench/references.py) judges by the first --judged of the held-out objects and by the other
half of the shoots, which teach nothing, and by a gallery of other photos than STORE's. So that the gate
serves networks that err less as well, it learns from the answers mixed with the truth too, to a half and to
a quarter of their error, and from those of colour statistics.
"""

import argparse
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor
from tqdm import tqdm

from raiha_core import __version__, checkpoint, records, render
from raiha_core.durable import durable_path, write_text
from raiha_core.features.encoders import build_encoder
from raiha_core.features.references import Reference
from raiha_core.features.spec import FeatureSpec
from raiha_core.gallery.store import open_gallery
from raiha_core.models.matched_patches import patch_grid
from raiha_core.models.plus import PlusConfig
from raiha_core.models.reference_gate import ReferenceGate
from raiha_core.models.reference_observation import Observation, composite_colours, observe
from raiha_core.models.statistics import measure_object

from ..command import command_parser, exit_code
from ..data.photos import PhotoRow, in_validation, read_photos
from ..data.recolour import listed_lights
from ..data.synthesis import Synthesis, SynthesisConfig
from ..evaluation.listed_references import ListedReferences
from ..experiment import setting_differences
from ..seeds import generator
from .gate_cases import Cases, answers_of, statistics_answers
from .gate_fit import fit_gate, gain_table
from .reference_kinds import (
    HELD_OUT_SHARE,
    RecolouredObject,
    ReferencesOfKinds,
    recoloured_objects,
    shoot_teaches,
)

LEARNED = ("gallery 100", "gallery 400", "relit best", "other crop", "relit crop", "own four")
REFERENCES = 4  # references of one object
ANSWER_SIDE = 384  # of the small composites for the network: no network reads them larger
MIXES = (1.0, 0.5, 0.25)  # of the network's error


def gather(
    thing: RecolouredObject, galleries: ReferencesOfKinds, kinds: Sequence[str], seed: int
) -> dict[str, Tensor] | None:
    """What is seen in references of some kinds for one object, its true colours, and the network's input."""
    measured = measure_object(thing.composite, thing.mask)
    found, ring = measured.colour, measured.ring
    truth = measure_object(thing.truth, thing.mask).colour
    if float(ring.amount) == 0 or float(found.amount) == 0:
        return None
    kept = {
        "found": torch.stack((found.mean[0], found.variance[0])),
        "truth": torch.stack((truth.mean[0], truth.variance[0])),
        "composite": (255 * render.shrink(thing.composite, (ANSWER_SIDE, ANSWER_SIDE))[0]).round().byte(),
        "mask": (255 * render.shrink(thing.mask, (ANSWER_SIDE, ANSWER_SIDE))[0]).round().byte(),
        "held out": torch.tensor(in_validation(thing.row, HELD_OUT_SHARE)),
    }
    here: dict[int, Tensor] = {}
    for kind in kinds:
        shown: Sequence[Reference] = galleries.of(kind, thing, seed)
        seen = []
        for reference in shown[:REFERENCES]:
            if reference.content_matches:
                grid = patch_grid(reference)
                here[grid] = here.get(grid, composite_colours(measured, grid))
                seen.append(observe(reference, measured, here[grid]))
        for field in fields(Observation) if seen else ():
            kept[f"{kind}.{field.name}"] = torch.stack([getattr(one, field.name) for one in seen])
    return {name: value.contiguous() for name, value in kept.items()}


def evidence(
    rows: Sequence[PhotoRow],
    kinds: Sequence[str],
    synthesis: Synthesis,
    galleries: ReferencesOfKinds,
    folder: Path,
    seed: int,
) -> None:
    """Keep what `gather` gives of every row in the folder, where it is not there already.

    Raises: ValueError where the folder holds what was gathered otherwise.
    """
    folder.mkdir(parents=True, exist_ok=True)
    spec = galleries.gallery.spec.to_json()
    about = {"seed": seed, "kinds": list(kinds), "photos": galleries.gallery.fingerprint, "features": spec}
    about |= {"side": ANSWER_SIDE, "recolouring": asdict(synthesis.config)}
    known = folder / "about.json"
    if not known.is_file():
        write_text(known, json.dumps(about, indent=1))
    if other := setting_differences(
        json.loads(known.read_text(encoding="utf-8")), json.loads(json.dumps(about))
    ):
        raise ValueError(f"{folder} was gathered otherwise: {'; '.join(other)}")
    for row in tqdm(rows, unit="object", disable=not sys.stderr.isatty()):
        path = folder / f"{hashlib.sha256(row.id.encode()).hexdigest()[:16]}.safetensors"
        if not path.is_file():
            kept = None
            for thing in recoloured_objects([row], synthesis, galleries.listed, seed):
                kept = gather(thing, galleries, kinds, seed)
            with durable_path(path) as temporary:  # empty: an object too small or too large
                temporary.write_bytes(save(kept or {}))


def gathered(folder: Path) -> list[dict[str, Tensor]]:
    """What a folder of evidence holds, in the order of its files' names.

    Raises: ValueError where it holds none.
    """
    kept = [item for path in sorted(folder.glob("*.safetensors")) if (item := load_file(path))]
    if not kept:
        raise ValueError(f"{folder} holds no evidence: gather it first, from --photos")
    return kept


def teaching(rows: Sequence[PhotoRow], judged: int, most: int) -> list[PhotoRow]:
    """The objects to learn from: none that the bench judges by, nor of a photo or shoot of theirs.

    Those that the networks hold out come first: on these they err as they do in use. Objects of the shoots
    that teach come besides.
    """
    order = torch.randperm(len(rows), generator=generator("objects", 0)).tolist()  # the bench's order
    held = [rows[i] for i in order if in_validation(rows[i], HELD_OUT_SHARE)]
    others = [rows[i] for i in order if not in_validation(rows[i], HELD_OUT_SHARE)]
    known = {row.image.name for row in held[:judged]}
    left = [row for row in (*held[judged:], *others) if row.image.name not in known and not row.group]
    several = Counter(group for group, _ in {(row.group, row.image.name) for row in rows})
    shoots = [rows[i] for i in order if shoot_teaches(rows[i]) and several[rows[i].group] > 1]
    return [*left[:most], *shoots]


def gather_all(arguments: argparse.Namespace) -> None:
    """Gather the evidence of all objects to learn from."""
    rows = [row for row in read_photos(arguments.photos) if row.mask is not None]
    lights = listed_lights(arguments.illuminants, "train")
    synthesis = Synthesis(SynthesisConfig(untouched=0.2, transfer=0.5, light=0, graded=0), lights)
    listed = ListedReferences(arguments.photos / "images", build_encoder("lite0"))
    galleries = ReferencesOfKinds(open_gallery(arguments.store, photos=None), rows, listed, lights)
    chosen = teaching(rows, arguments.judged, arguments.objects)
    if not chosen:
        raise ValueError("no photo is left to learn from: all are judged by, or of one shoot")
    evidence(chosen, LEARNED, synthesis, galleries, arguments.evidence, arguments.seed)


def fit_to_answers(arguments: argparse.Namespace) -> None:
    """Fit the gate of some weights to the evidence, and write it where that is asked for."""
    loaded = can_have_a_gate(arguments.weights)
    kept = gathered(arguments.evidence)
    about = json.loads((arguments.evidence / "about.json").read_text(encoding="utf-8"))
    network = answers_of(loaded.network, kept)
    held = torch.stack([item["held out"] for item in kept])
    cases = Cases(kept, LEARNED, network, REFERENCES).with_errors_as_on(held)
    usual = cases.usual_error
    plain = Cases(kept, LEARNED, statistics_answers(kept), REFERENCES)
    print(f"network alone, grey levels: {usual:.1f}; statistics: {plain.usual_error:.1f}")
    every = [cases.mixed(share) for share in MIXES]
    gate = fit_gate([*every, plain], usual, arguments.seed)
    print("share of the light's difference:", [round(x, 2) for x in gate.light_share.tolist()])
    for name, some in (*zip((f"network's error x {share:g}" for share in MIXES), every, strict=True),):
        print(f"\n{name}\n{gain_table(gate, some)}")
    print(f"\nstatistics\n{gain_table(gate, plain)}")
    if arguments.out:
        made = f"{len(kept)} objects, seed {arguments.seed}, raiha {__version__}"
        spec = records.from_json(FeatureSpec, about["features"], "the features")
        write_gated(arguments.out, loaded, gate, made, spec)


def run(arguments: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    if arguments.weights:
        can_have_a_gate(arguments.weights)  # before anything is gathered
    if arguments.photos:
        gather_all(arguments)
    if arguments.weights:
        fit_to_answers(arguments)


def main(argv: Sequence[str] | None = None) -> int:
    parser = command_parser(__doc__)
    parser.add_argument("--evidence", type=Path, required=True)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--illuminants", type=Path, help="CCHarmony's folder")
    parser.add_argument("--weights", type=Path, help="of raiha-plus; without them only evidence is gathered")
    parser.add_argument("--objects", type=int, default=400)
    parser.add_argument("--judged", type=int, default=200, help="held-out objects that the bench judges by")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args(argv)
    if arguments.out and not arguments.weights:
        parser.error("--out needs --weights")
    if not (arguments.photos or arguments.weights):
        parser.error("name --photos to gather evidence, or --weights to fit their gate, or both")
    if arguments.photos and not (arguments.store and arguments.illuminants):
        parser.error("--photos needs --store and --illuminants")
    return exit_code("fit_reference_gate", lambda: run(arguments))


def can_have_a_gate(path: Path) -> checkpoint.LoadedCheckpoint:
    """Weights of raiha-plus that can have a gate. Raises: ValueError naming the file where they cannot."""
    loaded = checkpoint.load(path, expect="raiha-plus")
    config = loaded.config
    assert isinstance(config, PlusConfig)
    if config.learns_references or config.max_references == 0:
        raise ValueError(f"{path} learns its references by itself, or takes none: it needs no gate")
    if config.size > ANSWER_SIDE:
        raise ValueError(
            f"{path} reads {config.size} px, the evidence is kept at {ANSWER_SIDE}: raise ANSWER_SIDE"
        )
    return loaded


def write_gated(
    path: Path, loaded: checkpoint.LoadedCheckpoint, gate: ReferenceGate, fitted: str, spec: FeatureSpec
) -> None:
    """The same weights with this gate; `fitted` says by what, `spec` on matches of which features."""
    about = replace(
        loaded.metadata, notes={**loaded.metadata.notes, "reference gate": fitted}, gate_spec=spec
    )
    checkpoint.save(path, loaded.network, about, gate=gate)
