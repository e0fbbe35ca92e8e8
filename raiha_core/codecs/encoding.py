"""Codes to picture files, with what they carry: PNG, TIFF (floats too), WebP (lossless) and JPEG."""

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import imagecodecs
import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from .exif import bare, upright_exif, upright_xmp
from .png import png_chunk
from .raster import NO_METADATA, FileMetadata

_JPEG_QUALITY = 95  # with colour at full resolution; above it files grow and the error hardly falls
_LONGEST_SEGMENT = 65_533  # bytes of a JPEG's segment
_XMP_IN_JPEG = b"http://ns.adobe.com/xap/1.0/\0"
_XMP_IN_PNG = b"XML:com.adobe.xmp\0\0\0\0\0"
_AFTER_HEADER = 33  # bytes of a PNG's signature and header chunk
_PER_METRE = 39.370079  # inches
_TEXTS = {270: 2, 271: 2, 272: 2, 305: 2, 306: 2, 315: 2, 33432: 2}  # EXIF's first directory -> TIFF type
_EXIF, _GPS = 34665, 34853
_ASIDE = 1  # tifffile writes no tag of these numbers; the next ones keep their places


@dataclass(frozen=True, kw_only=True, slots=True)
class Carried:
    """What is written beside the codes; the picture is upright."""

    profile: bytes | None = None
    metadata: FileMetadata = NO_METADATA


def _encode_png(codes: np.ndarray, carried: Carried) -> bytes:
    raw = codes.nbytes + len(codes)
    room = raw + raw // 256 + 4096  # its own guess forgets a byte per row: too small for narrow pictures
    # level: 3 times as fast, 4 % larger; one filter in place of the best of five for each row: 1.5 times, 2 %
    packed = imagecodecs.png_encode(codes, level=4, filter=imagecodecs.PNG.FILTER.SUB, out=room)
    data = bytes(packed)
    return data[:_AFTER_HEADER] + png_chunks(carried) + data[_AFTER_HEADER:]


def png_chunks(carried: Carried) -> bytes:
    """What stands between a PNG's header and its pixels."""
    told, chunks = carried.metadata, []
    for kind, content in told.png_colours:
        if not (kind == b"sRGB" and carried.profile):  # one or the other, says the standard
            chunks.append(png_chunk(kind, content))
    if carried.profile:
        chunks.append(png_chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(carried.profile)))
    if told.dpi:
        x, y = (max(1, round(value * _PER_METRE)) for value in told.dpi)
        chunks.append(png_chunk(b"pHYs", struct.pack(">IIB", x, y, 1)))
    if exif := upright_exif(told.exif):
        chunks.append(png_chunk(b"eXIf", exif))
    chunks += [png_chunk(kind, content) for kind, content in told.png_texts]
    if told.xmp:
        chunks.append(png_chunk(b"iTXt", _XMP_IN_PNG + upright_xmp(told.xmp)))
    return b"".join(chunks)


def _tiff_texts(exif: bytes) -> tuple[list[tuple], dict[int, dict]]:
    """Tags of the first directory for tifffile, and the inner directories."""
    tags = Image.Exif()
    try:
        tags.load(exif)
        texts = [(tag, 2, 0, str(tags[tag]).strip("\0"), True) for tag in _TEXTS if tags.get(tag)]
        inner = {tag: dict(tags.get_ifd(tag)) for tag in (_EXIF, _GPS) if tag in tags}
    except Exception:  # damaged EXIF raises whatever the bytes lead to; reading has warned
        return [], {}
    return texts, {tag: values for tag, values in inner.items() if values}


def _append_directories(data: bytes, directories: dict[int, dict]) -> bytes:
    """EXIF directories behind a TIFF file, whose tags of these numbers are made to point at them."""
    import tifffile

    file = io.BytesIO(data)
    for tag, values in directories.items():
        end = file.seek(0, io.SEEK_END)
        file.write(bytes(end % 2))
        start = file.tell()
        directory = ImageFileDirectory_v2(prefix=b"II")
        for number, value in values.items():
            if not isinstance(value, dict):  # interoperability, a directory within
                directory[number] = value
        file.write(directory.tobytes(start))
        file.seek(0)
        place = tifffile.TiffFile(file).pages.first.tags[tag + _ASIDE].offset  # type, count and value follow
        file.seek(place)
        file.write(struct.pack("<HHII", tag, 4, 1, start))
    return file.getvalue()


def _encode_tiff(codes: np.ndarray, carried: Carried) -> bytes:
    import tifffile  # here, because it loads slowly and few pictures are TIFF

    buffer, told = io.BytesIO(), carried.metadata
    texts, directories = _tiff_texts(upright_exif(told.exif))
    if told.xmp:
        xmp = upright_xmp(told.xmp)
        texts.append((700, 1, len(xmp), xmp, True))
    texts += [(tag + _ASIDE, 4, 1, 0, True) for tag in directories]
    tifffile.imwrite(
        buffer,
        codes,
        byteorder="<",
        photometric="rgb",
        planarconfig="contig",
        extrasamples=("unassalpha",) if codes.shape[2] == 4 else None,
        compression="zlib",
        predictor=True,
        metadata=None,
        software=False,
        iccprofile=carried.profile,
        resolution=told.dpi,
        resolutionunit="INCH" if told.dpi else None,
        extratags=sorted(texts),
    )
    return _append_directories(buffer.getvalue(), directories)


def _encode_jpeg(codes: np.ndarray, carried: Carried) -> bytes:
    buffer, told = io.BytesIO(), carried.metadata
    exif = upright_exif(told.exif)
    options: dict[str, object] = {"exif": b"Exif\0\0" + exif} if 0 < len(exif) < _LONGEST_SEGMENT - 8 else {}
    if told.dpi:
        options["dpi"] = tuple(round(value) for value in told.dpi)
    if 0 < len(told.comment) < _LONGEST_SEGMENT:
        options["comment"] = told.comment
    Image.fromarray(codes).save(
        buffer, "JPEG", quality=_JPEG_QUALITY, subsampling=0, icc_profile=carried.profile, **options
    )
    data, more = buffer.getvalue(), told.iptc
    xmp = _XMP_IN_JPEG + upright_xmp(told.xmp)
    if told.xmp and len(xmp) < _LONGEST_SEGMENT:
        more = b"\xff\xe1" + struct.pack(">H", len(xmp) + 2) + xmp + more
    start = 4 + int.from_bytes(data[4:6], "big")  # behind the JFIF segment
    return data[:start] + more + data[start:]


def _resolution_exif(dpi: tuple[float, float] | None) -> bytes:
    """EXIF of the resolution alone, for a format that has no other place for it."""
    if dpi is None:
        return b""
    tags = Image.Exif()
    tags[0x011A], tags[0x011B], tags[0x0128] = dpi[0], dpi[1], 2  # per inch
    return bare(tags.tobytes())


def _encode_webp(codes: np.ndarray, carried: Carried) -> bytes:
    buffer, told = io.BytesIO(), carried.metadata
    exif = upright_exif(told.exif) or _resolution_exif(told.dpi)
    options = {"exif": exif} if exif else {}
    # exact: colours below alpha 0 too; quality is effort here: three times as fast as the default, same size
    Image.fromarray(codes).save(
        buffer,
        "WEBP",
        lossless=True,
        exact=True,
        quality=50,
        icc_profile=carried.profile or b"",
        xmp=upright_xmp(told.xmp),
        **options,
    )
    return buffer.getvalue()


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenFormat:
    """What one written format can hold."""

    name: str
    encode: Callable[[np.ndarray, Carried], bytes]  # (H, W, 3 or 4) uint8, uint16 or float32
    depths: tuple[int, ...]  # 32: floats
    alpha: bool
    longest: int  # pixels per side


WRITTEN = {
    "PNG": WrittenFormat(name="PNG", encode=_encode_png, depths=(8, 16), alpha=True, longest=1_000_000),
    "JPEG": WrittenFormat(name="JPEG", encode=_encode_jpeg, depths=(8,), alpha=False, longest=65_500),
    "TIFF": WrittenFormat(
        name="TIFF", encode=_encode_tiff, depths=(8, 16, 32), alpha=True, longest=1_000_000
    ),
    "WebP": WrittenFormat(name="WebP", encode=_encode_webp, depths=(8,), alpha=True, longest=16_383),
}
