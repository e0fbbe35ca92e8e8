"""Oracles: littleCMS through Pillow for conversions, other libraries' readings for the written codes."""

import io
import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, ImageCms

from raiha_core.color import srgb_to_lab
from raiha_core.images import read_picture, write_picture
from tests.png_files import RGB, chunk, codes, make_png

D65, D50 = (0.3127, 0.3290), (0.3457, 0.3585)


def profile(white, red, green, blue, gamma):
    points = tuple(value for point in (red, green, blue) for value in (*point, 1.0))
    return imagecodecs.cms_profile("rgb", whitepoint=(*white, 1.0), primaries=points, gamma=gamma)


P3 = ((0.68, 0.32), (0.265, 0.69), (0.15, 0.06))
PROFILES = {
    "P3": profile(D65, *P3, 2.2),
    "Adobe RGB": imagecodecs.cms_profile("adobergb"),
    "ProPhoto": profile(D50, (0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001), 1.8),
}
DEPTHS = [np.uint8, np.uint16]
INSIDE = (slice(10, 25), slice(12, 30))


def stored_codes(path: Path) -> np.ndarray:
    return tifffile.imread(path) if path.suffix == ".tif" else imagecodecs.png_decode(path.read_bytes())


def change(pixels: torch.Tensor) -> torch.Tensor:
    """Another look inside a box; outside the very same numbers."""
    changed = pixels.clone()
    changed[:, :, INSIDE[0], INSIDE[1]] = changed[:, :, INSIDE[0], INSIDE[1]] * 0.7 + 0.1
    return changed


def outside(shape: tuple[int, ...]) -> np.ndarray:
    chosen = np.ones(shape[:2], bool)
    chosen[INSIDE] = False
    return chosen


@pytest.mark.parametrize("ending", [".tif", ".png"])
@pytest.mark.parametrize("kind", DEPTHS)
@pytest.mark.parametrize("name", PROFILES)
def test_a_result_is_written_in_its_files_own_space(tmp_path, name, kind, ending):
    stored = np.random.default_rng(0).integers(0, np.iinfo(kind).max + 1, (40, 50, 3)).astype(kind)
    tifffile.imwrite(tmp_path / "in.tif", stored, photometric="rgb", iccprofile=PROFILES[name])
    picture = read_picture(tmp_path / "in.tif")
    result = change(picture.pixels)
    write_picture(tmp_path / f"out{ending}", result, source=picture.source)
    written = stored_codes(tmp_path / f"out{ending}")
    assert written.dtype == kind
    assert (written[outside(stored.shape)] == stored[outside(stored.shape)]).all()
    again = read_picture(tmp_path / f"out{ending}")
    assert again.source.profile == PROFILES[name]
    error = (srgb_to_lab(again.pixels) - srgb_to_lab(result)).norm(dim=1)[0][INSIDE]
    # 8 bits: a step of the file's own code and one of sRGB's; ProPhoto's are twice as wide in the dark
    assert error.max() < ({"ProPhoto": 2.5}.get(name, 1.5) if kind == np.uint8 else 0.05)


@pytest.mark.parametrize("name", PROFILES)
def test_inside_littlecms_gives_the_same_codes(tmp_path, name):
    colours = np.random.default_rng(1).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    Image.fromarray(np.full_like(colours, 128)).save(tmp_path / "in.png", icc_profile=PROFILES[name])
    source = read_picture(tmp_path / "in.png").source
    pixels = torch.from_numpy(colours).permute(2, 0, 1)[None].float() / 255
    write_picture(tmp_path / "out.png", pixels, source=source)
    expected = ImageCms.profileToProfile(
        Image.fromarray(colours),
        ImageCms.createProfile("sRGB"),
        io.BytesIO(PROFILES[name]),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION | ImageCms.Flags.NOOPTIMIZE,
    )
    written = stored_codes(tmp_path / "out.png").astype(int)
    far = np.abs(colours.astype(int) - 128).max(2) > 26  # nearer, what sRGB cannot hold fades in
    assert np.abs(written - np.asarray(expected))[far].max() <= 1


def test_a_small_change_keeps_a_colour_that_srgb_cannot_hold(tmp_path):
    red = np.zeros((8, 8, 3), np.uint8)
    red[:, :, 0] = 255
    Image.fromarray(red).save(tmp_path / "in.png", icc_profile=PROFILES["P3"])
    picture = read_picture(tmp_path / "in.png")
    for step, most in ((0.0, 0), (0.005, 5), (0.02, 20)):
        write_picture(tmp_path / "out.png", picture.pixels - step, source=picture.source)
        written = stored_codes(tmp_path / "out.png").astype(int)
        assert np.abs(written - red).max() <= most  # clipped to sRGB it would be 51 off in green


def as_profile(data: bytes, tmp_path: Path) -> tuple[np.ndarray, np.ndarray]:
    """sRGB of a file by us, and of the same codes under an ICC profile by littleCMS."""
    (tmp_path / "a.png").write_bytes(data)
    return read_picture(tmp_path / "a.png").source.srgb


CICP = {
    "Display P3": (12, 13, D65, P3, "srgb"),
    "P3, video curve": (12, 1, D65, P3, "video"),
    "DCI P3, power 2.2": (11, 4, (0.314, 0.351), P3, 2.2),
    "BT.2020": (9, 14, D65, ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)), "video"),
    "linear": (1, 8, D65, ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06)), 1.0),
}


def curve(name: str | float) -> np.ndarray | None:
    steps = np.linspace(0, 1, 4096)
    if name == "srgb":
        light = np.where(steps <= 0.04045, steps / 12.92, ((steps + 0.055) / 1.055) ** 2.4)
    elif name == "video":
        light = np.where(steps < 0.081, steps / 4.5, ((steps + 0.099) / 1.099) ** (1 / 0.45))
    else:
        return None
    return np.round(light * 65535).astype(np.uint16)


@pytest.mark.parametrize("name", CICP)
def test_code_points_are_what_their_icc_profile_is(tmp_path, name):
    primaries, transfer, white, points, shape = CICP[name]
    samples = codes(8, 30, 40, 3)
    made = dict(whitepoint=(*white, 1.0), primaries=tuple(v for p in points for v in (*p, 1.0)))
    table = curve(shape)
    made |= {"gamma": shape} if table is None else {"transferfunction": table}
    expected = ImageCms.profileToProfile(
        Image.fromarray(samples),
        io.BytesIO(imagecodecs.cms_profile("rgb", **made)),
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    extra = chunk(b"cICP", bytes((primaries, transfer, 0, 1)))
    found = as_profile(make_png(samples, RGB, 8, extra), tmp_path)
    assert np.abs(found.astype(int) - np.asarray(expected)).max() <= 1
    assert (found != samples).any()


def test_precedence_of_png_chunks(tmp_path):
    samples = codes(8, 20, 20, 3)
    packed = zlib.compress(PROFILES["Adobe RGB"])
    icc, srgb = chunk(b"iCCP", b"x\0\0" + packed), chunk(b"sRGB", b"\0")
    gamma = chunk(b"gAMA", struct.pack(">I", 100_000))
    p3, same = chunk(b"cICP", bytes((12, 13, 0, 1))), chunk(b"cICP", bytes((1, 13, 0, 1)))

    def read(*chunks: bytes) -> np.ndarray:
        return as_profile(make_png(samples, RGB, 8, b"".join(chunks)), tmp_path)

    assert (read(p3, icc, gamma) == read(p3)).all()
    assert (read(same, icc) == samples).all()
    assert (read(icc, srgb, gamma) == read(icc)).all()
    assert (read(srgb, gamma) == samples).all()
    assert (read(gamma) != samples).any()
    assert (read(chunk(b"gAMA", struct.pack(">I", 45_455))) == samples).all()


@pytest.mark.parametrize(("gamma", "power"), [(100_000, 1.0), (55_556, 1.8), (33_333, 3.0)])
def test_gamma_is_a_power(tmp_path, gamma, power):
    ramp = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    found = as_profile(make_png(ramp, RGB, 8, chunk(b"gAMA", struct.pack(">I", gamma))), tmp_path)
    light = (ramp / 255) ** power
    expected = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055) * 255
    assert np.abs(found - expected).max() <= 1


@pytest.mark.parametrize("extra", [(12, 13), (9, 1), (1, 8)])
def test_a_declared_space_is_declared_again(tmp_path, extra):
    samples = codes(8, 40, 50, 3)
    declared = chunk(b"cICP", bytes((*extra, 0, 1)))
    (tmp_path / "in.png").write_bytes(make_png(samples, RGB, 8, declared))
    picture = read_picture(tmp_path / "in.png")
    write_picture(tmp_path / "out.png", change(picture.pixels), source=picture.source)
    assert declared in (tmp_path / "out.png").read_bytes()
    assert (
        stored_codes(tmp_path / "out.png")[outside(samples.shape)] == samples[outside(samples.shape)]
    ).all()
    assert Image.open(tmp_path / "out.png").info["icc_profile"]  # for programs that know no cICP


@pytest.mark.parametrize(
    ("code_points", "reason"),
    [
        ((9, 16, 0, 1), "PQ"),
        ((9, 18, 0, 1), "HLG"),
        ((12, 13, 0, 0), "video range"),
        ((200, 13, 0, 1), "200/13"),
    ],
)
def test_colours_that_have_no_place_in_srgb_are_refused_by_name(tmp_path, code_points, reason):
    (tmp_path / "hdr.png").write_bytes(
        make_png(codes(8, 9, 9, 3), RGB, 8, chunk(b"cICP", bytes(code_points)))
    )
    with pytest.raises(ValueError, match=rf"hdr\.png is not read: .*{reason}"):
        read_picture(tmp_path / "hdr.png")


def exif_of_colours(space: int, mark: bytes = b"") -> bytes:
    """An EXIF block of a colour space and, as cameras write it, a mark of interoperability."""
    first = struct.pack(">HHHIII", 1, 0x8769, 4, 1, 26, 0)
    inner = struct.pack(">HHHIHH", 2, 0xA001, 3, 1, space, 0) + struct.pack(">HHII", 0xA005, 4, 1, 56)
    last = struct.pack(">HHHI", 1, 1, 2, 4) + mark.ljust(4, b"\0") + bytes(4)
    return b"Exif\0\0MM\0*\0\0\0\x08" + first + inner + bytes(4) + last


@pytest.mark.parametrize(
    ("kind", "space", "mark", "adobe"),
    [
        (kind, *case)
        for kind in ("JPEG", "WEBP", "TIFF")
        for case in ((2, b"", True), (0xFFFF, b"R03", True), (1, b"R98", False), (0xFFFF, b"", False))
        if (kind, case[1]) != ("TIFF", b"R03")  # Pillow writes no such directory into a TIFF
    ],
)
def test_exif_may_say_adobe_rgb(tmp_path, kind, space, mark, adobe):
    path = tmp_path / f"a.{kind.lower()}"
    smooth = Image.fromarray(codes(8, 8, 8, 3)).resize((40, 32))
    options = {"lossless": True} if kind == "WEBP" else {}
    smooth.save(path, kind, exif=exif_of_colours(space, mark), **options)
    picture = read_picture(path)
    stored = Image.open(path)
    if adobe:
        stored = ImageCms.profileToProfile(
            stored,
            io.BytesIO(PROFILES["Adobe RGB"]),
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    assert np.abs(picture.source.srgb.astype(int) - np.asarray(stored)).max() <= adobe
    assert (picture.source.profile is not None) == adobe


def test_a_grey_profile_lives_on_as_a_colour_one(tmp_path):
    grey = imagecodecs.cms_profile("gray", whitepoint=(*D50, 1.0), gamma=1.8)
    stored = codes(8, 40, 50)
    Image.fromarray(stored).save(tmp_path / "in.png", icc_profile=grey)
    picture = read_picture(tmp_path / "in.png")
    write_picture(tmp_path / "out.png", change(picture.pixels), source=picture.source)
    written = stored_codes(tmp_path / "out.png")
    free = outside(stored.shape)
    assert (written[free] == stored[free][:, None]).all()
    again = read_picture(tmp_path / "out.png").pixels
    assert (again - change(picture.pixels)).abs().max() <= 2 / 255


def test_floats_are_scene_linear_and_stay_floats_in_a_tiff(tmp_path):
    light = np.random.default_rng(0).random((40, 50, 3), np.float32) * 2
    tifffile.imwrite(tmp_path / "in.tif", light, photometric="rgb")
    picture = read_picture(tmp_path / "in.tif")
    seen = light.clip(0, 1)
    expected = np.where(seen <= 0.0031308, seen * 12.92, 1.055 * seen ** (1 / 2.4) - 0.055)
    assert np.abs(picture.pixels[0].permute(1, 2, 0).numpy() - expected).max() < 2e-4
    assert picture.bit_depth == 16
    write_picture(tmp_path / "out.tif", change(picture.pixels), source=picture.source)
    written = tifffile.imread(tmp_path / "out.tif")
    assert written.dtype == np.float32
    assert (written[outside(light.shape)] == light[outside(light.shape)]).all()
    assert (read_picture(tmp_path / "out.tif").pixels - change(picture.pixels)).abs().max() < 1e-3
    write_picture(tmp_path / "out.png", picture.pixels, source=picture.source)
    assert stored_codes(tmp_path / "out.png").dtype == np.uint16


def test_another_size_is_converted_whole(tmp_path):
    Image.fromarray(codes(8, 9, 9, 3)).save(tmp_path / "in.png", icc_profile=PROFILES["P3"])
    source = read_picture(tmp_path / "in.png").source
    pixels = torch.rand(1, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    write_picture(tmp_path / "out.png", pixels, source=source)
    assert (read_picture(tmp_path / "out.png").pixels - pixels).abs().max() <= 4 / 255
