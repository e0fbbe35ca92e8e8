"""How far references are believed: a gate of 107 weights, fitted where the true colours are known.

It reads what was measured (`reference_measurement`), how much the harmonizer usually errs, and how far from
its answer a reference is; and says, for lightness, colour and contrast apart, how much of the way from the
answer to what the references show is gone. That way is never longer than what is believed of a few usual
errors: an answer that is much further off is rarer than a reference that is wrong.
Source: this project; fitted by `train/fit_reference_gate.py`. Shapes: B composites, K references of each.
"""

import math
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn

from ..features.spec import FeatureSpec
from ..masked_statistics import RegionStatistics, deviation_ratio
from ..render import LabTransfer
from .blocks import zero_initialise
from .reference_measurement import (
    ALIKE,
    LIGHT,
    LIGHT_SPREAD,
    LIGHT_TOLD,
    NUMBERS,
    PATTERN,
    PLACE,
    SPREAD,
    ReferenceMeasurement,
)
from .statistics import LEVELS_PER_LAB, StatisticsConfig

GROUPS = ((0,), (1, 2), (3, 4, 5))  # weighed apart: lightness, colour, the three deviations
# behind the numbers of a measurement: how much the harmonizer errs, and how far from its answer they are
ERRING, APART = slice(NUMBERS, NUMBERS + 1), slice(NUMBERS + 1, NUMBERS + 4)
EVIDENCE = NUMBERS + 4
STARTING_BELIEF = -2.0  # of a logit
LEAST_BELIEF = 0.17  # a smaller belief is none, so that photos of something else leave the answer's own bits
ODDEST = 4.0  # standard deviations: an odd reference is no odder than this
SURE = 8.0  # of a logit, at most
LIGHT_LIMIT = 15.0  # Lab units
FARTHEST_STEP = 3.0  # usual errors
COMMON_ERROR = 16.0  # grey levels: the error of which the logarithm is 0
FURTHEST = 6.0  # usual errors, of a distance: further is no odder
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

    def within(
        self, alone: LabTransfer, found: RegionStatistics, usual_error: Tensor, reach: float = FARTHEST_STEP
    ) -> "Weighed":
        """The same, with what they show no further from an answer than what is believed of `reach` errors.

        A belief of a half goes half of a way that is at most half as long as a sure one may be.

        Args: found: Lab of the objects as they were pasted; usual_error (B,), grey levels.
        """
        levels = usual_error.new_tensor(LEVELS_PER_LAB).sqrt() * math.sqrt(3)
        limit = reach * usual_error[:, None] * self.way / levels.repeat(2)  # (B, 6) Lab
        deviation = (found.variance + StatisticsConfig().variance_floor).sqrt()
        shift = alone.shift + (self.shift - alone.shift).clamp(-limit[:, :3], limit[:, :3])
        stretch = limit[:, 3:] / deviation
        return replace(
            self, shift=shift, scale=alone.scale + (self.scale - alone.scale).clamp(-stretch, stretch)
        )


class ReferenceGate(nn.Module):
    """Turns measurements into belief."""

    centre: Tensor
    spread: Tensor
    usual_error: Tensor  # grey levels, of the network that it was fitted to

    def __init__(self, least: float = LEAST_BELIEF) -> None:
        super().__init__()
        self.least = least
        self.register_buffer("centre", torch.zeros(EVIDENCE))
        self.register_buffer("spread", torch.ones(EVIDENCE))
        self.register_buffer("usual_error", torch.tensor(COMMON_ERROR))
        self.to_belief = nn.Linear(EVIDENCE, len(GROUPS))
        self.light_share = nn.Parameter(
            torch.full((2,), 0.5)
        )  # of the light's difference, for L and for a, b
        zero_initialise(self.to_belief)
        nn.init.constant_(cast("Tensor", self.to_belief.bias), STARTING_BELIEF)

    def normal(self, evidence: Tensor) -> Tensor:
        """(..., EVIDENCE) -> the same in standard deviations of what the gate was fitted on."""
        return ((evidence - self.centre) / self.spread).clamp(-ODDEST, ODDEST)

    def shown(self, measurement: ReferenceMeasurement, found: RegionStatistics) -> tuple[Tensor, Tensor]:
        """Shift and scale to what each reference shows, in the composite's light: (B, K, 3) each."""
        light = torch.stack((self.light_share[0], self.light_share[1], self.light_share[1]))
        turned = (light * measurement.light).clamp(-LIGHT_LIMIT, LIGHT_LIMIT)
        usual = StatisticsConfig()
        variance = found.variance[:, None]
        scale = deviation_ratio(measurement.deviation.square(), variance, usual.variance_floor)
        return measurement.difference - turned, scale.clamp(*usual.ratio)

    def evidence(
        self,
        measurement: ReferenceMeasurement,
        found: RegionStatistics,
        alone: LabTransfer,
        usual_error: Tensor,
    ) -> Tensor:
        """All numbers that speak for or against each reference: (B, K, EVIDENCE)."""
        shift, scale = self.shown(measurement, found)
        levels = shift.new_tensor(LEVELS_PER_LAB).sqrt()
        of_means = (shift - alone.shift[:, None]) * levels
        deviation = (found.variance + StatisticsConfig().variance_floor).sqrt()[:, None]
        of_deviations = (scale - alone.scale[:, None]) * deviation * levels
        apart = torch.stack(
            (of_means[..., 0].abs(), of_means[..., 1:].norm(dim=-1), of_deviations.norm(dim=-1)), -1
        )
        apart = (apart / usual_error[:, None, None]).clamp_max(FURTHEST)
        erring = (usual_error / COMMON_ERROR).log()[:, None, None].expand(-1, shift.shape[1], 1)
        return torch.cat((measurement.numbers, erring, apart), -1)

    def forward(
        self,
        measurement: ReferenceMeasurement,
        present: Tensor,
        found: RegionStatistics,
        alone: LabTransfer,
        usual_error: Tensor,
    ) -> Weighed:
        """Evidence to belief.

        Args: measurement: of B objects, (B, K, ...); present (B, K) bool; found: Lab of the objects as they
            were pasted; alone: the harmonizer's answer; usual_error (B,): of the harmonizer, grey levels.
        """
        evidence = self.evidence(measurement, found, alone, usual_error)
        logits = self.to_belief(self.normal(evidence)).clamp(-SURE, SURE)  # (B, K, 3)
        logits = logits.masked_fill(~present[..., None], -torch.inf)
        # the best reference decides how far; several that are poor are no good one
        total = ((logits.amax(1).sigmoid() - self.least) / (1 - self.least)).clamp_min(0)
        parts = torch.nan_to_num(logits.softmax(1))  # no reference at all: 0 / 0
        by_channel = parts[..., _OF_GROUP]
        shift, _ = self.shown(measurement, found)
        shift = (by_channel[..., :3] * shift).sum(1)
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
    ((ALIKE,), "few of its patches match the object well"),
    ((PATTERN,), "its colours are laid out otherwise than the object's"),
    ((SPREAD,), "its matched patches differ from the object in different ways"),
    ((LIGHT_TOLD,), "its background does not tell its light well enough"),
    ((LIGHT,), "its light differs"),
    ((LIGHT_SPREAD,), "its background differs in different ways, so its light is unclear"),
    ((PLACE,), "the object is not clearly found in it"),
    ((APART,), "it is further from the harmonizer's answer than that is usually wrong"),
)
USUAL = "references like it were seldom right"


@torch.no_grad()
def reason_against(gate: ReferenceGate, evidence: Tensor) -> str:
    """What speaks most against a reference (EVIDENCE,), in plain words.

    The gate adds up the numbers, so each kind of them lowers or raises the belief by a part; the one that
    lowers it most names the reason. Where no kind lowers the belief below that of the average reference, the
    average is low itself.
    """
    pull = (gate.to_belief.weight * gate.normal(evidence)).mean(0)  # (EVIDENCE,), of the three logits
    parts = [(float(sum(pull[kind].sum() for kind in kinds)), words) for kinds, words in _REASONS]
    least, words = min(parts)
    return words if least < -0.5 else USUAL
