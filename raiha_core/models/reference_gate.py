"""How far references are believed: a gate of 95 weights, fitted where the true colours are known.

It reads what was measured (`reference_measurement`) and says, for lightness, colour and contrast apart, how
much of the way from an answer to what the references show is gone.
Source: this project; fitted by `train/fit_reference_gate.py`. Shapes: B composites, K references of each.
"""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from ..features.spec import FeatureSpec
from ..masked_statistics import RegionStatistics, deviation_ratio
from .blocks import zero_initialise
from .reference_measurement import (
    LIGHT,
    LIGHT_PAIRS,
    LIGHT_SPREAD,
    NUMBERS,
    PAIRS,
    PLACE,
    QUALITY,
    SPREAD,
    ReferenceMeasurement,
)
from .statistics import StatisticsConfig

GROUPS = ((0,), (1, 2), (3, 4, 5))  # weighed apart: lightness, colour, the three deviations
STARTING_BELIEF = -2.0  # of a logit
ODDEST = 4.0  # standard deviations: an odd reference is no odder than this
SURE = 8.0  # of a logit, at most
LIGHT_LIMIT = 15.0  # Lab units
_OF_GROUP = [g for g, members in enumerate(GROUPS) for _ in members]


@dataclass(frozen=True, slots=True)
class Weighed:
    """What the references of each composite show together, and how far they are believed."""

    total: Tensor  # (B, 3) 0..1: the share of the way for lightness, colour, contrast; 0 without references
    parts: Tensor  # (B, K, 3) of it, summing to 1, or to 0 without references
    shift: Tensor  # (B, 3) Lab: from the object as it was pasted to what they show, in the composite's light
    scale: Tensor  # (B, 3): the same of the deviations

    @property
    def way(self) -> Tensor:
        """The share of the way for the three means and the three deviations: (B, 6)."""
        return self.total[:, _OF_GROUP]

    def to(self, device: torch.device) -> "Weighed":
        return Weighed(*(x.to(device) for x in (self.total, self.parts, self.shift, self.scale)))

    @property
    def beliefs(self) -> Tensor:
        """How far each reference was followed: (B, K, 3), summing to `total`."""
        return self.total[:, None] * self.parts


class ReferenceGate(nn.Module):
    """Turns measurements into belief."""

    centre: Tensor
    spread: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(NUMBERS))
        self.register_buffer("spread", torch.ones(NUMBERS))
        self.to_belief = nn.Linear(NUMBERS, len(GROUPS))
        self.light_share = nn.Parameter(
            torch.full((2,), 0.5)
        )  # of the light's difference, for L and for a, b
        zero_initialise(self.to_belief)
        nn.init.constant_(cast("Tensor", self.to_belief.bias), STARTING_BELIEF)

    def normal(self, numbers: Tensor) -> Tensor:
        """(..., NUMBERS) -> the same in standard deviations of what the gate was fitted on."""
        return ((numbers - self.centre) / self.spread).clamp(-ODDEST, ODDEST)

    def forward(self, measurement: ReferenceMeasurement, present: Tensor, found: RegionStatistics) -> Weighed:
        """Evidence to belief.

        Args: measurement: of B objects, (B, K, ...); present (B, K) bool; found: Lab of the objects as they
            were pasted.
        """
        logits = self.to_belief(self.normal(measurement.numbers)).clamp(-SURE, SURE)  # (B, K, 3)
        logits = logits.masked_fill(~present[..., None], -torch.inf)
        # the best reference decides how far; several that are poor are no good one
        total = logits.amax(1).sigmoid()
        parts = torch.nan_to_num(logits.softmax(1))  # no reference at all: 0 / 0
        by_channel = parts[..., _OF_GROUP]
        light = torch.stack((self.light_share[0], self.light_share[1], self.light_share[1]))
        turned = (light * measurement.light).clamp(-LIGHT_LIMIT, LIGHT_LIMIT)
        shift = (by_channel[..., :3] * (measurement.difference - turned)).sum(1)
        variance = (by_channel[..., 3:] * measurement.deviation).sum(1).square()
        usual = StatisticsConfig()
        scale = deviation_ratio(variance, found.variance, usual.variance_floor).clamp(*usual.ratio)
        return Weighed(total, parts, shift, scale)


@dataclass(frozen=True, slots=True)
class FittedGate:
    """A gate with the feature space whose matches it was fitted on."""

    gate: ReferenceGate
    spec: FeatureSpec


_REASONS = (  # numbers of one kind, and what it means that they speak against a reference
    ((QUALITY, PAIRS), "few of its patches match the object well"),
    ((SPREAD,), "its matched patches differ from the object in different ways"),
    ((LIGHT_PAIRS,), "its background does not tell its light well enough"),
    ((LIGHT,), "its light differs"),
    ((LIGHT_SPREAD,), "its background differs in different ways, so its light is unclear"),
    ((PLACE,), "the object is not clearly found in it"),
)
USUAL = "references like it were seldom right"


@torch.no_grad()
def reason_against(gate: ReferenceGate, numbers: Tensor) -> str:
    """What speaks most against a reference (NUMBERS,), in plain words.

    The gate adds up the numbers, so each kind of them lowers or raises the belief by a part; the one that
    lowers it most names the reason. Where no kind lowers the belief below that of the average reference, the
    average is low itself.
    """
    pull = (gate.to_belief.weight * gate.normal(numbers)).mean(0)  # (NUMBERS,), of the three logits
    parts = [(float(sum(pull[kind].sum() for kind in kinds)), words) for kinds, words in _REASONS]
    least, words = min(parts)
    return words if least < -0.5 else USUAL
