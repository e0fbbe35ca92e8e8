"""The options of `raiha harmonize` that say what is made of a harmonizer's answer: `controls.Controls`."""

import argparse

from ..controls import Controls
from .values import context, not_negative, pixels, reference_strength, strength


def add_control_options(parser: argparse.ArgumentParser) -> None:
    usual = Controls()
    group = parser.add_argument_group("hands on the wheel")
    group.add_argument(
        "--strength", type=strength, default=1.0, help="of the change: 0 = input, 1 = full answer, at most 2"
    )
    for name, what in (
        ("light", "lightness, without contrast"),
        ("colour", "colour"),
        ("contrast", "contrast"),
    ):
        group.add_argument(f"--{name}", type=strength, default=1.0, help=f"0..2, of the change of {what} (1)")
    group.add_argument(
        "--reference-strength",
        type=reference_strength,
        default=usual.reference_strength,
        metavar="X",
        help="0..1 of the way to what references show; -1: as far as they are believed (-1)",
    )
    group.add_argument(
        "--limit",
        type=not_negative,
        default=usual.limit,
        metavar="X",
        help="the furthest that a pixel's colour moves, in Lab units; 100 limits nothing (100)",
    )
    group.add_argument("--keep-hue", action="store_true", help="keep the object's own hues")
    group.add_argument(
        "--grow", type=pixels, default=0, metavar="PX", help="grow the mask; negative shrinks it (0)"
    )
    group.add_argument("--feather", type=pixels, default=0, metavar="PX", help="soften the mask's border (0)")
    group.add_argument(
        "--context",
        type=context,
        default=usual.context,
        metavar="X",
        help="what is seen around the object, in lengths of its longer side; 0: the whole picture; "
        "-1: less of it for small objects, where the model sees better so (-1)",
    )
    group.add_argument(
        "--local-light",
        type=strength,
        default=usual.local_light,
        metavar="X",
        help="0..2, turn the light across the object to that along its border: 1 as far as it is likely "
        "right, 2 all the way (0)",
    )


def controls_of(arguments: argparse.Namespace) -> Controls:
    """Raises: ValueError naming a value that is out of its range."""
    return Controls(
        light=arguments.light,
        colour=arguments.colour,
        contrast=arguments.contrast,
        reference_strength=arguments.reference_strength,
        limit=arguments.limit,
        keep_hue=arguments.keep_hue,
        grow=arguments.grow,
        feather=arguments.feather,
        context=arguments.context,
        local_light=arguments.local_light,
    )
