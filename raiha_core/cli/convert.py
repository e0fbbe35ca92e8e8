"""`raiha convert`: the authors' .pth as a safetensors file of ours."""

import argparse
import json
from dataclasses import replace
from pathlib import Path

from .. import checkpoint
from ..convert import convert
from ..features.encoder_files import DVT, find_weights
from ..features.encoders import build_encoder
from ..models.cost import parameters
from ..models.presets import filed
from .encoder_options import add_encoder_weights
from .outputs import require_place


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "convert",
        description="Read an authors' .pth, tensors only, and write it as .safetensors that `raiha harmonize "
        "--model` takes. Whose it is is told from the names and shapes of its tensors; every one of them "
        "must fit, or nothing is written. What opens: HDNet, Raiha, and each published network that `raiha "
        "models` lists.",
        epilog="example: raiha convert 60_net_G.pth -o raiha-released.safetensors",
    )
    parser.add_argument("file", type=Path, help="the .pth file, or the folder of a method's several files")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the .safetensors file to write")
    parser.add_argument(
        "--as", dest="preset", metavar="PRESET", help="what it is to become, where its tensors leave a choice"
    )
    add_encoder_weights(parser, f"of the encoder a network was trained with (Raiha: {DVT}): its name is kept")
    parser.add_argument("--json", action="store_true", help="print what was done as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    if arguments.output.suffix != ".safetensors":
        raise ValueError(f"the output must end in .safetensors, got {arguments.output}")
    require_place(arguments.output, [arguments.file])
    network, metadata = convert(arguments.file, arguments.preset)
    missing = ""
    if filed()[metadata.preset].config.requirements.content:
        metadata, missing = _with_space(metadata, arguments.encoder_weights)
    checkpoint.save(arguments.output, network, metadata)
    found = {
        "file": str(arguments.output),
        "preset": metadata.preset,
        "config": metadata.config,
        "tensors": len(network.state_dict()),
        "parameters": parameters(network),
        "licence": metadata.licence,
        "feature_spec": None if metadata.spec is None else metadata.spec.name,
        **metadata.notes,
    }
    if arguments.json:
        print(json.dumps(found, indent=2))
    else:
        size = f"{found['tensors']} tensors, {found['parameters']:,} numbers"
        print(f"{arguments.output}: '{metadata.preset}', {size}")
        card = filed()[metadata.preset].published
        if card is not None:
            print(f"  {card.method}, {card.origin}: {card.use}")
            print(f"  cite: {card.citation}")
        if missing:
            print(f"  no feature space is kept: {missing}")
        if "could_be" in metadata.notes:
            print(f"  its tensors would fit {metadata.notes['could_be']} as well: --as says which it is")
    return 0


def _with_space(metadata: checkpoint.Metadata, weights: Path | None) -> tuple[checkpoint.Metadata, str]:
    """The metadata with the feature space of the paper's encoder; else as it was, and what is missing."""
    if find_weights(DVT, weights) is None:
        return metadata, (
            f"the weights of '{DVT}' are not here; with --encoder-weights FOLDER the file says which "
            "features it reads, and `raiha harmonize` finds them"
        )
    return replace(metadata, spec=build_encoder(DVT, weights=weights).spec), ""
