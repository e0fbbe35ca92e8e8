"""External style fusion: what it may change, and what references add to the style."""

from dataclasses import replace

import torch

from raiha_core.masked_statistics import masked_moments
from raiha_core.models.style_fusion import (
    StyleFusion,
    background_style,
    no_background,
    reference_shares,
    whole_style,
)
from tests.network_cases import fill, pairs, references, small


def case(dtype=torch.float64):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 5, 6, generator=g, dtype=dtype)
    mask = torch.zeros(2, 1, 5, 6, dtype=dtype)
    mask[:, :, 1:4, 2:5] = 0.75
    return x, mask, torch.randn(2, 6, generator=g, dtype=dtype)


def test_style_is_the_backgrounds_mean_and_log_deviation():
    x, mask, _ = case()
    style = background_style(x, mask, "area")
    for b in range(2):
        for c in range(3):
            w = 1 - mask[b, 0]
            mean = (x[b, c] * w).sum() / (w.sum() + 1e-5)
            variance = ((x[b, c] - mean) ** 2 * w).sum() / (w.sum() + 1e-5)
            torch.testing.assert_close(style[b, c], mean)
            torch.testing.assert_close(style[b, 3 + c], 0.5 * torch.log(variance + 1e-5))
    full = torch.ones_like(mask)
    torch.testing.assert_close(background_style(x, full, "area"), whole_style(x))
    assert no_background(full).tolist() == [True, True]
    assert no_background(mask).tolist() == [False, False]


def test_fusion_is_its_formula():
    fusion = fill(StyleFusion(3, "area", with_references=False).double())
    d, mask, style = case()
    got = fusion(d, mask, style)
    for b in range(2):
        hidden = torch.relu(fusion.hidden(style[b]))
        gamma, beta = fusion.out(hidden).chunk(2)
        for c in range(3):
            h = d[b, c]
            moments = []
            for w in (mask[b, 0], 1 - mask[b, 0]):
                mean = (h * w).sum() / (w.sum() + 1e-5)
                moments.append((mean, (((h - mean) ** 2 * w).sum() / (w.sum() + 1e-5) + 1e-5).sqrt()))
            (mean_f, dev_f), (mean_b, dev_b) = moments
            target = (1 + gamma[c]) * (h - mean_f) / dev_f * dev_b + mean_b + beta[c]
            wanted = h + mask[b, 0] * torch.tanh(fusion.gate[c]) * (target - h)
            torch.testing.assert_close(got[b, c], wanted, rtol=0, atol=1e-10)


def test_gradients():
    fusion = fill(StyleFusion(2, "area", with_references=False).double())
    d, mask, style = case()
    inputs = (d[:1, :2, 1:4, 1:4].clone().requires_grad_(), style[:1, :4].clone().requires_grad_())
    assert torch.autograd.gradcheck(lambda a, b: fusion(a, mask[:1, :, 1:4, 1:4], b), inputs)


def test_a_gate_of_zero_is_the_base_network_bit_for_bit():
    base, styled = fill(small("hdnet")).eval(), fill(small("rcl")).eval()
    styled.load_state_dict(base.state_dict(), strict=False)
    for fusion in styled.styles.values():
        torch.nn.init.zeros_(fusion.gate)
    image, mask, _ = pairs(2)
    with torch.no_grad():
        assert torch.equal(base(image, mask).dense, styled(image, mask).dense)


def test_another_style_changes_the_foreground_only():
    fusion = fill(StyleFusion(3, "area", with_references=False))
    d, mask, style = case(torch.float32)
    first, second = fusion(d, mask, style), fusion(d, mask, style.flip(0))
    outside = (mask == 0).expand_as(d)
    assert torch.equal(first[outside], second[outside])
    assert torch.equal(first[outside], d[outside])
    assert ((first - second)[~outside] != 0).all()


def test_references_share_the_style():
    fusion = StyleFusion(3, "area", with_references=True).double()
    _, _, own = case()
    shown = torch.randn(2, 2, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    shares = torch.tensor([[0.25, 0.75], [0.0, 0.0]], dtype=torch.float64)
    not_alone = torch.tensor([False, False])
    style = fusion.style(own, shown, shares, not_alone)
    torch.testing.assert_close(style[0], 0.5 * own[0] + 0.5 * (0.25 * shown[0, 0] + 0.75 * shown[0, 1]))
    torch.testing.assert_close(style[1], own[1])  # no references: λ is 0
    alone = fusion.style(own, shown, shares, torch.tensor([True, True]))
    torch.testing.assert_close(alone[0], 0.25 * shown[0, 0] + 0.75 * shown[0, 1])


def test_shares_are_a_softmax_over_those_present():
    weight = torch.tensor([[0.2, 0.9, 0.5], [0.1, 0.1, 0.1]])
    present = torch.tensor([[True, False, True], [False, False, False]])
    shares = reference_shares(weight, present)
    torch.testing.assert_close(shares[0, [0, 2]], torch.softmax(torch.tensor([0.2, 0.5]), 0))
    assert shares[0, 1] == 0
    assert (shares[1] == 0).all()


def test_style_fusion_alone_can_read_references():
    network = fill(small("rcl", max_references=3)).eval()
    image, mask, _ = pairs(2)
    batch = references(2, 3)
    with torch.no_grad():
        guided = network(image, mask, None, batch).dense
        alone = network(image, mask).dense
        none = network(image, mask, None, replace(batch, present=torch.zeros(2, 3, dtype=torch.bool))).dense
    assert torch.equal(alone, none)
    assert (guided - alone).abs().max() > 1e-5


def test_untrained_fusion_goes_a_tenth_of_the_way_to_the_backgrounds_statistics():
    torch.manual_seed(0)
    fusion = StyleFusion(3, "area", with_references=False)
    fusion.start()
    d, mask, style = case(torch.float32)
    new = fusion(d, mask, style)
    assert torch.equal(new, fusion(d, mask, style.flip(0)))  # both outputs are 0: the style says nothing yet
    way = torch.tanh(torch.tensor(0.1))
    moved, start = (masked_moments(t, mask)[0] for t in (new, d))
    goal = masked_moments(d, 1 - mask)[0]
    # inside a mask of 0.75 the step is 0.75 of the way
    torch.testing.assert_close(moved, start + 0.75 * way * (goal - start), rtol=1e-3, atol=1e-3)
