"""Oracles: files written by Pillow, read back exactly. PNG and TIFF have tests of their own."""

import io
import os
import struct
import warnings
import zlib
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image, ImageFile, ImageOps

from raiha_core.codecs.decoding import decode
from raiha_core.codecs.raster import PictureError, upright
from tests.png_files import RGB, RGBA, SIGNATURE, chunk, codes, make_png

LIMIT = 10**7


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


PHOTO = Image.fromarray(codes(8, 24, 36, 3))


@pytest.fixture
def read(tmp_path):
    def from_bytes(data: bytes, name: str = "picture.png", limit: int = LIMIT):
        (tmp_path / name).write_bytes(data)
        return decode(tmp_path / name, limit)

    return from_bytes


def refusal(read, data: bytes, name: str = "some picture.png", limit: int = LIMIT) -> str:
    with pytest.raises(PictureError, match=name) as caught:
        read(data, name, limit)
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


def test_jpeg_agrees_with_pillow(read):
    for image, options in (
        (PHOTO, {"quality": 90}),
        (PHOTO, {"quality": 90, "progressive": True}),
        (PHOTO, {"quality": 90, "subsampling": 0, "restart_marker_blocks": 2}),
        (PHOTO.convert("L"), {}),
    ):
        data = saved(image, "JPEG", **options)
        raster = read(data, "photo.jpg")
        expected = np.asarray(Image.open(io.BytesIO(data)))
        assert (raster.samples.squeeze() == expected).all()
        assert raster.alpha is None


def test_jpeg_of_ink_is_not_inverted(read):
    # Adobe stores ink inverted; the raster holds ink with 0 as paper. White paper must come out as such.
    data = saved(Image.new("CMYK", (16, 16), (0, 0, 0, 0)), "JPEG")
    assert b"Adobe" in data
    assert read(data, "ink.jpg").samples.max() == 0
    smooth = Image.merge(
        "CMYK", [Image.linear_gradient("L").rotate(90 * i).resize((32, 32)) for i in range(4)]
    )
    raster = read(saved(smooth, "JPEG", quality=100), "ink.jpg")
    assert raster.samples.shape == (32, 32, 4)
    assert np.abs(raster.samples.astype(int) - np.asarray(smooth)).max() <= 4


def test_the_first_picture_of_a_camera_file_counts(read):
    # cameras and telephones put a preview or a gain map behind the photo
    data = saved(PHOTO, "MPO", save_all=True, append_images=[PHOTO.resize((8, 8))])
    assert read(data, "photo.jpg").samples.shape == (24, 36, 3)


@pytest.mark.parametrize("alpha", [False, True])
def test_webp_is_exact(read, alpha):
    samples = codes(8, 15, 17, 4 if alpha else 3)
    raster = read(saved(Image.fromarray(samples), "WEBP", lossless=True, exact=True), "a.webp")
    assert (raster.samples == samples[:, :, :3]).all()
    if alpha:
        assert (raster.alpha == samples[:, :, 3]).all()
    else:
        assert raster.alpha is None
    lossy = saved(Image.fromarray(samples), "WEBP", quality=70)
    expected = np.asarray(Image.open(io.BytesIO(lossy)))
    assert (read(lossy, "a.webp").samples == expected[:, :, :3]).all()


def test_bmp_is_readable(read):
    for mode in ("1", "L", "P", "RGB"):
        image = PHOTO.convert(mode)
        expected = np.asarray(image.convert("L" if mode in "1L" else "RGB"))
        assert (read(saved(image, "BMP"), "a.bmp").samples.squeeze() == expected).all()


def orientation_block(value: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif.tobytes()


@pytest.mark.parametrize("value", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_every_orientation_agrees_with_pillow(read, kind, value):
    options: dict[str, object] = {"lossless": True} if kind == "WEBP" else {}
    data = saved(PHOTO, kind, exif=orientation_block(value), **options)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    raster = read(data, f"a.{kind.lower()}")
    assert raster.orientation == value
    turned = upright(raster)
    assert turned.orientation == 1
    assert (turned.samples == expected).all()


def test_orientation_turns_alpha_too(read):
    samples = codes(8, 6, 9, 4)
    data = saved(Image.fromarray(samples), "PNG", exif=orientation_block(6))
    turned = upright(read(data))
    assert (turned.alpha == np.rot90(samples[:, :, 3], -1)).all()
    assert (turned.samples == np.rot90(samples[:, :, :3], -1)).all()


def test_orientation_that_does_not_exist_is_upright(read):
    assert read(saved(PHOTO, "JPEG", exif=orientation_block(0)), "a.jpg").orientation == 1


def test_damaged_exif_warns_and_leaves_the_picture(read):
    data = saved(PHOTO, "JPEG", exif=b"Exif\0\0garbage")
    with pytest.warns(UserWarning, match=r"odd\.jpg.*EXIF"):
        raster = read(data, "odd.jpg")
    assert raster.orientation == 1
    assert (raster.samples == np.asarray(Image.open(io.BytesIO(data)))).all()


# --- refusals ---


def whole_files() -> Iterator[tuple[str, bytes]]:
    small = PHOTO.resize((20, 12))
    yield "rgb.png", saved(small, "PNG")
    yield "deep.png", make_png(codes(16, 7, 8, 4), RGBA, 16)
    yield "interlaced.png", make_png(codes(8, 7, 8, 3), RGB, 8, interlaced=True)
    yield "a.jpg", saved(small, "JPEG", quality=80)
    yield "progressive.jpg", saved(small, "JPEG", quality=80, progressive=True)
    yield "lossy.webp", saved(small, "WEBP", quality=80)
    yield "lossless.webp", saved(small, "WEBP", lossless=True)
    yield "alpha.webp", saved(small.convert("RGBA").rotate(20), "WEBP", quality=80, exif=orientation_block(1))
    yield "a.bmp", saved(small, "BMP")
    yield "a.gif", saved(small.quantize(64), "GIF")
    yield "strips.tif", saved(small, "TIFF", compression="tiff_lzw")
    yield "plain.tif", saved(small, "TIFF")
    yield "zip.tif", saved(small, "TIFF", compression="tiff_adobe_deflate")


@pytest.mark.parametrize("lenient", [False, True])
@pytest.mark.parametrize(("name", "data"), list(whole_files()))
def test_cut_anywhere_a_file_is_refused(tmp_path, monkeypatch, name, data, lenient):
    # `lenient` is a switch of Pillow's that any other code in the process may have set
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", lenient)
    path = tmp_path / name
    path.write_bytes(data)
    whole, kept, refused = decode(path, LIMIT), 0, 0
    sizes = {*range(0, len(data), 11), *range(len(data) - 32, len(data))}
    for size in sizes:
        path.write_bytes(data[:size])
        try:
            part = decode(path, LIMIT)
        except PictureError as error:
            refused += name in str(error) and "\n" not in str(error)
        else:  # what is left must be all that matters: the same pixels
            assert (part.samples == whole.samples).all(), f"cut to {size} of {len(data)} bytes"
            kept += 1
    assert refused + kept == len(sizes)
    assert kept < 10


def test_what_is_no_picture_is_refused_by_content(read):
    for data in (b"<html>not found</html>", b"8BPS" + bytes(40), bytes(100), b"%PDF-1.7", b"P"):
        assert "is not a PNG, JPEG, TIFF, WebP, BMP, GIF, AVIF, HEIC or EXR picture" in refusal(read, data)
    assert "empty (0 bytes)" in refusal(read, b"")
    for start in (SIGNATURE, b"\xff\xd8\xff", b"II*\0", b"MM\0+", b"RIFF\x20\0\0\0WEBP", b"BM"):
        refusal(read, start)
        refusal(read, start + bytes(range(200)))
        refusal(read, start + bytes(200))


@pytest.mark.parametrize("name", ["photo.png", "photo.JPG", "photo.tif", "photo.txt", "photo"])
def test_a_wrong_ending_does_not_matter(read, name):
    for kind in ("PNG", "JPEG", "WEBP", "TIFF"):
        assert read(saved(PHOTO, kind), name).samples.shape == (24, 36, 3)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF"])
def test_of_an_animation_the_first_frame_is_read_with_a_note(read, kind):
    first = PHOTO.quantize(256) if kind == "GIF" else PHOTO
    options = {"lossless": True} if kind == "WEBP" else {}
    data = saved(first, kind, save_all=True, append_images=[PHOTO.rotate(90).quantize(64)], **options)
    raster = read(data, "a")
    assert (raster.samples == np.asarray(first.convert("RGB"))).all()
    assert "first" in raster.notes[0]
    assert read(saved(first, kind, **options), "b").notes == ()


def bombs() -> Iterator[tuple[str, bytes]]:
    """30,000 x 30,000 by their headers, with next to no data behind them."""
    side = 30_000
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, RGB, 0, 0, 0))
    rows = zlib.compressobj(9)
    packed = b"".join(rows.compress(bytes(10**6)) for _ in range(40)) + rows.flush()
    yield "a.png", SIGNATURE + header + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    jpeg = bytearray(saved(PHOTO, "JPEG"))
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = struct.pack(">HH", side, side)
    yield "a.jpg", bytes(jpeg)
    webp = bytearray(saved(PHOTO, "WEBP", lossless=True, exif=orientation_block(1)))
    webp[24:30] = (side - 1).to_bytes(3, "little") * 2
    yield "a.webp", bytes(webp)
    bmp = bytearray(saved(PHOTO, "BMP"))
    bmp[18:26] = struct.pack("<ii", side, side)
    yield "a.bmp", bytes(bmp)
    tiff = bytearray(saved(PHOTO, "TIFF"))
    for tag in (256, 257):
        at = tiff.index(struct.pack("<HHI", tag, 4, 1))
        tiff[at + 8 : at + 12] = struct.pack("<I", side)
    yield "a.tif", bytes(tiff)


@pytest.mark.parametrize(("name", "data"), list(bombs()))
def test_a_bomb_is_refused_by_name_and_size_before_decoding(read, monkeypatch, name, data):
    def explode(*_, **__):
        raise AssertionError("pixels were decoded")

    monkeypatch.setattr("imagecodecs.png_decode", explode)
    monkeypatch.setattr("imagecodecs.webp_decode", explode)
    monkeypatch.setattr("tifffile.TiffPage.asarray", explode)
    monkeypatch.setattr(ImageFile.ImageFile, "load", explode)
    sentence = refusal(read, data, name, 200_000_000)
    assert "30000x30000" in sentence
    assert "900 megapixels" in sentence
    assert "200 megapixels" in sentence


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP"])
def test_the_limit_itself_is_allowed(read, kind):
    data = saved(PHOTO, kind)
    assert read(data, limit=24 * 36).samples.shape == (24, 36, 3)
    assert "36x24" in refusal(read, data, limit=24 * 36 - 1)


def test_lossy_webp_has_its_size_in_another_place(read):
    assert "36x24" in refusal(read, saved(PHOTO, "WEBP", quality=80), limit=1)
    assert "36x24" in refusal(read, saved(PHOTO, "WEBP", lossless=True), limit=1)


def test_a_picture_beyond_pillows_own_limit(read, monkeypatch):
    # Pillow refuses above a limit of its own, lower than ours
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for kind in ("PNG", "JPEG", "WEBP", "TIFF", "BMP"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert read(saved(PHOTO, kind)).samples.shape == (24, 36, 3)


def test_missing_folder_and_pipe(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such\.png does not exist"):
        decode(tmp_path / "no such.png", LIMIT)
    with pytest.raises(ValueError, match="is a folder, not a picture"):
        decode(tmp_path, LIMIT)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.png")
        with pytest.raises(ValueError, match=r"pipe\.png is not a regular file"):
            decode(tmp_path / "pipe.png", LIMIT)


def test_no_permission(tmp_path, monkeypatch):
    path = tmp_path / "locked.png"
    path.write_bytes(saved(PHOTO, "PNG"))

    def refuse(*arguments, **_):
        raise PermissionError(13, "Permission denied", str(arguments[0]))

    monkeypatch.setattr("builtins.open", refuse)  # root, as in containers, may read everything
    with pytest.raises(PermissionError, match=r"locked\.png cannot be read: permission denied"):
        decode(path, LIMIT)
