"""Oracles: known samples written by tifffile or Pillow in every layout, and read back exactly."""

import io
import logging

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from raiha_core.codecs.raster import Limits, PictureError, Raster
from raiha_core.codecs.tiff import decode_tiff

LIMIT = 10**7
DEPTHS = [np.uint8, np.uint16]


def codes(kind: type, *shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, np.iinfo(kind).max + 1, shape).astype(kind)


def written(array: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, **options)
    return buffer.getvalue()


def by_pillow(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "TIFF", **options)
    return buffer.getvalue()


@pytest.fixture
def read(tmp_path):
    def from_bytes(data: bytes, limit: int = LIMIT) -> Raster:
        return decode_tiff(data, tmp_path / "scan.tif", Limits(pixels=limit))

    return from_bytes


@pytest.mark.parametrize("kind", DEPTHS)
@pytest.mark.parametrize(
    ("compression", "predictor"),
    [(None, False), ("packbits", False)]
    + [(name, predictor) for name in ("lzw", "zlib", "zstd", "lzma") for predictor in (False, True)],
)
def test_compressions_are_exact(read, kind, compression, predictor):
    samples = codes(kind, 21, 34, 3)
    raster = read(written(samples, photometric="rgb", compression=compression, predictor=predictor))
    assert raster.samples.dtype == kind
    assert (raster.samples == samples).all()
    assert raster.alpha is None


@pytest.mark.parametrize("kind", DEPTHS)
@pytest.mark.parametrize(
    "layout",
    [
        {"planarconfig": "separate"},
        {"planarconfig": "separate", "tile": (16, 16), "compression": "lzw"},
        {"planarconfig": "contig", "tile": (16, 32), "compression": "zlib"},
        {"planarconfig": "contig", "rowsperstrip": 5},
        {"planarconfig": "contig", "bigtiff": True},
        {"planarconfig": "contig", "byteorder": ">", "compression": "lzw", "predictor": True},
        {"planarconfig": "contig", "byteorder": ">", "bigtiff": True},
    ],
)
def test_layouts_are_exact(read, kind, layout):
    samples = codes(kind, 21, 34, 3)
    stored = np.moveaxis(samples, 2, 0) if layout["planarconfig"] == "separate" else samples
    assert (read(written(stored, photometric="rgb", **layout)).samples == samples).all()


@pytest.mark.parametrize("kind", DEPTHS)
@pytest.mark.parametrize(
    ("photometric", "channels"), [("minisblack", 1), ("miniswhite", 1), ("rgb", 3), ("separated", 4)]
)
@pytest.mark.parametrize("extra", [None, "unassalpha", "unspecified"])
def test_kinds_of_colour_with_and_without_alpha(read, kind, photometric, channels, extra):
    samples = codes(kind, 9, 14, channels + (extra is not None))
    stored = samples.squeeze(2) if samples.shape[2] == 1 else samples
    options = {"extrasamples": (extra,)} if extra else {}
    raster = read(written(stored, photometric=photometric, planarconfig="contig", **options))
    expected = samples[:, :, :channels]
    if photometric == "miniswhite":
        expected = np.iinfo(kind).max - expected
    assert raster.samples.shape == (9, 14, channels)
    assert (raster.samples == expected).all()
    if extra:
        assert (raster.alpha == samples[:, :, -1]).all()
    else:
        assert raster.alpha is None


@pytest.mark.parametrize("kind", DEPTHS)
def test_an_alpha_that_is_multiplied_in_is_taken_out(read, kind):
    full = np.iinfo(kind).max
    straight, alpha = codes(kind, 40, 50, 3), codes(kind, 40, 50, seed=1)
    alpha[:2], alpha[2:4] = 0, full  # rows without any cover, and fully covered
    cover = alpha[:, :, None].astype(np.float64) / full
    stored = np.round(straight * cover).astype(kind)
    raster = read(written(np.dstack((stored, alpha)), photometric="rgb", extrasamples=("assocalpha",)))
    assert (raster.alpha == alpha).all()
    # Oracle: half a stored step of rounding, over the cover, and half a step of our own
    error = np.abs(raster.samples.astype(np.float64) - straight)
    assert (error[alpha > 0] <= 0.5 / cover[alpha > 0] + 0.5).all()
    assert (raster.samples[2:4] == straight[2:4]).all()


def test_of_several_extra_channels_the_alpha_counts(read):
    samples = codes(np.uint8, 9, 14, 5)
    data = written(samples, photometric="rgb", extrasamples=("unspecified", "unassalpha"))
    raster = read(data)
    assert (raster.samples == samples[:, :, :3]).all()
    assert (raster.alpha == samples[:, :, 4]).all()


FAX = pytest.mark.skipif(
    not hasattr(imagecodecs, "ccittfax4_decode"), reason="this imagecodecs has no fax decoder"
)


@pytest.mark.parametrize(
    "compression", [None, "tiff_lzw", pytest.param("group3", marks=FAX), pytest.param("group4", marks=FAX)]
)
def test_one_bit(read, compression):
    image = Image.fromarray(codes(np.uint8, 19, 29)).convert("1")
    raster = read(by_pillow(image, compression=compression))
    assert (raster.samples[:, :, 0] == np.asarray(image) * np.uint8(255)).all()


@pytest.mark.parametrize(("bits", "full"), [(2, 255), (4, 255), (10, 65535), (12, 65535)])
def test_odd_depths_are_stretched_to_full_scale(read, tmp_path, bits, full):
    stored = (
        np.random.default_rng(0).integers(0, 2**bits, (6, 32)).astype(np.uint8 if bits <= 8 else np.uint16)
    )
    stored[0, :2] = 0, 2**bits - 1
    digits = ["".join(format(v, f"0{bits}b") for v in row) for row in stored]
    packed = b"".join(int(row, 2).to_bytes(len(row) // 8, "big") for row in digits)
    path = tmp_path / "packed.tif"
    path.write_bytes(written(np.frombuffer(packed, np.uint8).reshape(6, -1), metadata=None))
    with tifffile.TiffFile(
        path, mode="r+"
    ) as file:  # the same bytes, said to be samples of fewer or more bits
        file.pages[0].tags[256].overwrite(32)
        file.pages[0].tags[258].overwrite(bits)
    raster = read(path.read_bytes())
    expected = np.floor(stored.astype(np.float64) * full / (2**bits - 1) + 0.5)
    assert raster.full == full
    assert (raster.samples[:, :, 0] == expected).all()


@pytest.mark.parametrize("scale", [256, 257])
def test_palette(read, scale):
    indices, colours = codes(np.uint8, 9, 14), codes(np.uint8, 3, 256, seed=1)
    table = colours.astype(np.uint16) * scale  # 256: what Pillow writes; 257: what the standard says
    raster = read(written(indices, photometric="palette", colormap=table))
    assert raster.samples.dtype == np.uint8
    assert (raster.samples == colours.T[indices]).all()


def test_jpeg_inside(read):
    smooth = np.asarray(Image.linear_gradient("L").resize((48, 32)))
    samples = np.dstack((smooth, smooth[::-1], smooth[:, ::-1]))
    data = written(samples, photometric="rgb", compression="jpeg", compressionargs={"level": 98})
    assert np.abs(read(data).samples.astype(int) - samples).max() <= 8
    data = by_pillow(Image.fromarray(samples), compression="jpeg", quality=98)
    assert (read(data).samples == np.asarray(Image.open(io.BytesIO(data)))).all()


def test_a_preview_is_passed_over_wherever_it_stands(read):
    samples = codes(np.uint16, 20, 30, 3)
    for order in ((0, 1), (1, 0)):
        buffer = io.BytesIO()
        with tifffile.TiffWriter(buffer) as file:
            for reduced in order:
                part = samples[::4, ::4] if reduced else samples
                file.write(part, photometric="rgb", subfiletype=reduced)
        assert (read(buffer.getvalue()).samples == samples).all()


def test_profile_and_orientation_are_handed_on(read):
    tags = [(34675, 7, 8, b"a profil", True), (274, 3, 1, 6, True)]
    raster = read(written(codes(np.uint8, 5, 6, 3), photometric="rgb", extratags=tags))
    assert raster.profile == b"a profil"
    assert raster.orientation == 6


def refusals() -> list[tuple[str, bytes]]:
    rgb = codes(np.uint8, 6, 7, 3)
    previews = io.BytesIO()
    with tifffile.TiffWriter(previews) as file:
        file.write(rgb, photometric="rgb", subfiletype=1)
    return [
        ("holds 2 pages", written(np.stack((rgb, rgb)), photometric="rgb")),
        ("only a preview", previews.getvalue()),
        ("32 bits", written(rgb.astype(np.uint32), photometric="rgb")),
        ("sample format 2", written(rgb.astype(np.int16), photometric="rgb")),
        ("photometric 8", by_pillow(Image.fromarray(rgb).convert("LAB"))),
        ("photometric 6", by_pillow(Image.fromarray(rgb).convert("YCbCr"))),
        (
            "does not read",
            written(np.stack((rgb, rgb)), photometric="rgb", volumetric=True, tile=(2, 16, 16)),
        ),
        (
            "does not read",
            written(codes(np.uint8, 6, 7, 4), photometric="separated", extratags=[(332, 3, 1, 2)]),
        ),
    ]


@pytest.mark.parametrize(("reason", "data"), refusals())
def test_what_cannot_be_read_is_refused_by_name(read, reason, data):
    with pytest.raises(PictureError, match=rf"scan\.tif.*{reason}"):
        read(data)


def test_a_missing_strip_is_found(read):
    data = bytearray(written(codes(np.uint8, 8, 8, 3), photometric="rgb", rowsperstrip=2, metadata=None))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        tag = file.pages[0].tags[273]
        at = tag.valueoffset
    for offset in (0, len(data) - 1, len(data) + 5):  # absent, and pointing past the end
        data[at : at + 4] = offset.to_bytes(4, "little")
        with pytest.raises(PictureError, match="truncated"):
            read(bytes(data))


def test_damage_is_not_logged_on_the_terminal(read, caplog):
    data = bytearray(written(codes(np.uint8, 8, 8, 3), photometric="rgb", metadata=None))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        at = file.pages[0].tags[258].offset
    data[at + 8 : at + 12] = b"\xff\xff\xff\x7f"  # the bits per sample lie beyond the file
    caplog.set_level(logging.DEBUG)
    with pytest.raises(PictureError, match="tag 258"):
        read(bytes(data))
    assert not caplog.records
    logging.getLogger("tifffile").warning("of others")  # the filter is gone again
    assert len(caplog.records) == 1
