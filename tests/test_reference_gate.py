"""The gate of references: evidence to belief by its formula, the reasons it gives, and how it is fitted."""

import numpy as np
import pytest
import torch

from raiha_core import checkpoint
from raiha_core.masked_statistics import RegionStatistics
from raiha_core.models.following import towards
from raiha_core.models.reference_gate import ODDEST, USUAL, ReferenceGate, reason_against
from raiha_core.models.reference_measurement import (
    LIGHT,
    NUMBERS,
    PAIRS,
    PLACE,
    ReferenceMeasurement,
    stack,
)
from raiha_core.models.statistics import StatisticsConfig
from raiha_core.render import LabTransfer
from raiha_train.weights import fit_reference_gate as fit_reference_gate
from tests.network_cases import SPEC, fill, small


def at_random(count: int, seed: int) -> ReferenceMeasurement:
    draws = torch.Generator().manual_seed(seed)
    parts = [torch.randn(count, width, generator=draws) for width in (NUMBERS, 3, 3, 3)]
    return ReferenceMeasurement(parts[0], 5 * parts[1], 3 * parts[2], 4 + parts[3].abs())


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
        weighed = gate(whole, present, found)
        lab = towards(alone, weighed)
    weight, bias, centre, spread = (
        t.detach().double().numpy()
        for t in (gate.to_belief.weight, gate.to_belief.bias, gate.centre, gate.spread)
    )
    clamped = 0
    for b, count in enumerate((3, 1)):
        numbers = whole.numbers[b, :count].double().numpy()
        logits = np.clip((numbers - centre) / spread, -ODDEST, ODDEST) @ weight.T + bias
        logits = np.clip(logits, -8, 8)
        total = 1 / (1 + np.exp(-logits.max(0)))
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
    first, second = (gate(*stack([some], 4), found) for some in (one, four))
    torch.testing.assert_close(first.total, second.total)
    torch.testing.assert_close(second.beliefs.sum(1), second.total)
    torch.testing.assert_close(second.beliefs[0], (first.total / 4).expand(4, 3))


@pytest.mark.parametrize(
    ("kind", "words"),
    [(PAIRS, "few of its patches match"), (LIGHT, "its light differs"), (PLACE, "not clearly found")],
)
def test_the_reason_is_the_kind_of_number_that_speaks_most_against_it(kind, words):
    gate, numbers = ReferenceGate(), torch.zeros(NUMBERS)
    with torch.no_grad():
        gate.to_belief.weight.fill_(1.0)
    assert reason_against(gate, numbers) == USUAL  # an average reference: the bias alone is low
    numbers[kind] = -1.0
    numbers[0] = 3.0
    assert words in reason_against(gate, numbers)


# ---- fitting


class Toy:
    """Objects whose honest reference (its first number says so) knows the truth, and a liar does not."""

    def __init__(self, seed: int, count: int = 2000) -> None:
        draws = torch.Generator().manual_seed(seed)

        def noise(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, generator=draws)

        self.kinds = ["by both" if i % 2 else "by content" for i in range(count)]
        honest = torch.tensor([i % 2 for i in range(count)]).float()[:, None]
        self.config = StatisticsConfig()
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
        self.measured = ReferenceMeasurement(numbers, difference, torch.zeros(count, 1, 3), deviation)
        self.present = torch.ones(count, 1, dtype=torch.bool)

    alone = fit_reference_gate.Cases.alone
    inflate = fit_reference_gate.Cases.inflate
    _deviation = fit_reference_gate.Cases._deviation
    gated = fit_reference_gate.Cases.gated


def test_fitting_learns_whom_to_believe():
    gate = ReferenceGate()
    fit_reference_gate.fit_gate(gate, Toy(0), seed=0)
    other = Toy(1)
    rows = torch.arange(len(other.kinds))
    with torch.no_grad():
        way = (other.gated(gate, rows) - other.alone).norm(dim=1) / (other.truth - other.alone).norm(dim=1)
    honest = torch.tensor([kind == "by both" for kind in other.kinds])
    assert way[honest].mean() > 0.8
    assert way[~honest].mean() < 0.2
    page = fit_reference_gate.gain_table(gate, other)
    gains = {row.split("|")[1].strip(): float(row.split("|")[3]) for row in page.splitlines()[2:]}
    assert gains["by both"] > 1
    assert gains["by content"] > -0.1


def test_networks_errors_are_inflated_about_the_truth():
    toy = Toy(0, 10)
    before = toy.alone - toy.truth
    toy.inflate(1.5)
    torch.testing.assert_close(toy.alone - toy.truth, 1.5 * before, atol=1e-4, rtol=1e-4)


def test_the_file_that_is_written_asks_the_gate_and_keeps_the_networks_weights(tmp_path):
    network = fill(small("raiha-plus", references="gated")).eval()
    about = checkpoint.describe(network, "raiha-plus", data="toys")
    checkpoint.save(tmp_path / "before.safetensors", network, about)
    loaded = checkpoint.load(tmp_path / "before.safetensors")
    gate = ReferenceGate()
    with torch.no_grad():
        gate.to_belief.bias.fill_(1.25)
    fit_reference_gate.write_gated(tmp_path / "after.safetensors", loaded, gate, "toys, 3 objects", SPEC)
    after = checkpoint.load(tmp_path / "after.safetensors")
    assert after.config == loaded.config
    assert after.gate.spec == SPEC
    assert after.metadata.data == "toys"
    assert after.metadata.notes["reference gate"] == "toys, 3 objects"
    state = after.network.state_dict()
    assert after.gate.gate.to_belief.bias.tolist() == [1.25] * 3
    for name, value in network.state_dict().items():
        assert torch.equal(state[name], value)
