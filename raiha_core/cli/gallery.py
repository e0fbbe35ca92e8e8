"""`raiha gallery build | add | remove | info | check | repair | renew | unite`: photos to search."""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from ..features.encoders import ENCODERS, Encoder, build_encoder
from ..gallery.build import BuildReport, add, build
from ..gallery.check import check
from ..gallery.info import GalleryInfo, info
from ..gallery.layout import Layout, read_spec
from ..gallery.listing import read_groups
from ..gallery.plan import BadFile
from ..gallery.protocol import Progress
from ..gallery.remove import remove
from ..gallery.renew import renew
from ..gallery.repair import repair
from ..retrieval.kernel import running
from .encoder_options import add_encoder_weights
from .gallery_engines import add_bench_arguments, add_export_arguments, bench_store, export_store
from .gallery_parts import add_cluster, add_unite_arguments, build_on_cluster, unite_stores
from .reading import add_reading_options
from .values import count, device

Subparsers = argparse._SubParsersAction  # argparse has no public name for what add_subparsers returns
_SHOWN = 20  # names printed of a long list; --json has them all


def add_parser(subparsers: "Subparsers[argparse.ArgumentParser]") -> None:
    """Add `gallery` and its commands to the command line."""
    gallery = subparsers.add_parser(
        "gallery",
        description="A gallery is a folder that holds the patch features of your photos. "
        "The photos themselves are only read, and stay where they are.",
        epilog="example: raiha gallery build ~/Pictures pictures.gallery",
    )
    commands = gallery.add_subparsers(dest="gallery_command", required=True, metavar="COMMAND")
    _add_build(commands)
    _add_add(commands)
    _add_remove(commands)
    _add_info(commands)
    _add_check(commands)
    _add_repair(commands)
    _add_renew(commands)
    _add_unite(commands)
    _add_engines(commands)


def _command(
    commands: "Subparsers[argparse.ArgumentParser]",
    name: str,
    run: Callable[[argparse.Namespace], int],
    text: str,
    example: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text, epilog=f"example: {example}")
    parser.set_defaults(run=run)
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--quiet", action="store_true", help="no progress bar, and no report unless --json")
    return parser


def _add_encoding(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("photos", type=Path, metavar="PHOTOS", help="folder of photos; only read")
    parser.add_argument("store", type=Path, metavar="STORE", help="the gallery's own folder")
    parser.add_argument(
        "--encoder",
        choices=sorted(ENCODERS),
        help="feature space (the gallery's own; lite0 for a new one)",
    )
    add_encoder_weights(parser, "local weights for the encoder")
    parser.add_argument(
        "--device", type=device, default="cpu", help="where the encoder runs: cpu, cuda, mps (cpu)"
    )
    parser.add_argument(
        "--workers", type=count, default=2, help="threads, one photo each (2); changes no result"
    )
    parser.add_argument(
        "--group-by",
        choices=["folder"],
        help="make each subfolder a group, so that a search can exclude the query's own; remembered",
    )
    parser.add_argument(
        "--groups", type=Path, metavar="FILE", help="groups by photo: CSV or JSON lines with id and group"
    )
    add_reading_options(parser)


def _add_photos(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("store", type=Path, metavar="STORE", help="the gallery's folder")
    parser.add_argument(
        "--photos", type=Path, metavar="FOLDER", help="where the photos lie now, if they were moved"
    )


def _add_build(commands: "Subparsers[argparse.ArgumentParser]") -> None:
    parser = _command(
        commands,
        "build",
        _run_build,
        "make a gallery of a folder, or bring one up to date; goes on where it was interrupted",
        "raiha gallery build ~/Pictures pictures.gallery --group-by folder",
    )
    _add_encoding(parser)
    parser.add_argument("--moved", action="store_true", help="PHOTOS are the gallery's photos in a new place")
    add_cluster(parser, "build each subfolder of PHOTOS by a worker of")


def _add_add(commands: "Subparsers[argparse.ArgumentParser]") -> None:
    parser = _command(
        commands,
        "add",
        _run_add,
        "add a photo or a further folder to a gallery; drops nothing",
        "raiha gallery add ~/Holiday pictures.gallery",
    )
    _add_encoding(parser)


def _add_remove(commands: "Subparsers[argparse.ArgumentParser]") -> None:
    parser = _command(
        commands,
        "remove",
        _run_remove,
        "take photos out of a gallery for good; the files stay where they are",
        "raiha gallery remove pictures.gallery 'screenshots/*'",
    )
    parser.add_argument("store", type=Path, metavar="STORE", help="the gallery's folder")
    parser.add_argument("patterns", nargs="*", metavar="PHOTO", help="id, file, or pattern such as 'a/*'")
    parser.add_argument("--group", action="append", default=[], help="all photos of a group; repeatable")


def _add_info(commands: "Subparsers[argparse.ArgumentParser]") -> None:
    text = "say what a gallery holds, and in which feature space"
    _add_photos(_command(commands, "info", _run_info, text, "raiha gallery info pictures.gallery"))


def _add_check(commands: "Subparsers[argparse.ArgumentParser]") -> None:
    parser = _command(
        commands,
        "check",
        _run_check,
        "prove a gallery whole, and its photos unchanged; exit code 1 where anything is wrong",
        "raiha gallery check pictures.gallery",
    )
    _add_photos(parser)
    parser.add_argument("--no-photos", action="store_true", help="check the gallery's own files only")
    parser.add_argument(
        "--fast", action="store_true", help="do not read photos whose size and times are the recorded ones"
    )


def _add_repair(commands: "Subparsers[argparse.ArgumentParser]") -> None:
    parser = _command(
        commands,
        "repair",
        _run_repair,
        "keep what is whole of a damaged gallery, say what was dropped, and reclaim dead space",
        "raiha gallery repair pictures.gallery",
    )
    parser.add_argument("store", type=Path, metavar="STORE", help="the gallery's folder")


def _add_renew(commands: "Subparsers[argparse.ArgumentParser]") -> None:
    parser = _command(
        commands,
        "renew",
        _run_renew,
        "fit the search index to the photos that a grown gallery holds now; changes speed, never an answer",
        "raiha gallery renew pictures.gallery",
    )
    parser.add_argument("store", type=Path, metavar="STORE", help="the gallery's folder")


def _add_unite(commands: "Subparsers[argparse.ArgumentParser]") -> None:
    text = "make one gallery of several, which stay where they are; nothing is encoded"
    example = "raiha gallery unite all.gallery holiday.gallery work.gallery"
    add_unite_arguments(_command(commands, "unite", _run_unite, text, example))


def _add_engines(commands: "Subparsers[argparse.ArgumentParser]") -> None:
    text = "fill a vector database with a gallery's patches"
    example = "raiha gallery export pictures.gallery pictures.pgvector --engine pgvector"
    add_export_arguments(_command(commands, "export", _run_export, text, example))
    text = "measure what a vector database finds of what the exact search finds, and how fast"
    add_bench_arguments(_command(commands, "bench", _run_bench, text, example.replace("export", "bench")))


def _run_export(arguments: argparse.Namespace) -> int:
    _tell(arguments, *export_store(arguments))
    return 0


def _run_bench(arguments: argparse.Namespace) -> int:
    _tell(arguments, *bench_store(arguments))
    return 0


def _run_unite(arguments: argparse.Namespace) -> int:
    _tell(arguments, *unite_stores(arguments))
    return 0


def _run_renew(arguments: argparse.Namespace) -> int:
    done = renew(arguments.store)
    report = {"store": str(arguments.store), "shards": done}
    _tell(arguments, report, [f"{arguments.store}: the index of {done} shards was made anew"])
    return 0


def _run_build(arguments: argparse.Namespace) -> int:
    if arguments.cluster:
        with _bar("encoding", arguments.quiet) as progress:
            reports = build_on_cluster(arguments, progress)
        if arguments.json:
            print(json.dumps([report.to_json() for report in reports], indent=2))
            return 0
        return max(_tell_build(arguments, report) for report in reports)
    encoder = _encoder(arguments)
    with _bar("encoding", arguments.quiet) as progress:
        report = build(
            arguments.photos,
            arguments.store,
            encoder=encoder,
            workers=arguments.workers,
            group_by=arguments.group_by or "",
            groups=read_groups(arguments.groups) if arguments.groups else None,
            moved=arguments.moved,
            max_pixels=arguments.max_pixels,
            allow_damaged=arguments.allow_damaged,
            progress=progress,
        )
    return _tell_build(arguments, report)


def _run_add(arguments: argparse.Namespace) -> int:
    encoder = _encoder(arguments)
    with _bar("encoding", arguments.quiet) as progress:
        report = add(
            arguments.photos,
            arguments.store,
            encoder=encoder,
            workers=arguments.workers,
            group_by=arguments.group_by or "",
            groups=read_groups(arguments.groups) if arguments.groups else None,
            max_pixels=arguments.max_pixels,
            allow_damaged=arguments.allow_damaged,
            progress=progress,
        )
    return _tell_build(arguments, report)


def _encoder(arguments: argparse.Namespace) -> Encoder:
    name, layout = arguments.encoder, Layout(arguments.store)
    if name is None:
        name = read_spec(layout).encoder if layout.spec.exists() else "lite0"
    return build_encoder(name, weights=arguments.encoder_weights, device=arguments.device)


def _tell_build(arguments: argparse.Namespace, report: BuildReport) -> int:
    _list_bad("skipped", report.bad)
    counts = ("added", "changed", "renewed", "unchanged", "removed", "excluded")
    parts = [f"{getattr(report, name)} {name}" for name in counts if getattr(report, name)]
    if report.bad:
        parts.append(f"{len(report.bad)} skipped")
    details = f" ({', '.join(parts)})" if parts else ""
    _tell(arguments, report.to_json(), [f"{report.store}: {report.photos} photos{details}"])
    for note in report.notes:
        print(f"raiha: note: {note}", file=sys.stderr)
    for work in report.unfinished:
        print(f"raiha: note: the gallery is still unfinished: {work}", file=sys.stderr)
    return 0


def _run_remove(arguments: argparse.Namespace) -> int:
    removed = remove(arguments.store, arguments.patterns, groups=arguments.group)
    lines = [f"{arguments.store}: {len(removed)} photos removed", *_shorten(removed)]
    _tell(arguments, {"store": str(arguments.store), "removed": list(removed)}, lines)
    return 0


def _run_info(arguments: argparse.Namespace) -> int:
    found = info(arguments.store, photos=arguments.photos)
    search = running()
    _tell(arguments, {**found.to_json(), "search": search}, [*_describe(found), f"searched by {search}"])
    return 0


def _describe(found: GalleryInfo) -> list[str]:
    state = "finished" if found.finished else f"unfinished: {found.photos} of {found.expected} photos"
    if found.being_written:
        state += ", being written"
    lines = [
        f"{found.store}: {found.photos} photos, {state}",
        f"features    {found.spec['name']} (encoder {found.spec['encoder']})",
        f"thresholds  {_thresholds(found)}",
        f"on disk     {found.shards} shards, {found.bytes / 1e6:.1f} MB, {found.in_use:.0%} in use",
    ]
    lines += [f"unfinished  {work}" for work in found.unfinished]
    lines += [f"photos in   {folder}" for folder in found.folders]
    if found.grouped:
        lines.append(f"groups      {found.groups}, with {found.grouped} photos")
    if found.duplicates:
        lines.append(f"duplicates  {found.duplicates}")
    if found.excluded:
        lines.append(f"excluded    {found.excluded} (removed on request)")
    lines += [f"skipped     {file.id}: {file.reason}" for file in found.bad[:_SHOWN]]
    return lines


def _thresholds(found: GalleryInfo) -> str:
    """The two numbers that a search uses, and where they come from."""
    source = found.calibration if "content_threshold" in found.calibration else found.spec
    origin = source.get("threshold_source", "calibrated on this gallery")
    return f"content {source['content_threshold']}, appearance {source.get('appearance_threshold')}: {origin}"


def _run_check(arguments: argparse.Namespace) -> int:
    with _bar("checking", arguments.quiet) as progress:
        report = check(
            arguments.store,
            photos=arguments.photos,
            with_photos=not arguments.no_photos,
            fast=arguments.fast,
            progress=progress,
        )
    lines = _shorten([f"{damage.kind}: {damage.message}" for damage in report.damages])
    lines += [f"not checked: {sentence}" for sentence in report.unchecked]
    count = len(report.damages)
    verdict = "sound" if report.sound else f"{count} damage{'s' if count > 1 else ''}"
    whole = (
        "" if report.sound else f", {'readable' if report.readable_as_whole else 'not readable'} as a whole"
    )
    _tell(arguments, report.to_json(), [*lines, f"{report.store}: {report.photos} photos, {verdict}{whole}"])
    return 0 if report.sound else 1


def _run_repair(arguments: argparse.Namespace) -> int:
    report = repair(arguments.store)
    lines = [*report.actions]
    lines += [f"recovered {name}" for name in _shorten(report.recovered)]
    lines += _shorten([f"dropped {file.id}: {file.reason}" for file in report.dropped])
    if report.dropped:
        lines.append("run `raiha gallery build` again to encode what was dropped")
    lines.append(
        f"{report.store}: {report.photos} photos" + ("" if report.actions else ", nothing to repair")
    )
    _tell(arguments, report.to_json(), lines)
    return 0


def _tell(arguments: argparse.Namespace, report: dict[str, object], lines: Sequence[str]) -> None:
    if arguments.json:
        print(json.dumps(report, indent=2))
    elif not arguments.quiet:
        print("\n".join(lines))


def _list_bad(verb: str, files: Sequence[BadFile]) -> None:
    for line in _shorten([f"{verb} {file.id}: {file.reason}" for file in files]):
        print(line, file=sys.stderr)


def _shorten(lines: Sequence[str]) -> list[str]:
    more = len(lines) - _SHOWN
    return [*lines[:_SHOWN], *([f"... and {more} more (--json lists all)"] if more > 0 else [])]


@contextmanager
def _bar(text: str, quiet: bool) -> Iterator[Progress | None]:
    """A progress callback that draws a bar, on a terminal only."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    with tqdm(desc=text, unit="photo") as bar:

        def progress(done: int, total: int, _: str) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield progress
