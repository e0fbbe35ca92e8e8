"""The table of formats, held against docs/inputs.md and against files of every format."""

import io
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raiha_core import images
from raiha_core.codecs import exr
from raiha_core.codecs.decoding import decode
from raiha_core.codecs.encoding import WRITTEN
from raiha_core.codecs.formats import FORMATS, format_of_content, format_of_ending
from raiha_core.images import list_folder_files, list_photos, read_picture
from tests.png_files import codes

DOCS = Path(__file__).parents[1] / "docs" / "inputs.md"
SMOOTH = Image.linear_gradient("L").resize((36, 24)).convert("RGB")


def documented() -> dict[str, list[str]]:
    """Format -> the other cells of its row in the page's first table."""
    text = DOCS.read_text(encoding="utf-8").split("## What is read and written")[1].split("\n## ")[0]
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    return {row[0].strip(): [cell.strip() for cell in row[1:]] for row in rows[2:]}


def test_the_page_says_what_the_code_does():
    page = documented()
    assert list(page) == list(FORMATS)
    for name, (endings, read, written, depth, alpha) in page.items():
        form, encoder = FORMATS[name], WRITTEN.get(name)
        assert tuple(endings.split()) == form.endings
        assert read.startswith("with `pip install raiha[") == bool(form.needs)
        assert written.startswith("yes") == (encoder is not None)
        if encoder is not None:
            assert (alpha == "kept") == encoder.alpha
            assert ("16" in depth) == (16 in encoder.depths)
            assert ("float" in depth) == (32 in encoder.depths)
    limit = images.MAX_PIXELS // 10**6
    assert f"more than {limit} megapixels" in DOCS.read_text(encoding="utf-8")


def saved(kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    SMOOTH.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["PNG", "JPEG", "TIFF", "WebP", "BMP", "GIF", "AVIF"])
def test_every_format_is_known_by_its_content_and_read(tmp_path, name):
    try:
        data = saved(name.upper(), **({"quality": 100} if name in ("JPEG", "AVIF", "WebP") else {}))
    except (KeyError, OSError):
        pytest.skip(f"this Pillow writes no {name}")
    assert format_of_content(data[:64]) is FORMATS[name]
    for number, ending in enumerate((*FORMATS[name].endings, ".dat")):
        path = tmp_path / f"{number}{ending.upper()}"
        path.write_bytes(data)
        seen = read_picture(path).pixels[0].permute(1, 2, 0).numpy() * 255
        assert np.abs(seen - np.asarray(SMOOTH)).max() <= (0.01 if name in ("PNG", "TIFF", "BMP") else 6)
        assert path in list_photos(tmp_path) or ending == ".dat"


def test_heic_through_its_extra(tmp_path):
    heif = pytest.importorskip("pillow_heif")
    heif.from_pillow(SMOOTH).save(tmp_path / "a.heic", quality=95)
    picture = read_picture(tmp_path / "a.heic")
    assert np.abs(picture.pixels[0].permute(1, 2, 0).numpy() * 255 - np.asarray(SMOOTH)).max() <= 6


def test_exr_through_its_extra_is_scene_linear(tmp_path):
    openexr = pytest.importorskip("OpenEXR")
    light = np.linspace(0, 2, 24 * 36 * 3, dtype=np.float32).reshape(24, 36, 3)
    header = {"compression": openexr.ZIP_COMPRESSION, "type": openexr.scanlineimage}
    openexr.File(header, {"RGB": light}).write(str(tmp_path / "a.exr"))
    seen, shown = light.clip(0, 1), read_picture(tmp_path / "a.exr")
    expected = np.where(seen <= 0.0031308, seen * 12.92, 1.055 * np.maximum(seen, 1e-9) ** (1 / 2.4) - 0.055)
    assert np.abs(shown.pixels[0].permute(1, 2, 0).numpy() - expected).max() < 1e-3


def exr_header(without="", **changed):
    """The header of an EXR file of one half float, with attributes left out or of another kind."""
    box, real = bytes(16), struct.pack("<f", 1)
    attributes = {
        "channels": ("chlist", b"Y\0" + struct.pack("<4I", 1, 0, 1, 1) + b"\0"),
        "compression": ("compression", b"\0"),
        "dataWindow": ("box2i", box),
        "displayWindow": ("box2i", box),
        "lineOrder": ("lineOrder", b"\0"),
        "pixelAspectRatio": ("float", real),
        "screenWindowCenter": ("v2f", bytes(8)),
        "screenWindowWidth": ("float", real),
    } | changed
    head = b"\x76\x2f\x31\x01\2\0\0\0"
    for name, (kind, content) in attributes.items():
        if name != without:
            head += f"{name}\0{kind}\0".encode() + struct.pack("<I", len(content)) + content
    return head + b"\0"


def test_an_exr_header_without_what_the_library_takes_for_granted_is_refused_before_it_is_asked():
    path, said = Path("a.exr"), exr._read_header(exr_header(), Path("a.exr"))
    assert set(said) == set(exr._NEEDED)
    assert exr._full_channels(said["channels"]) == ["Y"]
    for name in exr._NEEDED:  # OpenEXR's own reader dies of most of these
        with pytest.raises(
            ValueError, match=f"^a.exr is truncated or damaged: its header has no sound '{name}'$"
        ):
            exr._read_header(exr_header(without=name), path)
        with pytest.raises(ValueError, match=f"no sound '{name}'"):
            exr._read_header(exr_header(**{name: ("string", b"x")}), path)
    for end in range(8, len(exr_header()) - 1, 7):
        with pytest.raises(ValueError, match=r"^a\.exr is truncated or damaged: its header"):
            exr._read_header(exr_header()[:end], path)
    halved = b"BY\0" + struct.pack("<4I", 1, 0, 2, 2) + said["channels"]
    assert exr._full_channels(halved) == ["Y"]


@pytest.mark.parametrize(
    ("name", "module", "start"),
    [
        ("HEIC", "pillow_heif", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"),
        ("OpenEXR", "OpenEXR", b"\x76\x2f\x31\x01\2\0\0\0"),
    ],
)
def test_a_missing_extra_is_named(tmp_path, monkeypatch, name, module, start):
    monkeypatch.setitem(sys.modules, module, None)
    path = tmp_path / "photo.jpg"
    path.write_bytes(start + bytes(100))
    with pytest.raises(ValueError, match=rf"photo\.jpg is an? {name} picture; install"):
        read_picture(path)


def test_what_is_passed_over_is_counted_and_named(tmp_path, monkeypatch):
    found = __import__("importlib").util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "pillow_heif" else found(name)
    )
    for name in ("a.jpg", "b.jfif", "c.HEIC", "d.heic", "e.txt", "README", ".hidden.heic", "f.gif", "g.avif"):
        (tmp_path / name).write_bytes(b"x")
    listing = list_folder_files(tmp_path)
    assert [path.name for path in listing.photos] == ["a.jpg", "b.jfif", "f.gif", "g.avif"]
    assert listing.passed_over == {"": 1, ".heic": 2, ".txt": 1}
    (note,) = listing.notes()
    assert note.startswith("4 files were passed over: 1 without ending, 2 .heic, 1 .txt")
    assert "for HEIC install pillow-heif" in note
    (tmp_path / "only").mkdir()
    assert list_folder_files(tmp_path / "only").notes() == ()


@pytest.mark.parametrize(
    "data", [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"%PDF-1.7", b"8BPS\0\1"]
)
def test_no_program_is_started_for_a_picture(tmp_path, monkeypatch, data):
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a program was started")

    monkeypatch.setattr("subprocess.Popen.__init__", refuse)
    for ending in (".eps", ".png"):
        (tmp_path / f"a{ending}").write_bytes(data)
        with pytest.raises(ValueError, match="is not a PNG"):
            read_picture(tmp_path / f"a{ending}")


def test_indices_of_a_palette_are_offered_to_masks(tmp_path):
    indices = codes(8, 12, 17) % 5
    image = Image.fromarray(indices).convert("P")
    image.putpalette([0, 0, 0, 200, 0, 0, 0, 200, 0, 0, 0, 200, 9, 9, 9])
    for kind in ("PNG", "TIFF", "BMP", "GIF"):
        image.save(tmp_path / "a", kind)
        raster = decode(tmp_path / "a")
        assert (raster.palette[raster.indices] == raster.samples).all()
        assert (raster.samples == np.asarray(image.convert("RGB"))).all()
        if kind != "GIF":  # which may sort its colours
            assert (raster.indices == indices).all()
    assert format_of_ending(".PNG") is FORMATS["PNG"]
