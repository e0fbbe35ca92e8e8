"""Objects with references and a harmonizer's answers, as tensors that a gate is fitted to.

Colours are (mean, deviation) of the object in Lab: (N, 6). Shapes: N pairs of an object and a kind.
"""

from collections.abc import Sequence
from dataclasses import fields

import torch
from torch import Tensor

from raiha_core import render
from raiha_core.masked_statistics import RegionStatistics
from raiha_core.models.following import towards
from raiha_core.models.network import Network
from raiha_core.models.reference_gate import FARTHEST_STEP, ReferenceGate
from raiha_core.models.reference_measurement import ReferenceMeasurement, conclude, stack
from raiha_core.models.reference_observation import Observation
from raiha_core.models.statistics import LEVELS_PER_LAB, Statistics, StatisticsConfig
from raiha_core.render import LabTransfer

ERROR_FLOOR = 30.0  # squared grey levels: what differs by less cannot be seen


def error(colours: Tensor, truth: Tensor) -> Tensor:
    """Squared grey levels, about: (N,)."""
    levels = torch.tensor(LEVELS_PER_LAB * 2)
    return ((colours - truth).square() * levels).sum(1) + ERROR_FLOOR


def _inputs(item: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    picture, mask = (item[name][None].float() / 255 for name in ("composite", "mask"))
    return picture, mask


def _together(lab: LabTransfer | None) -> Tensor:
    assert lab is not None
    return torch.cat((lab.shift, lab.scale))


@torch.no_grad()
def answers_of(network: Network, kept: Sequence[dict[str, Tensor]]) -> Tensor:
    """Shift and scale that a network gives each object without a reference: (objects, 2, 3)."""
    size = (network.config.size, network.config.size)
    return torch.stack(
        [_together(network(*(render.shrink(part, size) for part in _inputs(item))).lab) for item in kept]
    )


@torch.no_grad()
def statistics_answers(kept: Sequence[dict[str, Tensor]]) -> Tensor:
    """The same by colour statistics."""
    plain = Statistics()
    return torch.stack([_together(plain.predict(*_inputs(item)).lab) for item in kept])


class Cases:
    """All pairs of an object and a kind of reference, with the answers of one harmonizer."""

    def __init__(
        self, kept: Sequence[dict[str, Tensor]], kinds: Sequence[str], answers: Tensor, most: int
    ) -> None:
        """Args: answers: of each object, (objects, 2, 3); most: references of one object."""
        pairs = [(i, kind) for i, item in enumerate(kept) for kind in kinds if f"{kind}.place" in item]
        if not pairs:
            raise ValueError(f"no object has a reference of the kinds {', '.join(kinds)}")
        self.floor = StatisticsConfig().variance_floor
        self.kinds = [kind for _, kind in pairs]
        self.objects = torch.tensor([i for i, _ in pairs])
        self.measured, self.present = stack([_measurement(kept[i], kind, most) for i, kind in pairs], most)
        found, truth = (
            torch.stack([item[name] for item in kept])[self.objects] for name in ("found", "truth")
        )
        self.mean, self.variance = found.unbind(1)
        self.truth = torch.cat((truth[:, 0], self.deviation(truth[:, 1])), 1)
        self.shift, self.scale = answers[self.objects].unbind(1)
        self.usual_error = float(error(self.alone, self.truth).sqrt().mean())

    def deviation(self, variance: Tensor) -> Tensor:
        return (variance + self.floor).sqrt()

    @property
    def alone(self) -> Tensor:
        """The colours that the harmonizer gives without a reference, (N, 6)."""
        return torch.cat((self.mean + self.shift, self.deviation(self.variance) * self.scale), 1)

    def _with(self, colours: Tensor) -> "Cases":
        new = object.__new__(Cases)
        new.__dict__.update(self.__dict__)
        new.shift = colours[:, :3] - self.mean
        new.scale = colours[:, 3:] / self.deviation(self.variance)
        new.usual_error = float(error(new.alone, self.truth).sqrt().mean())
        return new

    def mixed(self, share: float) -> "Cases":
        """The same with answers mixed with the truth: `share` of their error is left."""
        return self._with(self.truth + share * (self.alone - self.truth))

    def with_errors_as_on(self, held: Tensor) -> "Cases":
        """The same, with errors on objects that the network learned from as large as on the others.

        Args: held (objects,) bool: held out; where there are none of either, nothing changes.
        """
        own = held[self.objects].bool()
        if own.all() or not own.any():
            return self
        size = error(self.alone, self.truth).sqrt()
        factor = (size[own].mean() / size[~own].mean()).clamp_min(1)
        share = torch.where(own, torch.ones(()), factor)[:, None]
        return self._with(self.truth + share * (self.alone - self.truth))

    def gated(self, gate: ReferenceGate, rows: Tensor, reach: float = FARTHEST_STEP) -> Tensor:
        """The colours that come out, (N, 6)."""
        measurement = ReferenceMeasurement(*(part[rows] for part in self.measured.parts))
        mean, variance = self.mean[rows], self.variance[rows]
        found = RegionStatistics(mean, variance, torch.ones(len(rows)))
        alone = LabTransfer(centre=mean, scale=self.scale[rows], shift=self.shift[rows])
        usual = torch.full((len(rows),), self.usual_error)
        weighed = gate(measurement, self.present[rows], found, alone, usual).within(
            alone, found, usual, reach
        )
        lab = towards(alone, weighed)
        return torch.cat((mean + lab.shift, self.deviation(variance) * lab.scale), 1)

    def evidence(self, gate: ReferenceGate) -> Tensor:
        """The numbers of all references that are there: (references, EVIDENCE)."""
        found = RegionStatistics(self.mean, self.variance, torch.ones(len(self.mean)))
        alone = LabTransfer(centre=self.mean, scale=self.scale, shift=self.shift)
        usual = torch.full((len(self.mean),), self.usual_error)
        return gate.evidence(self.measured, found, alone, usual)[self.present]


def _measurement(item: dict[str, Tensor], kind: str, most: int) -> ReferenceMeasurement:
    parts = {field.name: item[f"{kind}.{field.name}"] for field in fields(Observation)}
    count = min(most, len(parts["place"]))
    seen = [Observation(**{name: part[k] for name, part in parts.items()}) for k in range(count)]
    each = [conclude(one, item["found"][0]).parts for one in seen]
    return ReferenceMeasurement(*(torch.cat(rows) for rows in zip(*each, strict=True)))
