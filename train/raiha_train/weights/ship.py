"""A trained weight file made ready to ship: half precision, and what it scores.

    python train/ship.py runs/NAME/last.safetensors --size 320 --out plain.safetensors
    python train/fit_reference_gate.py ... --weights plain.safetensors --out gated.safetensors
    python train/ship.py gated.safetensors --out raiha-plus.safetensors
    python train/compare_models.py --sets ... --models raiha-plus.safetensors --out runs/ladder
    python train/ship.py raiha-plus.safetensors --scores runs/ladder --out raiha-plus.safetensors

Scores are those that evaluate.py measured with the file itself: the last call changes its metadata alone.
Another size or shrinkage makes them void, so they are dropped then.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from raiha_core import checkpoint
from raiha_core.models.presets import PRESETS, config_from_json

from ..command import command_parser, exit_code
from ..evaluation.run_settings import SETTINGS_FILE, weights_digest


def evaluated_scores(folder: Path, weights: Path) -> dict[str, float]:
    """'SET protocol P MSE' and '... PSNR' of every finished run of the file in a folder of compare_models.py.

    Raises: ValueError where there is none, or one of another file of the same name.
    """
    scores = {}
    for path in sorted(folder.glob(f"*_{weights.stem}/scores.json")):
        settings = json.loads((path.parent / SETTINGS_FILE).read_text(encoding="utf-8"))
        if settings["model_digest"] != weights_digest(weights):
            raise ValueError(f"{path.parent} scored another file than {weights}: run compare_models.py again")
        means = json.loads(path.read_text(encoding="utf-8"))["overall"]
        data, protocol = path.parent.name.removesuffix(f"_{weights.stem}").rsplit("_", 1)
        for metric in ("mse", "psnr"):
            scores[f"{data}, protocol {protocol}, {metric.upper()}"] = round(float(means[metric]), 4)
    if not scores:
        raise ValueError(f"{folder} holds no finished run of '{weights.stem}'")
    return scores


def trained(scores: dict[str, float]) -> dict[str, float]:
    """The scores of training itself, which another size or shrinkage does not touch."""
    return {name: value for name, value in scores.items() if name.startswith("validation ")}


def make_ready(arguments: argparse.Namespace) -> None:
    """Write the weights in half precision, with what is said about them."""
    loaded = checkpoint.load(arguments.weights)
    about = loaded.metadata
    changed = {
        "shrinkage": arguments.shrinkage,
        "size": arguments.size,
        "least_share": arguments.least_share,
    }
    config = {**about.config, **{k: v for k, v in changed.items() if v is not None}}
    if config != about.config:
        if arguments.scores:
            raise ValueError("--scores were measured with other settings: set those first, then score")
        about = replace(about, config=config, scores=trained(about.scores))
    if arguments.scores:
        scores = trained(about.scores) | evaluated_scores(arguments.scores, arguments.weights)
        about = replace(about, scores=scores)
    if arguments.data:
        about = replace(about, data=arguments.data)
    if arguments.licence:
        about = replace(about, licence=arguments.licence)
    if wrong := [note for note in arguments.note if "=" not in note]:
        raise ValueError(f"--note '{wrong[0]}' is not NAME=TEXT")
    notes = dict(note.split("=", 1) for note in arguments.note)
    about = replace(about, notes={**about.notes, **notes})
    network = loaded.network
    if about.config != loaded.metadata.config:  # other settings, the same weights
        settings = config_from_json(about.preset, about.config)
        network = PRESETS[about.preset].build(config=settings, pretrained=False)
        network.load_state_dict(loaded.network.state_dict())
    gate = None if loaded.gate is None else loaded.gate.gate
    checkpoint.save(arguments.out, network, about, gate=gate, dtype=torch.float16)
    print(f"{arguments.out}: {arguments.out.stat().st_size / 2**20:.1f} MiB")


def main(argv: Sequence[str] | None = None) -> int:
    parser = command_parser(__doc__)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scores", type=Path, help="a folder of compare_models.py")
    parser.add_argument("--data", help="what it was trained on, in words; default: what the file says")
    parser.add_argument("--licence", help="default: what the file says")
    parser.add_argument("--shrinkage", type=float, help="of raiha-plus, in grey levels; see its config")
    parser.add_argument("--size", type=int, help="of raiha-plus: the side at which it reads pictures")
    parser.add_argument("--least-share", type=float, help="of raiha-plus: see its config")
    parser.add_argument(
        "--note", action="append", default=[], metavar="NAME=TEXT", help="more about its making; several"
    )
    arguments = parser.parse_args(argv)
    return exit_code("ship", lambda: make_ready(arguments))
