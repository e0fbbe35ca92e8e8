"""Heads start at the identity, stay bounded, and say what their formula says."""

import torch

from raiha_core import render
from raiha_core.models.blocks import initialise
from raiha_core.models.heads import GAIN_BOUND, HEADS, OFFSET_BOUND, bounded_affine
from tests.network_cases import fill, pairs, small


def test_an_untrained_network_returns_the_composite():
    network = small("hdnet", head="affine").eval()
    image, mask, _ = pairs(2)
    with torch.no_grad():
        prediction = network(image, mask)
    assert torch.equal(prediction.affine, torch.zeros_like(prediction.affine))
    torch.testing.assert_close(render.apply(prediction, image, mask), image, rtol=0, atol=1e-6)


def test_every_parameter_of_a_head_learns():
    torch.manual_seed(0)
    head = fill(HEADS["affine"](6))
    x = torch.rand(2, 6, 5, 4, generator=torch.Generator().manual_seed(1))
    affine = head(x, torch.ones(2, 1, 5, 4)).affine
    (affine * torch.randn(affine.shape, generator=torch.Generator().manual_seed(2))).sum().backward()
    for name, parameter in head.named_parameters():
        assert (parameter.grad != 0).any(), name


def test_a_head_at_rest_can_start_to_learn():
    head = HEADS["affine"](6)
    initialise(head)
    head.start()
    head(torch.rand(1, 6, 3, 3), torch.ones(1, 1, 3, 3)).affine.sum().backward()
    assert any((parameter.grad != 0).any() for parameter in head.parameters())


def test_numbers_and_shapes():
    x, mask = torch.rand(2, 6, 5, 4), torch.ones(2, 1, 5, 4)
    assert HEADS["affine"](6)(x, mask).affine.shape == (2, 12, 5, 4)
    assert HEADS["dense"](6)(x, mask).dense.shape == (2, 3, 5, 4)
    assert sum(p.numel() for p in HEADS["affine"](64).parameters()) == 780
    assert sum(p.numel() for p in HEADS["dense"](64).parameters()) == 1731


def test_transforms_are_bounded_and_steep_only_near_zero():
    raw = torch.tensor([-1e6, -1e-3, 0.0, 1e-3, 1e6])[:, None].expand(5, 12)
    affine = bounded_affine(raw)
    torch.testing.assert_close(affine[1:4], raw[1:4], rtol=1e-5, atol=0)
    assert (affine[-1, :9] == GAIN_BOUND).all()
    assert (affine[0, 9:] == -OFFSET_BOUND).all()
    assert torch.autograd.gradcheck(
        bounded_affine, torch.randn(2, 12, 1, 2, dtype=torch.float64).requires_grad_()
    )


def test_a_global_transform_is_exact_at_any_size():
    # Oracle: the closed form M v + b, at a size the network never saw.
    large, large_mask, _ = pairs(1, 90, 131)
    raw = torch.randn(1, 12, 1, 1, generator=torch.Generator().manual_seed(0))
    prediction = render.Prediction(affine=bounded_affine(raw))
    numbers = prediction.affine[0, :, 0, 0]
    matrix = torch.eye(3) + numbers[:9].reshape(3, 3)
    new = (torch.einsum("rc,bchw->brhw", matrix, large) + numbers[9:, None, None]).clamp(0, 1)
    wanted = large + large_mask * (new - large)
    torch.testing.assert_close(render.apply(prediction, large, large_mask), wanted, rtol=0, atol=1e-6)


def test_a_saturated_prediction_can_learn_its_way_back():
    # Training clamps as rendering does, but with a gradient: a plain clamp had none, and networks died.
    image, mask, truth = pairs(1)
    offset = torch.full((1, 12, 1, 1), 3.0, requires_grad=True)
    new = render.apply(render.Prediction(affine=offset), image, mask)
    assert new[(mask == 1).expand_as(new)].eq(1).all()
    ((new - truth) ** 2).mean().backward()
    assert (offset.grad > 0).all()
