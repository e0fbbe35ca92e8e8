"""The gate of references: what it measures, how it weighs it, and what leaves a network's answer alone."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from raiha_core import checkpoint
from raiha_core.color import srgb_to_lab
from raiha_core.features.references import Match, Reference
from raiha_core.harmonizer import NetworkHarmonizer
from raiha_core.models import reference_gate as gating
from raiha_core.models.matched_colours import LIGHT_LIMIT
from raiha_core.models.reference_gate import LARGEST, NUMBERS, ReferenceGate, stack
from raiha_core.models.statistics import Statistics, StatisticsConfig
from raiha_core.pipeline import harmonize
from raiha_core.regions import RegionStatistics
from raiha_core.render import LabTransfer, Prediction
from raiha_train.weights import fit_reference_gate as fit_judge
from tests.network_cases import fill, pairs, references, small
from tests.statistics_cases import (
    GREEN,
    GREY,
    GRID,
    RED,
    box,
    lab_colour,
    lab_mean,
    match,
    painted,
    reference,
)


def mean_of(image: torch.Tensor) -> torch.Tensor:
    return srgb_to_lab(image).mean((2, 3))[0]


def trusting(bias: float = 8.0) -> ReferenceGate:
    """A gate that believes everybody alike, and takes the light's difference whole."""
    gate = ReferenceGate()
    with torch.no_grad():
        gate.to_belief.bias.fill_(bias)
        gate.light_share.fill_(1.0)
    return gate


def trust(bias: float = 8.0) -> float:
    return 1 / (1 + math.exp(-bias))


def still(count: int = 1) -> Prediction:
    zero = torch.zeros(count, 3)
    return Prediction(lab=LabTransfer(centre=zero, scale=zero + 1, shift=zero))


def measured_at_random(count: int, seed: int) -> gating.ReferenceMeasurement:
    draws = torch.Generator().manual_seed(seed)
    parts = [torch.randn(count, width, generator=draws) for width in (NUMBERS, 3, 3, 3)]
    return gating.ReferenceMeasurement(parts[0], 5 * parts[1], 3 * parts[2], 4 + parts[3].abs())


# ---- what it hears


def test_pairs_of_patches_say_how_the_object_and_the_light_differ():
    mask = box((64, 64), (0.25, 0.75))  # patches 5, 6, 9, 10 of 4 x 4
    image = painted(mask, lab_colour(40, 10, 0), lab_colour(60))
    photo = lab_colour(70).expand(1, 3, 64, 64).clone()
    photo[..., :32, :] = lab_colour(55, 20, 5)  # its upper half shows the object
    shown = reference(photo, 0.6, (match(5, 0, 0.9), match(6, 1, 0.7)), (match(0, 12, 0.8),))
    measured = gating.measure_references([shown], image, mean_of(image), 0.25, 64)
    torch.testing.assert_close(measured.difference, torch.tensor([[15.0, 10.0, 5.0]]), atol=0.05, rtol=0)
    torch.testing.assert_close(measured.light, torch.tensor([[10.0, 0.0, 0.0]]), atol=0.05, rtol=0)
    numbers = measured.numbers[0].tolist()
    assert len(numbers) == NUMBERS
    assert numbers[0] == pytest.approx(0.6)
    assert numbers[1:7] == pytest.approx([math.log(3), math.log(3), 0.8, 0.9, 0.95, 0.95])
    assert numbers[7:10] == pytest.approx([0, 0, 0], abs=0.01)  # both pairs say the same
    assert numbers[10:17] == pytest.approx([1, math.log(2), math.log(2), 0.8, 0.8, 0.95, 0.95])
    assert numbers[17:20] == pytest.approx([1, 0, 0], abs=0.01)
    assert measured.deviation.abs().max() < 0.1  # a flat colour


def test_pairs_that_disagree_have_a_spread_and_surer_ones_weigh_more():
    image = painted(box((64, 64)), GREY, GREY)
    photo = lab_colour(60).expand(1, 3, 64, 64).clone()
    photo[..., :16, :16] = lab_colour(80)
    measured = gating.measure_references(
        [reference(photo, 1.0, (match(5, 0, 0.9), match(6, 15, 0.3)))], image, mean_of(image), 0.25, 64
    )
    mean = 20 * 0.9 / 1.2
    spread = math.sqrt(0.75 * (20 - mean) ** 2 + 0.25 * mean**2)
    assert float(measured.difference[0, 0]) == pytest.approx(mean, abs=0.05)
    assert float(measured.numbers[0, 7]) == pytest.approx(spread / 10, abs=0.01)
    assert measured.numbers[0, 10:].abs().max() == 0  # nothing is known of the light


def test_who_has_no_weight_or_no_like_patch_is_not_heard():
    image = painted(box(), RED, GREY)
    picture = GREEN.expand(1, 3, 32, 32)
    mute = [reference(picture, 0.0, (match(5, 0),)), reference(picture, 1.0)]
    assert len(gating.measure_references(mute, image, mean_of(image), 0.25, 64)) == 0
    with pytest.raises(ValueError, match=r"'photo' must lie in 0..1, got 1.5"):
        gating.measure_references([reference(picture, 1.5, (match(5, 0),))], image, mean_of(image), 0.25, 64)
    gridless = Reference(id="odd", image=picture, content_matches=(match(5, 0),))
    with pytest.raises(ValueError, match="'odd' has matched patches but no features"):
        gating.measure_references([gridless], image, mean_of(image), 0.25, 64)


# ---- how it weighs


def test_the_verdict_is_its_formula():
    torch.manual_seed(3)
    gate = ReferenceGate()
    with torch.no_grad():
        gate.to_belief.weight.normal_(std=0.7)
        gate.light_share.copy_(torch.tensor([0.7, 0.2]))
        gate.centre.normal_()
        gate.spread.uniform_(0.5, 2)
    whole, present = stack([measured_at_random(3, 1), measured_at_random(1, 2)], 3)
    found = RegionStatistics(torch.randn(2, 3) * 10 + 50, 12 + torch.rand(2, 3) * 20, torch.ones(2))
    alone = LabTransfer(centre=found.mean, scale=1 + 0.2 * torch.rand(2, 3), shift=torch.randn(2, 3))
    config = StatisticsConfig(variance_floor=1.5, ratio=(0.9, 1.3))
    with torch.no_grad():
        lab, share = gate(whole, present, found, alone, config)
    weight, bias, centre, spread = (
        t.detach().double().numpy()
        for t in (gate.to_belief.weight, gate.to_belief.bias, gate.centre, gate.spread)
    )
    clamped = 0
    for b, count in enumerate((3, 1)):
        numbers = whole.numbers[b, :count].double().numpy()
        logits = np.clip((numbers - centre) / spread, -LARGEST, LARGEST) @ weight.T + bias
        logits = np.clip(logits, -8, 8)
        wanted = (1 / (1 + np.exp(-logits.max(0))))[[0, 1, 1, 2, 2, 2]]
        np.testing.assert_allclose(share[b], wanted, rtol=1e-4)
        voices = np.exp(logits) / np.exp(logits).sum(0)
        light = np.array([0.7, 0.2, 0.2]) * whole.light[b, :count].double().numpy()
        moved = whole.difference[b, :count].numpy() - np.clip(light, -15, 15)
        shift = (voices[:, [0, 1, 1]] * moved).sum(0)
        old = alone.shift[b].numpy()
        np.testing.assert_allclose(lab.shift[b], old + wanted[:3] * (shift - old), rtol=1e-3, atol=1e-4)
        deviation = (voices[:, [2]] * whole.deviation[b, :count].numpy()).sum(0)
        ratio = np.sqrt((deviation**2 + 1.5) / (found.variance[b].numpy() + 1.5))
        clamped += int(((ratio < 0.9) | (ratio > 1.3)).sum())
        old = alone.scale[b].numpy()
        stretch = old + wanted[3:] * (np.clip(ratio, 0.9, 1.3) - old)
        np.testing.assert_allclose(lab.scale[b], stretch, rtol=1e-4)
    assert 0 < clamped < 6  # the limits were met, and not by all


def test_poor_references_do_not_add_up_to_a_good_one():
    one = measured_at_random(1, 4)
    four = gating.ReferenceMeasurement(*(part.expand(4, -1) for part in one.parts))
    zero = torch.zeros(1, 3)
    found = RegionStatistics(zero, zero + 1, torch.ones(1))
    alone = LabTransfer(centre=zero, scale=zero + 1, shift=zero)
    shares = []
    for measured in (one, four):
        whole, present = stack([measured], 4)
        shares.append(trusting(-1.0)(whole, present, found, alone, StatisticsConfig())[1])
    torch.testing.assert_close(shares[0], shares[1])


def test_a_believed_reference_gives_the_object_its_look_in_this_light():
    mask = box((64, 64), (0.25, 0.75))
    image = painted(mask, lab_colour(40, 10, 0), lab_colour(60), 0.01)
    photo = lab_colour(68).expand(1, 3, 64, 64).clone()
    photo[..., :32, :] = lab_colour(55, 20, 5)
    pair = tuple(match(5, cell) for cell in (0, 1, 2, 3, 4, 5, 6, 7))
    rows = [[reference(photo, 0.9, pair, (match(0, 12),))]]
    guided = trusting().guide(still(), image, mask, rows, StatisticsConfig())
    assert guided.lab is not None
    # 15 lighter in a light that is 8 lighter
    torch.testing.assert_close(guided.lab.shift, torch.tensor([[7.0, 10.0, 5.0]]), atol=0.6, rtol=0)
    # the reference is flat and the object noisy: as flat as the limit of ratios lets it
    variance = Statistics(StatisticsConfig()).regions(image, mask)[0].variance
    wanted = (2.0 / (variance + 2.0)).sqrt().clamp_min(0.5)
    torch.testing.assert_close(guided.lab.scale, 1 + trust() * (wanted - 1), atol=0.02, rtol=0)
    assert float(guided.lab.scale.detach().min()) < 0.95


def test_a_networks_map_of_small_things_fades_as_references_are_believed():
    mask = box((64, 64), (0.25, 0.75))
    image = painted(mask, lab_colour(40, 10, 0), lab_colour(60))
    rows = [[reference(lab_colour(70).expand(1, 3, 64, 64), 0.9, (match(5, 0),))]]
    answer = replace(still(), affine=torch.ones(1, 12, 4, 4))
    for bias in (8.0, 0.0):
        guided = trusting(bias).guide(answer, image, mask, rows, StatisticsConfig())
        assert guided.affine is not None
        torch.testing.assert_close(guided.affine, answer.affine * (1 - trust(bias)))


def test_a_difference_of_light_is_believed_up_to_a_limit():
    mask = box((64, 64), (0.25, 0.75))
    image = painted(mask, lab_colour(40), lab_colour(20))
    rows = [[reference(lab_colour(80).expand(1, 3, 64, 64), 0.9, (match(5, 0),), (match(0, 12),))]]
    guided = trusting().guide(still(), image, mask, rows, StatisticsConfig())
    assert guided.lab is not None
    assert float(guided.lab.shift[0, 0].detach()) == pytest.approx(40 - LIGHT_LIMIT, abs=0.1)


# ---- what leaves an answer alone


@pytest.fixture(scope="module")
def gated():
    network = fill(small("raiha-plus", references="gated")).eval()
    return NetworkHarmonizer(
        "gated",
        checkpoint.LoadedCheckpoint(
            network=network,
            preset="raiha-plus",
            config=network.config,
            metadata=checkpoint.describe(network, "raiha-plus"),
            spec=None,
        ),
    )


def test_without_a_voice_the_networks_own_bits_come_out(gated):
    image, mask, _ = pairs(2)
    alone = harmonize(image, mask, [[], []], gated)
    picture = GREEN.expand(1, 3, 32, 32)
    mute = [[reference(picture, 0.0, (match(5, 0),))], [reference(picture, 1.0)]]
    assert torch.equal(harmonize(image, mask, mute, gated), alone)
    measured = [[reference(picture, 0.9, (match(5, 0),))], []]
    moved = harmonize(image, mask, measured, gated)
    assert (moved[0] - alone[0]).abs().max() > 0.01
    assert torch.equal(moved[1], alone[1])


def test_a_mask_without_background_follows_its_references_as_the_statistics_do(gated):
    image, mask = painted(torch.ones(1, 1, 64, 64), RED, RED, 0.02), torch.ones(1, 1, 64, 64)
    rows = [[reference(lab_colour(50, -20, 10).expand(1, 3, 64, 64), 1.0, (match(5, 0),))]]
    new = harmonize(image, mask, rows, gated)
    wanted = Statistics(gated.network.config.statistics).predict(image, mask, rows)
    assert wanted.lab is not None
    prediction = gated.predict(image, mask, rows)
    assert prediction.lab is not None
    torch.testing.assert_close(prediction.lab.shift, wanted.lab.shift)
    torch.testing.assert_close(prediction.lab.scale, wanted.lab.scale)
    assert prediction.affine is not None
    assert prediction.affine.abs().max() == 0  # the network's own map, which has seen no background
    mute = [[reference(GREEN.expand(1, 3, 32, 32), 0.0, (match(5, 0),))]]
    with pytest.raises(ValueError, match=r"images \[0\] cover the whole picture.*references of some weight"):
        gated.predict(image, mask, mute)
    with pytest.raises(ValueError, match="1 rows of references for 2 composites"):
        gated.guide(still(2), image.expand(2, -1, -1, -1), mask.expand(2, -1, -1, -1), rows)
    assert float((lab_mean(new, mask) - srgb_to_lab(image).mean((2, 3))).norm()) > 5


def test_the_network_itself_takes_no_references(gated):
    image, mask, _ = pairs(1)
    with pytest.raises(ValueError, match="weighs its references by the patches that retrieval matched"):
        gated.network(image, mask, None, references(1, 1))


def test_a_gated_file_is_read_back_with_its_gate(gated, tmp_path):
    image, mask, _ = pairs(1)
    rows = [[reference(GREEN.expand(1, 3, 32, 32), 0.9, (match(5, 0),))]]
    path = tmp_path / "gated.safetensors"
    checkpoint.save(path, gated.network, gated.metadata)
    torch.testing.assert_close(
        harmonize(image, mask, rows, path), harmonize(image, mask, rows, gated), rtol=0, atol=1e-6
    )


# ---- fitting


class Toy:
    """Objects whose honest reference (its first number says so) knows the truth, and a liar does not."""

    def __init__(self, seed: int, count: int = 2000) -> None:
        draws = torch.Generator().manual_seed(seed)

        def noise(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, generator=draws)

        self.kinds = ["by both" if i % 2 else "by content" for i in range(count)]
        honest = torch.tensor([i % 2 for i in range(count)]).float()[:, None]
        self.config = StatisticsConfig(ratio=(0.1, 10.0))
        floor = self.config.variance_floor
        self.truth = torch.cat((50 + 10 * noise(count, 3), 8 + noise(count, 3)), 1)
        pasted = self.truth + torch.cat((8 * noise(count, 3), noise(count, 3)), 1)
        self.mean, self.variance = pasted[:, :3], pasted[:, 3:].square()
        look = self.truth + torch.cat((4 * noise(count, 3), 2 * noise(count, 3)), 1)
        self.shift = look[:, :3] - self.mean
        self.scale = look[:, 3:] / (self.variance + floor).sqrt()
        said = self.truth + (1 - honest) * 15 * noise(count, 6)
        numbers = noise(count, 1, NUMBERS)
        numbers[:, 0, 0] = honest[:, 0]
        difference = (said[:, :3] - self.mean)[:, None]
        deviation = (said[:, None, 3:].square() - floor).clamp_min(0).sqrt()
        self.heard = gating.ReferenceMeasurement(numbers, difference, torch.zeros(count, 1, 3), deviation)
        self.present = torch.ones(count, 1, dtype=torch.bool)

    alone = fit_judge.Cases.alone
    inflate = fit_judge.Cases.inflate
    _deviation = fit_judge.Cases._deviation
    judged = fit_judge.Cases.judged


def test_fitting_learns_whom_to_believe():
    gate = ReferenceGate()
    fit_judge.fit_gate(gate, Toy(0), seed=0)
    other = Toy(1)
    rows = torch.arange(len(other.kinds))
    with torch.no_grad():
        way = (other.judged(gate, rows) - other.alone).norm(dim=1) / (other.truth - other.alone).norm(dim=1)
    honest = torch.tensor([kind == "by both" for kind in other.kinds])
    assert way[honest].mean() > 0.8
    assert way[~honest].mean() < 0.2
    page = fit_judge.gain_table(gate, other)
    gains = {row.split("|")[1].strip(): float(row.split("|")[3]) for row in page.splitlines()[2:]}
    assert gains["by both"] > 1
    assert gains["by content"] > -0.1


def test_networks_errors_are_inflated_about_the_truth():
    toy = Toy(0, 10)
    before = toy.alone - toy.truth
    toy.inflate(1.5)
    torch.testing.assert_close(toy.alone - toy.truth, 1.5 * before, atol=1e-4, rtol=1e-4)


def test_the_file_that_is_written_asks_the_gate_and_keeps_the_networks_weights(tmp_path):
    network = fill(small("raiha-plus", references="measured")).eval()
    about = checkpoint.describe(network, "raiha-plus", data="toys")
    checkpoint.save(tmp_path / "before.safetensors", network, about)
    loaded = checkpoint.load(tmp_path / "before.safetensors")
    gate = trusting(1.25)
    fit_judge.write_gated(tmp_path / "after.safetensors", loaded, gate, "toys, 3 objects")
    after = checkpoint.load(tmp_path / "after.safetensors")
    assert after.config == replace(loaded.config, references="gated")
    assert after.metadata.data == "toys"
    assert after.metadata.notes["judge"] == "toys, 3 objects"
    state = after.network.state_dict()
    assert float(state["reference_gate.to_belief.bias"][0]) == 1.25
    for name, value in network.state_dict().items():
        assert torch.equal(state[name], value)


def test_indices_of_matches_lie_on_the_grid():
    last = Match(query_patch=GRID * GRID - 1, photo_patch=GRID * GRID - 1, content=0.9, appearance=1.0)
    image = painted(box((64, 64)), RED, GREY)
    measured = gating.measure_references(
        [reference(GREEN.expand(1, 3, 64, 64), 1.0, (last,))], image, mean_of(image), 0.25, 64
    )
    wanted = srgb_to_lab(GREEN).flatten() - srgb_to_lab(GREY).flatten()
    torch.testing.assert_close(measured.difference[0], wanted, atol=0.2, rtol=0)
