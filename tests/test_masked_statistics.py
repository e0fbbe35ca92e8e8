"""Means and variances over regions: all of them are a loop's over the chosen pixels, up to their floors."""

import pytest
import torch

from raiha_core import masked_statistics as room
from raiha_core.background import complement, is_empty, outside, pure_cells, touched_cells


@pytest.fixture
def region():
    generator = torch.Generator().manual_seed(4)
    values = torch.rand(2, 3, 8, 6, generator=generator, dtype=torch.float64)
    weight = torch.zeros(2, 1, 8, 6, dtype=torch.float64)
    weight[0, 0, :4, :3], weight[1, 0, 5:, 2:] = 1, 1
    chosen = [values[0, :, :4, :3].flatten(1), values[1, :, 5:, 2:].flatten(1)]
    mean = torch.stack([x.mean(1) for x in chosen])
    variance = torch.stack([x.var(1, unbiased=False) for x in chosen])
    return values, weight, mean, variance


def test_every_road_gives_the_loops_mean_and_variance(region):
    values, weight, mean, variance = region
    found = room.measure(values, weight)
    torch.testing.assert_close((found.mean, found.variance), (mean, variance))
    assert found.amount.tolist() == [12, 12]
    both = [x.flatten(1) for x in room.weighted_moments(values, weight)]
    torch.testing.assert_close(both, [mean, variance])
    shares = room.shares_of(weight.flatten(2))
    both = [x[:, 0] for x in room.region_moments(values.flatten(2), shares)]
    torch.testing.assert_close(both, [mean, variance])
    *both, share = room.cell_moments(values, weight, (1, 1))
    torch.testing.assert_close([x.flatten(1) for x in both], [mean, variance])
    assert share.flatten().tolist() == [0.25, 0.25]
    # RAIN's floors: 1e-5 beside 12 cells, and on the variance
    both = [x.flatten(1) for x in room.masked_moments(values, weight)]
    torch.testing.assert_close(both, [mean, (variance + 1e-5).sqrt()], atol=1e-5, rtol=0)


def test_an_empty_region_has_what_the_table_says(region):
    values, nothing = region[0], torch.zeros(2, 1, 8, 6, dtype=torch.float64)
    found = room.measure(values, nothing)
    assert not torch.cat((found.mean, found.variance)).any()
    assert not torch.cat(room.weighted_moments(values, nothing)).any()
    assert not torch.cat(room.region_moments(values.flatten(2), room.shares_of(nothing.flatten(2)))).any()
    assert not torch.cat(room.cell_moments(values, nothing, (2, 2))[:2]).any()
    mean, deviation = room.masked_moments(values, nothing)
    assert not mean.any()
    torch.testing.assert_close(deviation, torch.full_like(deviation, 1e-5**0.5))


def test_one_faint_cell_keeps_its_colour(region):
    values, faint = region[0], torch.zeros(2, 1, 8, 6, dtype=torch.float64)
    faint[..., 3, 2] = 1e-9
    torch.testing.assert_close(room.measure(values, faint).mean, values[..., 3, 2])


def test_a_soft_mean_and_the_least_that_its_weights_count_as():
    values, weight = torch.tensor([[[[1.0, 3.0]]]]), torch.tensor([[[[0.25, 0.75]]]])
    assert room.weighted_mean(values, weight).item() == 2.5
    assert room.weighted_mean(values, weight / 2, floor=1.0).item() == 1.25


def test_colours_within_a_region_know_nothing_of_the_others():
    image, region = torch.zeros(1, 3, 4, 4), torch.zeros(1, 1, 4, 4)
    image[..., :1], region[..., :1] = 0.8, 1.0
    colours, share = room.colours_within(image, region, 2)
    assert torch.equal(share[0, 0], torch.tensor([[0.5, 0.0], [0.5, 0.0]]))
    torch.testing.assert_close(colours[0, 0], torch.tensor([[0.8, 0.0], [0.8, 0.0]]))


def test_the_floor_decides_between_flat_regions():
    ratio = room.deviation_ratio(torch.tensor([8.0, 0.0]), torch.zeros(2), 1.0)
    assert ratio.tolist() == [3.0, 1.0]


def test_five_meanings_of_background_differ_where_they_say_so():
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., :2, :2], mask[..., :2, 2] = 1.0, 0.015  # an object, and a resized edge too faint to count
    assert torch.equal(outside(mask)[0, 0, 0], torch.tensor([0.0, 0.0, 1.0, 1.0]))
    assert touched_cells(mask, (2, 2)).tolist() == [[True, True, False, False]]  # however faintly
    assert complement(mask)[0, 0, 0].tolist() == pytest.approx([0, 0, 0.985, 1])
    assert pure_cells(complement(mask))[0, 0, 0].tolist() == [False, False, False, True]
    assert not is_empty(complement(mask)).any()
    assert is_empty(complement(torch.ones(2, 1, 4, 4))).all()
