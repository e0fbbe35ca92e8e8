"""What the backgrounds of a reference and a composite say of their lights, and how much they could have told.

Each clear patch of the composite's background is paired with the reference's patch most like it. Of one
stuff under one light the two have one colour; but so have two dark patches in any light, and any two patches
of pictures that are one colour all over. A pair therefore tells c^2 * min(L, L') / 100 * (1 - exp(-s / 400)):
c is its content cosine, L and L' its lightness, s the mean squared distance in Lab from the composite's patch
to *all* patches of the reference, the agreement that there would have been by chance. Dark or flat pictures
tell nothing, and however alike they are, that proves nothing.
Source: this project. Shapes: m pairs, P patches.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .reference_observation import CONTENT, PHOTO, QUERY, Observation

CHANCE = 400.0  # squared Lab units, of s
AGREED = 200.0  # squared Lab units between the patches of a pair: further apart, they hardly agree
KNOWN = 1.0  # what pairs must tell together to count as much as knowing nothing
_FLOOR = 20.0


@dataclass(frozen=True, slots=True)
class LightEvidence:
    """Of one reference beside one composite; zeros where there is no pair."""

    # (5,): what is told (logarithm), agreement around 0, gain on chance (logarithm), cosines: mean, best
    numbers: Tensor
    difference: Tensor  # (3,) Lab: reference minus composite, the less is told the nearer to 0
    spread: Tensor  # (3,) Lab: deviation of the pairs' differences


def light_evidence(seen: Observation) -> LightEvidence:
    """What the pairs of the background tell."""
    pairs = seen.background_pairs
    if not len(pairs):
        return LightEvidence(torch.zeros(5), torch.zeros(3), torch.zeros(3))
    cosine = pairs[:, CONTENT]
    here = seen.here[pairs[:, QUERY].long(), :3]
    there = seen.there[pairs[:, PHOTO].long(), :3]
    difference = there - here
    apart = difference.square().sum(1)
    by_chance = torch.cdist(here, seen.there[:, :3]).square().mean(1)
    brightness = torch.minimum(here[:, 0], there[:, 0]).clamp_min(0) / 100
    telling = cosine.clamp_min(0).square() * brightness * (1 - torch.exp(-by_chance / CHANCE))
    told = float(telling.sum())
    agreed = float((telling * torch.exp(-apart / AGREED)).sum())
    chance, matched = (float((telling * distance).sum()) + _FLOOR for distance in (by_chance, apart))
    share = (telling / (telling.sum() + 1e-6))[:, None]
    mean = (share * difference).sum(0)
    numbers = [
        math.log1p(told),
        (agreed + KNOWN / 2) / (told + KNOWN) - 0.5,
        math.log(chance / matched),
        float(cosine.mean()),
        float(cosine.max()),
    ]
    spread = (share * (difference - mean).square()).sum(0).sqrt()
    return LightEvidence(torch.tensor(numbers), mean * (told / (told + KNOWN)), spread)
