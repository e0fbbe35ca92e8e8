"""`raiha calibrate`: thresholds for a gallery's feature space, with their false-positive rates."""

import argparse
import json
from pathlib import Path

from ..durable import write_text
from ..gallery.store import open_gallery
from ..retrieval.calibrate import calibrate
from .values import count

FILE = "calibration.json"


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "calibrate",
        description="Measure which content threshold lets how many unrelated photos through, and keep "
        "the answer in the store. Without labels, 'unrelated' means 'another photo', so the rates "
        "are upper bounds.",
        epilog="example: raiha calibrate store/",
    )
    parser.add_argument("store", type=Path, help="a gallery built by `raiha gallery build`")
    parser.add_argument(
        "--queries", type=count, default=200, help="photos that serve as queries (default 200)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    found = calibrate(open_gallery(arguments.store), queries=arguments.queries, seed=arguments.seed)
    text = json.dumps(found.to_json(), indent=2)
    write_text(arguments.store / FILE, text + "\n")
    print(text if arguments.json else found.report())
    return 0
