"""Oracles: known codes written by other libraries (tifffile, scikit-image, Pillow), and read back exactly."""

import errno
import io
import os
import warnings
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import skimage.io
import tifffile
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms
from torch import Tensor

from raiha_core import images
from raiha_core.images import list_photos, read_mask, read_picture, require_writable, write_picture

KINDS = [np.uint8, np.uint16]
ADOBE = imagecodecs.cms_profile("adobergb")


def codes(kind: type, *shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, np.iinfo(kind).max + 1, shape).astype(kind)


def as_tensor(array: np.ndarray) -> Tensor:
    """(H, W) or (H, W, C) codes -> (1, C, H, W) in 0..1, divided in float64 and rounded to float32."""
    planes = np.moveaxis(array.reshape(*array.shape[:2], -1), 2, 0)[None]
    return torch.from_numpy((planes / np.iinfo(array.dtype).max).astype(np.float32))


def pixels(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(1, *shape, generator=torch.Generator().manual_seed(seed))


def read_codes(path: Path) -> np.ndarray:
    """What another library reads from a file that we wrote."""
    if path.suffix == ".png":
        return imagecodecs.png_decode(path.read_bytes())
    return tifffile.imread(path) if path.suffix in (".tif", ".tiff") else np.asarray(Image.open(path))


# --- reading pictures ---


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channels", [3, 4])
def test_tiff_of_scikit_image(tmp_path, kind, channels):
    samples = codes(kind, 12, 17, channels)
    skimage.io.imsave(tmp_path / "a.tif", samples, check_contrast=False)
    picture = read_picture(tmp_path / "a.tif")
    assert picture.pixels.dtype == torch.float32
    assert picture.pixels.is_contiguous()
    assert torch.equal(picture.pixels, as_tensor(samples[:, :, :3]))
    assert picture.bit_depth == (8 if kind == np.uint8 else 16)
    assert picture.path == tmp_path / "a.tif"
    if channels == 4:
        assert torch.equal(picture.alpha, as_tensor(samples[:, :, 3]))
    else:
        assert picture.alpha is None


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_png_modes_of_pillow(tmp_path, mode):
    image = Image.fromarray(codes(np.uint8, 12, 17, 4), "RGBA").convert(mode)
    image.save(tmp_path / "a.png")
    picture = read_picture(str(tmp_path / "a.png"))  # text is a path too
    assert torch.equal(picture.pixels, as_tensor(np.asarray(image.convert("RGB"))))
    assert picture.pixels.shape == (1, 3, 12, 17)
    if mode in ("LA", "RGBA"):
        assert torch.equal(picture.alpha, as_tensor(np.asarray(image.getchannel("A"))))


def test_sixteen_bit_grey_png_of_pillow(tmp_path):
    samples = codes(np.uint16, 12, 17)
    Image.fromarray(samples).save(tmp_path / "a.png")
    picture = read_picture(tmp_path / "a.png")
    assert picture.bit_depth == 16
    assert torch.equal(picture.pixels, as_tensor(samples).expand(-1, 3, -1, -1))


@pytest.mark.parametrize("kind", KINDS)
def test_profile_alpha_and_orientation_together(tmp_path, kind):
    samples = codes(kind, 12, 17, 4)
    tags = [(34675, 7, len(ADOBE), ADOBE, True), (274, 3, 1, 6, True)]
    tifffile.imwrite(tmp_path / "a.tif", samples, photometric="rgb", extratags=tags)
    picture = read_picture(tmp_path / "a.tif")
    turned = np.rot90(samples, -1)
    assert torch.equal(picture.alpha, as_tensor(turned[:, :, 3]))  # alpha is no colour
    if kind == np.uint8:
        expected = ImageCms.profileToProfile(
            Image.fromarray(np.ascontiguousarray(turned[:, :, :3])),
            io.BytesIO(ADOBE),
            ImageCms.createProfile("sRGB"),
            renderingIntent=1,
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        assert torch.equal(picture.pixels, as_tensor(np.asarray(expected)))
    else:
        assert picture.bit_depth == 16
        assert (picture.pixels - as_tensor(turned[:, :, :3])).abs().mean() > 0.01


def test_cmyk_jpeg_and_tiff_agree(tmp_path):
    ink = Image.merge("CMYK", [Image.linear_gradient("L").rotate(90 * i).resize((32, 32)) for i in range(4)])
    ink.save(tmp_path / "a.jpg", quality=100)
    ink.save(tmp_path / "a.tif")
    first, second = read_picture(tmp_path / "a.jpg"), read_picture(tmp_path / "a.tif")
    assert torch.equal(second.pixels, as_tensor(np.asarray(ink.convert("RGB"))))
    assert (first.pixels - second.pixels).abs().max() < 8 / 255


def test_the_limit_is_an_argument(tmp_path):
    Image.new("RGB", (20, 10)).save(tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png", max_pixels=200).pixels.shape == (1, 3, 10, 20)
    for read in (read_picture, read_mask):
        with pytest.raises(ValueError, match=r"a\.png is 20x10"):
            read(tmp_path / "a.png", max_pixels=199)
    assert images.MAX_PIXELS == 300_000_000


@pytest.mark.parametrize(
    "name", ["ünï çødé 日本.png", "with 'quotes' & spaces.png", "-dash.png", "a.b.c.PNG"]
)
def test_any_file_name(tmp_path, name):
    samples = codes(np.uint8, 4, 5, 3)
    write_picture(tmp_path / name, as_tensor(samples))
    assert torch.equal(read_picture(tmp_path / name).pixels, as_tensor(samples))
    assert list_photos(tmp_path) == [tmp_path / name]
    (tmp_path / name).write_bytes(b"nothing")
    with pytest.raises(ValueError, match="is not a PNG") as caught:
        read_picture(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


# --- masks ---


@pytest.mark.parametrize("kind", KINDS)
def test_a_grey_mask_keeps_soft_edges_and_bits(tmp_path, kind):
    ramp = np.linspace(0, np.iinfo(kind).max, 300).round().astype(kind).reshape(15, 20)
    for name, stored in (("a.tif", ramp), ("b.tif", np.dstack((ramp,) * 3))):
        tifffile.imwrite(tmp_path / name, stored)
        mask = read_mask(tmp_path / name)
        assert mask.shape == (1, 1, 15, 20)
        assert mask.dtype == torch.float32
        assert torch.equal(mask, as_tensor(ramp))
    Image.fromarray(ramp).save(tmp_path / "c.png")
    assert torch.equal(read_mask(tmp_path / "c.png"), as_tensor(ramp))
    assert len(mask.unique()) == (300 if kind == np.uint16 else len(np.unique(ramp)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_varying_alpha_is_the_mask(tmp_path, kind):
    samples = codes(kind, 12, 17, 4)
    skimage.io.imsave(tmp_path / "a.tif", samples, check_contrast=False)
    assert torch.equal(read_mask(tmp_path / "a.tif"), as_tensor(samples[:, :, 3]))


@pytest.mark.parametrize("level", [0, 255])
def test_an_alpha_that_does_not_vary_is_not_the_mask(tmp_path, level):
    grey = codes(np.uint8, 12, 17)
    Image.fromarray(np.dstack((grey, np.full_like(grey, level)))).save(tmp_path / "a.png")
    assert torch.equal(read_mask(tmp_path / "a.png"), as_tensor(grey))


def test_one_bit_palette_and_jpeg_masks(tmp_path):
    grey = np.zeros((16, 32), np.uint8)
    grey[4:12, 8:24] = 255
    image = Image.fromarray(grey)
    image.convert("1").save(tmp_path / "one.png")
    image.convert("P").save(tmp_path / "palette.png")
    image.convert("RGB").save(tmp_path / "rgb.webp", lossless=True)
    for name in ("one.png", "palette.png", "rgb.webp"):
        assert torch.equal(read_mask(tmp_path / name), as_tensor(grey))
    image.convert("RGB").save(tmp_path / "lossy.jpg", quality=80)
    with pytest.warns(UserWarning, match="nearly black"):  # the noise around what was black
        lossy = read_mask(tmp_path / "lossy.jpg")
    assert (lossy - as_tensor(grey)).abs().max() < 0.1


def test_a_mask_is_turned_but_its_profile_is_not_applied(tmp_path):
    grey = codes(np.uint8, 6, 9)
    exif = Image.Exif()
    exif[0x0112] = 6
    profile = imagecodecs.cms_profile("gray", whitepoint=(0.3457, 0.3585, 1.0), gamma=1.0)
    Image.fromarray(grey).save(tmp_path / "a.png", exif=exif, icc_profile=profile)
    assert torch.equal(read_mask(tmp_path / "a.png"), as_tensor(np.ascontiguousarray(np.rot90(grey, -1))))
    shown = read_picture(tmp_path / "a.png").pixels  # as a picture the profile counts
    assert (shown[:, :1] - read_mask(tmp_path / "a.png")).abs().max() > 0.1


def test_a_colour_picture_is_no_mask(tmp_path):
    Image.new("RGB", (8, 8), (200, 40, 40)).save(tmp_path / "red.png")
    with pytest.raises(ValueError, match=r"red\.png is a colour picture without alpha"):
        read_mask(tmp_path / "red.png")


# --- writing ---


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([".png", ".tif", ".TIFF", ".webp"]),
    st.sampled_from(KINDS),
    st.booleans(),
    st.integers(1, 20),
    st.integers(1, 20),
    st.integers(0, 2**32),
)
def test_codes_survive_a_round_trip(tmp_path, ending, kind, with_alpha, height, width, seed):
    if ending == ".webp":
        kind = np.uint8
    depth = 8 if kind == np.uint8 else 16
    samples = codes(kind, height, width, 4, seed=seed)
    colour, alpha = as_tensor(samples[:, :, :3]), as_tensor(samples[:, :, 3]) if with_alpha else None
    write_picture(tmp_path / f"a{ending}", colour, alpha=alpha, bit_depth=depth)
    picture = read_picture(tmp_path / f"a{ending}")
    assert torch.equal(picture.pixels, colour)
    assert picture.bit_depth == depth
    if with_alpha and (ending != ".webp" or alpha.min() < 1):  # WebP drops an alpha that is full everywhere
        assert torch.equal(picture.alpha, alpha)
    else:
        assert picture.alpha is None


@pytest.mark.parametrize("ending", [".png", ".tif"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channels", [3, 4])
def test_other_libraries_read_the_codes_we_wrote(tmp_path, ending, kind, channels):
    samples, path = codes(kind, 9, 11, channels), tmp_path / f"a{ending}"
    alpha = as_tensor(samples[:, :, 3]) if channels == 4 else None
    write_picture(path, as_tensor(samples[:, :, :3]), alpha=alpha, bit_depth=samples.itemsize * 8)
    stored = read_codes(path)
    assert stored.dtype == kind
    assert (stored == samples).all()
    if kind == np.uint8:
        assert (np.asarray(Image.open(path)) == samples).all()
        assert Image.open(path).mode == ("RGBA" if channels == 4 else "RGB")


@pytest.mark.parametrize("ending", [".png", ".tif", ".webp"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_values_are_rounded_to_the_nearest_and_clamped(tmp_path, ending, dtype):
    values = torch.tensor([-1, -0.001, 0.4 / 255, 0.6 / 255, 99.4 / 255, 99.6 / 255, 254.6 / 255, 1.001, 7])
    write_picture(tmp_path / f"a{ending}", values.to(dtype).expand(1, 3, 1, 9))
    expected = [0, 0, 0, 1, 99, 100, 255, 255, 255]
    assert read_codes(tmp_path / f"a{ending}")[0, :, 0].tolist() == expected


def test_sixteen_bits_are_rounded_to_the_nearest(tmp_path):
    for dtype in (torch.float32, torch.float64):
        values = (torch.tensor([0, 0.4, 0.6, 256.4, 256.6, 40000.4, 40000.6, 65534.6], dtype=dtype)) / 65535
        write_picture(tmp_path / "a.png", values.expand(1, 3, 1, 8), bit_depth=16)
        assert read_codes(tmp_path / "a.png")[0, :, 1].tolist() == [0, 0, 1, 256, 257, 40000, 40001, 65535]


def test_jpeg_is_clean(tmp_path):
    photo = Image.open(Path(__file__).parents[1] / "assets/scenes/photos/skimage_coffee.jpg")
    original = as_tensor(np.asarray(photo))
    write_picture(tmp_path / "a.jpg", original)
    again = read_picture(tmp_path / "a.jpg").pixels
    assert (again - original).square().mean() < 10 ** (-40 / 10)  # 40 dB
    # colour at full resolution: a coloured edge one pixel wide stays
    line = torch.full((1, 3, 16, 16), 0.5)
    line[:, 0, :, 8], line[:, 1:, :, 8] = 0.9, 0.1
    write_picture(tmp_path / "b.jpg", line)
    assert (read_picture(tmp_path / "b.jpg").pixels - line).abs().max() < 0.06


REFUSED = {
    "a.bmp": ("must end in one of", {}),
    "a": ("must end in one of", {}),
    "a.jpg": ("JPEG holds no alpha", {"alpha": torch.ones(1, 1, 4, 5)}),
    "b.jpg": ("JPEG holds 8 bits", {"bit_depth": 16}),
    "a.webp": ("WebP holds 8 bits", {"bit_depth": 16}),
    "a.png": ("bit depth must be 8 or 16, or 32 for floats, got 12", {"bit_depth": 12}),
    "b.png": (r"alpha \(1, 1, 3, 5\)", {"alpha": torch.ones(1, 1, 3, 5)}),
    "c.png": ("NaN", {"alpha": torch.full((1, 1, 4, 5), torch.nan)}),
    "d.png": ("NaN", {"pixels": torch.full((1, 3, 4, 5), torch.inf)}),
    "e.png": (r"\(2, 3, 4, 5\)", {"pixels": torch.ones(2, 3, 4, 5)}),
    "f.png": (r"\(3, 4, 5\)", {"pixels": torch.ones(3, 4, 5)}),
    "g.png": (r"\(1, 1, 4, 5\)", {"pixels": torch.ones(1, 1, 4, 5)}),
    "h.png": ("uint8", {"pixels": torch.ones(1, 3, 4, 5, dtype=torch.uint8)}),
    "i.png": (r"\(1, 3, 0, 5\)", {"pixels": torch.ones(1, 3, 0, 5)}),
    "b.webp": ("16383 pixels per side.*16384x1", {"pixels": torch.ones(1, 3, 1, 16384)}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_format_cannot_hold_is_refused_by_name(tmp_path, name):
    reason, options = REFUSED[name]
    arguments = {"pixels": torch.ones(1, 3, 4, 5), **options}
    with pytest.raises(ValueError, match=f"{name}.*{reason}"):
        write_picture(tmp_path / name, **arguments)
    assert not os.listdir(tmp_path)
    depth = arguments.get("bit_depth", 8)
    if "pixels" not in options and not name.startswith(("b.p", "c.p")):  # known before there are pixels
        with pytest.raises(ValueError, match=f"{name}.*{reason}"):
            require_writable(tmp_path / name, alpha="alpha" in options, bit_depth=depth)
    else:
        require_writable(tmp_path / name, alpha="alpha" in options, bit_depth=depth)


def test_a_full_disk_keeps_the_old_picture(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    write_picture(path, pixels(3, 8, 8))
    before = path.read_bytes()

    def half(self: Path, data: bytes) -> int:
        with open(self, "wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(OSError, match=r"a\.png") as caught:
        write_picture(path, pixels(3, 8, 8, seed=1))
    assert caught.value.errno == errno.ENOSPC
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.png"]


def test_a_missing_folder_is_an_error_that_names_the_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a\.png"):
        write_picture(tmp_path / "absent" / "a.png", pixels(3, 4, 4))


# --- folders ---


def test_photos_are_listed_by_relative_path(tmp_path):
    names = ["b.jpg", "a/z.PNG", "a.jpg", "a/b/c.tiff", "é.webp", "A.JPEG", "x.bmp", "a/b.tif"]
    others = [
        "notes.txt",
        ".hidden.jpg",
        ".trash/a.jpg",
        "a/._b.jpg",
        "jpg",
        "a.jpg.txt",
        ".out.7-0.part.png",
    ]
    for name in names + others:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.jpg").mkdir()
    found = [path.relative_to(tmp_path).as_posix() for path in list_photos(tmp_path)]
    assert found == sorted(names)
    assert list_photos(str(tmp_path)) == list_photos(tmp_path)


def test_a_loop_of_links_ends(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"")
    try:
        os.symlink(tmp_path, tmp_path / "again", target_is_directory=True)
        os.symlink(tmp_path / "a.jpg", tmp_path / "b.jpg")
    except OSError as error:
        pytest.skip(f"this system makes no links: {error}")
    assert [path.name for path in list_photos(tmp_path)] == ["a.jpg", "b.jpg"]


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    with pytest.raises(OSError, match="absent does not exist"):
        list_photos(tmp_path / "absent")
    (tmp_path / "file.jpg").write_bytes(b"")
    with pytest.raises(OSError, match=r"file\.jpg is not a folder"):
        list_photos(tmp_path / "file.jpg")

    def refuse(path: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)  # root, as in containers, may list everything
    with pytest.raises(PermissionError, match="cannot be read: Permission denied") as caught:
        list_photos(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_reading_warns_of_nothing(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for path in list_photos(Path(__file__).parents[1] / "assets" / "scenes"):
            picture = read_picture(path)
            assert picture.pixels.min() >= 0
            assert picture.pixels.max() <= 1
            write_picture(tmp_path / "a.png", picture.pixels, alpha=picture.alpha)
