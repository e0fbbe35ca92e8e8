"""Islands of a mask: found as scipy finds them, and counted by their area.

Oracles: scipy's labels; each object's own surroundings, measured alone; the same mask without its specks.
"""

from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage
import torch
from torch import Tensor

from raiha_core import islands
from raiha_core.background import outside, touched
from raiha_core.color import srgb_to_lab
from raiha_core.features.encoders import build_encoder
from raiha_core.gallery.memory import memory_gallery
from raiha_core.harmonizer import StatisticsHarmonizer
from raiha_core.images import read_mask, read_picture
from raiha_core.islands import find_islands, label_islands
from raiha_core.masked_statistics import measure
from raiha_core.models.statistics import StatisticsConfig
from raiha_core.pipeline import harmonize
from raiha_core.regions import Surroundings, distance, ring
from raiha_core.retrieval.search import references, search
from raiha_core.runs import label_by_runs
from raiha_core.value_reading import unread

ASSETS = Path(__file__).parents[1] / "assets"
EIGHT = np.ones((3, 3), int)  # cells touch by corners too


def spiral(size: int) -> np.ndarray:
    """One island that a number has a long way to go through."""
    y, x = np.mgrid[0:size, 0:size] - size / 2
    turns = (np.hypot(y, x) / 4 - np.arctan2(y, x) / (2 * np.pi)) % 1
    return turns < 0.4


@pytest.mark.parametrize("share", [0.02, 0.3, 0.45, 0.7, 1.0, 0.0])
@pytest.mark.parametrize("size", [(40, 56), (1, 30), (17, 1)])
def test_islands_are_scipys(share, size):
    inside = np.random.default_rng(0).random((3, *size)) < share
    found = label_islands(torch.from_numpy(inside)[:, None]).view(3, *size).numpy()
    for one, ours in zip(inside, found, strict=True):
        expected, count = scipy.ndimage.label(one, EIGHT)
        pairs = set(zip(expected[one].tolist(), ours[one].tolist(), strict=True))
        assert len(pairs) == count == len(set(ours[one].tolist()))
        assert (ours[~one] == -1).all()


def test_a_spiral_is_one_island():
    inside = spiral(96)
    count = scipy.ndimage.label(inside, EIGHT)[1]
    found = label_islands(torch.from_numpy(inside)[None, None]).view(96, 96).numpy()
    assert len(np.unique(found[inside])) == count


@pytest.mark.parametrize("share", [0.02, 0.3, 0.45, 0.7, 1.0, 0.0])
@pytest.mark.parametrize("size", [(40, 56), (1, 30), (17, 1), (1, 1)])
def test_runs_give_the_numbers_that_cells_agree_on(share, size):
    inside = np.random.default_rng(1).random((3, *size)) < share
    for masks in (inside, spiral(64)[None], ~spiral(64)[None]):
        cell_by_cell = islands._labels(torch.from_numpy(masks)[:, None]).numpy()
        assert np.array_equal(label_by_runs(masks), cell_by_cell)


def test_where_no_value_is_read_the_same_islands_are_found_and_surrounded():
    # shapes that numbers have a long way to go through, specks, one object, and nothing
    mask = torch.zeros(6, 1, 96, 96)
    mask[0, 0] = torch.from_numpy(spiral(96))
    mask[1, 0, ::2], mask[1, 0, 1::4, 0], mask[1, 0, 3::4, 95] = 1, 1, 1  # one line, from side to side
    mask[2, 0, ::4, ::4] = 1
    mask[3, 0, 30:60, 20:50], mask[3, 0, 70:80, 70:90] = 1, 0.5
    mask[4, 0] = (torch.rand(96, 96, generator=torch.Generator().manual_seed(0)) < 0.45).float()
    with unread():
        labels, around = label_islands(mask > 0), Surroundings(mask, 0.08)
        answer = around.together(around.bands(0.08))
    assert torch.equal(labels, label_islands(mask > 0))
    assert len(around.row) == 6 * 8
    torch.testing.assert_close(answer, ring(mask, 0.08), rtol=1e-5, atol=1e-6)


def test_numbers_beyond_float32_find_their_neighbours(monkeypatch):
    numbers = torch.randint(-1, 1 << 40, (2, 1, 9, 7), generator=torch.Generator().manual_seed(0))
    small = torch.randint(-1, 60, (2, 1, 9, 7), generator=torch.Generator().manual_seed(1))
    expected = torch.nn.functional.max_pool2d(small.float(), 3, 1, 1).long()
    monkeypatch.setattr(islands, "_EXACT", 0)
    assert torch.equal(islands._largest_near(small), expected)
    found = islands._largest_near(numbers)
    assert found[0, 0, 0, 0] == numbers[0, 0, :2, :2].max()
    assert found[1, 0, 4, 3] == numbers[1, 0, 3:6, 2:5].max()


def test_the_largest_stand_alone_and_specks_share_a_group():
    mask = torch.zeros(3, 1, 64, 64)
    mask[0, 0, 4:30, 4:30], mask[0, 0, 40:50, 40:50] = 1, 0.5
    mask[0, 0, 2::4, 60:64:2] = 1  # specks
    mask[1, 0, ::4, ::4] = 1  # 256 islands of one cell
    found = find_islands(mask, mask > 0)
    assert found.row.tolist() == [0] * 3 + [1] * 8 + [2]
    assert found.area[0].tolist() == [676, 50, *[0] * 5, 32]  # the specks' group stands last
    assert found.area[1].tolist() == [1] * 7 + [249]
    assert found.area[2].tolist() == [0] * 8
    assert found.group.tolist() == [[0, 1, *[-1] * 5, 2], list(range(3, 11)), [11, *[-1] * 7]]
    for row in range(3):  # together they are the mask again
        assert torch.equal(found.inside[found.row == row].any(0), mask[row] > 0)


@pytest.mark.parametrize("reach", [(0.03, 0.0), (0.11, 0.004)])
def test_the_ring_of_one_island_is_what_it_always_was(reach):
    y, x = np.mgrid[0:70, 0:90]
    mask = torch.from_numpy(np.hypot(y - 30, x - 40) < 18).float()[None, None]
    mask = torch.nn.functional.avg_pool2d(mask, 3, 1, 1)
    outer, inner = reach
    away = distance(touched(mask), outer)

    def within(width):
        return ((width - away) * np.sqrt(70 * 90) + 0.5).clamp(0, 1)

    expected = within(outer) - (within(inner) if inner else 0)
    assert torch.equal(ring(mask, outer, inner), expected.clamp_min(0) * outside(mask))


def test_what_only_one_of_a_batch_holds_does_not_touch_the_others():
    masks = torch.zeros(3, 1, 48, 48)
    masks[:, :, 10:20, 10:20] = 1
    masks[1, :, 30:34, 30:44] = 1
    together = ring(masks, 0.08)
    for b in range(3):
        assert torch.equal(together[b], ring(masks[b : b + 1], 0.08)[0])
    assert not ring(torch.zeros(1, 1, 20, 20), 0.1).any()


LAYOUTS = {
    "unequal, in a bright and in a dark place": ((10, 40, 8, 50), (80, 100, 130, 150)),
    "a large and a very small one": ((20, 100, 10, 70), (60, 64, 140, 144)),
    "side by side": ((30, 90, 20, 70), (40, 60, 80, 120)),
    "one at the frame": ((0, 50, 0, 50), (70, 110, 100, 160)),
}


def two_objects(name: str) -> tuple[Tensor, Tensor, Tensor]:
    """A picture whose light changes from left to right, and a mask for each of two objects."""
    y, x = np.mgrid[0:120, 0:160] / 160
    shade = np.stack([0.2 + 0.6 * x, 0.3 + 0.3 * x + 0.2 * y, 0.7 - 0.5 * x])
    noise = np.random.default_rng(0).normal(0, 0.01, shade.shape)
    picture = torch.from_numpy((shade + noise).clip(0, 1)).float()[None]
    masks = []
    for top, bottom, left, right in LAYOUTS[name]:
        mask = torch.zeros(1, 1, 120, 160)
        mask[..., top:bottom, left:right] = 1
        picture = torch.where(mask > 0, torch.tensor([0.6, 0.4, 0.35]).view(1, 3, 1, 1), picture)
        masks.append(mask)
    return picture, masks[0], masks[1]


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("reach", [(0.03, 0.004), (0.11, 0.004), (0.11, 0.0)])
def test_two_objects_hear_the_mean_of_their_own_surroundings_by_their_areas(name, reach):
    picture, *masks = two_objects(name)
    lab, both = srgb_to_lab(picture), masks[0] + masks[1]
    areas = [float(mask.sum()) for mask in masks]
    own = [measure(lab, ring(mask, *reach) * outside(both)).mean for mask in masks]
    expected = (own[0] * areas[0] + own[1] * areas[1]) / sum(areas)
    assert (measure(lab, ring(both, *reach)).mean - expected).abs().max() < 0.05


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_statistics_move_two_objects_as_the_mean_of_both_alone(name):
    picture, *masks = two_objects(name)
    # a limit of far moves is no mean of two limits
    model = StatisticsHarmonizer(StatisticsConfig(chroma_limit=None))
    both = masks[0] + masks[1]
    areas = [float(mask.sum()) for mask in masks]

    def shift(mask: Tensor) -> Tensor:
        moved = srgb_to_lab(harmonize(picture, mask, model=model)) - srgb_to_lab(picture)
        return measure(moved, mask).mean

    # the object alone must not have the other one in its surroundings: there the background goes on
    alone = []
    for mask, other in (masks, masks[::-1]):
        clean = torch.where(other > 0, two_objects_background(), picture)
        moved = srgb_to_lab(harmonize(clean, mask, model=model)) - srgb_to_lab(clean)
        alone.append(measure(moved, mask).mean)
    expected = (alone[0] * areas[0] + alone[1] * areas[1]) / sum(areas)
    assert (shift(both) - expected).abs().max() < 0.5


def two_objects_background() -> Tensor:
    y, x = np.mgrid[0:120, 0:160] / 160
    shade = np.stack([0.2 + 0.6 * x, 0.3 + 0.3 * x + 0.2 * y, 0.7 - 0.5 * x])
    return torch.from_numpy(shade).float()[None]


def with_specks(mask: Tensor, count: int, size: int = 1) -> Tensor:
    """The mask with squares of `size` pixels, away from the object."""
    rng = np.random.default_rng(count)
    height, width = mask.shape[-2:]
    specked, left = mask.clone(), count
    while left:
        y, x = int(rng.integers(12, height - 12)), int(rng.integers(12, width - 12))
        if specked[0, 0, y - 8 : y + 8, x - 8 : x + 8].max() == 0:
            specked[0, 0, y : y + size, x : x + size] = 1
            left -= 1
    return specked


def moved(picture: Tensor, mask: Tensor, core: Tensor, *more: object, **options: object) -> Tensor:
    """Mean change of the object in Lab: (3,)."""
    result = harmonize(picture, mask, *more, **options)
    return (srgb_to_lab(result) - srgb_to_lab(picture))[0][:, core].mean(1)


def demo(name: str) -> tuple[Tensor, Tensor, Tensor]:
    picture = read_picture(ASSETS / "demo" / f"{name}.png").pixels
    mask = read_mask(ASSETS / "demo" / f"{name}_mask.png")
    return picture, mask, mask[0, 0] > 0.99


@pytest.mark.parametrize("model", ["statistics", "raiha-plus"])
@pytest.mark.parametrize("name", ["grapefruit", "truck", "pie", "tree"])
@pytest.mark.parametrize(("count", "size"), [(5, 1), (40, 1), (3, 3)])
def test_specks_leave_the_answer_alone(model, name, count, size):
    picture, mask, core = demo(name)
    specked = with_specks(mask, count, size)
    assert size**2 < 1e-3 * mask.sum()
    change = moved(picture, specked, core, model=model) - moved(picture, mask, core, model=model)
    assert change.abs().max() < 0.5


@pytest.mark.parametrize("model", ["statistics", "raiha-plus"])
def test_specks_leave_the_gate_of_references_alone(model):
    picture, mask, core = demo("grapefruit")
    encoder = build_encoder("lite0")
    photos = [read_picture(path).pixels for path in sorted((ASSETS / "scenes/photos").glob("*fruit*"))]
    gallery = memory_gallery(photos, encoder)
    near = references(search(gallery, picture, mask, encoder=encoder), encoder=encoder)
    found = []
    for each in (mask, with_specks(mask, 5), with_specks(mask, 40)):
        found.append(moved(picture, each, core, near, model, encoder=encoder))
    alone = moved(picture, mask, core, model=model)
    assert (found[0] - alone).abs().max() > 0.5  # the references are followed
    for specked in found[1:]:
        assert (specked - found[0]).abs().max() < 0.5


def test_surroundings_of_an_island_are_its_own():
    masks = two_objects("one at the frame")[1:]
    around = Surroundings(masks[0] + masks[1], 0.11)
    for band, mask in zip(around.bands(0.05), sorted(masks, key=lambda m: -float(m.sum())), strict=True):
        expected = ring(mask, 0.05) * outside(masks[0] + masks[1])
        assert torch.equal(band[None], expected)
