"""`raiha fetch`: the authors' weights of a published network, brought, verified and converted."""

import argparse
import json
import sys
from pathlib import Path

from tqdm import tqdm

from ..model_folders import VARIABLE, user_folders
from ..models.presets import FETCHABLE, filed


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "fetch",
        description="Bring the authors' weights of a published network from their repository, verify them "
        "by git's digest before they are read, convert them, and say under which licence they come. They "
        "are kept in ComfyUI's models/raiha where this is a pack of it, else in the folder that "
        f"{VARIABLE} names, else in your data folder; after that their name is enough. A broken download "
        f"goes on where it stopped. NAME is one of: {', '.join(FETCHABLE)}.",
        epilog="example: raiha fetch pctnet-vit",
    )
    parser.add_argument("name", help="of the network, as `raiha models` lists it")
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--from", dest="source", type=Path, metavar="FILE", help="the authors' file, if it is here"
    )
    source.add_argument("--mirror", metavar="URL", help="where OWNER/REPOSITORY/COMMIT/FILE lie, for GitHub")
    parser.add_argument("--to", type=Path, metavar="FOLDER", help="another folder to keep them in")
    parser.add_argument("--json", action="store_true", help="print what was done as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from ..fetch import fetch  # here, because what speaks with servers loads slowly

    folders = user_folders()
    if not (arguments.to or folders):
        raise ValueError("this user has no home to keep weights in: name a folder with --to")
    folder = arguments.to or folders[0]
    with tqdm(
        unit="B", unit_scale=True, desc=arguments.name, disable=not sys.stderr.isatty() or arguments.json
    ) as bar:

        def report(have: int, size: int | None) -> None:
            bar.total = size
            bar.n = have
            bar.refresh()

        found = fetch(arguments.name, folder, mirror=arguments.mirror, source=arguments.source, report=report)
    card = filed()[arguments.name].published
    assert card is not None
    if arguments.json:
        print(
            json.dumps(
                {
                    "name": arguments.name,
                    "file": str(found.path),
                    "was_here": found.was_here,
                    "licence": found.metadata.licence,
                    "commercial": card.commercial,
                    "origin": card.origin,
                    "citation": card.citation,
                },
                indent=2,
            )
        )
        return 0
    print(f"{found.path}{' (was here)' if found.was_here else ''}")
    print(f"  {card.method}, {card.origin}: {card.use}")
    print(f"  cite: {card.citation}")
    return 0
