"""Small picture files of every kind that is read: what the damage is done to."""

import io
import random
import struct
import tempfile
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from PIL import Image, ImageCms

from raiha_core.codecs.formats import FORMATS
from tests.png_files import CHANNELS, PALETTE, chunk, make_png
from tests.png_files import codes as png_codes

_PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
_PNG_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 4, 8), 4: (8, 16), 6: (8, 16)}
_PNG_KINDS = [(colour, depth) for colour, depths in _PNG_DEPTHS.items() for depth in depths]


def _size(rng: random.Random) -> tuple[int, int]:
    """Height and width: small, one pixel wide, or as wide as a file can say."""
    return rng.choice([(9, 14), (17, 11), (1, 30), (30, 1), (1, 1), (24, 33), (8, 8)])


def noise(rng: random.Random, channels: int, size: tuple[int, int] | None = None) -> np.ndarray:
    height, width = size or _size(rng)
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(rng.randrange(1 << 30)).integers(0, 256, shape, dtype=np.uint8)


def exif(rng: random.Random) -> bytes:
    """An EXIF block that may lie: of orientation 0..9, of a directory that points at itself, or cut."""
    entries = [struct.pack("<HHIHH", 0x0112, 3, 1, rng.randrange(10), 0)]
    if rng.random() < 0.4:  # a directory inside, at the outer one's own place
        entries.append(struct.pack("<HHII", 0x8769, 4, 1, 8))
    if rng.random() < 0.3:
        entries.append(struct.pack("<HHII", 0x010F, 2, 0xFFFFFFF0, rng.randrange(1 << 32)))
    again = 8 if rng.random() < 0.5 else 0
    body = b"II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(entries) + struct.pack("<I", again)
    return body[: rng.randrange(len(body))] if rng.random() < 0.2 else body


def png(rng: random.Random) -> bytes:
    colour, depth = rng.choice(_PNG_KINDS)
    height, width = _size(rng)
    if rng.random() < 0.05:
        height, width = rng.choice([(1, 65535), (65535, 1)])
    shape = (height, width, CHANNELS[colour]) if CHANNELS[colour] > 1 else (height, width)
    samples = png_codes(depth, *shape, seed=rng.randrange(1 << 20))
    extra = []
    if colour == PALETTE:
        extra.append(chunk(b"PLTE", bytes(rng.randrange(256) for _ in range(3 * 2**depth))))
    more = {
        b"eXIf": exif(rng),
        b"iCCP": b"x\0\0" + zlib.compress(_PROFILE),
        b"gAMA": struct.pack(">I", rng.choice((45455, 0, 1, 100000, 0xFFFFFFFF))),
        b"cICP": bytes(rng.randrange(20) for _ in range(4)),
        b"cHRM": struct.pack(">8I", *(rng.randrange(100000) for _ in range(8))),
        b"tEXt": b"Title\0" + bytes(rng.randrange(256) for _ in range(20)),
        b"zTXt": b"Author\0\0" + zlib.compress(bytes(rng.choice((40, 3_000_000)))),
        b"iTXt": b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b"<x/>" * 20),
        b"pHYs": struct.pack(">IIB", rng.randrange(1 << 32), 2835, 1),
        b"tRNS": bytes(rng.randrange(256) for _ in range(rng.choice((1, 2, 6, 40)))),
        b"acTL": struct.pack(">II", rng.choice((2, 0xFFFFFFFF)), 0),
    }
    for kind in rng.sample(sorted(more), rng.randrange(4)):
        if kind == b"tRNS" and colour in (4, 6):
            continue
        extra.append(chunk(kind, more[kind]))
    return make_png(samples, colour, depth, b"".join(extra), interlaced=rng.random() < 0.25)


def jpeg(rng: random.Random) -> bytes:
    mode = rng.choice(["RGB", "RGB", "L", "CMYK"])
    size = rng.choice([(8, 65500), (65500, 8)]) if rng.random() < 0.03 else (48, 64)
    pixels = noise(rng, {"RGB": 3, "L": 1, "CMYK": 4}[mode], size)
    options: dict = {"quality": rng.choice((30, 90))}
    if rng.random() < 0.3:
        options["progressive"] = True
    if rng.random() < 0.3:
        options["restart_marker_rows"] = 1
    if rng.random() < 0.3 and mode == "RGB":
        options["subsampling"] = rng.choice((0, 1, 2))
    if rng.random() < 0.4:
        options["exif"] = b"Exif\0\0" + exif(rng)
    if rng.random() < 0.3:
        options["icc_profile"] = _PROFILE
    if rng.random() < 0.2:
        options["comment"] = b"a comment"
    buffer = io.BytesIO()
    Image.fromarray(pixels, mode).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def tiff(rng: random.Random) -> bytes:
    kind = rng.choice(["u1", "u2", "f4", "f2", "grey", "cmyk", "palette", "alpha", "pages"])
    height, width = 24, 40
    rgb = noise(rng, 3, (height, width))
    options: dict = {"photometric": "rgb", "metadata": None}
    if kind == "u2":
        rgb = rgb.astype(np.uint16) * 257
    elif kind in ("f4", "f2"):
        rgb = (rgb / np.float32(255)).astype(kind)
        if rng.random() < 0.5:
            rgb[0, :3] = [[np.nan] * 3, [np.inf] * 3, [-np.inf] * 3]
    elif kind == "grey":
        rgb, options["photometric"] = rgb[..., 0].copy(), rng.choice(("minisblack", "miniswhite"))
    elif kind == "cmyk":
        rgb, options["photometric"] = noise(rng, 4, (height, width)), "separated"
    elif kind == "palette":
        rgb, options["photometric"] = rgb[..., 0].copy(), "palette"
        options["colormap"] = np.random.default_rng(1).integers(0, 65535, (3, 256), dtype=np.uint16)
    elif kind == "alpha":
        rgb, options["extrasamples"] = noise(rng, 4, (height, width)), ("unassalpha",)
    compression = rng.choice([None, "zlib", "zlib", "lzw", "packbits", "zstd", "lzma"])
    options["compression"] = compression
    if rng.random() < 0.3:
        options["tile"] = (16, 16)
    else:
        options["rowsperstrip"] = rng.choice((1, 5, 24))
    if compression in ("zlib", "lzw") and kind == "u1" and rng.random() < 0.5:
        options["predictor"] = True
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer, bigtiff=rng.random() < 0.2, byteorder=rng.choice("<>")) as writer:
        for page in range(3 if kind == "pages" else 1):
            writer.write(rgb, **options, **({"subfiletype": 1} if page else {}))
    return buffer.getvalue()


def webp(rng: random.Random) -> bytes:
    buffer = io.BytesIO()
    picture = Image.fromarray(noise(rng, rng.choice((3, 4))))
    options: dict = {"lossless": rng.random() < 0.5}
    if rng.random() < 0.3:
        options["exif"] = exif(rng)
    if rng.random() < 0.3:
        options["icc_profile"] = _PROFILE
    if rng.random() < 0.2:
        options |= {"save_all": True, "append_images": [picture.rotate(180)]}
    picture.save(buffer, "WEBP", **options)
    return buffer.getvalue()


def gif(rng: random.Random) -> bytes:
    buffer = io.BytesIO()
    pictures = [Image.fromarray(noise(rng, 3, (12, 20))).quantize(rng.choice((2, 16, 256))) for _ in range(3)]
    options: dict = {"save_all": True, "append_images": pictures[1:]} if rng.random() < 0.4 else {}
    if rng.random() < 0.4:
        options["transparency"] = 1
    pictures[0].save(buffer, "GIF", **options)
    return buffer.getvalue()


def bmp(rng: random.Random) -> bytes:
    buffer = io.BytesIO()
    mode = rng.choice(["RGB", "RGBA", "L", "1", "P"])
    picture = Image.fromarray(noise(rng, 3))
    (picture.quantize(16) if mode == "P" else picture.convert(mode)).save(buffer, "BMP")
    return buffer.getvalue()


def avif(rng: random.Random) -> bytes:
    pixels = noise(rng, rng.choice((3, 4)), (16, 24))
    if rng.random() < 0.3:
        return imagecodecs.avif_encode(pixels.astype(np.uint16) * 4, bitspersample=10, speed=9, numthreads=1)
    return imagecodecs.avif_encode(pixels, speed=9, numthreads=1)


def heic(rng: random.Random) -> bytes:
    import pillow_heif

    size = rng.choice(((16, 24), (64, 80), (33, 17)))
    picture = pillow_heif.from_pillow(Image.fromarray(noise(rng, rng.choice((1, 3, 3, 4)), size)))
    options: dict = {"quality": rng.choice((30, 90)), "matrix_coefficients": rng.choice((1, 6))}
    if rng.random() < 0.4:
        options["exif"] = b"Exif\0\0" + exif(rng)
    if rng.random() < 0.2:
        picture.add_from_pillow(Image.fromarray(noise(rng, 3, (48, 32))))
    buffer = io.BytesIO()
    picture.save(buffer, **options)
    return buffer.getvalue()


def exr(rng: random.Random) -> bytes:
    """Scanlines or tiles, halves or floats, NaN and infinity among them, in many packings."""
    import OpenEXR

    height, width = rng.choice(((24, 36), (1, 40), (40, 1), (70, 33)))
    kind = np.dtype(rng.choice(("f2", "f4")))
    names = rng.choice(("RGB", "RGB", "RGBA", "Y", "AZ", "RGBAXYZ"))
    seeded = np.random.default_rng(rng.randrange(1 << 30))
    levels = rng.choice((3, 3, 1 << 20))  # few levels can be packed; blocks of noise are kept as they are
    planes = {name: (seeded.integers(0, levels, (height, width)) * 2 / levels).astype(kind) for name in names}
    if rng.random() < 0.2:
        next(iter(planes.values()))[0, 0] = rng.choice((np.nan, np.inf, -np.inf, -1))
    packing = rng.choice(("NO", "RLE", "ZIPS", "ZIP", "ZIP", "PIZ", "PXR24"))
    header: dict = {"compression": getattr(OpenEXR, f"{packing}_COMPRESSION"), "type": OpenEXR.scanlineimage}
    if rng.random() < 0.3:
        header |= {"type": OpenEXR.tiledimage, "tiles": OpenEXR.TileDescription()}
    with tempfile.TemporaryDirectory() as folder:  # it writes to a name only
        path = Path(folder) / "whole.exr"
        OpenEXR.File(header, planes).write(str(path))
        return path.read_bytes()


def other(rng: random.Random) -> bytes:
    """What begins like a file of some format and goes on as anything, the optional formats among them."""
    begins = [
        b"\x76\x2f\x31\x01\2\0\0\0",
        b"\0\0\0\x18ftypheic\0\0\0\0mif1",
        b"\0\0\0\x1cftypavif",
        b"BM",
        b"GIF89a",
        b"RIFF\xff\xff\xff\xffWEBP",
        b"II*\0\x08\0\0\0",
        b"MM\0+\0\x08\0\0",
        b"\xff\xd8\xff\xe0",
        b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR",
        b"",
        b"8BPS",
        b"%PDF-1.4",
        b"PK\3\4",
        b"\x80\4\x95",
    ]
    return rng.choice(begins) + bytes(rng.randrange(256) for _ in range(rng.choice((0, 1, 40, 400))))


MAKERS = {
    "png": png,
    "jpeg": jpeg,
    "tiff": tiff,
    "webp": webp,
    "gif": gif,
    "bmp": bmp,
    "avif": avif,
    "other": other,
    **({"heic": heic} if FORMATS["HEIC"].readable else {}),
    **({"exr": exr} if FORMATS["EXR"].readable else {}),
}
EXTENSIONS = {"jpeg": "jpg", "tiff": "tif", "other": "bin"}
