"""Mask files: which of a file's samples are the mask, and what their codes mean.

Shapes: one mask is (1, 1, H, W); codes and indices of a file are (H, W). How files are decoded is in
`decoding.py`, what holds for masks of any origin in `mask_meaning.py`.
"""

import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .codecs.decoding import decode
from .codecs.icc import to_srgb
from .codecs.raster import MAX_PIXELS, Raster, to_tensor, upright
from .mask_meaning import LARGEST_LABEL, MaskWarning, blackened, choose_label, refuse_void

_OPAQUE = 253 / 255  # alpha from here on hides nothing
_NOT_GREY = 16 / 255  # channels of a grey mask may differ this much, through lossy compression


class LabelAbsentError(ValueError):
    """The label that was asked for is not in this mask, although it may be in the next one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskFile:
    """What a mask file says."""

    values: Tensor  # (1, 1, H, W) float32, 0..1, upright
    notes: tuple[str, ...] = ()  # sentences on what was done to the file's codes
    orientation: int = 1  # EXIF, 1..8, applied already
    damage: str = ""  # what is wrong with a damaged file of which the rest was read


@dataclass(frozen=True, kw_only=True, slots=True)
class _Palette:
    indices: np.ndarray  # (H, W) uint8
    colours: np.ndarray  # (256, 3) uint8


def _palette_of(raster: Raster) -> _Palette | None:
    """The indices of a file that has a palette; None for other files."""
    if raster.indices is None or raster.palette is None:
        return None
    colours: np.ndarray = np.zeros((256, 3), np.uint8)
    colours[: len(raster.palette)] = raster.palette[:256]
    return _Palette(indices=raster.indices, colours=colours)


def _is_grey(channels: np.ndarray, full: int) -> bool:
    first, *others = np.moveaxis(
        channels, -1, 0
    )  # plane by plane: a reduction over three is 20 times as slow
    low = high = first
    for plane in others:
        low, high = np.minimum(low, plane), np.maximum(high, plane)
    return int((high.astype(np.int32) - low).max()) <= _NOT_GREY * full


def _as_cover(inside: np.ndarray) -> Tensor:
    return torch.from_numpy(inside.astype(np.float32))[None, None]


def _one_label(codes: np.ndarray, label: int, name: str) -> MaskFile:
    """The pixels of one label. Raises: LabelAbsentError listing the labels where it is not among them."""
    inside = codes == label
    if not inside.any():
        found = np.unique(codes)
        listed = ", ".join(map(str, found[:20])) + (", ..." if len(found) > 20 else "")
        raise LabelAbsentError(f"{name} has no pixel of label {label}; its values are {listed}")
    return MaskFile(values=_as_cover(inside))


def _of_labels(codes: np.ndarray, name: str) -> MaskFile:
    label, notes = choose_label([int(code) for code in np.unique(codes)], name)
    if label is None:
        return MaskFile(values=_as_cover(codes > 0))
    return MaskFile(values=_as_cover(codes == label), notes=notes)


def _of_palette(palette: _Palette, name: str) -> MaskFile | None:
    """The mask that a palette file holds; None where its colours are to be read as a grey picture.

    Indices are labels, but many programs write an ordinary black and white mask with a palette, in
    which white may well be index 0.
    """
    used = np.unique(palette.indices)
    shown = palette.colours[used].astype(np.int32)
    if _is_grey(shown, 255):
        greys = shown.mean(1)
        if len(used) == 1 or len(used) > LARGEST_LABEL:
            return None
        if len(used) == 2 and greys.min() <= 2:
            brighter = used[int(greys.argmax())]
            full = greys.max() >= 255
            note = f"{name} is a mask of labels: its value {brighter} is taken as the object"
            return MaskFile(values=_as_cover(palette.indices == brighter), notes=() if full else (note,))
    return _of_labels(palette.indices, name)


def _of_codes(codes: np.ndarray, samples: int, full: int, name: str) -> MaskFile:
    """A mask of codes (H, W), each the sum of so many samples whose full scale is `full`."""
    low, high = codes.min(), codes.max()
    if low < high <= samples * LARGEST_LABEL:
        return _of_labels(np.rint(codes / samples).astype(np.uint8), name)
    # one division of whole numbers, so that equal channels give code / full to the bit
    values = to_tensor(codes[:, :, None], samples * full)
    refuse_void(values, name)
    if low < high:  # the same everywhere is no mask, which is decided beside the picture
        blacker, notes = blackened(values, name)
        if notes:
            return MaskFile(values=blacker, notes=notes)
    return MaskFile(values=values)


def _grey_sum(raster: Raster, path: Path) -> np.ndarray:
    """(H, W) sums of the three channels.

    Without the profile: a mask's codes are shares of cover, not colours.
    """
    if raster.samples.shape[2] == 1:
        return raster.samples[:, :, 0] * np.uint32(3)
    codes = to_srgb(replace(raster, profile=None), path)
    if not _is_grey(codes, raster.full):
        raise ValueError(f"{path} is a colour picture without alpha; a mask must be grey or have an alpha")
    red, green, blue = np.moveaxis(codes, -1, 0)
    return red.astype(np.uint32) + green + blue


def read_mask_file(
    path: str | Path,
    *,
    max_pixels: int = MAX_PIXELS,
    allow_damaged: bool = False,
    label: int | None = None,
    transparent_is_object: bool = False,
) -> MaskFile:
    """Read a mask: the alpha where it varies, else the grey values, or one of the labels that it holds.

    Soft edges and 16 bits are kept, EXIF orientation is applied, ICC profiles are not: code / full
    scale is the value. A palette, or integers up to 20, are labels: one beside 0 becomes 1, with a
    note. Codes of 1 and 2 of 255 become 0, with a note, where more pixels have them than a soft edge.
    Args:
        max_pixels, allow_damaged: as for `read_picture`.
        label: the code that is the object; alpha is then passed over.
        transparent_is_object: as ComfyUI's mask editor saves it: any alpha counts, and 0 is the object.
    Raises: as `read_picture`; ValueError for a colour picture whose alpha does not vary, for several
        labels (listed) of which none was chosen, and for a label that is not there.
    """
    found = open_mask_file(
        path,
        max_pixels=max_pixels,
        allow_damaged=allow_damaged,
        label=label,
        transparent_is_object=transparent_is_object,
    )
    if found.damage:
        warnings.warn(f"{path} {found.damage}; what is left of it was read", stacklevel=2)
    return found


def open_mask_file(
    path: str | Path,
    *,
    max_pixels: int = MAX_PIXELS,
    allow_damaged: bool = False,
    label: int | None = None,
    transparent_is_object: bool = False,
) -> MaskFile:
    """As `read_mask_file`, for those who tell the `damage` in their own way: no warning does."""
    path = Path(path)
    stored = decode(path, max_pixels, allow_damaged=allow_damaged)
    raster = upright(stored)
    found = _read(path, raster, label, transparent_is_object)
    notes = (
        *(f"{path}: {note}" for note in raster.notes),
        *found.notes,
    )  # that it is the first frame of several
    return replace(found, notes=notes, orientation=stored.orientation, damage=raster.damage)


def _read(path: Path, raster: Raster, label: int | None, transparent_is_object: bool) -> MaskFile:
    name = str(path)
    alpha = raster.alpha
    if label is None and alpha is not None:
        if transparent_is_object:
            return MaskFile(values=1 - to_tensor(alpha[:, :, None], raster.full))
        nearly_opaque = alpha.min() >= _OPAQUE * raster.full  # all of it: what a lossy program leaves
        if alpha.min() != alpha.max() and not nearly_opaque:
            return _of_codes(alpha, 1, raster.full, name)
    palette = _palette_of(raster)
    if label is not None:
        codes = (
            palette.indices if palette is not None else np.rint(_grey_sum(raster, path) / 3).astype(np.int64)
        )
        return _one_label(codes, label, name)
    found = None if palette is None else _of_palette(palette, name)
    if found is None and raster.samples.shape[2] == 1:
        return _of_codes(raster.samples[:, :, 0], 1, raster.full, name)
    return found or _of_codes(_grey_sum(raster, path), 3, raster.full, name)


def read_mask(
    path: str | Path, *, max_pixels: int = MAX_PIXELS, allow_damaged: bool = False, label: int | None = None
) -> Tensor:
    """The values of `read_mask_file`: (1, 1, H, W) float32, 0..1; its notes become `MaskWarning`s."""
    found = read_mask_file(path, max_pixels=max_pixels, allow_damaged=allow_damaged, label=label)
    for note in found.notes:
        warnings.warn(note, MaskWarning, stacklevel=2)
    return found.values
