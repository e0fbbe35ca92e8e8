"""Oracles: Pillow writes what a file carries, and reads it back from what we wrote."""

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from PIL.TiffImagePlugin import IFDRational

from raiha_core.images import read_picture, write_picture
from tests.png_files import codes

OWNER = "(c) Ada Mapper"
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r tiff:Orientation="6" dc="mine"/></x:xmpmeta>'


def exif_block(orientation: int = 6) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x8298] = OWNER
    exif[0x010F] = "Raiha Works"
    exif[0x8769] = {0x829A: IFDRational(1, 250), 0x9003: "2026:01:02 03:04:05"}
    return exif


@pytest.mark.parametrize("out", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_exif_copyright_and_dpi_survive_and_the_picture_stands_upright(tmp_path, kind, out):
    path = tmp_path / f"a.{kind.lower()}"
    options = {} if kind in ("WEBP", "AVIF") else {"dpi": (300, 300)}
    image = Image.fromarray(codes(8, 24, 36, 3))
    try:
        image.save(path, kind, exif=exif_block().tobytes(), **options)
    except (KeyError, OSError):
        pytest.skip(f"this Pillow writes no {kind}")
    picture = read_picture(path)
    assert picture.pixels.shape[2:] == (36, 24)
    write_picture(tmp_path / f"o.{out}", picture.pixels, source=picture.source)
    written = Image.open(tmp_path / f"o.{out}")
    exif = written.getexif()
    assert exif[0x8298] == OWNER
    assert exif.get(0x0112, 1) == 1
    assert written.size == (24, 36)
    assert exif.get_ifd(0x8769)[0x9003] == "2026:01:02 03:04:05"
    assert float(exif.get_ifd(0x8769)[0x829A]) == pytest.approx(1 / 250)
    if options and out != "webp":
        assert written.info["dpi"] == pytest.approx((300, 300), abs=0.1)


@pytest.mark.parametrize(
    ("kind", "place"), [("PNG", "text"), ("JPEG", "xmp"), ("WEBP", "xmp"), ("TIFF", "tag")]
)
def test_xmp_turns_a_picture_and_survives_without_turning_it_again(tmp_path, kind, place):
    path, options = tmp_path / f"a.{kind.lower()}", {}
    if place == "text":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", XMP.decode())
    elif place == "tag":
        options["tiffinfo"] = {700: XMP}
    else:
        options["xmp"] = XMP
    Image.fromarray(codes(8, 24, 36, 3)).save(path, kind, **options)
    picture = read_picture(path)
    assert picture.pixels.shape[2:] == (36, 24)
    for ending in ("jpg", "png", "webp", "tif"):
        write_picture(tmp_path / f"o.{ending}", picture.pixels, source=picture.source)
        assert b'tiff:Orientation="1" dc="mine"' in (tmp_path / f"o.{ending}").read_bytes()
        assert read_picture(tmp_path / f"o.{ending}").pixels.shape == picture.pixels.shape


def test_exif_in_a_png_text_turns_it_too(tmp_path):
    block = exif_block().tobytes()
    text = f"\nexif\n{len(block):8}\n" + block.hex()
    info = PngImagePlugin.PngInfo()
    info.add_text("Raw profile type exif", text, zip=True)
    Image.fromarray(codes(8, 24, 36, 3)).save(tmp_path / "a.png", pnginfo=info)
    assert read_picture(tmp_path / "a.png").pixels.shape[2:] == (36, 24)


def test_a_stale_preview_is_left_out(tmp_path):
    preview = b"\xff\xd8PREVIEW\xff\xd9"
    exif = exif_block(1)
    exif._ifds[1] = {0x0201: preview, 0x0103: 6}
    block = bytearray(b"Exif\0\0MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0\1\0\0\0\0\0\x1a\0\0\0\0\0\0")
    Image.fromarray(codes(8, 24, 36, 3)).save(tmp_path / "a.jpg", exif=bytes(block))
    picture = read_picture(tmp_path / "a.jpg")
    write_picture(tmp_path / "o.jpg", picture.pixels, source=picture.source)
    assert b"\0\0\0\x1a\0\0\0\0" not in Image.open(tmp_path / "o.jpg").info["exif"]


def test_descriptions_of_a_png_survive_and_workflows_do_not(tmp_path):
    info = PngImagePlugin.PngInfo()
    info.add_text("Copyright", OWNER)
    info.add_itxt("Author", "Ädä")
    info.add_text("workflow", '{"secret": "/home/ada"}')
    Image.fromarray(codes(8, 24, 36, 3)).save(tmp_path / "a.png", pnginfo=info)
    picture = read_picture(tmp_path / "a.png")
    write_picture(tmp_path / "o.png", picture.pixels, source=picture.source)
    written = Image.open(tmp_path / "o.png")
    assert written.text == {"Copyright": OWNER, "Author": "Ädä"}


def test_a_jpegs_comment_and_newspaper_tags_survive(tmp_path):
    Image.fromarray(codes(8, 24, 36, 3)).save(tmp_path / "a.jpg", comment=b"for Ada")
    data = (tmp_path / "a.jpg").read_bytes()
    iptc = b"\xff\xed\x00\x1dPhotoshop 3.0\0" + b"8BIM\x04\x04".ljust(13, b"\0")
    (tmp_path / "a.jpg").write_bytes(data[:20] + iptc + data[20:])
    picture = read_picture(tmp_path / "a.jpg")
    write_picture(tmp_path / "o.jpg", picture.pixels, source=picture.source)
    assert iptc in (tmp_path / "o.jpg").read_bytes()
    assert Image.open(tmp_path / "o.jpg").info["comment"] == b"for Ada"


@pytest.mark.parametrize("ending", ["png", "tif", "webp"])
def test_alpha_is_the_sources_own_unless_another_is_given(tmp_path, ending):
    stored = codes(8, 24, 36, 4)
    Image.fromarray(stored).save(tmp_path / "a.png")
    picture = read_picture(tmp_path / "a.png")
    write_picture(tmp_path / f"o.{ending}", picture.pixels, source=picture.source)
    assert (np.asarray(Image.open(tmp_path / f"o.{ending}")) == stored).all()
    write_picture(tmp_path / f"o.{ending}", picture.pixels, source=picture.source, alpha=1 - picture.alpha)
    assert (np.asarray(Image.open(tmp_path / f"o.{ending}"))[:, :, 3] == 255 - stored[:, :, 3]).all()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
@pytest.mark.parametrize("dpi", [(72, 72), (300, 300), (240, 120)])
def test_webp_keeps_the_resolution_of_a_file_without_exif(tmp_path, kind, dpi):
    Image.fromarray(codes(8, 24, 36, 3)).save(tmp_path / "a", kind, dpi=dpi)
    picture = read_picture(tmp_path / "a")
    write_picture(tmp_path / "o.webp", picture.pixels, source=picture.source)
    exif = Image.open(tmp_path / "o.webp").getexif()
    assert (float(exif[0x011A]), float(exif[0x011B])) == pytest.approx(dpi, abs=0.1)
    assert exif[0x0128] == 2
