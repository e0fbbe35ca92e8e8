"""`raiha retrieve`: photos of a gallery that may guide a composite, and why each was chosen."""

import argparse
import json
import math
import sys
import time
from dataclasses import replace
from pathlib import Path

from ..cluster.cluster_search import ClusterSearch
from ..features.encoders import build_encoder
from ..features.references import Match
from ..gallery.united import open_united
from ..images import require_writable, write_picture
from ..regular import file_digest
from ..retrieval.request import BY, LIKENESS
from ..retrieval.search import Candidate, Candidates, references, search
from ..sheet import captions, matches_sheet
from .encoder_options import add_encoder_weights
from .gallery_parts import add_cluster
from .outputs import require_place
from .pairs import add_mask_options, mask_notes_told, read_pair
from .reading import add_reading_options, reading_of
from .values import count, device, threshold


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "retrieve",
        description="Rank a gallery's photos by how much they show what the object shows (content) in the "
        "background's light (illumination). The composite's own file is never among them.",
        epilog="example: raiha retrieve composite.png --mask mask.png --gallery store --sheet why.png",
    )
    parser.add_argument("composite", type=Path, help="a picture with a pasted object")
    parser.add_argument("--mask", type=Path, required=True, help="its mask (white = object)")
    add_mask_options(parser)
    parser.add_argument("--gallery", type=Path, required=True, metavar="STORE", help="where to search")
    parser.add_argument("--photos", type=Path, metavar="FOLDER", help="where its photos lie now, if moved")
    parser.add_argument("--top-k", type=count, default=4, help="photos to list (default 4)")
    parser.add_argument(
        "--by",
        choices=BY,
        help="likeness, the default, ranks all photos, the most alike first; the others, as in the paper: "
        "photos that reach the thresholds (both, where --random or a threshold is given)",
    )
    parser.add_argument(
        "--random", type=int, metavar="SEED", help="draw among those that qualify, as the paper does"
    )
    for name, equation in (("content", 3), ("appearance", 5)):
        parser.add_argument(
            f"--{name}-threshold",
            type=threshold,
            metavar="X",
            help=f"in (0, 1], of eq. {equation} (default: the gallery's)",
        )
    parser.add_argument(
        "--exclude-group", nargs="+", default=[], metavar="G", help="groups of photos to leave out"
    )
    add_encoder_weights(parser, "local weights of the gallery's encoder")
    parser.add_argument("--sheet", type=Path, metavar="OUT.png", help="draw the photos and matched patches")
    parser.add_argument(
        "--device", type=device, default="cpu", help="where features and scores are computed (cpu)"
    )
    add_cluster(parser, "search by the workers of")
    add_reading_options(parser)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    if arguments.sheet is not None:
        require_writable(arguments.sheet, alpha=False, bit_depth=8)  # before the work, not after it
        require_place(arguments.sheet, [arguments.composite, arguments.mask])
    started = time.perf_counter()
    picture, meant = read_pair(
        arguments.composite,
        arguments.mask,
        reading_of(arguments),
        label=arguments.label,
        invert=arguments.invert_mask,
    )
    gallery = open_united(arguments.gallery, photos=arguments.photos, max_pixels=arguments.max_pixels)
    with mask_notes_told():
        found = search(
            gallery,
            picture.pixels,
            meant.mask,
            encoder=build_encoder(
                gallery.spec.encoder, weights=arguments.encoder_weights, device=arguments.device
            ),
            by=arguments.by or _usual(arguments),
            top_k=arguments.top_k,
            seed=arguments.random,
            content_threshold=arguments.content_threshold,
            appearance_threshold=arguments.appearance_threshold,
            exclude_sha256=[file_digest(arguments.composite)],
            exclude_groups=arguments.exclude_group,
            query_id=arguments.composite.name,
            device=arguments.device,
            searcher=ClusterSearch(gallery, arguments.cluster) if arguments.cluster else None,
        )
    found = replace(found, notes=(*meant.notes, *found.notes))
    seconds = time.perf_counter() - started
    if arguments.sheet is not None:
        sheet = matches_sheet(
            picture.pixels,
            meant.mask,
            references(found),
            grid=found.grid,
            title=f"References for {arguments.composite.name}",
            subtitle=_summary(found),
            captions=captions(found),
        )
        write_picture(arguments.sheet, sheet)
    if arguments.json:
        print(json.dumps(_report(found, arguments, seconds)))
    else:
        _print_table(found, seconds, arguments.sheet)
    return 0


def _usual(arguments: argparse.Namespace) -> str:
    """An order of all photos, unless something is asked for that means nothing in it."""
    thresholds = (arguments.content_threshold, arguments.appearance_threshold)
    return LIKENESS if arguments.random is None and thresholds == (None, None) else "both"


def _summary(found: Candidates) -> str:
    if found.by == LIKENESS:
        return f"the most alike of {found.considered} photos, none cut off"
    thresholds = f"content {found.content_threshold:g}"
    if found.by != "content":
        thresholds += f", appearance {found.appearance_threshold:g}"
    asked = "content and illumination" if found.by == "both" else found.by
    return f"{found.qualified} of {found.considered} photos qualify by {asked} ({thresholds})"


def _match(match: Match) -> dict[str, float]:
    return {
        "query_patch": match.query_patch,
        "photo_patch": match.photo_patch,
        "content": match.content,
        "appearance": match.appearance,
    }


def _photo(item: Candidate) -> dict[str, object]:
    return {
        "id": item.photo.id,
        "path": item.photo.path,
        "group": item.photo.group,
        "score": item.score,
        "coverage": item.coverage,
        "light": None if math.isnan(item.light) else item.light,
        "content": item.content,
        "content_matches": [_match(m) for m in item.content_matches],
        "illumination_matches": [_match(m) for m in item.illumination_matches],
    }


def _report(found: Candidates, arguments: argparse.Namespace, seconds: float) -> dict[str, object]:
    return {
        "composite": str(arguments.composite),
        "mask": str(arguments.mask),
        "gallery": str(arguments.gallery),
        "by": found.by,
        "random": arguments.random,
        "content_threshold": found.content_threshold,
        "appearance_threshold": found.appearance_threshold,
        "feature_spec": found.spec.name,
        "grid": found.grid,
        "considered": found.considered,
        "qualified": found.qualified,
        "excluded": found.excluded,
        "photos": [_photo(item) for item in found.items],
        "notes": list(found.notes),
        "sheet": str(arguments.sheet) if arguments.sheet else None,
        "seconds": round(seconds, 3),
    }


def _print_table(found: Candidates, seconds: float, sheet: Path | None) -> None:
    print(f"{_summary(found)}, {seconds:.1f} s")
    if found.items:
        width = max(len(item.photo.id) for item in found.items)
        print(f"{'photo':{width}}  score  coverage  light  content  matched patches")
    for item in found.items:
        light = "-" if math.isnan(item.light) else f"{item.light:.3f}"
        print(
            f"{item.photo.id:{width}}  {item.score:5.3f}  {item.coverage:8.0%}  {light:>5}  "
            f"{item.content:7.3f}  "
            f"{len(item.content_matches)} object, {len(item.illumination_matches)} background"
        )
    for note in found.notes:
        print(f"note: {note}", file=sys.stderr)
    if sheet is not None:
        print(f"sheet: {sheet}")
