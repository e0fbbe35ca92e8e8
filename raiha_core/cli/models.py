"""`raiha models`: the presets and the weights that are here, with what they are and what they cost."""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..checkpoint import read_metadata
from ..harmonizer import shipped_weights
from ..model_folders import user_weights
from ..models.cost import macs, on_meta, parameters, trainable
from ..models.network import NetworkConfig
from ..models.presets import SCORERS, Preset, config_from_json, filed
from ..models.published import Published

ABOUT = {  # the presets without weights, which are no networks
    "statistics": "no weights: colour statistics of a ring around the object, or of the references",
    "seam": "no weights: for regions that continue their surroundings (a repaint), the jump at their border",
}


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "models",
        description="List every preset, every weight file, and what can be had: parameters, multiply-adds "
        "at 256 pixels, feature space, licence, whether it allows commercial use, scores. NAME is a preset, "
        "weights that are here, or a .safetensors file.",
        epilog="example: raiha models raiha-plus --json",
    )
    parser.add_argument("name", nargs="?", help="only this one")
    parser.add_argument("--json", action="store_true", help="print the list as JSON")
    parser.set_defaults(run=run)


def preset_entry(name: str) -> dict[str, Any]:
    """What is known of a preset before it has weights: the fields that `raiha models --json` prints of it.

    `macs_256` are multiply-adds for one picture of 256 x 256 pixels, 0 for a scorer.
    Raises: KeyError for a name that is no preset.
    """
    if name in ABOUT:
        return _entry(name, name, about=ABOUT[name])
    preset = filed()[name]
    network = on_meta(preset)
    card = preset.published
    known = {"commercial": True} if card is None else _of_card(card)
    return _entry(
        name,
        name,
        about=preset.about,
        **known,
        parameters=parameters(network),
        trainable=trainable(network),
        macs_256=_macs(preset, preset.config),
        max_references=preset.requirements.max_references,
    )


def _macs(preset: Preset, config: NetworkConfig) -> int:
    """At 256 pixels; a scorer's, which makes no picture, are not counted."""
    return 0 if preset.name in SCORERS else macs(preset, 256, config=config)


def _of_card(card: Published) -> dict[str, Any]:
    """What is known of the authors' weights before they are here."""
    return {
        "licence": card.licence,
        "commercial": card.commercial,
        "scores": card.scores,
        "can_be_fetched": card.can_be_fetched,
        "origin": card.origin,
        "citation": card.citation,
    }


def file_entry(name: str, path: Path) -> dict[str, Any]:
    """What a weight file says about itself, and what its network costs.

    Raises: as `checkpoint.read_metadata`.
    """
    metadata = read_metadata(path)
    config = config_from_json(metadata.preset, metadata.config)
    preset = filed()[metadata.preset]
    network = on_meta(preset, config)
    return _entry(
        name,
        metadata.preset,
        about=preset.about,
        parameters=parameters(network),
        trainable=trainable(network),
        macs_256=_macs(preset, config),
        max_references=config.max_references,
        file=str(path),
        feature_spec=None if metadata.spec is None else metadata.spec.to_json(),
        licence=metadata.licence,
        commercial={"allowed": True, "not allowed": False}.get(metadata.notes.get("commercial_use", "")),
        scores=metadata.scores,
        data=metadata.data,
        config=metadata.config,
        code_version=metadata.code_version,
        notes=metadata.notes,
    )


def _entry(name: str, preset: str, **known: Any) -> dict[str, Any]:
    blank: dict[str, Any] = {
        "name": name,
        "preset": preset,
        "about": "",
        "parameters": 0,
        "trainable": 0,
        "macs_256": 0,
        "max_references": 0,
        "file": None,
        "feature_spec": None,
        "licence": "MIT",  # of this code; weights carry their own
        "commercial": None,  # whether the weights' licence allows it; None: it is not stated
        "scores": {},
    }
    return blank | known


def _is_published(name: str) -> bool:
    known = filed()
    return name in known and known[name].published is not None


def _readable(here: dict[str, Path]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Records of the weight files; one that cannot be read is said, and spoils no list."""
    for name, path in here.items():
        try:
            yield name, file_entry(name, path)
        except (ValueError, OSError) as error:
            print(f"raiha: note: {error}", file=sys.stderr)


def entries(name: str | None) -> list[dict[str, Any]]:
    """One record per preset and weight file; only those called `name` where it is given.

    Raises: ValueError listing what there is where nothing has that name.
    """
    here = user_weights() | shipped_weights()
    presets = [*ABOUT, *filed()]
    if name is None:
        files = dict(_readable(here))
        # a published network is listed once: by its file, or as what can be had
        unfilled = [p for p in presets if p not in files or not _is_published(p)]
        return [*(preset_entry(p) for p in unfilled), *files.values()]
    found = [preset_entry(name)] if name in presets else []
    if name in here:
        if _is_published(name):
            found.clear()
        found.append(file_entry(name, here[name]))
    elif Path(name).is_file():
        found.append(file_entry(Path(name).stem, Path(name)))
    if not found:
        known = ", ".join(dict.fromkeys([*presets, *here]))
        raise ValueError(f"no model '{name}'; known: {known}; or name a .safetensors file")
    return found


def run(arguments: argparse.Namespace) -> int:
    found = entries(arguments.name)
    if arguments.json:
        print(json.dumps(found, indent=2))
        return 0
    print(f"{'name':24} {'preset':16} {'parameters':>12} {'GMAC at 256':>12} {'references':>10}  weights")
    for entry in found:
        gigas = entry["macs_256"] / 1e9
        where = entry["file"] or ("raiha fetch" if entry.get("can_be_fetched") else "-")
        print(
            f"{entry['name']:24} {entry['preset']:16} {entry['parameters']:12,} {gigas:12.3f} "
            f"{entry['max_references']:10}  {where}"
        )
        if arguments.name is not None:
            for key in ("about", "licence", "origin", "citation", "data", "scores", "code_version"):
                if entry.get(key):
                    print(f"  {key}: {entry[key]}")
    return 0
