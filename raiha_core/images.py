"""Pictures in and out: sRGB 0..1 tensors from and to files, with alpha, orientation and depth kept.

Shapes: one picture is (1, 3, H, W), its alpha or mask (1, 1, H, W). How files are decoded is in
`decoding.py` and `tiff.py`, how colours become sRGB in `icc.py`. A photo's pixels depend on its
bytes alone: there is no faster, coarser way to read, because features must not depend on one.
"""

import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
import torch
from PIL import Image
from torch import Tensor

from .decoding import decode
from .durable import durable_path
from .icc import to_srgb
from .mask_files import read_mask as read_mask  # people import it from here
from .raster import MAX_PIXELS as MAX_PIXELS
from .raster import to_tensor, upright

ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp")
_JPEG_QUALITY = 95  # with colour at full resolution; above it files grow and the error hardly falls


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A picture as people see it: upright, sRGB."""

    pixels: Tensor  # (1, 3, H, W) float32, 0..1
    alpha: (
        Tensor | None
    )  # (1, 1, H, W) float32, 0..1, not multiplied into the pixels; None if the file has none
    bit_depth: int  # 8 or 16: what the file holds, and what keeps all of it when written
    path: Path
    orientation: int = 1  # EXIF, 1..8, applied already


def read_picture(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Read a PNG, JPEG, TIFF, WebP or BMP file (decided by content, not by ending) as sRGB.

    EXIF orientation is applied, ICC profiles are converted (`icc.to_srgb`), grey, CMYK and palette
    become RGB; 16-bit files keep their 16 bits.
    Raises: ValueError or OSError, one sentence naming the file, for a file that is missing, a
        folder, without permission, empty, not a picture, truncated, damaged, animated, or of more
        than `max_pixels` (refused before it is decoded).
    """
    path = Path(path)
    stored = decode(path, max_pixels)
    raster = upright(stored)
    return Picture(
        pixels=to_tensor(to_srgb(raster, path), raster.full),
        alpha=None if raster.alpha is None else to_tensor(raster.alpha[:, :, None], raster.full),
        bit_depth=8 if raster.full == 255 else 16,
        path=path,
        orientation=stored.orientation,
    )


def _encode_png(codes: np.ndarray) -> bytes:
    raw = codes.nbytes + len(codes)
    room = raw + raw // 256 + 4096  # its own guess forgets a byte per row: too small for narrow pictures
    return bytes(imagecodecs.png_encode(codes, level=4, out=room))  # level: 3 times as fast, 4 % larger


def _encode_tiff(codes: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    extra = ("unassalpha",) if codes.shape[2] == 4 else None
    tifffile.imwrite(
        buffer,
        codes,
        photometric="rgb",
        planarconfig="contig",
        extrasamples=extra,
        compression="zlib",
        predictor=True,
        metadata=None,
    )
    return buffer.getvalue()


def _encode_jpeg(codes: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(codes).save(buffer, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()


def _encode_webp(codes: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    # exact: colours below alpha 0 too; quality is effort here: three times as fast as the default, same size
    Image.fromarray(codes).save(buffer, "WEBP", lossless=True, exact=True, quality=50)
    return buffer.getvalue()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Format:
    name: str
    encode: Callable[[np.ndarray], bytes]  # (H, W, 3 or 4) uint8 or uint16
    depths: tuple[int, ...]
    alpha: bool
    longest: int  # pixels per side


_PNG = _Format(name="PNG", encode=_encode_png, depths=(8, 16), alpha=True, longest=1_000_000)
_TIFF = _Format(name="TIFF", encode=_encode_tiff, depths=(8, 16), alpha=True, longest=1_000_000)
_JPEG = _Format(name="JPEG", encode=_encode_jpeg, depths=(8,), alpha=False, longest=65_500)
_WEBP = _Format(name="WebP", encode=_encode_webp, depths=(8,), alpha=True, longest=16_383)
_FORMATS = {".png": _PNG, ".tif": _TIFF, ".tiff": _TIFF, ".jpg": _JPEG, ".jpeg": _JPEG, ".webp": _WEBP}


def require_writable(path: str | Path, *, alpha: bool, bit_depth: int) -> None:
    """Check early, before long work, that the format of `path` can hold what is to be written.

    Raises: ValueError naming the file for an unknown ending, or for alpha or a depth it would lose.
    """
    path = Path(path)
    form = _FORMATS.get(path.suffix.lower())
    if form is None:
        raise ValueError(f"{path} must end in one of {', '.join(_FORMATS)} to be written")
    if bit_depth not in (8, 16):
        raise ValueError(f"{path}: the bit depth must be 8 or 16, got {bit_depth}")
    if bit_depth not in form.depths:
        raise ValueError(f"{path}: {form.name} holds 8 bits per channel; write PNG or TIFF to keep 16")
    if alpha and not form.alpha:
        raise ValueError(f"{path}: {form.name} holds no alpha; write PNG, TIFF or WebP to keep it")


def _to_codes(path: Path, values: Tensor, bit_depth: int) -> np.ndarray:
    """(1, C, H, W) 0..1 -> (H, W, C) integers, rounded to the nearest."""
    if not torch.isfinite(values).all():
        raise ValueError(f"{path} is not written: the picture holds NaN or infinite values")
    exact = values.detach().cpu().to(torch.float64 if values.dtype == torch.float64 else torch.float32)
    full = 2**bit_depth - 1
    codes = (exact[0] * full).round_().clamp_(0, full).to(torch.int32)
    kind = np.uint8 if bit_depth == 8 else np.uint16
    # a copy always: the strides of one-pixel pictures count as contiguous, but not for imagecodecs
    return codes.numpy().astype(kind).transpose(1, 2, 0).copy()


def write_picture(
    path: str | Path, pixels: Tensor, *, alpha: Tensor | None = None, bit_depth: int = 8
) -> None:
    """Write one picture; the ending gives the format: PNG or TIFF (8, 16 bits), WebP (lossless), JPEG.

    Args:
        pixels: sRGB (1, 3, H, W), floating point; values beyond 0..1 are clamped, then rounded.
        alpha: (1, 1, H, W), or None to write none.
    Raises: ValueError naming the file where the format would lose alpha or depth, or on NaN or
        wrong shapes; OSError as the system gives it. The file then keeps what it held before.
    """
    path = Path(path)
    require_writable(path, alpha=alpha is not None, bit_depth=bit_depth)
    form = _FORMATS[path.suffix.lower()]
    if pixels.ndim != 4 or pixels.shape[:2] != (1, 3) or 0 in pixels.shape or not pixels.is_floating_point():
        raise ValueError(
            f"{path}: pixels must be (1, 3, H, W) floats, got {tuple(pixels.shape)} {pixels.dtype}"
        )
    if max(pixels.shape) > form.longest:
        raise ValueError(
            f"{path}: {form.name} holds at most {form.longest} pixels per side, "
            f"the picture is {pixels.shape[3]}x{pixels.shape[2]}"
        )
    codes = _to_codes(path, pixels, bit_depth)
    if alpha is not None:
        if alpha.shape != pixels[:, :1].shape:
            raise ValueError(f"{path}: alpha {tuple(alpha.shape)} does not fit pixels {tuple(pixels.shape)}")
        codes = np.concatenate((codes, _to_codes(path, alpha, bit_depth)), 2)
    data = form.encode(codes)
    with durable_path(path) as temporary:
        temporary.write_bytes(data)


def list_photos(folder: str | Path, *, unreadable: Callable[[OSError], object] | None = None) -> list[Path]:
    """All picture files below a folder, by ending, sorted by their path relative to it.

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

    found: list[Path] = []
    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            Path(parent, name)
            for name in names
            if not name.startswith(".") and Path(name).suffix.lower() in ENDINGS
        ]
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())
