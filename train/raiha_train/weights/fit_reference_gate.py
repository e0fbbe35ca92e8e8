"""Fit the reference gate: how far each reference is believed, by objects whose true colours are known.

    python train/fit_reference_gate.py --photos GATHERED --store STORE --illuminants CCHARMONY \\
        --weights W.safetensors --evidence FOLDER --out W.safetensors

First it gathers evidence (a second or two an object, kept in FOLDER, so a killed run goes on): objects of
training photos, recoloured, with references of every kind. Then it fits the gate to the network's answers
(seconds), by the true colours. Objects of held-out photos, and --held-out of those that have other photos of
their own shoot, with all objects of that shoot, teach nothing: they are gathered alike, and their gains
printed. A network errs less on photos it was trained on, so its errors there are made as large as on the
held-out ones before the gate is fitted.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor
from tqdm import tqdm

from raiha_core import __version__, checkpoint, render
from raiha_core.durable import durable_path, write_text
from raiha_core.features.encoders import build_encoder
from raiha_core.features.references import Reference
from raiha_core.features.spec import FeatureSpec
from raiha_core.gallery.store import open_gallery
from raiha_core.masked_statistics import RegionStatistics
from raiha_core.models.following import towards
from raiha_core.models.plus import Plus, PlusConfig
from raiha_core.models.reference_gate import ReferenceGate
from raiha_core.models.reference_measurement import (
    NUMBERS,
    ReferenceMeasurement,
    measure_references,
    stack,
)
from raiha_core.models.statistics import LEVELS_PER_LAB, measure_object
from raiha_core.render import LabTransfer

from ..command import command_parser, exit_code
from ..data.photos import PhotoRow, in_validation, read_photos
from ..data.recolour import listed_lights
from ..data.synthesis import Synthesis, SynthesisConfig
from ..evaluation.listed_references import ListedReferences
from ..experiment import setting_differences
from ..seeds import generator
from .reference_kinds import HELD_OUT_SHARE, RecolouredObject, ReferencesOfKinds, recoloured_objects

LEARNED = ("other crop", "relit crop", "by both", "best four", "by content", "random")
SHOOTS = ("own shoot", "own four")  # of the other group: photos of the object's own shoot
_MOST = 4
TRAINING, HELD_OUT, SHOT = "training", "held out", "own shoots"
ANSWER_SIDE = 320  # of the small composites for the network: the side at which the shipped one reads them
ERROR_FLOOR = 30.0  # squared grey levels: what differs by less cannot be seen
STEPS, BATCH, RATE, DECAY = 800, 512, 2e-2, 0.02
LOSS_WEIGHT = 3.0  # how much worse a loss is than a gain of the same size


def gather(
    thing: RecolouredObject, galleries: ReferencesOfKinds, kinds: Sequence[str], seed: int
) -> dict[str, Tensor] | None:
    """Measurements of references of some kinds for one object, its true colours, and the network's input."""
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
    }
    for kind in kinds:
        shown: Sequence[Reference] = galleries.of(kind, thing, seed)
        measurement = measure_references(shown[:_MOST], measured)
        if len(measurement):
            kept[f"{kind}.numbers"] = measurement.numbers
            parts = (measurement.difference, measurement.light, measurement.deviation)
            kept[f"{kind}.looks"] = torch.cat(parts, 1)  # the name that gathered folders have
    return {name: value.contiguous() for name, value in kept.items()}


def evidence(
    rows: Sequence[PhotoRow],
    kinds: Sequence[str],
    synthesis: Synthesis,
    galleries: ReferencesOfKinds,
    folder: Path,
    seed: int,
) -> list[dict[str, Tensor]]:
    """What `gather` gives of every row, from the folder where it is there already.

    Raises: ValueError where the folder holds what was gathered otherwise.
    """
    folder.mkdir(parents=True, exist_ok=True)
    spec = galleries.gallery.spec.to_json()
    about = {"seed": seed, "kinds": list(kinds), "photos": galleries.gallery.fingerprint, "features": spec}
    about |= {"numbers": NUMBERS, "side": ANSWER_SIDE, "recolouring": asdict(synthesis.config)}
    known = folder / "about.json"
    if not known.is_file():
        write_text(known, json.dumps(about, indent=1))
    if other := setting_differences(
        json.loads(known.read_text(encoding="utf-8")), json.loads(json.dumps(about))
    ):
        raise ValueError(f"{folder} was gathered otherwise: {'; '.join(other)}")
    found = []
    for row in tqdm(rows, unit="object", disable=not sys.stderr.isatty()):
        path = folder / f"{hashlib.sha256(row.id.encode()).hexdigest()[:16]}.safetensors"
        if not path.is_file():
            kept = None
            for thing in recoloured_objects([row], synthesis, galleries.listed, seed):
                kept = gather(thing, galleries, kinds, seed)
            with durable_path(path) as temporary:  # empty: an object too small or too large
                temporary.write_bytes(save(kept or {}))
        if kept := load_file(path):
            found.append(kept)
    return found


class Cases:
    """All pairs of an object and a kind of reference, as tensors; colours are (mean, deviation), (N, 6)."""

    def __init__(self, kept: Sequence[dict[str, Tensor]], network: Plus, kinds: Sequence[str]) -> None:
        pairs = [(i, kind) for i, item in enumerate(kept) for kind in kinds if f"{kind}.numbers" in item]
        if not pairs:
            raise ValueError(f"no object has a reference of the kinds {', '.join(kinds)}")
        self.config = network.config.statistics
        self.kinds = [kind for _, kind in pairs]
        measurements = []
        for i, kind in pairs:
            parts = kept[i][f"{kind}.looks"].split(3, 1)
            measurements.append(ReferenceMeasurement(kept[i][f"{kind}.numbers"], *parts))
        self.measured, self.present = stack(measurements, _MOST)
        rows = torch.tensor([i for i, _ in pairs])
        found, truth = (torch.stack([item[name] for item in kept])[rows] for name in ("found", "truth"))
        self.mean, self.variance = found.unbind(1)
        self.truth = torch.cat((truth[:, 0], self._deviation(truth[:, 1])), 1)
        answers = torch.stack([_answer(network, item) for item in kept])[rows]
        self.shift, self.scale = answers.unbind(1)

    def _deviation(self, variance: Tensor) -> Tensor:
        return (variance + self.config.variance_floor).sqrt()

    @property
    def alone(self) -> Tensor:
        """The colours that the network gives without a reference, (N, 6)."""
        return torch.cat((self.mean + self.shift, self._deviation(self.variance) * self.scale), 1)

    def inflate(self, factor: float) -> None:
        """Make the network's errors that many times as large."""
        colours = self.truth + factor * (self.alone - self.truth)
        self.shift = colours[:, :3] - self.mean
        self.scale = colours[:, 3:] / self._deviation(self.variance)

    def gated(self, gate: ReferenceGate, rows: Tensor) -> Tensor:
        """The colours that come out, (N, 6)."""
        measurement = ReferenceMeasurement(*(part[rows] for part in self.measured.parts))
        mean, variance = self.mean[rows], self.variance[rows]
        found = RegionStatistics(mean, variance, torch.ones(len(rows)))
        alone = LabTransfer(centre=mean, scale=self.scale[rows], shift=self.shift[rows])
        lab = towards(alone, gate(measurement, self.present[rows], found))
        return torch.cat((mean + lab.shift, self._deviation(variance) * lab.scale), 1)


def _answer(network: Plus, item: dict[str, Tensor]) -> Tensor:
    """Shift and scale that the network gives an object without a reference: (2, 3)."""
    picture, mask = (item[name][None].float() / 255 for name in ("composite", "mask"))
    size = (network.config.size, network.config.size)
    with torch.no_grad():
        lab = network(render.shrink(picture, size), render.shrink(mask, size)).lab
    assert lab is not None
    return torch.cat((lab.shift, lab.scale))


def error(colours: Tensor, truth: Tensor) -> Tensor:
    """Squared grey levels, about: (N,)."""
    levels = torch.tensor(LEVELS_PER_LAB * 2)
    return ((colours - truth).square() * levels).sum(1) + ERROR_FLOOR


def fit_gate(gate: ReferenceGate, cases: Cases, seed: int) -> None:
    """AdamW on the logarithm of the error, losses counted more than gains."""
    measurement = cases.measured.numbers[cases.present]
    gate.centre.copy_(measurement.mean(0))
    gate.spread.copy_(measurement.std(0) + 1e-3)
    draws = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(gate.parameters(), lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, STEPS)
    for _ in range(STEPS):
        rows = torch.randint(len(cases.kinds), (BATCH,), generator=draws)
        change = (
            error(cases.gated(gate, rows), cases.truth[rows]).log()
            - error(cases.alone[rows], cases.truth[rows]).log()
        )
        optimizer.zero_grad()
        (change + LOSS_WEIGHT * change.clamp_min(0)).mean().backward()
        optimizer.step()
        schedule.step()


def gain_table(gate: ReferenceGate, cases: Cases) -> str:
    """Gain in dB of the colours by kind of reference, by the same measure of error that the fit has."""
    every = torch.arange(len(cases.kinds))
    with torch.no_grad():
        ratio = error(cases.alone, cases.truth) / error(cases.gated(gate, every), cases.truth)
    gains = 10 * ratio.log10().numpy()
    lines = ["| reference | objects | gain, dB | worst tenth |", "|---|---|---|---|"]
    for kind in (*LEARNED, *SHOOTS):
        own = np.array([g for g, k in zip(gains, cases.kinds, strict=True) if k == kind])
        if len(own):
            worst = np.sort(own)[: max(1, len(own) // 10)].mean()
            lines.append(f"| {kind} | {len(own)} | {own.mean():+.2f} | {worst:+.2f} |")
    return "\n".join(lines)


def gather_and_fit(arguments: argparse.Namespace) -> None:
    """Gather the evidence, and where weights are given fit their gate."""
    torch.set_num_threads(1)
    loaded = None if arguments.weights is None else can_have_a_gate(arguments.weights)
    rows = [row for row in read_photos(arguments.photos) if row.mask is not None]
    # the former word stays in the seed, so that the shipped gate can be fitted again
    order = torch.randperm(len(rows), generator=generator("judge", arguments.seed)).tolist()
    lights = listed_lights(arguments.illuminants, "train")
    synthesis = Synthesis(SynthesisConfig(untouched=0.4, transfer=0.5), lights)
    listed = ListedReferences(arguments.photos / "images", build_encoder("lite0"))
    galleries = ReferencesOfKinds(open_gallery(arguments.store, photos=None), rows, listed, lights)
    ordered = [rows[i] for i in order]
    shoots = [row for row in ordered if galleries.mates(row)][: arguments.held_out]
    known = {row.group for row in shoots}
    training = [row for row in ordered if not in_validation(row, HELD_OUT_SHARE) and row.group not in known]
    held = [row for row in ordered if in_validation(row, HELD_OUT_SHARE)]
    groups = {
        TRAINING: (training[: arguments.objects], LEARNED),
        HELD_OUT: (held[: arguments.held_out], LEARNED),
        SHOT: (shoots, SHOOTS),
    }
    kept = {
        name: evidence(some, kinds, synthesis, galleries, arguments.evidence / name, arguments.seed)
        for name, (some, kinds) in groups.items()
        if some
    }
    if loaded is None:
        return
    cases = {name: Cases(some, loaded.network, groups[name][1]) for name, some in kept.items()}
    gate = learn(cases, arguments.seed)
    if arguments.out:
        about = f"{len(kept[TRAINING])} objects, seed {arguments.seed}, gallery of "
        about += f"{len(galleries.gallery.photos)} photos, raiha {__version__}"
        write_gated(arguments.out, loaded, gate, about, galleries.gallery.spec)


def main(argv: Sequence[str] | None = None) -> int:
    parser = command_parser(__doc__)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--illuminants", type=Path, required=True, help="CCHarmony's folder")
    parser.add_argument("--weights", type=Path, help="of raiha-plus; without them only evidence is gathered")
    parser.add_argument("--evidence", type=Path, required=True)
    parser.add_argument("--objects", type=int, default=700, help="of training photos")
    parser.add_argument("--held-out", type=int, default=120)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args(argv)
    if arguments.out and not arguments.weights:
        parser.error("--out needs --weights")
    return exit_code("fit_reference_gate", lambda: gather_and_fit(arguments))


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


def learn(cases: dict[str, Cases], seed: int) -> ReferenceGate:
    """Fit a gate to the training objects, and print what it gains on each group."""
    if TRAINING not in cases:
        raise ValueError("no photo is left to learn from: all are held out, or of one shoot")
    sizes = {name: float(error(c.alone, c.truth).sqrt().mean()) for name, c in cases.items()}
    for name in (TRAINING, SHOT):
        if name in cases and HELD_OUT in sizes:
            cases[name].inflate(max(1.0, sizes[HELD_OUT] / sizes[name]))
    gate = ReferenceGate()
    fit_gate(gate, cases[TRAINING], seed)
    print("network alone, grey levels:", {name: round(size, 1) for name, size in sizes.items()})
    print("share of the light's difference:", [round(x, 2) for x in gate.light_share.tolist()])
    for name, some in cases.items():
        print(f"\n{name}\n{gain_table(gate, some)}")
    return gate


def write_gated(
    path: Path, loaded: checkpoint.LoadedCheckpoint, gate: ReferenceGate, fitted: str, spec: FeatureSpec
) -> None:
    """The same weights with this gate; `fitted` says by what, `spec` on matches of which features."""
    about = replace(
        loaded.metadata, notes={**loaded.metadata.notes, "reference gate": fitted}, gate_spec=spec
    )
    checkpoint.save(path, loaded.network, about, gate=gate)
