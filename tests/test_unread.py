"""value_reading.unread: what is computed without a look at a value is what is computed with one."""

import pytest
import torch

from raiha_core.enlargement import shrink
from raiha_core.masks import coverage, foreground_patches
from raiha_core.models import region_colour, s2crnet
from raiha_core.value_reading import may_read, unread
from tests.network_cases import fill, small


def test_values_are_read_but_inside_the_block_and_where_there_are_none():
    assert may_read(torch.ones(1))
    assert not may_read(torch.ones(1, device="meta"))
    with unread():
        assert not may_read(torch.ones(1))
    assert may_read(torch.ones(1))


@pytest.mark.parametrize("size", [(32, 32), (20, 48)])
def test_a_box_is_stretched_as_torch_resizes_it(size):
    generator = torch.Generator().manual_seed(0)
    both = torch.rand(4, 4, 60, 44, generator=generator)
    both[:, 3:] = 0
    both[0, 3, 5:50, 3:40] = 0.7  # made smaller
    both[1, 3, 10:20, 30:44] = 1  # made larger, at the frame
    both[2, 3, 0:60, 7] = 1  # one column wide
    both[3, 3, 4 : 4 + size[0], 2:34] = 1
    expected = torch.cat([shrink(s2crnet._box(one), size) for one in both])
    torch.testing.assert_close(s2crnet.stretched_box(both, size), expected, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("length", [1, 2, 7, 64, 100])
def test_running_sums_in_a_fixed_order_are_running_sums(length):
    values = torch.randint(0, 9, (2, 3, length), generator=torch.Generator().manual_seed(0)).float()
    assert torch.equal(region_colour._scan(values), values.cumsum(-1))
    assert torch.equal(region_colour.running_sums(values), values.cumsum(-1))


def test_a_training_step_of_raiha_plus_is_one_graph_for_a_compiler():
    # Traced as `compile` traces it, run without its kernels; a value that is read would cut the graph.
    network = fill(small("raiha-plus")).eval()
    image = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(2, 1, 32, 32)
    mask[0, :, 8:20, 8:24], mask[1, :, 2:10, 4:12], mask[1, :, 20:30, 16:28] = 1, 1, 1
    traced = torch.compile(network, backend="eager", fullgraph=True)
    with torch.no_grad():
        found, expected = traced(image, mask), network(image, mask)
    for part in ("centre", "scale", "shift"):
        torch.testing.assert_close(
            getattr(found.lab, part), getattr(expected.lab, part), atol=1e-4, rtol=1e-4
        )


def test_patches_of_the_object_are_the_same():
    mask = torch.zeros(4, 1, 50, 70)
    mask[0, :, 10:33, 20:60], mask[1, :, 3, 3], mask[2] = 1, 0.4, 1
    with unread():
        share, chosen = coverage(mask, 12), foreground_patches(mask, 12)
    torch.testing.assert_close(share.double(), coverage(mask, 12), rtol=1e-6, atol=1e-7)
    assert torch.equal(chosen, foreground_patches(mask, 12))
