"""The gate of references: evidence to belief by its formula, the reasons it gives, and how it is fitted."""

import numpy as np
import pytest
import torch

from raiha_core import checkpoint
from raiha_core.masked_statistics import RegionStatistics
from raiha_core.models.following import towards
from raiha_core.models.reference_gate import (
    APART,
    COMMON_ERROR,
    EVIDENCE,
    FURTHEST,
    LEAST_BELIEF,
    ODDEST,
    USUAL,
    ReferenceGate,
    reason_against,
)
from raiha_core.models.reference_measurement import (
    ALIKE,
    LIGHT,
    NUMBERS,
    PLACE,
    ReferenceMeasurement,
    stack,
)
from raiha_core.models.statistics import LEVELS_PER_LAB, StatisticsConfig
from raiha_core.render import LabTransfer
from raiha_train.weights.fit_reference_gate import write_gated
from raiha_train.weights.gate_cases import Cases, error
from raiha_train.weights.gate_fit import fit_gate, gain_table
from tests.network_cases import SPEC, fill, small


def at_random(count: int, seed: int) -> ReferenceMeasurement:
    draws = torch.Generator().manual_seed(seed)
    parts = [torch.randn(count, width, generator=draws) for width in (NUMBERS, 3, 3, 3)]
    return ReferenceMeasurement(parts[0], 5 * parts[1], 3 * parts[2], 4 + parts[3].abs())


def evidence_by_hand(whole, found, alone, b: int, count: int, usual: float) -> np.ndarray:
    """What a gate reads of one composite's references, whose light's shares are 0.7 and 0.2."""
    levels = np.sqrt(np.array(LEVELS_PER_LAB))
    variance, rows = found.variance[b].double().numpy(), []
    for k in range(count):
        light = np.clip(np.array([0.7, 0.2, 0.2]) * whole.light[b, k].double().numpy(), -15, 15)
        shift = whole.difference[b, k].double().numpy() - light
        ratio = np.sqrt((whole.deviation[b, k].double().numpy() ** 2 + 2) / (variance + 2))
        means = (shift - alone.shift[b].double().numpy()) * levels
        spread = (np.clip(ratio, 0.5, 2) - alone.scale[b].double().numpy()) * np.sqrt(variance + 2) * levels
        apart = [abs(means[0]), np.linalg.norm(means[1:]), np.linalg.norm(spread)]
        erring = np.log(usual / COMMON_ERROR)
        numbers = whole.numbers[b, k].double().numpy()
        rows.append([*numbers, erring, *np.minimum(np.array(apart) / usual, FURTHEST)])
    return np.array(rows)


def test_belief_and_proposal_are_their_formula():
    torch.manual_seed(3)
    gate = ReferenceGate()
    with torch.no_grad():
        gate.to_belief.weight.normal_(std=0.7)
        gate.light_share.copy_(torch.tensor([0.7, 0.2]))
        gate.centre.normal_()
        gate.spread.uniform_(0.5, 2)
    whole, present = stack([at_random(3, 1), at_random(1, 2)], 3)
    found = RegionStatistics(
        torch.randn(2, 3) * 10 + 50, torch.tensor([[1.0, 20, 400], [9, 30, 12]]), torch.ones(2)
    )
    alone = LabTransfer(centre=found.mean, scale=1 + 0.2 * torch.rand(2, 3), shift=torch.randn(2, 3))
    with torch.no_grad():
        weighed = gate(whole, present, found, alone, torch.tensor([9.0, 30.0]))
        lab = towards(alone, weighed)
    weight, bias, centre, spread = (
        t.detach().double().numpy()
        for t in (gate.to_belief.weight, gate.to_belief.bias, gate.centre, gate.spread)
    )
    clamped = 0
    for b, count in enumerate((3, 1)):
        numbers = evidence_by_hand(whole, found, alone, b, count, (9.0, 30.0)[b])
        logits = np.clip((numbers - centre) / spread, -ODDEST, ODDEST) @ weight.T + bias
        logits = np.clip(logits, -8, 8)
        total = np.clip((1 / (1 + np.exp(-logits.max(0))) - LEAST_BELIEF) / (1 - LEAST_BELIEF), 0, None)
        parts = np.exp(logits) / np.exp(logits).sum(0)
        np.testing.assert_allclose(weighed.beliefs[b, :count], total * parts, rtol=1e-4)
        assert (weighed.beliefs[b, count:] == 0).all()
        wanted = total[[0, 1, 1, 2, 2, 2]]
        np.testing.assert_allclose(weighed.way[b], wanted, rtol=1e-4)
        light = np.array([0.7, 0.2, 0.2]) * whole.light[b, :count].double().numpy()
        moved = whole.difference[b, :count].numpy() - np.clip(light, -15, 15)
        shift = (parts[:, [0, 1, 1]] * moved).sum(0)
        old = alone.shift[b].numpy()
        np.testing.assert_allclose(lab.shift[b], old + wanted[:3] * (shift - old), rtol=1e-3, atol=1e-4)
        deviation = (parts[:, [2]] * whole.deviation[b, :count].numpy()).sum(0)
        ratio = np.sqrt((deviation**2 + 2.0) / (found.variance[b].numpy() + 2.0))
        clamped += int(((ratio < 0.5) | (ratio > 2)).sum())
        old = alone.scale[b].numpy()
        stretch = old + wanted[3:] * (np.clip(ratio, 0.5, 2) - old)
        np.testing.assert_allclose(lab.scale[b], stretch, rtol=1e-4)
    assert 0 < clamped < 6  # the limits were met, and not by all


def test_poor_references_do_not_add_up_to_a_good_one():
    one, gate = at_random(1, 4), ReferenceGate()
    four = ReferenceMeasurement(*(part.expand(4, -1) for part in one.parts))
    found = RegionStatistics(torch.zeros(1, 3), torch.ones(1, 3), torch.ones(1))
    still = LabTransfer(centre=torch.zeros(1, 3), scale=torch.ones(1, 3), shift=torch.zeros(1, 3))
    about = (found, still, torch.tensor([16.0]))
    first, second = (gate(*stack([some], 4), *about) for some in (one, four))
    torch.testing.assert_close(first.total, second.total)
    torch.testing.assert_close(second.beliefs.sum(1), second.total)
    torch.testing.assert_close(second.beliefs[0], (first.total / 4).expand(4, 3))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (ALIKE, "few of its patches match"),
        (LIGHT, "its light differs"),
        (PLACE, "not clearly found"),
        (APART, "further from the harmonizer's answer"),
    ],
)
def test_the_reason_is_the_kind_of_number_that_speaks_most_against_it(kind, words):
    gate, numbers = ReferenceGate(), torch.zeros(EVIDENCE)
    with torch.no_grad():
        gate.to_belief.weight.fill_(1.0)
    assert reason_against(gate, numbers) == USUAL  # an average reference: the bias alone is low
    numbers[kind] = -1.0
    numbers[9] = 2.0
    assert words in reason_against(gate, numbers)


# ---- fitting


class Toy(Cases):
    """Objects whose honest reference (its first number says so) knows the truth, and a liar does not."""

    def __init__(self, seed: int, count: int = 2000) -> None:
        draws = torch.Generator().manual_seed(seed)

        def noise(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, generator=draws)

        self.kinds = ["by both" if i % 2 else "by content" for i in range(count)]
        self.objects = torch.arange(count)
        honest = torch.tensor([i % 2 for i in range(count)]).float()[:, None]
        self.floor = StatisticsConfig().variance_floor
        self.truth = torch.cat((50 + 10 * noise(count, 3), 8 + noise(count, 3)), 1)
        pasted = self.truth + torch.cat((8 * noise(count, 3), noise(count, 3)), 1)
        self.mean, self.variance = pasted[:, :3], pasted[:, 3:].square()
        look = self.truth + torch.cat((4 * noise(count, 3), 2 * noise(count, 3)), 1)
        self.shift = look[:, :3] - self.mean
        self.scale = look[:, 3:] / (self.variance + self.floor).sqrt()
        said = self.truth + (1 - honest) * 15 * noise(count, 6)
        numbers = noise(count, 1, NUMBERS)
        numbers[:, 0, 0] = honest[:, 0]
        difference = (said[:, :3] - self.mean)[:, None]
        deviation = (said[:, None, 3:].square() - self.floor).clamp_min(0).sqrt()
        self.measured = ReferenceMeasurement(numbers, difference, torch.zeros(count, 1, 3), deviation)
        self.present = torch.ones(count, 1, dtype=torch.bool)
        self.usual_error = 16.0


def test_fitting_learns_whom_to_believe():
    gate = fit_gate([Toy(0)], 16.0, seed=0)
    assert float(gate.usual_error) == 16
    other = Toy(1)
    rows = torch.arange(len(other.kinds))
    with torch.no_grad():
        way = (other.gated(gate, rows) - other.alone).norm(dim=1) / (other.truth - other.alone).norm(dim=1)
    honest = torch.tensor([kind == "by both" for kind in other.kinds])
    assert way[honest].mean() > 0.8
    assert way[~honest].mean() < 0.2
    page = gain_table(gate, other)
    gains = {row.split("|")[1].strip(): float(row.split("|")[3]) for row in page.splitlines()[2:]}
    assert gains["by both"] > 1
    assert gains["by content"] > -0.1


def test_mixing_with_the_truth_leaves_that_share_of_the_error():
    toy = Toy(0, 10)
    half = toy.mixed(0.5)
    torch.testing.assert_close(half.alone - half.truth, (toy.alone - toy.truth) / 2, atol=1e-4, rtol=1e-4)
    wanted = float(error(half.alone, half.truth).sqrt().mean())
    assert half.usual_error == pytest.approx(wanted, rel=1e-4)
    assert toy.usual_error == 16.0


def test_errors_on_photos_that_the_network_saw_are_made_as_large_as_on_the_others():
    toy = Toy(0, 200)
    held = torch.arange(200) < 100
    toy = toy.mixed(0.3)
    toy.scale[:100], toy.shift[:100] = Toy(0, 200).scale[:100], Toy(0, 200).shift[:100]
    size = error(toy.alone, toy.truth).sqrt()
    same = toy.with_errors_as_on(held)
    factor = float(size[:100].mean() / size[100:].mean())
    assert factor > 1.5
    before, after = toy.alone - toy.truth, same.alone - same.truth
    torch.testing.assert_close(after[:100], before[:100], atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(after[100:], factor * before[100:], atol=1e-3, rtol=1e-3)
    assert toy.with_errors_as_on(torch.ones(200)) is toy


def test_the_file_that_is_written_asks_the_gate_and_keeps_the_networks_weights(tmp_path):
    network = fill(small("raiha-plus", references="gated")).eval()
    about = checkpoint.describe(network, "raiha-plus", data="toys")
    checkpoint.save(tmp_path / "before.safetensors", network, about)
    loaded = checkpoint.load(tmp_path / "before.safetensors")
    gate = ReferenceGate()
    with torch.no_grad():
        gate.to_belief.bias.fill_(1.25)
    write_gated(tmp_path / "after.safetensors", loaded, gate, "toys, 3 objects", SPEC)
    after = checkpoint.load(tmp_path / "after.safetensors")
    assert after.config == loaded.config
    assert after.gate.spec == SPEC
    assert after.metadata.data == "toys"
    assert after.metadata.notes["reference gate"] == "toys, 3 objects"
    state = after.network.state_dict()
    assert after.gate.gate.to_belief.bias.tolist() == [1.25] * 3
    for name, value in network.state_dict().items():
        assert torch.equal(state[name], value)
