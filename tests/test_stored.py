"""Very large photos in their stored codes, against the ordinary road; PNG files written strip by strip."""

import json

import imagecodecs
import numpy as np
import pytest
import torch
from PIL import Image

from raiha_core import stored
from raiha_core.cli.main import main
from raiha_core.codecs.encoding import Carried
from raiha_core.codecs.png_strips import write_png_strips
from raiha_core.enlargement import shrink

SIZE = (300, 420)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("height", [1, 16, 37])
def test_strips_are_the_picture_to_libpng(tmp_path, kind, channels, height):
    codes = np.random.default_rng(0).integers(0, np.iinfo(kind).max + 1, (height, 23, channels), kind)
    codes[:, 5:15] = codes[:1, 5:6]  # flat parts, where another filter is best
    write_png_strips(tmp_path / "a.png", codes, Carried())
    found = imagecodecs.png_decode((tmp_path / "a.png").read_bytes())
    assert (found.reshape(codes.shape) == codes).all()
    assert found.dtype == kind


def test_filters_pack_a_photo_nearly_as_well_as_libpng(tmp_path):
    ramp = np.add.outer(np.arange(200), np.arange(300))[..., None] // 3 + np.array([0, 20, 40])
    codes = (ramp % 251 + np.random.default_rng(0).integers(0, 3, (200, 300, 1))).astype(np.uint8)
    write_png_strips(tmp_path / "a.png", codes, Carried())
    theirs = len(imagecodecs.png_encode(codes, level=4))
    assert (tmp_path / "a.png").stat().st_size < 1.15 * theirs


def scene(folder, dtype=np.uint8):
    """A photo-like PNG with a description, and a soft mask."""
    y, x = np.linspace(-1, 1, SIZE[0])[:, None], np.linspace(-1, 1, SIZE[1])
    waves = np.stack([0.5 + 0.4 * np.sin(a * x + b * y) for a, b in ((5, 2), (3, 7), (9, 4))], -1)
    codes = (waves * np.iinfo(dtype).max).astype(dtype)
    inside = np.clip((0.25 - (x - 0.2) ** 2 - y * y) * 12, 0, 1)
    codes = np.where(inside[..., None] > 0, codes // 2, codes).astype(dtype)
    (folder / "photo.png").write_bytes(imagecodecs.png_encode(codes))
    mask = (inside * 255).astype(np.uint8)
    mask[(mask > 0) & (mask < 40)] = 40
    Image.fromarray(mask).save(folder / "mask.png")
    return codes, mask


def harmonized(folder, name, *options):
    call = ["harmonize", str(folder / "photo.png"), "--mask", str(folder / "mask.png")]
    assert main([*call, "-o", str(folder / name), *options]) == 0
    return imagecodecs.png_decode((folder / name).read_bytes())


@pytest.mark.parametrize("options", [(), ("--strength", "0.5"), ("--context", "0")])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_stored_codes_become_what_the_ordinary_road_makes_of_them(tmp_path, monkeypatch, dtype, options):
    codes, mask = scene(tmp_path, dtype)
    ordinary = harmonized(tmp_path, "a.png", *options)
    monkeypatch.setattr(stored, "LARGE_PIXELS", 1)
    monkeypatch.setattr("raiha_core.images.to_tensor", None)  # the ordinary road would fail
    found = harmonized(tmp_path, "b.png", *options)
    assert found.dtype == dtype
    assert (found[mask == 0] == codes[mask == 0]).all()
    apart = np.abs(found.astype(int) - ordinary)
    assert apart.max() <= (1 if dtype == np.uint8 else 8)
    assert (apart > (0 if dtype == np.uint8 else 4)).mean() < 1e-3
    assert np.abs(ordinary.astype(int) - codes)[mask > 0].mean() > np.iinfo(dtype).max / 100


@pytest.mark.parametrize(
    ("options", "said"),
    [(("--keep-hue",), ""), (("--model", "statistics"), ""), (("--invert-mask",), "looks inverted")],
)
def test_what_needs_more_goes_the_ordinary_road(tmp_path, monkeypatch, capsys, options, said):
    scene(tmp_path)
    ordinary = harmonized(tmp_path, "a.png", *options)
    monkeypatch.setattr(stored, "LARGE_PIXELS", 1)
    monkeypatch.setattr(stored, "write_png_strips", None)
    assert (harmonized(tmp_path, "b.png", *options, "--json") == ordinary).all()
    assert said in json.loads(capsys.readouterr().out.splitlines()[-1])["notes"].__repr__()


@pytest.mark.parametrize("codes", [[0, 1, 255], [0, 7], [255], [0]])
def test_a_mask_that_has_to_be_understood_is_left_to_the_ordinary_road(tmp_path, monkeypatch, codes):
    scene(tmp_path)
    mask = np.zeros(SIZE, np.uint8)
    mask[: len(codes) * 40] = np.repeat(np.array(codes, np.uint8), 40)[:, None]
    if codes == [255]:
        mask[:] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    monkeypatch.setattr(stored, "LARGE_PIXELS", 1)
    given = (tmp_path / "photo.png", tmp_path / "mask.png", tmp_path / "out.png")
    from raiha_core.harmonizer import load_harmonizer

    model = load_harmonizer("raiha-plus")
    assert not stored.harmonize_stored(*given, model, strength=1.0, max_pixels=10**9)
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize("antialias", [True, False])
def test_strips_made_small_are_the_picture_made_small(antialias):
    picture = torch.rand(1, 3, 203, 171, generator=torch.Generator().manual_seed(0))
    strips = ((top, picture[..., top : top + 64, :]) for top in range(0, 203, 64))
    found = stored._made_small(strips, (203, 171), (32, 32), antialias=antialias)
    torch.testing.assert_close(found, shrink(picture, (32, 32), antialias=antialias), rtol=0, atol=2e-6)
