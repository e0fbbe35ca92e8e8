"""How a command reads pictures: up to which size, and whether damaged ones too."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ..codecs.raster import MAX_PIXELS, DamagedPictureError
from .values import count


@dataclass(frozen=True, slots=True)
class Reading:
    """What `read_picture` and the readers of masks are told."""

    max_pixels: int = MAX_PIXELS
    allow_damaged: bool = False


DEFAULT_READING = Reading()


def add_reading_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--max-pixels",
        type=count,
        default=MAX_PIXELS,
        metavar="N",
        help=f"largest picture that is read, in pixels of four channels ({MAX_PIXELS})",
    )
    parser.add_argument(
        "--allow-damaged", action="store_true", help="read what is left of damaged pictures, with a warning"
    )


def reading_of(arguments: argparse.Namespace) -> Reading:
    return Reading(arguments.max_pixels, arguments.allow_damaged)


@contextmanager
def with_remedy(reading: Reading) -> Iterator[None]:
    """Name the option that reads a damaged file all the same, where it was not given."""
    try:
        yield
    except DamagedPictureError as error:
        if reading.allow_damaged:
            raise
        raise DamagedPictureError(f"{error} (--allow-damaged reads what is left of it)") from None
