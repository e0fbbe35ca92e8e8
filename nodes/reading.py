"""How a node reads picture files: up to which size, and whether damaged ones too."""

from collections.abc import Iterator
from contextlib import contextmanager

from ..raiha_core.codecs.raster import MAX_PIXELS, DamagedPictureError
from .compat import io


def max_pixels_input() -> io.Input:
    """New inputs are optional and stand last."""
    return io.Int.Input(
        "max_pixels",
        default=MAX_PIXELS,
        min=1,
        max=2**40,
        optional=True,
        advanced=True,
        tooltip="Largest picture that is read, in pixels of four channels.",
    )


def reading_inputs() -> list[io.Input]:
    """The widgets of a node that reads files which may be large or damaged."""
    return [
        max_pixels_input(),
        io.Boolean.Input(
            "allow_damaged",
            default=False,
            optional=True,
            advanced=True,
            tooltip="Read what is left of damaged files, which is said.",
        ),
    ]


@contextmanager
def damage_remedy_told(allow_damaged: bool) -> Iterator[None]:
    """Name the widget that reads a damaged file all the same, where it is off."""
    try:
        yield
    except DamagedPictureError as error:
        if allow_damaged:
            raise
        raise DamagedPictureError(f"{error} (allow_damaged reads what is left of it)") from None


def damage_notes(name: str, damage: str) -> tuple[str, ...]:
    """What to say of a picture that was read although it is damaged; nothing of a whole one."""
    return (f"{name} {damage}; what is left of it was read",) if damage else ()
