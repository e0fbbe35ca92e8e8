"""Region-wise contrast: InfoNCE with known answers, its mutual information, regions and gradients."""

import math

import pytest
import torch
import torch.distributed as distributed

from raiha_train.losses.contrastive import (
    ContrastConfig,
    RegionContrast,
    eroded_regions,
    gather_keys,
    info_nce,
    region_style,
    whole_cells,
    window_styles,
)
from tests.network_cases import contents, pairs, small

SMALL = ContrastConfig(channels=(4, 6), windows=(5, 3), width=8, positions=20)


def test_equal_similarities_give_the_logarithm_of_their_number():
    positive, negatives = torch.full((3,), 0.4), torch.full((3, 7), 0.4)
    loss = info_nce(positive, negatives, torch.ones(3, 7, dtype=torch.bool), 0.07)
    torch.testing.assert_close(loss, torch.full((3,), math.log(8)))
    none = info_nce(positive, negatives, torch.zeros(3, 7, dtype=torch.bool), 0.07)
    assert (none == 0).all()


def test_info_nce_is_its_formula():
    g = torch.Generator().manual_seed(0)
    p, n = torch.randn(4, generator=g), torch.randn(4, 5, generator=g)
    exists = torch.rand(4, 5, generator=g) < 0.6
    loss = info_nce(p, n, exists, 0.5)
    for i in range(4):
        others = sum(math.exp(float(n[i, j]) / 0.5) for j in range(5) if exists[i, j])
        share = math.exp(float(p[i]) / 0.5) / (math.exp(float(p[i]) / 0.5) + others)
        assert math.isclose(float(loss[i]), -math.log(share), rel_tol=1e-4)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_mutual_information_of_gaussians(correlation):
    # Known answer: I = -log(1 - ρ²) / 2. With the best critic, the log density ratio, the bound is tight
    # from below once there are many negatives.
    g = torch.Generator().manual_seed(1)
    count = 1024
    x = torch.randn(count, generator=g, dtype=torch.float64)
    noise = torch.randn(count, generator=g, dtype=torch.float64)
    y = correlation * x + math.sqrt(1 - correlation**2) * noise
    spread = 1 - correlation**2
    critic = -0.5 * math.log(spread) - (y - correlation * x[:, None]) ** 2 / (2 * spread) + y**2 / 2
    others = ~torch.eye(count, dtype=torch.bool)
    loss = info_nce(critic.diagonal(), critic, others, 1.0).mean()
    known = -0.5 * math.log(spread)
    bound = math.log(count) - float(loss)
    assert known - 0.06 < bound < known + 0.06


def test_mutual_information_of_symbols_is_their_entropy_up_to_the_ceiling():
    # n + 1 distinct symbols, each paired with itself: I = log(n + 1), the most the bound can say
    similar = torch.eye(64) * 100
    loss = info_nce(similar.diagonal(), similar, ~torch.eye(64, dtype=torch.bool), 1.0).mean()
    assert float(loss) < 1e-6  # log(64) - loss


def test_eroded_regions_keep_clear_of_the_edge_and_of_mixed_pixels():
    mask = torch.zeros(1, 1, 20, 20)
    mask[..., 5:15, 5:15] = 1
    mask[..., 5, 5:15] = 0.5
    inside, outside = eroded_regions(mask, 2)
    assert inside[0, 0].nonzero().amin(0).tolist() == [8, 7]  # row 5 is mixed: one more row is lost
    assert inside[0, 0].nonzero().amax(0).tolist() == [12, 12]
    assert outside[0, 0, 2, 10]
    assert not outside[0, 0, 3, 10]
    assert outside[0, 0, 0, 0]  # the frame is no edge
    cells = whole_cells(inside, (5, 5))
    assert cells[0, 0].nonzero().tolist() == [[2, 2]]  # only rows and columns 8..11 are whole


def test_styles_are_means_and_log_deviations():
    g = torch.Generator().manual_seed(2)
    x = torch.randn(2, 3, 9, 8, generator=g)
    region = torch.rand(2, 1, 9, 8, generator=g) < 0.5
    style = region_style(x, region)
    chosen = x[1, 2][region[1, 0]]
    torch.testing.assert_close(style[1, 2], chosen.mean())
    torch.testing.assert_close(style[1, 5], 0.5 * torch.log(chosen.var(unbiased=False) + 1e-5))
    windows, valid = window_styles(x, torch.ones_like(region), 3)
    patch = x[0, 1, 3:6, 2:5]
    torch.testing.assert_close(windows[0, 1, 4, 3], patch.mean())
    torch.testing.assert_close(windows[0, 4, 4, 3], 0.5 * torch.log(patch.var(unbiased=False) + 1e-5))
    assert valid[0].sum() == 7 * 6  # windows that stick out of the map do not count


def maps(seed):
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(3, 4, 24, 24, generator=g), torch.randn(3, 6, 12, 12, generator=g)]


def half_mask():
    mask = torch.zeros(3, 1, 24, 24)
    mask[..., :12] = 1
    return mask


def contrast(**changes):
    torch.manual_seed(0)
    return RegionContrast(
        ContrastConfig(**{**{f: getattr(SMALL, f) for f in SMALL.__slots__}, "erosion": 1} | changes)
    )


def test_the_published_heads_have_the_counted_parameters():
    assert sum(p.numel() for p in RegionContrast(ContrastConfig()).parameters()) == 805_376


@torch.no_grad()
def test_regions_is_its_formula():
    module, mask = contrast(), half_mask()
    new, target, composite = maps(1), maps(2), maps(3)
    inside, outside = eroded_regions(mask, 1)
    wanted = 0.0
    for layer in range(2):
        size = new[layer].shape[-2:]
        f, b = whole_cells(inside, size), whole_cells(outside, size)
        z = module.project(layer, region_style(new[layer], f))
        key = module.project(layer, region_style(target[layer], b))
        own = module.project(layer, region_style(composite[layer], f))
        for i in range(3):
            p = math.exp(float(z[i] @ key[i]) / 0.07)
            n = math.exp(float(z[i] @ own[i]) / 0.07)
            n += sum(math.exp(float(z[i] @ key[j]) / 0.07) for j in range(3) if j != i)
            wanted -= math.log(p / (p + n)) / 6
    assert math.isclose(float(module(new, target, composite, mask)), wanted, rel_tol=1e-4)
    control = contrast(positives="fg-truth")(new, target, composite, mask)
    assert not math.isclose(float(control), wanted, rel_tol=1e-3)


@pytest.mark.parametrize("positives", ["regions", "fg-truth", "patches"])
def test_gradient_reaches_the_outputs_foreground_and_the_heads_only(positives):
    module, mask = contrast(positives=positives), half_mask()
    new, target, composite = ([m.requires_grad_() for m in maps(seed)] for seed in (1, 2, 3))
    generator = torch.Generator().manual_seed(0)
    module(new, target, composite, mask, content=contents(3), generator=generator).backward()
    inside, _ = eroded_regions(mask, 1)
    for features in new:
        f = whole_cells(inside, features.shape[-2:]).expand_as(features)
        assert (features.grad[~f] == 0).all()
        assert (features.grad[f] != 0).any()
    for keys in (*target, *composite):
        assert keys.grad is None or (keys.grad == 0).all()
    assert all((p.grad != 0).any() for p in module.parameters())


def test_small_regions_are_left_out_and_nothing_left_is_zero():
    module, mask = contrast(), half_mask()
    mask[1] = 0
    mask[1, :, :3, :3] = 1  # too small
    new, target, composite = maps(1), maps(2), maps(3)
    full = module(new, target, composite, mask)
    rest = [[m[[0, 2]] for m in features] for features in (new, target, composite)]
    torch.testing.assert_close(full, module(*rest, mask[[0, 2]]))
    empty = module(new, target, composite, torch.zeros_like(mask))
    assert empty == 0
    assert empty.requires_grad


def test_alone_in_a_batch_only_the_pasted_look_is_a_negative():
    module, mask = contrast(), half_mask()[:1]
    identical = [torch.ones_like(m[:1]) for m in maps(1)]
    torch.testing.assert_close(module(identical, identical, identical, mask), torch.tensor(math.log(2)))


def test_patches_repeat_with_their_generator():
    module, mask = contrast(positives="patches"), half_mask()
    inputs = (maps(1), maps(2), maps(3), mask)
    values = [
        module(*inputs, content=contents(3), generator=torch.Generator().manual_seed(seed)).item()
        for seed in (5, 5, 6)
    ]
    assert values[0] == values[1]
    assert values[0] != values[2]
    assert values[0] > 0


def test_keys_of_one_process_are_its_own(tmp_path):
    keys = torch.randn(4, 3)
    assert gather_keys(keys)[0] is keys
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        gathered, first = gather_keys(keys)
        assert torch.equal(gathered, keys)
        assert first == 0
    finally:
        distributed.destroy_process_group()


def test_a_networks_features_fit():
    network = small("rcl")
    g = network.config.width
    torch.manual_seed(0)
    module = RegionContrast(ContrastConfig(channels=(g, 4 * g, 8 * g, 8 * g, 8 * g), width=16))
    composite, mask, truth = pairs(2)
    mask[:] = 0
    mask[:, :, :, :32] = 1
    with torch.no_grad():
        keys = network.contrast_features(truth), network.contrast_features(composite)
    output = composite.clone().requires_grad_()
    module(network.contrast_features(output), *keys, mask).backward()
    assert (output.grad != 0).any()


def test_what_does_not_fit_is_named():
    module, mask = contrast(), half_mask()
    with pytest.raises(ValueError, match="2 layers"):
        module(maps(1)[:1], maps(2), maps(3), mask)
    with pytest.raises(ValueError, match="generator"):
        contrast(positives="patches")(maps(1), maps(2), maps(3), mask)
    with pytest.raises(ValueError, match="odd"):
        ContrastConfig(channels=(4,), windows=(4,))
    with pytest.raises(ValueError, match="windows"):
        ContrastConfig(channels=(4,))
    with pytest.raises(ValueError, match="temperature"):
        ContrastConfig(temperature=0)
