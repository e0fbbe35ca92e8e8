"""data/synthesis.py: outside the object nothing changes, shares are kept, strong changes are scaled back."""

import pytest
import torch

from raiha_train.data.recolour import RetouchConfig
from raiha_train.data.synthesis import (
    FAMILIES,
    Synthesis,
    SynthesisConfig,
    foreground_error,
    limit_change,
)


def g(seed=0):
    return torch.Generator().manual_seed(seed)


def lights():
    matrices = torch.zeros(3, 2, 3, 11)
    matrices[..., :3] = torch.eye(3)
    matrices[:, 1, 0, 0] = torch.tensor([0.8, 1.1, 1.3])
    return matrices


def material(batch=64, size=16):
    truth, donor = torch.rand(2, batch, 3, size, size, generator=g(9)) * 0.8 + 0.1
    mask = torch.zeros(batch, 1, size, size)
    mask[..., 4:12, 4:12] = 1
    mask[..., 3, 4:12] = 0.5  # a soft edge
    return truth, mask, donor, torch.ones_like(mask)


def test_outside_the_mask_the_composite_is_the_truth_bit_for_bit():
    truth, mask, donor, donor_mask = material()
    made, composite, family = Synthesis(SynthesisConfig(), lights()).recolour(
        truth, mask, donor, donor_mask, g()
    )
    outside = (mask == 0).expand_as(truth)
    assert torch.equal(composite[outside], made[outside])
    assert set(family.tolist()) == set(range(len(FAMILIES)))
    graded = family == FAMILIES.index("graded")
    assert torch.equal(made[~graded], truth[~graded])  # every other family takes the photo as the truth
    changed = (composite - made).abs().amax((1, 2, 3))
    assert (changed[family == 0] == 0).all()
    assert (changed[family != 0] > 0).all()
    assert float(composite.min()) >= 0
    assert float(composite.max()) <= 1


def test_the_same_seed_gives_the_same_pairs():
    truth, mask, donor, donor_mask = material(8)
    synthesis = Synthesis(SynthesisConfig(), lights())
    first, second = (synthesis.recolour(truth, mask, donor, donor_mask, g(4))[1] for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, synthesis.recolour(truth, mask, donor, donor_mask, g(5))[1])


def test_families_come_in_their_shares():
    truth, mask, donor, donor_mask = material(600, 4)
    config = SynthesisConfig(untouched=1, retouch=2, illuminant=0, transfer=0, light=1, graded=0)
    mask[:] = 1
    *_, family = Synthesis(config).recolour(truth, mask, donor, donor_mask, g())
    counts = torch.bincount(family, minlength=5).tolist()
    assert counts[2] == counts[3] == 0
    assert counts[1] == pytest.approx(300, abs=45)  # more than three deviations
    assert counts[0] == pytest.approx(150, abs=40)


def test_soft_edges_mix_in_proportion():
    truth, mask, _, _ = material(4)
    changed = (truth * 0.5).clamp(0, 1)
    new = limit_change(truth, changed, mask, 1e9)
    edge = (mask == 0.5).expand_as(truth)
    torch.testing.assert_close(new[edge], 0.75 * truth[edge])


def test_a_change_beyond_the_ceiling_is_scaled_back_to_it():
    truth, mask = torch.full((2, 3, 8, 8), 0.2), torch.zeros(2, 1, 8, 8)
    mask[..., :4] = 1
    changed = truth.clone()
    changed[0] += 0.6  # (255 * 0.6)^2 = 23409
    changed[1] += 0.1  # 650.25: below
    new = limit_change(truth, changed, mask, 7000.0)
    error = foreground_error(new, truth, mask)
    torch.testing.assert_close(error, torch.tensor([7000.0, 650.25]), rtol=1e-4, atol=0)


def test_a_config_that_cannot_work_says_why():
    with pytest.raises(ValueError, match="measured matrices"):
        Synthesis(SynthesisConfig())
    with pytest.raises(ValueError, match="not all zero"):
        SynthesisConfig(untouched=0, retouch=0, illuminant=0, transfer=0, light=0, graded=0)
    with pytest.raises(ValueError, match="ascend"):
        SynthesisConfig(transfer_strength=(0.9, 0.1))
    with pytest.raises(ValueError, match="ceiling"):
        SynthesisConfig(ceiling=0)
    with pytest.raises(ValueError, match="probability"):
        RetouchConfig(probability=1.5)
