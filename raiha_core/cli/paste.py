"""`raiha paste`: a cut-out into a background, with the mask that `raiha harmonize` takes."""

import argparse
import json
from pathlib import Path

from ..cutout import MEANINGS, object_alpha
from ..images import read_picture, require_writable, write_picture
from ..mask_files import read_mask_file
from ..paste import ANCHORS, FLIPS, Placement, paste_object
from .outputs import require_place
from .reading import add_reading_options, reading_of, with_remedy
from .values import pixels


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "paste",
        description="Paste a cut-out into a background: placed, scaled and turned below the pixel, with the "
        "old background's colour taken out of its soft edges.",
        epilog="example: raiha paste scene.jpg cutout.png --scale 0.5 -o composite.png --mask-out mask.png",
    )
    usual = Placement()
    parser.add_argument("background", type=Path, help="the picture to paste into")
    parser.add_argument("object", type=Path, help="a picture with alpha, or any with --mask")
    parser.add_argument("--mask", type=Path, help="what of it is the object, where its alpha does not say it")
    parser.add_argument(
        "--mask-means", choices=MEANINGS, default="auto", help="whether the mask's white is the object (auto)"
    )
    parser.add_argument(
        "-x", type=float, default=0.0, metavar="PX", help="from anchor to anchor, rightwards (0)"
    )
    parser.add_argument("-y", type=float, default=0.0, metavar="PX", help="the same downwards (0)")
    parser.add_argument("--scale", type=float, default=1.0, help="1 = the cut-out's own pixels (1)")
    parser.add_argument("--rotation", type=float, default=0.0, metavar="DEG", help="degrees clockwise (0)")
    parser.add_argument("--flip", choices=FLIPS, default=usual.flip)
    parser.add_argument(
        "--anchor", choices=tuple(ANCHORS), default=usual.anchor, help="the point of both pictures (centre)"
    )
    parser.add_argument(
        "--feather", type=pixels, default=0, metavar="PX", help="fade inwards from the edge (0)"
    )
    parser.add_argument(
        "--keep-edges", action="store_true", help="leave soft edges as they were photographed"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="the composite")
    parser.add_argument("--mask-out", type=Path, metavar="FILE", help="the object's mask in it")
    add_reading_options(parser)
    parser.add_argument("--json", action="store_true", help="print what was done as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    placement = Placement(
        x=arguments.x,
        y=arguments.y,
        scale=arguments.scale,
        rotation=arguments.rotation,
        flip=arguments.flip,
        anchor=arguments.anchor,
        feather=arguments.feather,
    )
    read = [path for path in (arguments.background, arguments.object, arguments.mask) if path is not None]
    for target in (arguments.output, arguments.mask_out):
        if target is not None:
            require_place(target, read)
            require_writable(target, alpha=False, bit_depth=8)
    reading = reading_of(arguments)
    most, damaged = reading.max_pixels, reading.allow_damaged
    mask = None
    with with_remedy(reading):
        background, thing = (
            read_picture(path, max_pixels=most, allow_damaged=damaged)
            for path in (arguments.background, arguments.object)
        )
        if arguments.mask is not None:
            mask = read_mask_file(arguments.mask, max_pixels=most, allow_damaged=damaged).values
    alpha = object_alpha(thing.pixels, thing.alpha, mask, arguments.mask_means)
    done = paste_object(background.pixels, thing.pixels, alpha, placement, clean=not arguments.keep_edges)
    write_picture(arguments.output, done.composite, source=background.source)
    if arguments.mask_out is not None:
        write_picture(arguments.mask_out, done.mask.expand(-1, 3, -1, -1), bit_depth=8)
    share = float((done.mask > 0).float().mean())
    report = {"output": str(arguments.output), "mask": None, "share": round(share, 4)}
    if arguments.mask_out is not None:
        report["mask"] = str(arguments.mask_out)
    print(json.dumps(report) if arguments.json else f"{arguments.output}  (the object covers {share:.1%})")
    return 0
