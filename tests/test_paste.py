"""Pasting: places, turns and soft edges, against pictures that are known in closed form."""

import pytest
import torch

from raiha_core.foreground import own_colours
from raiha_core.paste import ANCHORS, Placement, paste_object


def noise(channels, height, width, seed=0):
    return torch.rand(1, channels, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def hard():
    """A background, and a cut-out of 12 x 8 inside a larger transparent frame."""
    image, alpha = noise(3, 20, 30, 1), torch.zeros(1, 1, 20, 30)
    alpha[..., 5:13, 9:21] = 1
    return noise(3, 40, 60), image, alpha


def disc(side, radius, softness):
    y, x = (torch.arange(side) - (side - 1) / 2 for _ in range(2))
    return ((radius - (x.square()[None] + y.square()[:, None]).sqrt()) / softness + 0.5).clamp(0, 1)[
        None, None
    ]


@pytest.mark.parametrize("anchor", list(ANCHORS))
def test_whole_pixels_are_copied_from_the_anchor(hard, anchor):
    # Oracle: slices. At whole places nothing is resampled; outside the mask the background keeps its bits.
    background, image, alpha = hard
    right, down = ANCHORS[anchor]
    left, top = int(right * (60 - 12)) + 3, int(down * (40 - 8)) - 2
    placement = Placement(x=3, y=-2, anchor=anchor)
    if top < 0:
        expected_rows, source = slice(0, top + 8), slice(5 - top, 13)
    else:
        expected_rows, source = slice(top, min(40, top + 8)), slice(5, 5 + min(40, top + 8) - top)
    columns = min(60, left + 12) - left
    expected = background.clone()
    expected[..., expected_rows, left : left + columns] = image[..., source, 9 : 9 + columns]
    done = paste_object(background, image, alpha, placement)
    assert torch.equal(done.composite, expected)
    assert done.mask.sum() == (expected_rows.stop - expected_rows.start) * columns


@pytest.mark.parametrize(
    ("placement", "turned"),
    [
        (Placement(rotation=90), lambda t: t.rot90(-1, (-2, -1))),  # clockwise
        (Placement(rotation=-90), lambda t: t.rot90(1, (-2, -1))),
        (Placement(rotation=180), lambda t: t.rot90(2, (-2, -1))),
        (Placement(flip="horizontal"), lambda t: t.flip(-1)),
        (Placement(flip="vertical"), lambda t: t.flip(-2)),
        (Placement(flip="both", rotation=180), lambda t: t),
    ],
)
def test_quarter_turns_and_flips_are_exact(hard, placement, turned):
    background, image, alpha = hard
    done = paste_object(background, image, alpha, placement)
    thing = turned(image[..., 5:13, 9:21])
    height, width = thing.shape[-2:]
    top, left = (40 - height) // 2, (60 - width) // 2
    torch.testing.assert_close(done.composite[..., top : top + height, left : left + width], thing)
    assert done.mask.sum() == height * width


@pytest.mark.parametrize("move", [(0.25, 0.0), (0.5, -0.5), (3.7, 2.2)])
@pytest.mark.parametrize("scale", [0.5, 1.0, 1.7])
def test_an_object_moves_below_the_pixel(move, scale):
    # Oracle: the centre of gravity of the mask, and its area.
    alpha = disc(61, 20, 6.0)
    done = paste_object(
        torch.zeros(1, 3, 120, 140),
        torch.ones(1, 3, 61, 61),
        alpha,
        Placement(x=move[0], y=move[1], scale=scale),
    )
    mask = done.mask[0, 0].double()
    x, y = (torch.arange(side) + 0.5 for side in (140, 120))
    place = float((mask.sum(0) * x).sum() / mask.sum()), float((mask.sum(1) * y).sum() / mask.sum())
    assert place == pytest.approx((70 + move[0], 60 + move[1]), abs=0.06)  # the cubic filter's own
    assert float(mask.sum()) == pytest.approx(float(alpha.sum()) * scale**2, rel=0.02)


@pytest.mark.parametrize(
    "placement", [Placement(), Placement(x=0.4, rotation=17, scale=0.8), Placement(scale=1.5)]
)
def test_nothing_of_the_old_background_is_left_in_soft_edges(placement):
    # Oracle: a blue disc photographed before green, with a soft edge; what is pasted must be blue over red.
    blue, green, red = (
        torch.tensor(c).view(1, 3, 1, 1) for c in ([0.1, 0.2, 0.8], [0.1, 0.9, 0.1], [0.7, 0.1, 0.1])
    )
    alpha = disc(80, 30, 8.0)
    photo = blue * alpha + green * (1 - alpha)
    background = red.expand(1, 3, 130, 130)
    done = paste_object(background, photo, alpha, placement)
    expected = blue * done.mask + red * (1 - done.mask)
    naive = paste_object(background, photo, alpha, placement, clean=False)
    edge = ((done.mask > 0.02) & (done.mask < 0.98)).expand_as(expected)
    left, before = ((one.composite - expected).abs()[edge] for one in (done, naive))
    assert before.max() > 0.1
    assert left.max() < 0.012  # three codes of 8 bits


def test_edges_that_are_clean_already_are_left_alone():
    texture = 0.3 + 0.4 * noise(3, 80, 80, 5)
    texture = torch.nn.functional.avg_pool2d(texture, 5, 1, 2)
    alpha = disc(80, 30, 8.0)
    found = own_colours(texture * (alpha > 0), alpha)  # transparent pixels are black, as many programs write
    seen = (alpha > 0.3).expand_as(found)
    assert (found - texture).abs()[seen].mean() < 0.02
    assert torch.equal(found[(alpha >= 0.98).expand_as(found)], texture[(alpha >= 0.98).expand_as(found)])


def test_textured_objects_keep_their_texture_before_a_varied_background():
    # Oracle: truth is known; the error must be far below that of taking the photo's colours.
    smooth = torch.nn.functional.avg_pool2d
    thing = 0.2 + 0.3 * smooth(noise(3, 100, 100, 2), 9, 1, 4)
    behind = 0.5 + 0.5 * smooth(noise(3, 100, 100, 3), 15, 1, 7)
    alpha = disc(100, 35, 10.0)
    found = own_colours(thing * alpha + behind * (1 - alpha), alpha)
    weight = (alpha * (alpha < 0.98)).expand_as(found)  # an error shows as far as alpha
    error = ((found - thing).abs() * weight).sum() / weight.sum()
    naive = ((1 - alpha) * (behind - thing)).abs()
    assert error < 0.25 * (naive * weight).sum() / weight.sum()


def test_feather_fades_inwards(hard):
    background, _, _ = hard
    alpha = torch.ones(1, 1, 24, 24)
    plain = paste_object(background, torch.ones(1, 3, 24, 24), alpha)
    soft = paste_object(background, torch.ones(1, 3, 24, 24), alpha, Placement(feather=6))
    assert not (soft.mask[plain.mask == 0] > 0).any()
    row = soft.mask[0, 0, 20]
    assert row.max() == 1
    assert 4 <= ((row > 0) & (row < 1)).sum() / 2 <= 8


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"scale": 0.0}, "scale must be above 0"),
        ({"x": float("nan")}, "x must be a finite number"),
        ({"flip": "sideways"}, "flip must be one of none"),
        ({"anchor": "middle"}, "anchor must be one of centre"),
        ({"x": 900.0}, "the object lies outside the picture: its middle is at 930, 20 of 60x40"),
    ],
)
def test_what_cannot_be_pasted_is_named(hard, settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        paste_object(*hard, Placement(**settings))


def test_an_empty_object_is_named(hard):
    with pytest.raises(ValueError, match="the object is empty"):
        paste_object(hard[0], hard[1], torch.zeros(1, 1, 20, 30))
