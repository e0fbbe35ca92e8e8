"""Pictures in and out: sRGB 0..1 tensors from and to files, which come back as the files they were.

Shapes: one picture is (1, 3, H, W), its alpha or mask (1, 1, H, W). Which formats there are is in
`formats.py`, how colours become sRGB in `icc.py`, how a result becomes its file's colours in `source.py`.
A photo's pixels depend on its bytes alone: there is no faster, coarser way to read, because features
must not depend on one.
"""

import os
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .codecs.decoding import decode
from .codecs.encoding import WRITTEN, Carried, WrittenFormat
from .codecs.formats import FORMATS, format_of_ending, readable_endings
from .codecs.icc import settle
from .codecs.raster import MAX_PIXELS as MAX_PIXELS
from .codecs.raster import FileMetadata, PictureError, to_tensor, upright
from .codecs.source import PictureSource, in_own_space, scaled
from .durable import durable_path
from .mask_files import read_mask as read_mask  # people import it from here
from .strips import all_finite, row_strips

ENDINGS = tuple(ending for form in FORMATS.values() if not form.needs for ending in form.endings)


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A picture as people see it: upright, sRGB."""

    pixels: Tensor  # (1, 3, H, W) float32, 0..1
    alpha: (
        Tensor | None
    )  # (1, 1, H, W) float32, 0..1, not multiplied into the pixels; None if the file has none
    bit_depth: int  # 8 or 16: what the file holds (16 for floats), and what keeps all of it when written
    path: Path
    source: PictureSource  # what `write_picture` needs to write a result as this file was
    orientation: int = 1  # EXIF, 1..8, applied already
    notes: tuple[str, ...] = ()  # what was done that a user should know: the first frame of several
    damage: str = ""  # what is wrong with a damaged file of which the rest was read


def read_picture(path: str | Path, *, max_pixels: int = MAX_PIXELS, allow_damaged: bool = False) -> Picture:
    """Read a picture file of any format in `formats.FORMATS` (decided by content, not by ending) as sRGB.

    EXIF orientation is applied, declared colours are converted (`icc.settle`), grey, CMYK and palette
    become RGB; 16-bit files keep their 16 bits.
    Args:
        max_pixels: the most pixels, of four channels; refused before anything is decoded.
        allow_damaged: read what is left of a damaged file, with a warning.
    Raises: ValueError or OSError, one sentence naming the file, for a file that is missing, a folder,
        without permission, empty, not a picture, truncated or damaged (`raster.DamagedPictureError`), too
        large, or of colours that have no place in sRGB (PQ, HLG).
    """
    picture = open_picture(path, max_pixels=max_pixels, allow_damaged=allow_damaged)
    if picture.damage:
        warnings.warn(f"{path} {picture.damage}; what is left of it was read", stacklevel=2)
    return picture


def open_picture(path: str | Path, *, max_pixels: int = MAX_PIXELS, allow_damaged: bool = False) -> Picture:
    """As `read_picture`, for those who tell the `damage` in their own way: no warning does."""
    path = Path(path)
    stored = decode(path, max_pixels, allow_damaged=allow_damaged, floats=True)
    raster = upright(stored)
    if raster.foreign_colours:
        raise PictureError(f"{path} is not read: {raster.foreign_colours}")
    settled = settle(raster, path)
    return Picture(
        pixels=to_tensor(settled.srgb, raster.full),
        alpha=None if raster.alpha is None else to_tensor(raster.alpha[:, :, None], raster.full),
        bit_depth=min(raster.depth, 16),
        path=path,
        source=PictureSource(
            path=path,
            codes=settled.codes,
            srgb=settled.srgb,
            alpha=raster.alpha,
            profile=settled.profile,
            is_srgb=settled.same,
            metadata=raster.metadata,
        ),
        orientation=stored.orientation,
        notes=(*raster.notes, *settled.notes),
        damage=raster.damage,
    )


def _encoder(path: Path) -> WrittenFormat:
    form = format_of_ending(path.suffix)
    if form is None or form.name not in WRITTEN:
        known = [ending for name in WRITTEN for ending in FORMATS[name].endings]
        raise ValueError(f"{path} must end in one of {', '.join(known)} to be written")
    return WRITTEN[form.name]


def require_writable(path: str | Path, *, alpha: bool, bit_depth: int) -> None:
    """Check early, before long work, that the format of `path` can hold what is to be written.

    Only the name is looked at: whether the folder exists and may be written to is not.
    Args: bit_depth: bits per channel, 8 or 16, or 32 for floats.
    Raises: ValueError naming the file for an unknown ending, another depth, or alpha or a depth that the
        format cannot hold.
    """
    path = Path(path)
    form = _encoder(path)
    if bit_depth not in (8, 16, 32):
        raise ValueError(f"{path}: the bit depth must be 8 or 16, or 32 for floats, got {bit_depth}")
    if bit_depth not in form.depths:
        least = "TIFF to keep floats" if bit_depth == 32 else "PNG or TIFF to keep 16"
        raise ValueError(f"{path}: {form.name} holds {max(form.depths)} bits per channel; write {least}")
    if alpha and not form.alpha:
        raise ValueError(f"{path}: {form.name} holds no alpha; write PNG, TIFF or WebP to keep it")


def note_on_writing(path: str | Path) -> tuple[str, ...]:
    """A sentence where the format of `path` cannot give every pixel its code back; none for the others."""
    path = Path(path)
    if _encoder(path).name != "JPEG":
        return ()
    return (f"{path} is a JPEG: the pixels outside the mask are encoded again too",)


def _to_codes(path: Path, values: Tensor, bit_depth: int) -> np.ndarray:
    """(1, C, H, W) 0..1 -> (H, W, C) integers, rounded to the nearest; float32 as they are for 32 bits."""
    if not all_finite(values):
        raise ValueError(f"{path} is not written: the picture holds NaN or infinite values")
    kind = torch.float64 if values.dtype == torch.float64 else torch.float32
    if bit_depth == 32:
        return values.detach().cpu().float()[0].numpy().transpose(1, 2, 0).copy()
    full = 2**bit_depth - 1
    shape = (values.shape[2], values.shape[3], values.shape[1])
    codes, top = np.empty(shape, np.uint8 if bit_depth == 8 else np.uint16), 0
    for strip in row_strips(values.detach()):  # of a large picture two more copies in floats would not fit
        part = (strip[0].cpu().to(kind) * full).round_().clamp_(0, full)
        codes[top : top + part.shape[1]] = part.numpy().transpose(1, 2, 0)
        top += part.shape[1]
    return codes


def _own_depth(form: WrittenFormat, source: PictureSource | None) -> int:
    """The depth written where none was asked for: the source's; 16 bits for floats that do not fit."""
    if source is None:
        return 8
    if source.bit_depth == 32 and 32 not in form.depths:
        return max(form.depths)
    return source.bit_depth


def _colours(
    path: Path, pixels: Tensor, source: PictureSource | None, bit_depth: int
) -> tuple[np.ndarray, Carried]:
    """The codes (H, W, 3) that are written, and what is written beside them."""
    codes = _to_codes(path, pixels, bit_depth)
    if source is None:
        return codes, Carried()
    linear = source.bit_depth == 32
    if linear and bit_depth != 32:  # light in few bits would show steps: sRGB is written
        return codes, Carried(metadata=source.metadata)
    values = pixels[0].detach().cpu().float().numpy().transpose(1, 2, 0)
    own = in_own_space(source, values, codes)
    return own, Carried(profile=source.profile, metadata=source.metadata)


def _with_texts(path: Path, metadata: FileMetadata, texts: Mapping[str, str]) -> FileMetadata:
    """The metadata with more texts of a PNG. Raises: ValueError where the file is none."""
    if not texts:
        return metadata
    if path.suffix.lower() not in (".png", ".apng"):
        raise ValueError(f"{path}: only a PNG holds texts by keyword")
    chunks = [
        (b"tEXt", name.encode("latin-1") + b"\0" + text.encode("latin-1", "replace"))
        for name, text in texts.items()
    ]
    mine = {content.split(b"\0")[0] for _, content in chunks}
    kept = [part for part in metadata.png_texts if part[1].split(b"\0")[0] not in mine]
    return replace(metadata, png_texts=(*kept, *chunks))


def _alpha_codes(
    path: Path, alpha: Tensor | None, source: PictureSource | None, bit_depth: int, size: tuple[int, int]
) -> np.ndarray | None:
    """(H, W, 1): the alpha that was given, else the source's own where it has one of this size."""
    if alpha is not None:
        return _to_codes(path, alpha, bit_depth)
    if source is None or source.alpha is None or not source.fits(*size):
        return None
    return scaled(source.alpha, bit_depth)[:, :, None]


def write_picture(
    path: str | Path,
    pixels: Tensor,
    *,
    alpha: Tensor | None = None,
    bit_depth: int | None = None,
    source: PictureSource | None = None,
    texts: Mapping[str, str] | None = None,
) -> None:
    """Write one picture; the ending gives the format: PNG or TIFF (8, 16 bits), WebP (lossless), JPEG.

    Args:
        pixels: sRGB (1, 3, H, W), floating point; values beyond 0..1 are clamped, then rounded.
        alpha: (1, 1, H, W), or None for the source's own, where there is a source.
        bit_depth: 8, 16, or 32 for a TIFF of floats; None for the source's own, or 8.
        source: the file that `pixels` were read from: the result has its colour space and profile,
            metadata and alpha, and pixels that were not changed have its codes, bit for bit.
        texts: written into a PNG, by keywords of at most 79 letters, in place of the source's own.
    Raises: ValueError naming the file where the format would lose alpha or depth, or on NaN or
        wrong shapes; OSError as the system gives it. The file then keeps what it held before.
    """
    path = Path(path)
    form = _encoder(path)
    if pixels.ndim != 4 or pixels.shape[:2] != (1, 3) or 0 in pixels.shape or not pixels.is_floating_point():
        raise ValueError(
            f"{path}: pixels must be (1, 3, H, W) floats, got {tuple(pixels.shape)} {pixels.dtype}"
        )
    if alpha is not None and alpha.shape != pixels[:, :1].shape:
        raise ValueError(f"{path}: alpha {tuple(alpha.shape)} does not fit pixels {tuple(pixels.shape)}")
    depth = _own_depth(form, source) if bit_depth is None else bit_depth
    size = (pixels.shape[2], pixels.shape[3])
    has_alpha = alpha is not None or (source is not None and source.alpha is not None and source.fits(*size))
    require_writable(path, alpha=has_alpha, bit_depth=depth)
    if max(pixels.shape) > form.longest:
        raise ValueError(
            f"{path}: {form.name} holds at most {form.longest} pixels per side, "
            f"the picture is {pixels.shape[3]}x{pixels.shape[2]}"
        )
    codes, carried = _colours(path, pixels, source, depth)
    cover = _alpha_codes(path, alpha, source, depth, size)
    if cover is not None:
        codes = np.concatenate((codes, cover), 2)
    carried = replace(carried, metadata=_with_texts(path, carried.metadata, texts or {}))
    data = form.encode(np.ascontiguousarray(codes), carried)
    with durable_path(path) as temporary:
        temporary.write_bytes(data)


@dataclass(frozen=True, kw_only=True, slots=True)
class FolderListing:
    """What a folder of pictures holds."""

    photos: list[Path]  # that can be read here, sorted by their path relative to the folder
    passed_over: dict[str, int]  # ending, "" for files without one -> how many files are no photos by it

    def notes(self) -> tuple[str, ...]:
        """A sentence on what was passed over, with what to install where that would help; none if nothing."""
        if not self.passed_over:
            return ()
        named = ", ".join(
            f"{count} {ending or 'without ending'}" for ending, count in self.passed_over.items()
        )
        total = sum(self.passed_over.values())
        text = f"{total} {'file was' if total == 1 else 'files were'} passed over: {named}"
        forms = {form.name: form for end in self.passed_over if (form := format_of_ending(end)) is not None}
        needed = [f"for {form.name} install {form.install}" for form in forms.values() if form.install]
        return ("; ".join((text, *needed)),)


def list_folder_files(
    folder: str | Path, *, unreadable: Callable[[OSError], object] | None = None
) -> FolderListing:
    """All picture files below a folder, by ending, and what was passed over.

    Names that start with a dot are passed over (previews and leftovers of other programs), links to
    folders are not followed. Raises: OSError naming a folder that is missing or cannot be read; a
    subfolder that cannot be read goes to `unreadable` instead, where that is given.
    """
    folder = Path(folder)
    if not folder.is_dir():
        reason = "is not a folder" if folder.exists() else "does not exist"
        raise NotADirectoryError(f"{folder} {reason}")

    def refuse(error: OSError) -> None:
        if unreadable is not None and Path(error.filename) != folder:
            unreadable(error)
            return
        raise PermissionError(f"{error.filename} cannot be read: {error.strerror}") from None

    endings = readable_endings()
    found: list[Path] = []
    passed: Counter[str] = Counter()
    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            ending = Path(name).suffix.lower()
            if name.startswith("."):
                continue
            if ending in endings:
                found.append(Path(parent, name))
            else:
                passed[ending] += 1
    return FolderListing(
        photos=sorted(found, key=lambda path: path.relative_to(folder).as_posix()),
        passed_over=dict(sorted(passed.items())),
    )


def list_photos(folder: str | Path, *, unreadable: Callable[[OSError], object] | None = None) -> list[Path]:
    """All picture files below a folder, sorted; `list_folder_files` says too what was passed over."""
    return list_folder_files(folder, unreadable=unreadable).photos
