"""SGF (eqs. 6-10) against a slow double loop, and what references may and may not do."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from raiha_core.models.reference_attention import ReferenceAttention, attend, cells
from tests.network_cases import contents, fill, pairs, references, small

C, D, SIZE = 5, 4, (3, 4)
N = SIZE[0] * SIZE[1]


def module(guidance, *, tied=True, dtype=torch.float64):
    torch.manual_seed(0)
    return ReferenceAttention(C, guidance, D if guidance == "concat" else 0, tied=tied).to(dtype)


def case(most, dtype=torch.float64, seed=0):
    """e, foreground, content, and K references' e and content, for two images."""
    g = torch.Generator().manual_seed(seed)
    e = torch.randn(2, C, *SIZE, generator=g, dtype=dtype)
    foreground = torch.rand(2, N, generator=g) < 0.4
    foreground[:, 0], foreground[:, 1] = True, False
    content = F.normalize(torch.randn(2, D, *SIZE, generator=g, dtype=dtype), dim=1)
    refs = torch.randn(2, most, C, *SIZE, generator=g, dtype=dtype)
    ref_content = F.normalize(torch.randn(2, most, D, *SIZE, generator=g, dtype=dtype), dim=2)
    return e, foreground, content, refs, ref_content


def offer(attention, refs, ref_content):
    """Keys and values of the references, all cells in one row."""
    keys = attention.keys(refs.flatten(0, 1), ref_content.flatten(0, 1))
    return keys.reshape(2, -1, keys.shape[2]), cells(refs.flatten(0, 1)).reshape(2, -1, C)


@torch.no_grad()
def slow(attention, e, foreground, content, refs, ref_content, present):
    """Eqs. 6-10, one object cell and one key at a time."""

    def phi(layer, picture, c, y, x):
        vector = picture[:, y, x]
        if attention.guidance == "concat":
            vector = torch.cat((vector, c[:, y, x]))
        out = layer.weight[:, :, 0, 0] @ vector + layer.bias
        return out / (out.norm() + 1e-8)

    def logit(q, k, cq, ck):
        if attention.guidance == "cosine":
            return attention.scale_e * (q @ k) + attention.scale_c * (cq @ ck) / (
                (cq.norm() + 1e-8) * (ck.norm() + 1e-8)
            )
        return 20 * (q @ k)

    query_layer = attention.to_query or attention.to_key
    out = e.clone()
    for b in range(len(e)):
        places = [(y, x) for y in range(SIZE[0]) for x in range(SIZE[1])]
        keys = [(e[b], content[b], y, x) for i, (y, x) in enumerate(places) if not foreground[b, i]]
        for k in range(refs.shape[1]):
            if present[b, k]:
                keys += [(refs[b, k], ref_content[b, k], y, x) for y, x in places]
        for i, (y, x) in enumerate(places):
            if not foreground[b, i]:
                continue
            q = phi(query_layer, e[b], content[b], y, x)
            logits = [
                logit(q, phi(attention.to_key, p, c, v, u), content[b, :, y, x], c[:, v, u])
                for p, c, v, u in keys
            ]
            read = torch.zeros(C, dtype=e.dtype)
            if keys:
                top = max(float(value) for value in logits)
                weights = [math.e ** (value - top) for value in logits]
                for weight, (p, _, v, u) in zip(weights, keys, strict=True):
                    read = read + weight / sum(weights) * p[:, v, u]
            out[b, :, y, x] = attention.fuse.weight[:, :, 0, 0] @ torch.cat((read, e[b, :, y, x]))
    return out


@pytest.mark.parametrize("guidance", ["concat", "cosine", "none"])
@pytest.mark.parametrize("most", [0, 1, 3])
@pytest.mark.parametrize("tied", [True, False])
def test_the_slow_loop_agrees(guidance, most, tied):
    attention = module(guidance, tied=tied)
    e, foreground, content, refs, ref_content = case(most)
    present = torch.rand(2, most, generator=torch.Generator().manual_seed(3)) < 0.6
    offered = ()
    if most:
        offered = (*offer(attention, refs, ref_content), present.repeat_interleave(N, 1))
    got = attention(e, foreground, content, *offered)
    wanted = slow(attention, e, foreground, content, refs, ref_content, present)
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-10)


def test_sdpa_in_float32_equals_the_loop_within_1e_5():
    attention = module("concat", dtype=torch.float32)
    e, foreground, content, refs, ref_content = case(2, torch.float32)
    present = torch.ones(2, 2, dtype=torch.bool)
    got = attention(
        e, foreground, content, *offer(attention, refs, ref_content), present.repeat_interleave(N, 1)
    )
    wanted = slow(
        attention.double(), *(t.double() if t.is_floating_point() else t for t in (e, foreground, content)),
        refs.double(), ref_content.double(), present,
    )  # fmt: skip
    torch.testing.assert_close(got.double(), wanted, rtol=0, atol=1e-5)


def test_masked_keys_get_exactly_zero_weight():
    g = torch.Generator().manual_seed(4)
    query, key, value = (torch.randn(2, 6, 4, generator=g) * 5 for _ in range(3))
    allowed = torch.rand(2, 6, generator=g) < 0.5
    allowed[:, 0] = True
    before = attend(query, key, value, allowed)
    hidden = ~allowed[..., None]
    loud = attend(query, torch.where(hidden, 1e4, key), torch.where(hidden, -1e6, value), allowed)
    assert torch.equal(before, loud)
    value.requires_grad_()
    attend(query, key, value, allowed).sum().backward()
    assert (value.grad[~allowed] == 0).all()
    assert (value.grad[allowed] != 0).all()


def test_weights_may_depend_on_the_query():
    g = torch.Generator().manual_seed(5)
    query, key, value = (torch.randn(1, 4, 3, generator=g) for _ in range(3))
    allowed = torch.eye(4, dtype=torch.bool)[None]
    torch.testing.assert_close(attend(query, key, value, allowed), value)  # each may see one key only


def test_rows_without_a_key_are_zero_and_have_finite_gradients():
    g = torch.Generator().manual_seed(6)
    query, key, value = (torch.randn(2, 3, 4, generator=g, requires_grad=True) for _ in range(3))
    allowed = torch.tensor([[False] * 3, [True] * 3])
    read = attend(query, key, value, allowed)
    assert (read[0] == 0).all()
    assert (read[1] != 0).any()
    read.sum().backward()
    for tensor in (query, key, value):
        assert torch.isfinite(tensor.grad).all()
        assert (tensor.grad[0] == 0).all()


def test_gradients_of_attention():
    g = torch.Generator().manual_seed(7)
    tensors = [torch.randn(1, 3, 2, generator=g, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    allowed = torch.tensor([[True, False, True]])
    assert torch.autograd.gradcheck(lambda q, k, v: attend(q, k, v, allowed), tensors)
    for guidance in ("concat", "cosine"):
        attention = module(guidance)
        e, foreground, content, _, _ = case(0)
        assert torch.autograd.gradcheck(
            lambda x, c, f=foreground[:1], a=attention: a(x, f, c),
            (e[:1].requires_grad_(), content[:1].requires_grad_()),
        )


def test_background_cells_pass_and_gradient_reaches_references_through_the_object_only():
    attention = module("concat")
    e, foreground, content, refs, ref_content = case(1)
    refs.requires_grad_()
    ref_content.requires_grad_()
    out = attention(
        e, foreground, content, *offer(attention, refs, ref_content), torch.ones(2, N, dtype=torch.bool)
    )
    outside = ~foreground.unflatten(1, SIZE)[:, None].expand_as(e)
    assert torch.equal(out[outside], e[outside])
    inputs = (refs, ref_content)
    through_back = torch.autograd.grad(out[outside].sum(), inputs, retain_graph=True, allow_unused=True)
    assert all(grad is None or (grad == 0).all() for grad in through_back)
    through_object = torch.autograd.grad(out[~outside].sum(), (refs, ref_content))
    assert all((grad != 0).any() for grad in through_object)


def raiha(**changes):
    return fill(small("raiha", **changes)).eval()


@pytest.mark.parametrize("changes", [{}, {"guidance": "cosine", "content_dim": 0}, {"style_fusion": True}])
def test_references_are_a_set(changes):
    network = raiha(**changes)
    image, mask, _ = pairs(2)
    batch = references(2, 3)
    order = [2, 0, 1]
    turned = replace(
        batch,
        images=batch.images[:, order].clone(),
        present=batch.present[:, order].clone(),
        content=batch.content[:, order].clone(),
    )
    with torch.no_grad():
        first = network(image, mask, contents(2), batch).dense
        second = network(image, mask, contents(2), turned).dense
        without = network(image, mask, contents(2)).dense
    torch.testing.assert_close(first, second, rtol=0, atol=1e-5)
    assert (first - without).abs().max() > 1e-5  # they do say something


def test_zero_references_are_the_network_built_without_them():
    image, mask, _ = pairs(2)
    with_slots, without_slots = raiha(), raiha(max_references=0)
    without_slots.load_state_dict(with_slots.state_dict())
    none = torch.zeros(2, 2, dtype=torch.bool)
    with torch.no_grad():
        a = with_slots(image, mask, contents(2), references(2, 2, present=none)).dense
        b = without_slots(image, mask, contents(2)).dense
    assert torch.equal(a, b)


def test_absent_references_are_hidden_beside_present_ones():
    network = raiha()
    image, mask, _ = pairs(2)
    some = torch.tensor([[True, False], [False, False]])
    with torch.no_grad():
        mixed = network(image, mask, contents(2), references(2, 2, present=some)).dense
        batch = references(2, 2)
        one = replace(
            batch,
            images=batch.images[:1, :1],
            present=batch.present[:1, :1],
            content=batch.content[:1, :1],
        )
        first = network(image[:1], mask[:1], contents(2)[:1], one).dense
        second = network(image[1:], mask[1:], contents(2)[1:]).dense
    torch.testing.assert_close(mixed[:1], first, rtol=0, atol=1e-5)
    torch.testing.assert_close(mixed[1:], second, rtol=0, atol=1e-5)


def test_references_of_another_size_and_a_full_mask_are_defined():
    network = raiha()
    image = pairs(1)[0]
    full = torch.ones(1, 1, 64, 64)
    with torch.no_grad():
        guided = network(image, full, contents(1), references(1, 2, size=40)).dense
        alone = network(image, full, contents(1)).dense
    assert torch.isfinite(guided).all()
    assert torch.isfinite(alone).all()
    assert (guided - alone).abs().max() > 1e-5


def test_raiha_and_released_raiha_are_one_network_without_a_reference():
    ours, theirs = raiha(mask_resize="nearest"), small("raiha-released").eval()
    theirs.load_state_dict(ours.state_dict())
    image, mask, _ = pairs(2)
    with torch.no_grad():
        torch.testing.assert_close(
            ours(image, mask, contents(2)).dense, theirs(image, mask, contents(2)).dense, rtol=0, atol=1e-6
        )


def test_released_rows_without_a_reference_go_alone():
    network = fill(small("raiha-released")).eval()
    image, mask, _ = pairs(3)
    present = torch.tensor([[True], [False], [True]])
    with torch.no_grad():
        mixed = network(image, mask, contents(3), references(3, 1, present=present)).dense
        alone = network(image, mask, contents(3)).dense
        paired = network(image, mask, contents(3), references(3, 1)).dense
    torch.testing.assert_close(mixed[1], alone[1], rtol=0, atol=1e-5)
    torch.testing.assert_close(mixed[[0, 2]], paired[[0, 2]], rtol=0, atol=1e-5)
    assert (alone - paired).abs().max() > 1e-5
