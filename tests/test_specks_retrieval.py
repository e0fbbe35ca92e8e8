"""Specks of a mask leave a search alone. Oracle: the search with the mask that has none."""

from pathlib import Path

import pytest
import torch

from raiha_core.features.encoders import build_encoder
from raiha_core.gallery.memory import memory_gallery
from raiha_core.images import read_mask, read_picture
from raiha_core.islands import without_specks
from raiha_core.retrieval.search import search
from tests.gallery_fakes import FakeEncoder
from tests.test_islands import with_specks

ASSETS = Path(__file__).parents[1] / "assets"


def disc(height: int, width: int) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return ((y - height / 2) ** 2 + (x - width / 3) ** 2 < (min(height, width) / 3.5) ** 2).float()[
        None, None
    ]


@pytest.mark.parametrize("size", [(170, 180), (300, 200), (1025, 700)])
@pytest.mark.parametrize(("count", "side"), [(1, 1), (30, 1), (2, 2)])
def test_specks_go_and_the_object_stays(size, count, side):
    mask = disc(*size)
    specked = with_specks(mask, count, side)
    assert side**2 < 1e-3 * mask.sum()
    assert torch.equal(without_specks(specked), mask)
    assert without_specks(mask) is mask


def test_what_is_no_speck_stays():
    two = disc(200, 300)
    two[..., 5:10, 280:285] = 1  # 25 of 7,900: more than a thousandth
    mesh = torch.zeros(1, 1, 400, 400)
    mesh[..., ::8, ::8] = 1  # 2,500 islands, each less than a thousandth
    soft = disc(200, 300)
    soft[..., 20, 20:40] = 0.6
    empty = torch.zeros(1, 1, 40, 40)
    for mask in (two, mesh, soft, empty, torch.ones(1, 1, 40, 40)):
        assert without_specks(mask) is mask
    batch = torch.cat([disc(90, 120), with_specks(disc(90, 120), 3), torch.zeros(1, 1, 90, 120)])
    cleared = without_specks(batch)
    assert torch.equal(cleared, torch.cat([disc(90, 120), disc(90, 120), torch.zeros(1, 1, 90, 120)]))


@pytest.mark.parametrize("by", ["content", "both", "illumination"])
@pytest.mark.parametrize(("count", "side"), [(5, 1), (40, 1), (200, 1), (3, 3)])
def test_a_search_hears_nothing_of_specks(by, count, side):
    picture = read_picture(ASSETS / "demo" / "grapefruit.png").pixels
    mask = read_mask(ASSETS / "demo" / "grapefruit_mask.png")
    generator = torch.Generator().manual_seed(0)
    encoder = FakeEncoder()
    photos = [torch.rand(1, 3, 8, 8, generator=generator) for _ in range(12)]
    gallery = memory_gallery([*photos, picture.flip(3)], encoder)
    asked = {"encoder": encoder, "by": by, "content_threshold": 0.01, "appearance_threshold": 0.01}
    base, got = (search(gallery, picture, m, **asked) for m in (mask, with_specks(mask, count, side)))
    assert base.items
    assert torch.equal(base.query.background, got.query.background)
    assert repr(base.items) == repr(got.items)  # light that nobody asked for is NaN


def test_the_shipped_scenes_give_the_same_references():
    encoder = build_encoder("lite0-fast")
    photos = [read_picture(path).pixels for path in sorted((ASSETS / "scenes/photos").glob("*fruit*"))]
    gallery = memory_gallery(photos, encoder)
    for name in ("grapefruit", "pie"):
        picture = read_picture(ASSETS / "demo" / f"{name}.png").pixels
        mask = read_mask(ASSETS / "demo" / f"{name}_mask.png")
        features = encoder.encode(picture)
        base, got = (
            search(gallery, picture, m, features=features, content_threshold=0.2)
            for m in (mask, with_specks(mask, 200))
        )
        assert base.query.digest == got.query.digest
        assert repr(base.items) == repr(got.items)
