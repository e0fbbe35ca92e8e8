"""What backgrounds tell of the light: nothing where they are dark or flat, and by the formula elsewhere."""

import math

import pytest
import torch

from raiha_core.models.light_evidence import AGREED, CHANCE, light_evidence
from raiha_core.models.reference_observation import Observation


def seen(here: torch.Tensor, there: torch.Tensor, cosine: float = 0.8) -> Observation:
    """Patches (P, 3) of the composite, each paired with the reference's of the same number."""
    count = len(here)
    pairs = torch.tensor([[n, n, cosine, 0.9] for n in range(count)])
    spread = torch.zeros(count, 3)
    two = torch.zeros(2, 3)
    return Observation(
        object_pairs=pairs[:1],
        background_pairs=pairs,
        here=torch.cat((here, spread), 1),
        there=torch.cat((there, spread), 1),
        margin=torch.zeros(0),
        place=torch.zeros(4),
        colour=two,
        by_pairs=two,
    )


def bright(seed: int, count: int = 6) -> torch.Tensor:
    draws = torch.Generator().manual_seed(seed)
    return torch.tensor([50.0, 0, 0]) + 20 * torch.randn(count, 3, generator=draws)


def test_the_numbers_are_their_formula():
    here, there = bright(1), bright(2)
    found = light_evidence(seen(here, there))
    telling, matched, agreed, chance, difference = [], 0.0, 0.0, 0.0, [0.0] * 3
    for n, patch in enumerate(here.tolist()):
        other = there.tolist()[n]
        apart = sum((a - b) ** 2 for a, b in zip(patch, other, strict=True))
        means = [sum((a - b) ** 2 for a, b in zip(patch, some, strict=True)) for some in there.tolist()]
        mean = sum(means) / len(means)
        weight = 0.8**2 * max(0, min(patch[0], other[0])) / 100 * (1 - math.exp(-mean / CHANCE))
        telling.append(weight)
        matched += weight * apart
        chance += weight * mean
        agreed += weight * math.exp(-apart / AGREED)
        difference = [d + weight * (b - a) for d, a, b in zip(difference, patch, other, strict=True)]
    told = sum(telling)
    expected = [math.log1p(told), (agreed + 0.5) / (told + 1) - 0.5]
    expected += [math.log((chance + 20) / (matched + 20)), 0.8, 0.8]
    assert found.numbers.tolist() == pytest.approx(expected, abs=1e-4)
    assert found.difference.tolist() == pytest.approx([d / (told + 1) for d in difference], abs=1e-3)


def test_one_stuff_under_one_light_tells_much_and_dark_or_flat_pictures_nothing():
    here = bright(3, 40)
    same = light_evidence(seen(here, here)).numbers
    dark = light_evidence(seen(here * torch.tensor([0.02, 1, 1]), here * torch.tensor([0.02, 1, 1]))).numbers
    flat = light_evidence(seen(here[:1].expand(40, -1), here[:1].expand(40, -1))).numbers
    assert same[1] > 0.35
    assert same[2] > 2
    for nothing in (dark, flat):
        assert abs(float(nothing[1])) < 0.1
        assert float(nothing[0]) < 0.3
    assert abs(float(flat[2])) < 1e-3


def test_without_a_pair_all_is_zero():
    empty = seen(bright(1), bright(2))
    object.__setattr__(empty, "background_pairs", torch.zeros(0, 4))
    found = light_evidence(empty)
    assert not found.numbers.any()
    assert not found.difference.any()
    assert not found.spread.any()
