"""The option by which commands are told where an encoder's weights lie."""

import argparse
from pathlib import Path

from ..features.encoder_files import WEIGHTS_VARIABLE


def add_encoder_weights(parser: argparse.ArgumentParser, what: str) -> None:
    """Add --encoder-weights; --weights is its former name."""
    parser.add_argument(
        "--encoder-weights",
        "--weights",
        type=Path,
        metavar="FOLDER",
        help=f"{what}: a file, or a folder that holds it "
        f"(default: {WEIGHTS_VARIABLE}, then the models' folder)",
    )
