"""`raiha gallery export` and `raiha gallery bench`: a gallery in a vector database."""

import argparse
from pathlib import Path

from ..engines.measure import measure_engine
from ..engines.registry import SOURCES, export_to_engine, opened_export
from ..gallery.united import open_united
from .values import count, threshold


def add_export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("store", type=Path, metavar="STORE", help="the gallery's folder; only read")
    parser.add_argument("folder", type=Path, metavar="EXPORT", help="where the engine's database lies")
    parser.add_argument("--engine", choices=sorted(SOURCES), required=True, help="needs raiha[NAME]")


def add_bench_arguments(parser: argparse.ArgumentParser) -> None:
    add_export_arguments(parser)
    parser.add_argument("--queries", type=count, default=8, help="photos to ask with (8)")
    parser.add_argument(
        "--neighbours", type=count, default=1000, help="that each patch asks the engine for (1000)"
    )
    parser.add_argument("--content-threshold", type=threshold, metavar="X", help="in (0, 1] (the gallery's)")


def export_store(arguments: argparse.Namespace) -> tuple[dict[str, object], list[str]]:
    """Carry out `gallery export`. Returns: the report, and what is printed of it."""
    gallery = open_united(arguments.store)
    export_to_engine(gallery, arguments.folder, arguments.engine)
    report = {"engine": arguments.engine, "photos": len(gallery), "export": str(arguments.folder)}
    return report, [f"{arguments.folder}: {len(gallery)} photos in {arguments.engine}"]


def bench_store(arguments: argparse.Namespace) -> tuple[dict[str, object], list[str]]:
    """Carry out `gallery bench`. Returns: as `export_store`."""
    gallery = open_united(arguments.store)
    with opened_export(gallery, arguments.folder, arguments.engine) as source:
        found = measure_engine(
            source,
            gallery,
            queries=arguments.queries,
            count=arguments.neighbours,
            content_threshold=arguments.content_threshold,
        )
    lines = [
        f"{found.engine}: {found.photos} photos, {found.queries} queries at {found.content_threshold:g}",
        f"recall      {found.recall:.4f}, least {found.least_recall:.4f} of {found.qualify:.1f} that qualify",
        f"re-checked  {found.proposed:.0f} photos a query, {found.wrong} wrong",
        f"seconds     {found.seconds:.3f} a query, our own exact search {found.exact_seconds:.3f}",
    ]
    return found.to_json(), lines
