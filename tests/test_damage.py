"""Damage is found, and read past only where that is allowed. Oracle: the undamaged file's own pixels."""

import contextlib
import io
import tracemalloc
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from raiha_core.codecs.jpeg import decode_jpeg
from raiha_core.codecs.raster import DamagedPictureError, Limits
from raiha_core.images import read_mask, read_picture
from tests.png_files import RGB, chunk, codes, make_png


def smooth(height: int = 96, width: int = 128) -> Image.Image:
    noise = Image.fromarray(codes(8, height // 8, width // 8, 3))
    return noise.resize((width, height), Image.Resampling.BICUBIC)


def jpeg(**options: object) -> bytes:
    buffer = io.BytesIO()
    smooth().save(buffer, "JPEG", quality=90, **options)
    return buffer.getvalue()


def broken_scan(data: bytes, where: float, length: int, fill: int) -> bytes:
    start = data.rindex(b"\xff\xda") + 20 if b"\xff\xc2" not in data else data.index(b"\xff\xda") + 20
    at = start + int(where * (len(data) - start - length - 2))
    return data[:at] + bytes([fill]) * length + data[at + length :]


@pytest.mark.parametrize("where", [0.2, 0.5, 0.8])
@pytest.mark.parametrize(
    ("options", "fill"),
    [
        ({}, 0x00),
        ({}, 0x55),
        ({"subsampling": 0}, 0x00),
        ({"progressive": True}, 0x00),
        ({"restart_marker_rows": 1}, 0x00),
    ],
)
def test_a_jpeg_broken_inside_its_scan_is_refused(tmp_path, options, fill, where):
    data = jpeg(**options)
    path = tmp_path / "broken.jpg"
    path.write_bytes(broken_scan(data, where, len(data) // 6, fill))
    Image.open(path).load()  # Pillow says nothing
    for read in (read_picture, read_mask):
        with pytest.raises(DamagedPictureError, match=r"broken\.jpg is damaged: the data inside"):
            read(path)
    with pytest.warns(UserWarning, match=r"broken\.jpg is damaged.*what is left of it was read"):
        picture = read_picture(path, allow_damaged=True)
    assert (picture.source.srgb == np.asarray(Image.open(path))).all()


@pytest.mark.parametrize("cut", [0.4, 0.7, 0.95])
def test_what_is_left_of_a_cut_jpeg(tmp_path, cut):
    data = jpeg()
    path = tmp_path / "cut.jpg"
    path.write_bytes(data[: int(len(data) * cut)])
    with pytest.raises(DamagedPictureError, match=r"cut\.jpg is truncated"):
        read_picture(path)
    with pytest.warns(UserWarning, match="truncated"):
        picture = read_picture(path, allow_damaged=True)
    whole = np.asarray(Image.open(io.BytesIO(data)))
    rows = int(96 * (cut - 0.3))
    assert (picture.source.srgb[:rows] == whole[:rows]).all()


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:-2] + bytes(60) + data[-2:],  # zeros before the end, as some cameras write
        lambda data: data[:-2] + b"\xff" * 60 + data[-2:],
        lambda data: data[:2] + b"\xff\xe5\x00\x08broken"[:10] + data[2:],
        lambda data: data.replace(b"JFIF\0\1", b"JFIF\0\3"),
        lambda data: data + b"anything behind the end",
        lambda data: data[:2] + b"\xff\xe2\0\x10ICC_PROFILE\0\2\2" + data[2:],
    ],
)
def test_what_a_decoder_may_pass_over_stops_no_jpeg(tmp_path, change):
    data = jpeg()
    path = tmp_path / "odd.jpg"
    path.write_bytes(change(data))
    assert (read_picture(path).source.srgb == np.asarray(Image.open(io.BytesIO(data)))).all()


def test_a_table_whose_marker_is_lost_is_damage(tmp_path):
    # the library puts a usual table in its place, and only remarks on bytes that it passes over
    data = jpeg()
    at = data.rindex(b"\xff\xc4")
    (tmp_path / "table.jpg").write_bytes(data[:at] + b"\x7f" + data[at + 1 :])
    with pytest.raises(DamagedPictureError, match=r"table\.jpg is damaged"):
        read_picture(tmp_path / "table.jpg")


def test_too_many_scans_are_refused(tmp_path):
    data = jpeg(progressive=True)
    start = data.rindex(b"\xff\xda")
    bomb = data[:start] + data[start:-2] * 600 + b"\xff\xd9"
    with pytest.raises(ValueError, match="more than 500 scans"):
        decode_jpeg(bomb, tmp_path / "scans.jpg", Limits())


def png_parts(samples: np.ndarray) -> tuple[bytes, bytes]:
    """Everything before IDAT, and the packed pixels, of a PNG."""
    data = make_png(samples, RGB, 8)
    at = data.index(b"IDAT")
    length = int.from_bytes(data[at - 4 : at], "big")
    return data[: at - 4], data[at + 4 : at + 4 + length]


@pytest.mark.parametrize("kind", [b"tEXt", b"gAMA", b"prIv", b"pHYs"])
def test_a_wrong_check_sum_of_an_ancillary_chunk_stops_nothing(tmp_path, kind):
    samples = codes(8, 20, 20, 3)
    bad = bytearray(chunk(kind, b"\0\1\x86\xa0"))
    bad[-1] ^= 1
    (tmp_path / "a.png").write_bytes(make_png(samples, RGB, 8, bytes(bad)))
    assert (read_picture(tmp_path / "a.png").source.srgb == samples).all()


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.9])
def test_what_is_left_of_a_png(tmp_path, keep):
    samples = codes(8, 60, 60, 3)
    head, packed = png_parts(samples)
    path = tmp_path / "cut.png"
    path.write_bytes(head + chunk(b"IDAT", packed[: int(len(packed) * keep)]) + chunk(b"IEND", b""))
    with pytest.raises(DamagedPictureError, match=r"cut\.png is truncated or damaged"):
        read_picture(path)
    with pytest.warns(UserWarning, match=r"cut\.png"):
        found = read_picture(path, allow_damaged=True).source.srgb
    rows = int(60 * keep) - 2
    assert (found[:rows] == samples[:rows]).all()
    assert (found[-2:] == 0).all()


def test_a_png_whose_data_have_another_check_sum(tmp_path):
    samples = codes(8, 60, 60, 3)
    head, packed = png_parts(samples)
    body = bytearray(chunk(b"IDAT", packed))
    body[-1] ^= 1
    (tmp_path / "a.png").write_bytes(head + bytes(body) + chunk(b"IEND", b""))
    with pytest.raises(DamagedPictureError, match="check sum"):
        read_picture(tmp_path / "a.png")
    with pytest.warns(UserWarning, match="check sum"):
        assert (read_picture(tmp_path / "a.png", allow_damaged=True).source.srgb == samples).all()


@pytest.mark.parametrize("broken", [0, 3, 5])
def test_what_is_left_of_a_tiff(tmp_path, broken):
    samples = codes(8, 24, 30, 3)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, samples, photometric="rgb", compression="zlib", rowsperstrip=4, metadata=None)
    with tifffile.TiffFile(path) as file:
        at = file.pages[0].dataoffsets[broken]
    data = bytearray(path.read_bytes())
    data[at : at + 20] = bytes(20)
    path.write_bytes(data)
    with pytest.raises(DamagedPictureError, match=r"a\.tif is truncated or damaged"):
        read_picture(path)
    with pytest.warns(UserWarning, match=r"a\.tif"):
        found = read_picture(path, allow_damaged=True).source.srgb
    lost = slice(4 * broken, 4 * broken + 4)
    assert (found[lost] == 0).all()
    assert (np.delete(found, lost, 0) == np.delete(samples, lost, 0)).all()


@pytest.mark.parametrize("kind", ["WEBP", "GIF", "AVIF"])
@pytest.mark.parametrize("keep", [0.3, 0.6, 0.9])
def test_formats_without_a_rest_are_refused_all_the_same(tmp_path, kind, keep):
    path = tmp_path / "cut.dat"
    try:
        smooth().save(path, kind)
    except (KeyError, OSError):
        pytest.skip(f"this Pillow writes no {kind}")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    for allow in (False, True):
        with pytest.raises(ValueError, match=r"cut\.dat is"):
            read_picture(path, allow_damaged=allow)


# --- bounds ---


def circular_tiff() -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, codes(8, 8, 8, 3), photometric="rgb", metadata=None)
    data = bytearray(buffer.getvalue())
    start = int.from_bytes(data[4:8], "little")
    after = start + 2 + 12 * int.from_bytes(data[start : start + 2], "little")
    data[after : after + 4] = start.to_bytes(4, "little")
    return bytes(data)


def many_pages() -> bytes:
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        for number in range(1002):
            writer.write(codes(8, 2, 2, 3), photometric="rgb", metadata=None, subfiletype=number > 0)
    return buffer.getvalue()


def patched(data: bytes, tags: dict[int, int]) -> bytes:
    """A TIFF with other values in tags of one LONG or SHORT."""
    changed = bytearray(data)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        for tag, value in tags.items():
            found = file.pages[0].tags[tag]
            size = 2 if found.dtype == 3 else 4
            changed[found.valueoffset : found.valueoffset + size] = value.to_bytes(size, "little")
    return bytes(changed)


def large_tiles() -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, codes(8, 16, 16, 3), photometric="rgb", tile=(16, 16), compression="zlib")
    return patched(buffer.getvalue(), {322: 60_000, 323: 60_000})


def large_inner_picture() -> bytes:
    buffer, inner = io.BytesIO(), io.BytesIO()
    tifffile.imwrite(buffer, codes(8, 16, 16, 3), photometric="rgb", compression="jpeg", metadata=None)
    Image.new("RGB", (3000, 2000)).save(inner, "JPEG")
    whole = buffer.getvalue() + inner.getvalue()
    return patched(whole, {273: len(buffer.getvalue()), 279: len(inner.getvalue())})


def large_canvas_gif() -> bytes:
    buffer = io.BytesIO()
    smooth().quantize(8).save(buffer, "GIF")
    data = buffer.getvalue()
    return data[:6] + b"\xff\xff\xff\xff" + data[10:]


def many_samples_tiff() -> bytes:
    header = np.zeros((4, 4, 60), np.uint8)
    buffer = io.BytesIO()
    options = {"planarconfig": "contig", "metadata": None}
    tifffile.imwrite(buffer, header, photometric="rgb", extrasamples=("unspecified",) * 57, **options)
    return patched(buffer.getvalue(), {256: 8000, 257: 8000})


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (circular_tiff, "in a circle"),
        (many_pages, "more than 1000 pages"),
        (large_tiles, "60000x60000"),
        (large_inner_picture, "3000x2000 picture"),
        (large_canvas_gif, "65535x65535"),
        (many_samples_tiff, "8000x8000 with 60 channels"),
    ],
)
def test_structures_that_would_take_for_ever_are_refused(tmp_path, make, reason):
    (tmp_path / "bomb.dat").write_bytes(make())
    with pytest.raises(ValueError, match=rf"bomb\.dat.*{reason}"):
        read_picture(tmp_path / "bomb.dat")


@pytest.mark.parametrize("compression", ["zlib", "zstd", "lzw", "lzma"])
def test_a_strip_unpacks_to_no_more_than_its_size(tmp_path, compression):
    raw = bytes(50_000_000)
    pack = {
        "zlib": lambda: zlib.compress(raw, 1),
        "zstd": lambda: imagecodecs.zstd_encode(raw),
        "lzw": lambda: imagecodecs.lzw_encode(raw[:5_000_000]),
        "lzma": lambda: imagecodecs.lzma_encode(raw[:5_000_000], level=0),
    }
    packed, buffer = pack[compression](), io.BytesIO()
    tifffile.imwrite(buffer, codes(8, 8, 8, 3), photometric="rgb", compression=compression, metadata=None)
    data = patched(buffer.getvalue() + packed, {273: len(buffer.getvalue()), 279: len(packed)})
    (tmp_path / "a.tif").write_bytes(data)
    tracemalloc.start()
    with contextlib.suppress(DamagedPictureError):  # some codecs refuse what is left over
        assert read_picture(tmp_path / "a.tif").pixels.max() == 0
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * len(data) + 10**6


def test_a_limit_counts_channels(tmp_path):
    limits = Limits(pixels=1000)
    limits.require(tmp_path, 40, 25, channels=4)
    for size, channels, pictures in (((40, 26), 3, 1), ((40, 25), 5, 1), ((20, 25), 3, 3)):
        with pytest.raises(ValueError, match=r"the limit is [0-9]+ pixels of 4 channels"):
            limits.require(tmp_path, *size, channels=channels, pictures=pictures)
