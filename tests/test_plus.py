"""raiha-plus: it starts as the ring statistics, reads colours and references by rule, and is cheap."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from raiha_core import render
from raiha_core.color import srgb_to_lab
from raiha_core.masked_statistics import measure
from raiha_core.models.backbone import STRIDES, Backbone
from raiha_core.models.cost import macs
from raiha_core.models.plus import correct, wiener_gain
from raiha_core.models.presets import PRESETS
from raiha_core.models.reference_colour_attention import (
    MAP_NUMBERS,
    VECTOR_NUMBERS,
    ReferenceColourAttention,
    cell_colours,
)
from raiha_core.models.region_colour import (
    COUNT,
    QUANTILES,
    RunningScale,
    quantiles,
    region_colour_descriptor,
)
from raiha_core.models.statistics import LEVELS_PER_LAB, Statistics, ring_statistics_transfer
from raiha_core.render import LabTransfer
from tests.network_cases import DIM, contents, fill, pairs, references, small


@pytest.fixture(scope="module")
def lively():
    return fill(small("raiha-plus")).eval()


@pytest.fixture(scope="module")
def untrained():
    return small("raiha-plus").eval()


def test_untrained_it_is_the_statistics_preset(untrained):
    image, mask, _ = pairs(3)
    with torch.no_grad():
        prediction = untrained(image, mask)
    wanted = ring_statistics_transfer(image, mask, untrained.config.statistics)
    for name in ("centre", "scale", "shift"):
        torch.testing.assert_close(getattr(prediction.lab, name), getattr(wanted, name))
    assert (prediction.affine == 0).all()
    preset = Statistics(untrained.config.statistics).predict(image, mask)
    torch.testing.assert_close(
        render.apply(prediction, image, mask), render.apply(preset, image, mask), rtol=0, atol=1e-5
    )


def test_without_the_residual_an_untrained_network_returns_the_composite():
    network = small("raiha-plus", residual=False).eval()
    image, mask, _ = pairs(1)
    with torch.no_grad():
        assert torch.equal(render.apply(network(image, mask), image, mask), image)


def test_it_costs_a_small_part_of_hdnet():
    # time is measured by train/bench/models.py; on shapes alone the share is far lower
    plus, base = macs(PRESETS["raiha-plus"], 256), macs(PRESETS["hdnet"], 256)
    assert plus < 0.03 * base
    assert macs(PRESETS["raiha-plus"], 256, 4) < 0.035 * base


def test_zero_references_are_the_network_built_without_them(lively):
    image, mask, _ = pairs(2)
    without = small("raiha-plus", max_references=0).eval()
    kept = {key: value for key, value in lively.state_dict().items() if key in without.state_dict()}
    without.load_state_dict(kept, strict=True)
    none = references(2, 2, present=torch.zeros(2, 2, dtype=torch.bool))
    with torch.no_grad():
        a, b = lively(image, mask, contents(2), none), without(image, mask)
    assert torch.equal(a.affine, b.affine)
    assert torch.equal(a.lab.shift, b.lab.shift)


def test_references_are_a_set_and_say_something(lively):
    image, mask, _ = pairs(2)
    batch = references(2, 3)
    turned = replace(
        batch,
        images=batch.images.flip(1),
        present=batch.present.flip(1),
        content=batch.content.flip(1),
    )
    with torch.no_grad():
        first, second = (lively(image, mask, contents(2), b) for b in (batch, turned))
        alone = lively(image, mask)
    torch.testing.assert_close(first.affine, second.affine, rtol=0, atol=1e-5)
    torch.testing.assert_close(first.lab.shift, second.lab.shift, rtol=0, atol=1e-4)
    assert (first.affine - alone.affine).abs().max() > 1e-4


def test_a_batch_of_mixed_references_is_its_rows(lively):
    image, mask, _ = pairs(2)
    some = torch.tensor([[True, False], [False, False]])
    with torch.no_grad():
        mixed = lively(image, mask, contents(2), references(2, 2, present=some))
        alone = lively(image[1:], mask[1:])
    torch.testing.assert_close(mixed.affine[1:], alone.affine, rtol=0, atol=1e-4)
    torch.testing.assert_close(mixed.lab.shift[1:], alone.lab.shift, rtol=0, atol=1e-3)


def test_correction_is_bounded_and_trust_scales_the_ring():
    base = LabTransfer(
        centre=torch.tensor([[50.0, 1.0, 2.0]]),
        scale=torch.tensor([[1.5, 0.6, 1.0]]),
        shift=torch.tensor([[10.0, -4.0, 0.0]]),
    )
    still = correct(base, torch.zeros(1, 12))
    assert torch.equal(still.scale, base.scale)
    assert torch.equal(still.shift, base.shift)
    no_trust = correct(base, torch.cat((torch.full((1, 6), -1e6), torch.zeros(1, 6)), 1))
    assert (no_trust.shift == 0).all()
    assert (no_trust.scale == 1).all()
    most = correct(base, torch.cat((torch.zeros(1, 6), torch.full((1, 6), 1e6)), 1))
    torch.testing.assert_close(most.shift, base.shift + 40)
    torch.testing.assert_close(most.scale, base.scale * torch.tensor(0.7).exp())


def test_quantiles_are_numpys_by_weight():
    g = torch.Generator().manual_seed(0)
    values = torch.rand(2, 200, generator=g)
    weights = (torch.rand(2, 3, 200, generator=g) < 0.5).float()
    weights[1, 2] = 0
    found = quantiles(values, weights)
    for b in range(2):
        for r in range(3):
            chosen = values[b][weights[b, r] > 0].numpy()
            if len(chosen) == 0:
                assert (found[b, r] == 0).all()
                continue
            wanted = np.quantile(chosen, QUANTILES, method="inverted_cdf")
            np.testing.assert_allclose(found[b, r].numpy(), wanted, atol=1e-6)


def test_the_region_colours_say_what_is_there():
    # Oracle: a plain object on a plain background; every mean is known, every spread is the floor's.
    image = torch.full((1, 3, 96, 96), 0.2)
    mask = torch.zeros(1, 1, 96, 96)
    mask[..., 32:64, 32:64] = 1
    image = torch.where(mask > 0, torch.tensor([0.8, 0.5, 0.4])[:, None, None], image)
    numbers = region_colour_descriptor(image, mask)
    assert numbers.shape == (1, COUNT)
    lab = srgb_to_lab(image)[0] / 100
    colours = numbers[0, :30].reshape(5, 6)
    for r, place in enumerate([(48, 48), (33, 33), (30, 48), (26, 48), (0, 0)]):
        torch.testing.assert_close(colours[r, :3], lab[:, place[0], place[1]], rtol=0, atol=1e-4)
        torch.testing.assert_close(
            colours[r, 3:], torch.full((3,), 0.5 * np.log(2e-4)), rtol=0, atol=1e-2, check_dtype=False
        )
    difference = numbers[0, 30:54].reshape(4, 6)
    torch.testing.assert_close(difference[0, :3], colours[2, :3] - colours[0, :3])
    torch.testing.assert_close(difference[3, :3], colours[2, :3] - colours[1, :3])


def test_region_colours_without_a_background_are_finite_and_say_so():
    image = pairs(1)[0]
    numbers = region_colour_descriptor(image, torch.ones(1, 1, 64, 64))
    assert torch.isfinite(numbers).all()
    assert (numbers[0, 12:30] == 0).all()  # near ring, far ring, outside
    assert (numbers[0, -3:] < -6).all()  # their areas


def test_the_running_scale_standardises_and_is_the_same_in_evaluation():
    g = torch.Generator().manual_seed(1)
    scale = RunningScale(4)
    for _ in range(100):
        scale(3 + 2 * torch.randn(64, 4, generator=g))
    x = 3 + 2 * torch.randn(4000, 4, generator=g)
    out = scale.eval()(x)
    torch.testing.assert_close(out.mean(0), torch.zeros(4), rtol=0, atol=0.1)
    torch.testing.assert_close(out.std(0), torch.ones(4), rtol=0, atol=0.1)
    torch.testing.assert_close(out[:1], scale(x[:1]))
    assert scale(torch.full((1, 4), 1e9)).amax() == 5


def test_cells_have_the_colours_of_their_pixels():
    g = torch.Generator().manual_seed(2)
    image, weight = torch.rand(1, 3, 8, 8, generator=g), torch.rand(1, 1, 8, 8, generator=g)
    weight[..., :4, :4] = 0
    colours, share = cell_colours(image, weight, (2, 2))
    lab = srgb_to_lab(image)[0] / 100
    w = weight[0, 0, 4:, 4:]
    mean = (lab[:, 4:, 4:] * w).sum((1, 2)) / w.sum()
    spread = ((lab[:, 4:, 4:].square() * w).sum((1, 2)) / w.sum() - mean.square() + 2e-4).sqrt()
    torch.testing.assert_close(colours[0, 3], torch.cat((mean, spread)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(share[0, 3], w.mean())
    assert (colours[0, 0] == 0).all()


def half_object():
    image = torch.full((1, 3, 32, 32), 0.3)
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., :16] = 1
    return image, mask


def read_by_attention(cosine, colour=0.7):
    """One white-ish reference whose cells match the object's with a given cosine."""
    image, mask = half_object()
    content = torch.zeros(1, DIM, 2, 2)
    content[:, 0] = 1
    shown = torch.zeros(1, 1, DIM, 2, 2)
    shown[:, :, 0], shown[:, :, 1] = cosine, (1 - cosine**2) ** 0.5
    base = references(1, 1, size=32)
    batch = replace(
        base,
        images=torch.full((1, 1, 3, 32, 32), colour),
        content=shown,
    )
    with torch.no_grad():
        return ReferenceColourAttention()(image, mask, content, batch)


def test_a_perfect_match_names_the_references_colour_and_a_poor_one_says_little():
    lightness = [float(srgb_to_lab(torch.full((1, 3, 1, 1), v))[0, 0]) / 100 for v in (0.3, 0.7)]
    places, vector = read_by_attention(1.0)
    assert places.shape == (1, MAP_NUMBERS, 2, 2)
    assert vector.shape == (1, VECTOR_NUMBERS)
    # the object's cells read from the background (dark, as they are themselves) and from the reference
    towards, from_references = places[0, 0, :, 0], places[0, 13, :, 0]
    torch.testing.assert_close(towards, from_references * (lightness[1] - lightness[0]), rtol=1e-3, atol=1e-4)
    assert (from_references > 0.3).all()
    poor = read_by_attention(0.2)[0][0, 13]
    assert (poor[:, 0] < 0.001).all()
    assert (poor[:, 1] < 0.1).all()  # the background's cells have nothing but this reference to read
    assert float(read_by_attention(0.6)[1][0, 14]) == pytest.approx(0.6)  # best cosine over the object


def test_the_backbone_is_the_embedded_encoders_network():
    from raiha_core.features.encoders import lite0_network

    backbone = Backbone("tf_efficientnet_lite0", 2, pretrained=True).train()
    image = pairs(1)[0]
    with torch.no_grad():
        maps = backbone(image)
        deepest = lite0_network()((image - 0.5) / 0.5)
    assert [64 // m.shape[-1] for m in maps] == list(STRIDES)
    torch.testing.assert_close(maps[-1], deepest, rtol=1e-4, atol=1e-4)  # sums in another order
    frozen = [name for name, p in backbone.named_parameters() if not p.requires_grad]
    assert frozen
    assert all(n.startswith(("body.conv_stem", "body.bn1", "body.blocks.0", "body.blocks.1")) for n in frozen)
    assert not any(m.training for m in backbone.modules() if isinstance(m, torch.nn.BatchNorm2d))


def test_any_size_is_resized_inside(lively):
    image, mask, _ = pairs(1, 50, 75)
    with torch.no_grad():
        affine = lively(image, mask).affine
    assert affine.shape == (1, 12, 16, 16)  # 50 and 75 are both nearest to 64


def test_content_of_any_encoder_serves_as_long_as_both_sides_share_it(lively):
    image, mask, _ = pairs(1)
    with torch.no_grad():
        lively(image, mask, contents(1, 7), references(1, 1, dim=7))
    with pytest.raises(ValueError, match=r"12 numbers per patch, the references' 7"):
        lively(image, mask, contents(1), references(1, 1, dim=7))


def test_gated_references_are_not_the_networks_to_read():
    network = small("raiha-plus", references="gated").eval()
    assert network.from_references is None
    assert network.config.requirements.max_references == 0
    image, mask, _ = pairs(2)
    with pytest.raises(ValueError, match=r"2 references per composite.*built for none"):
        network(image, mask, contents(2), references(2, 2))


def test_the_pull_towards_good_matches_learns():
    # Two references of unlike match: the parameter that weighs their quality has a gradient.
    network = fill(small("raiha-plus")).train()
    image, mask, _ = pairs(1)
    network(image, mask, contents(1), references(1, 2)).lab.shift.square().sum().backward()
    assert network.from_references.attention.quality.grad.abs() > 0


def test_a_way_to_read_references_that_nobody_knows_is_named():
    with pytest.raises(ValueError, match="references must be 'learned' or 'gated', got 'guessed'"):
        small("raiha-plus", references="guessed")


def test_small_changes_are_left_out_and_large_ones_kept():
    image, mask, _ = pairs(1)
    still = torch.zeros(1, 3)

    def share(lightness: float) -> float:
        shift = torch.tensor([[lightness, 0.0, 0.0]])
        return float(
            wiener_gain(
                LabTransfer(centre=still, scale=still + 1, shift=shift), image, mask, torch.tensor(15.0)
            )
        )

    per_unit = LEVELS_PER_LAB[0] ** 0.5
    assert share(15 / per_unit) == pytest.approx(0.5)
    assert share(0.0) == 0
    assert share(60 / per_unit) == pytest.approx(16 / 17)
    variance = measure(srgb_to_lab(image), mask).variance[0, 0]
    contrast = LabTransfer(centre=still, scale=torch.tensor([[1.5, 1.0, 1.0]]), shift=still)
    size = 0.25 * float(variance) * LEVELS_PER_LAB[0]
    assert float(wiener_gain(contrast, image, mask, torch.tensor(15.0))) == pytest.approx(size / (size + 225))


def test_shrinkage_shrinks_the_answer_and_none_leaves_its_bits():
    bold = fill(small("raiha-plus")).eval()
    shy = small("raiha-plus", shrinkage=15.0).eval()
    shy.load_state_dict(bold.state_dict())
    image, mask, _ = pairs(2)
    with torch.no_grad():
        first, second = bold(image, mask), shy(image, mask)
        share = wiener_gain(first.lab, image, mask, torch.tensor(15.0))
    torch.testing.assert_close(second.lab.shift, first.lab.shift * share)
    torch.testing.assert_close(second.lab.scale - 1, (first.lab.scale - 1) * share, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(second.affine, first.affine * share[..., None, None])
    with pytest.raises(ValueError, match="shrinkage must not be negative, got -1"):
        small("raiha-plus", shrinkage=-1)


def test_learned_shrinkage_starts_as_the_usual_one_and_is_learned_per_picture():
    shy = fill(small("raiha-plus", shrinkage=15.0)).eval()
    doubtful = small("raiha-plus", shrinkage=15.0, learned_shrinkage=True).eval()
    doubtful.load_state_dict(shy.state_dict(), strict=False)
    image, mask, _ = pairs(2)
    with torch.no_grad():
        first, second = shy(image, mask), doubtful(image, mask)
        assert torch.equal(first.lab.shift, second.lab.shift)
        doubtful.learned_shrinkage.bias.fill_(100.0)
        timid = doubtful(image, mask)
        doubtful.learned_shrinkage.bias.fill_(-100.0)
        bold = doubtful(image, mask)
        own = small("raiha-plus").eval()
        own.load_state_dict(shy.state_dict())
        free = own(image, mask)
    # bounded: the most and the least are e^2 times the usual
    for found, levels in ((timid, 15 * np.exp(2)), (bold, 15 * np.exp(-2))):
        share = wiener_gain(free.lab, image, mask, torch.tensor(levels, dtype=torch.float32))
        torch.testing.assert_close(found.lab.shift, free.lab.shift * share)
    doubtful.train()
    doubtful.zero_grad()
    doubtful.learned_shrinkage.bias.data.zero_()
    doubtful(image, mask).lab.shift.square().sum().backward()
    assert doubtful.learned_shrinkage.weight.grad.abs().max() > 0
    with pytest.raises(ValueError, match="learned_shrinkage is a factor of shrinkage, which is 0"):
        small("raiha-plus", learned_shrinkage=True)


def test_detail_begins_as_nothing_and_is_learned():
    plain = fill(small("raiha-plus")).eval()
    fine = small("raiha-plus", detail=True).eval()
    missing = fine.load_state_dict(plain.state_dict(), strict=False).missing_keys
    assert missing
    assert all(name.startswith("detail.") for name in missing)
    image, mask, _ = pairs(2)
    with torch.no_grad():
        assert torch.equal(plain(image, mask).lab.shift, fine(image, mask).lab.shift)
    fine.train()
    fine(image, mask).lab.shift.square().sum().backward()
    assert fine.detail.out.weight.grad.abs().max() > 0


def test_detail_tells_what_is_beside_the_object_from_what_is_far_away():
    fine = fill(small("raiha-plus", detail=True)).eval()
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., 12:20, 12:20] = 1
    channels = fine.backbone.channels
    near, far = ([torch.zeros(1, c, 16, 16) for c in channels] for _ in range(2))
    for level in near:
        level[..., 5, 7] = 1.0  # a cell above the object
    for level in far:
        level[..., 0, 0] = 1.0
    with torch.no_grad():
        nothing = fine.detail([torch.zeros_like(level) for level in near], mask)
        beside, away = (fine.detail(levels, mask) - nothing for levels in (near, far))
        mirrored = fine.detail([level.flip(-1) for level in near], mask) - nothing
    assert not torch.allclose(beside, away, rtol=0.1)
    torch.testing.assert_close(beside, mirrored)
