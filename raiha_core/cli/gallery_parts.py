"""`raiha gallery unite`, and `raiha gallery build --cluster`: galleries that are made of galleries."""

import argparse
from pathlib import Path

from ..cluster.parts_build import PartRules, build_parts
from ..gallery.build import BuildReport
from ..gallery.protocol import Progress
from ..gallery.united import unite


def add_cluster(parser: argparse.ArgumentParser, text: str) -> None:
    """The option of all commands that can work on several machines."""
    parser.add_argument(
        "--cluster",
        metavar="ADDRESS",
        help=f"{text} a Ray cluster: HOST:PORT of its head, ray://HOST:10001, auto (the one that runs here) "
        "or local (this machine); needs raiha[ray]",
    )


def add_unite_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("united", type=Path, metavar="UNITED", help="folder of the gallery of galleries")
    parser.add_argument(
        "stores", type=Path, nargs="+", metavar="STORE", help="its parts, called by their folders' names"
    )


def unite_stores(arguments: argparse.Namespace) -> tuple[dict[str, object], list[str]]:
    """Unite the stores of a command line. Returns: the report, and what is printed of it."""
    stores = [(store.resolve().name, store) for store in arguments.stores]
    found = unite(arguments.united, stores)
    parts = {part.name: len(part.gallery) for part in found.parts}
    line = f"{arguments.united}: {len(found)} photos in {len(parts)} parts"
    return {"united": str(arguments.united), "photos": len(found), "parts": parts}, [line]


def build_on_cluster(arguments: argparse.Namespace, progress: Progress | None) -> list[BuildReport]:
    """Build the parts of a command line. Raises: ValueError for options that only a single store has."""
    for name in ("groups", "moved"):
        if getattr(arguments, name):
            raise ValueError(f"--{name} is of a single gallery: give it with one part, without --cluster")
    rules = PartRules(
        encoder=arguments.encoder or "lite0",
        encoder_weights=arguments.encoder_weights,
        device=str(arguments.device),
        workers=arguments.workers,
        group_by=arguments.group_by or "",
        max_pixels=arguments.max_pixels,
        allow_damaged=arguments.allow_damaged,
    )
    return build_parts(arguments.photos, arguments.store, arguments.cluster, rules, progress=progress)
