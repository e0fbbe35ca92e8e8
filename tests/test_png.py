"""Oracles: files made byte by byte from known samples, read back exactly."""

import struct
import zlib

import numpy as np
import pytest
from PIL import ImageCms

from raiha_core.codecs.png import decode_png
from raiha_core.codecs.raster import Limits, PictureError, Raster
from tests.png_files import CHANNELS, GREY, GREY_ALPHA, PALETTE, RGB, RGBA, chunk, codes, make_png


@pytest.fixture
def read(tmp_path):
    def from_bytes(data: bytes) -> Raster:
        return decode_png(data, tmp_path / "picture.png", Limits(pixels=10**6))

    return from_bytes


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(
    ("colour", "depth"),
    [
        (GREY, 1),
        (GREY, 2),
        (GREY, 4),
        *((kind, depth) for kind in (GREY, RGB, GREY_ALPHA, RGBA) for depth in (8, 16)),
    ],
)
def test_png_samples_are_exact(read, colour, depth, interlaced):
    samples = codes(depth, 11, 13, CHANNELS[colour])
    raster = read(make_png(samples, colour, depth, interlaced=interlaced))
    full = 65535 if depth == 16 else 255
    expected = samples.astype(int) * full // (2**depth - 1)
    assert raster.full == full
    if colour in (GREY_ALPHA, RGBA):
        assert (raster.alpha == expected[:, :, -1]).all()
        expected = expected[:, :, :-1]
    else:
        assert raster.alpha is None
    assert raster.samples.shape == expected.shape
    assert (raster.samples == expected).all()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (9, 1), (3, 3), (2, 5), (8, 8), (5, 4)])
def test_small_interlaced_pngs_lack_some_passes(read, height, width):
    samples = codes(8, height, width, 3)
    assert (read(make_png(samples, RGB, 8, interlaced=True)).samples == samples).all()


def test_nothing_is_printed_about_a_png(read, capfd):
    # libpng prints remarks on interlaced files, and on the profile that most files of old editors have
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    bad = bytearray(profile)
    bad[16:20] = b"GRAY"  # a grey profile in a colour picture
    for packed in (profile, bytes(bad), b"no profile"):
        chunk_data = b"name\0\0" + zlib.compress(packed)
        for interlaced in (False, True):
            data = make_png(codes(8, 9, 9, 3), RGB, 8, chunk(b"iCCP", chunk_data), interlaced)
            assert read(data).profile == packed
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_png_transparent_grey(read, depth):
    # Pillow compares the stretched samples with the unstretched key at 2 and 4 bits, and finds nothing
    samples = codes(depth, 9, 10, 1)
    key = int(samples[3, 4, 0])
    raster = read(make_png(samples, GREY, depth, chunk(b"tRNS", struct.pack(">H", key))))
    assert raster.alpha is not None
    assert (raster.alpha == np.where(samples[:, :, 0] == key, 0, raster.full)).all()


@pytest.mark.parametrize("depth", [8, 16])
def test_png_transparent_colour(read, depth):
    samples = codes(depth, 9, 10, 3)
    samples[5:7, 2:4] = samples[0, 0]
    raster = read(make_png(samples, RGB, depth, chunk(b"tRNS", samples[0, 0].astype(">u2").tobytes())))
    assert (raster.samples == samples).all()
    assert (raster.alpha == np.where((samples == samples[0, 0]).all(2), 0, raster.full)).all()
    assert (raster.alpha == 0).sum() == 5


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
@pytest.mark.parametrize("transparent", [False, True])
def test_png_palette(read, depth, transparent):
    indices = codes(depth, 9, 10, 1)
    colours = codes(8, 2**depth, 3, seed=1)
    alphas = codes(8, 2 ** (depth - 1), seed=2)  # shorter than the palette: the rest is opaque
    extra = chunk(b"PLTE", colours.tobytes())
    if transparent:
        extra += chunk(b"tRNS", alphas.tobytes())
    raster = read(make_png(indices, PALETTE, depth, extra))
    assert (raster.samples == colours[indices[:, :, 0]]).all()
    if transparent:
        padded = np.concatenate((alphas, np.full(2**depth - len(alphas), 255, np.uint8)))
        assert (raster.alpha == padded[indices[:, :, 0]]).all()
    else:
        assert raster.alpha is None or (raster.alpha == 255).all()


def test_late_exif_in_a_16_bit_png(read):
    data = make_png(codes(16, 4, 5, 3), RGB, 16)
    # a TIFF of one tag, orientation 8, and behind the pixels
    late = chunk(b"eXIf", b"II*\0\x08\0\0\0" + struct.pack("<HHHIII", 1, 0x0112, 3, 1, 8, 0))
    assert read(data[:-12] + late + data[-12:]).orientation == 8


def test_damage_inside_a_png_is_found(read):
    data = bytearray(make_png(codes(8, 30, 30, 3), RGB, 8))
    data[len(data) // 2] ^= 4
    with pytest.raises(PictureError, match=r"picture\.png is damaged: the check sum"):
        read(bytes(data))


@pytest.mark.parametrize("position", [8, 9, 10, 11, 12])  # depth, colour, compression, filter, interlacing
def test_a_header_of_no_known_kind_is_refused_in_silence(read, capfd, position):
    data = bytearray(make_png(codes(8, 4, 4, 3), RGB, 8))
    data[16 + position] = 5
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    with pytest.raises(PictureError, match=r"picture\.png is damaged: its PNG header"):
        read(bytes(data))
    assert capfd.readouterr() == ("", "")
