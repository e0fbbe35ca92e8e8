"""Picture files to rasters: which format a file is, whether it is whole, and its samples.

The content decides the format, not the ending. A file counts as whole only when its own structure
ends properly: decoders fill what is missing in a truncated file with grey, or may be told to by a
setting that other programs in the process share.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from .formats import FORMATS, PictureFormat, format_of_content
from .raster import MAX_PIXELS, Limits, PictureError, Raster

_LOOKED_AT = 64  # bytes that tell the format


def _read_bytes(path: Path) -> tuple[PictureFormat, bytes]:
    """The format of a file and its bytes; only the first few are read where no format fits."""
    try:
        if path.is_dir():
            raise PictureError(f"{path} is a folder, not a picture")
        if path.exists() and not path.is_file():  # reading a pipe would wait for ever
            raise PictureError(f"{path} is not a regular file")
        with open(path, "rb") as file:
            start = file.read(_LOOKED_AT)
            if not start:
                raise PictureError(f"{path} is empty (0 bytes)")
            if (form := format_of_content(start)) is None:
                *most, last = FORMATS
                raise PictureError(f"{path} is not a {', '.join(most)} or {last} picture")
            file.seek(0)
            return form, file.read()  # in one piece: of a large file a copy would be felt
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} does not exist") from None
    except PermissionError:
        raise PermissionError(f"{path} cannot be read: permission denied") from None


def _as_whole_numbers(raster: Raster) -> Raster:
    """Floats 0..1 as 16 bits, their values as they are; beyond they are cut off."""

    def rounded(values: np.ndarray) -> np.ndarray:
        return (values.clip(0, 1) * 65535 + 0.5).astype(np.uint16)

    alpha = None if raster.alpha is None else rounded(raster.alpha)
    return replace(raster, samples=rounded(raster.samples), alpha=alpha, profile=None)


def decode(
    path: Path, max_pixels: int = MAX_PIXELS, *, allow_damaged: bool = False, floats: bool = False
) -> Raster:
    """Read one picture as its file holds it (`formats.FORMATS`), decided by content.

    Of a file with several pictures the first counts, with a note where it is an animation; TIFF with
    several full pages is refused. `Raster.indices`, `palette` and `bits` tell a mask's reader what the
    file stored. A damaged file is read, its fault in `Raster.damage`, only with `allow_damaged`.
    Float samples stay such with `floats`, and are 16-bit codes of their values without.
    Raises: PictureError (a ValueError), DamagedPictureError or OSError, one sentence naming the file:
        missing, no permission, a folder, empty, no picture, more than `max_pixels` of four channels
        (found before any pixel is decoded), truncated, damaged.
    """
    form, data = _read_bytes(path)
    try:
        raster = form.decode(data, path, Limits(pixels=max_pixels, damaged=allow_damaged))
    except (PictureError, MemoryError):
        raise
    except Exception as error:  # on damaged data decoders raise nearly anything
        raise PictureError(f"{path} is damaged: its {form.name} data cannot be decoded") from error
    return raster if floats or raster.depth < 32 else _as_whole_numbers(raster)
