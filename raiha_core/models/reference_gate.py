"""How far each reference is believed: a gate with a few weights, fitted where the true colours are known.

Retrieval names pairs of patches: the object's with those that show the like (eq. 3), the background's with
those in the like light (eq. 5), and says which of the reference's patches are more like the object than like
its background. Where the object is found by that (`object_localisation`), its colours there are what the
reference proposes; else the object's pairs say it. The background's pairs say how the reference's light
differs; how many pairs there are, how alike, and how little their differences spread, tells another photo of
the same thing from a photo of something similar.
Source: this project; fitted by `train/fit_judge.py`. Shapes: K references of one composite.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from ..features.references import Match, Reference
from ..regions import RegionStatistics
from ..render import LabTransfer, Prediction
from .blocks import Operations, zero_initialise
from .matched_colours import (
    LIGHT_LIMIT,
    check_weight,
    checked_grid,
    matched_cells,
    over_partners,
    patch_means,
    squash,
)
from .object_localisation import localise_object
from .statistics import Statistics, StatisticsConfig, check_rows, working_copy

NUMBERS = 30
GROUPS = ((0,), (1, 2), (3, 4, 5))  # weighed apart: lightness, colour, the three deviations
STARTING_BELIEF = -2.0  # of a logit
LARGEST = 4.0  # standard deviations: an odd reference is no odder than this
SURE = 8.0  # of a logit, at most


@dataclass(frozen=True, slots=True)
class ReferenceMeasurement:
    """What references say of one object, and the numbers by which they are believed or not."""

    numbers: Tensor  # (K, NUMBERS)
    difference: Tensor  # (K, 3) Lab: the object as it is shown there minus as it was pasted
    light: Tensor  # (K, 3) Lab: the same of the background, by its pairs
    deviation: Tensor  # (K, 3) Lab: of the object as it is shown there

    @property
    def parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """In the order of the fields."""
        return self.numbers, self.difference, self.light, self.deviation

    def __len__(self) -> int:
        return len(self.numbers)


def _pairs(matches: Sequence[Match], here: Tensor, there: Tensor) -> tuple[list[float], Tensor, Tensor]:
    """Six numbers, and mean and deviation (3,) of the pairs' differences; zeros without a pair."""
    if not matches:
        return [0.0] * 6, torch.zeros(3), torch.zeros(3)
    difference = there[[m.photo_patch for m in matches]] - here[[m.query_patch for m in matches]]
    weight = torch.tensor([max(m.content, 1e-3) for m in matches])
    share = (weight / weight.sum())[:, None]
    mean = (share * difference).sum(0)
    spread = (share * (difference - mean).square()).sum(0).sqrt()
    cosines = [m.appearance for m in matches]
    count, partners = len(matches), len({m.photo_patch for m in matches})
    known = torch.tensor([count, partners]).log1p().tolist()
    return (
        [*known, float(weight.mean()), float(weight.max()), sum(cosines) / count, max(cosines)],
        mean,
        spread,
    )


def _localised(
    lab: Tensor, reference: Reference, grid: int, area: float, pairs: RegionStatistics
) -> tuple[list[float], RegionStatistics]:
    """Seven numbers of where and how the object is found in a reference, and its colours there.

    Args: lab: the squashed reference; pairs: the colours by the pairs, all there is where it is not found.
    """
    if not reference.similarity_margin:
        return [0.0] * 7, pairs
    if len(reference.similarity_margin) != grid * grid:
        count = len(reference.similarity_margin)
        raise ValueError(
            f"reference '{reference.id}' has {count} similarity margins for {grid} x {grid} patches"
        )
    similarity_margin = torch.tensor(reference.similarity_margin).view(grid, grid)
    found = localise_object(
        lab, similarity_margin, matched_cells(reference.content_matches, False, grid)[0, 0] > 0
    )
    if not found.found:
        return [0.0] * 7, pairs
    apart = (found.colour.mean - pairs.mean)[0].abs() / 10
    numbers = [
        1.0,
        math.log(found.share / area),
        float(similarity_margin.max()),
        found.certainty,
        *apart.tolist(),
    ]
    return numbers, found.colour


def measure_references(
    references: Sequence[Reference], image: Tensor, mean: Tensor, area: float, working_side: int
) -> ReferenceMeasurement:
    """What each reference says that has a weight and a patch like one of the object's.

    Args: image: the composite (1, 3, h, w), sRGB 0..1, at a working size; mean: Lab of the object in it,
        (3,); area: the object's share of the picture, above 0.
    Raises: ValueError naming a reference whose weight is not 0..1, whose patch grid is unknown, or whose
        similarity margins are not those of its patches.
    """
    numbers, differences, lights, deviations = [], [], [], []
    here_by_grid: dict[int, Tensor] = {}  # the composite's patches, by their number per side
    for reference in references:
        check_weight(reference)
        if not reference.content_matches or reference.weight == 0:
            continue
        grid = checked_grid(reference)
        shown = squash(reference.image.to(image), grid, working_side)
        if grid not in here_by_grid:
            here_by_grid[grid] = patch_means(squash(image, grid, working_side), grid).cpu()
        here, there = here_by_grid[grid], patch_means(shown, grid).cpu()
        of_object, difference, spread = _pairs(reference.content_matches, here, there)
        of_light, light, light_spread = _pairs(reference.illumination_matches, here, there)
        partners = over_partners(shown, reference.content_matches, grid)
        own = mean.cpu()
        by_pairs = RegionStatistics((own + difference)[None], partners.variance.cpu(), partners.amount.cpu())
        of_place, colour = _localised(shown, reference, grid, area, by_pairs)
        numbers.append(
            torch.tensor(
                [
                    reference.weight,
                    *of_object,
                    *(spread / 10).tolist(),
                    float(bool(reference.illumination_matches)),
                    *of_light,
                    *(light.abs() / 10).tolist(),
                    *(light_spread / 10).tolist(),
                    *of_place,
                ]
            )
        )
        differences.append(colour.mean[0] - own)
        lights.append(light)
        deviations.append(colour.variance[0].sqrt())
    if not numbers:
        none = torch.zeros(0, 3)
        return ReferenceMeasurement(torch.zeros(0, NUMBERS), none, none, none)
    return ReferenceMeasurement(*(torch.stack(rows) for rows in (numbers, differences, lights, deviations)))


class ReferenceGate(nn.Module):
    """Turns measurements into belief: the share of the way from an answer to what the references show."""

    centre: Tensor
    spread: Tensor

    def __init__(self, operations: Operations = nn) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(NUMBERS))
        self.register_buffer("spread", torch.ones(NUMBERS))
        self.to_belief = operations.Linear(NUMBERS, len(GROUPS))
        self.light_share = nn.Parameter(
            torch.full((len(GROUPS) - 1,), 0.5)
        )  # share of the light's difference
        zero_initialise(self.to_belief)
        if self.to_belief.bias is not None:  # a host's layers may be empty until their weights are read
            nn.init.constant_(cast("Tensor", self.to_belief.bias), STARTING_BELIEF)

    def forward(
        self,
        measurement: ReferenceMeasurement,
        present: Tensor,
        found: RegionStatistics,
        alone: LabTransfer,
        config: StatisticsConfig,
    ) -> tuple[LabTransfer, Tensor]:
        """An answer without references, moved towards what they have in common as far as they are believed.

        Args: measurement: of B objects, (B, K, ...); present (B, K) bool; found: Lab of the objects as they
            were pasted; config: its floor of variances, and its limits of their ratio.
        Returns: the transfer, and the share of the way (B, 6), 0..1, for the three means and the three
            deviations; 0 where nothing is present.
        """
        normal = ((measurement.numbers - self.centre) / self.spread).clamp(-LARGEST, LARGEST)
        logits = self.to_belief(normal).clamp(-SURE, SURE)  # (B, K, 3)
        logits = logits.masked_fill(~present[..., None], -torch.inf)
        # the best reference decides how far; several that are poor are no good one
        share = logits.amax(1).sigmoid()
        shares = torch.nan_to_num(logits.softmax(1))  # no reference at all: 0 / 0
        group = torch.tensor([g for g, members in enumerate(GROUPS) for _ in members], device=share.device)
        share, shares = share[:, group], shares[..., group]
        light = torch.stack((self.light_share[0], self.light_share[1], self.light_share[1]))
        turned = (light * measurement.light).clamp(-LIGHT_LIMIT, LIGHT_LIMIT)
        shift = (shares[..., :3] * (measurement.difference - turned)).sum(1)
        variance = (shares[..., 3:] * measurement.deviation).sum(1).square()
        floor = config.variance_floor
        stretch = ((variance + floor) / (found.variance + floor)).sqrt().clamp(*config.ratio)
        lab = LabTransfer(
            centre=alone.centre,
            scale=alone.scale + share[:, 3:] * (stretch - alone.scale),
            shift=alone.shift + share[:, :3] * (shift - alone.shift),
        )
        return lab, share

    def guide(
        self,
        prediction: Prediction,
        composite: Tensor,
        mask: Tensor,
        references: Sequence[Sequence[Reference]],
        config: StatisticsConfig,
    ) -> Prediction:
        """A network's answer, moved towards the references of each composite as far as they are believed.

        Where a mask leaves no background the network knows nothing: there the references are followed as
        the `statistics` preset does.
        Args: prediction: with a Lab transfer; composite sRGB (B, 3, H, W), values 0..1; mask (B, 1, H, W),
            values 0..1; references: one row for each composite.
        Raises: as `Statistics.predict` where there are rows.
        """
        if not any(references):
            return prediction
        check_rows(references, composite)
        statistics = Statistics(config)
        found, ring = statistics.regions(composite, mask)
        small = working_copy(composite, config.working_side)
        area = mask.mean((1, 2, 3)).clamp_min(1e-6).tolist()
        measured = [
            measure_references(row, small[b : b + 1], found.mean[b], area[b], config.working_side)
            for b, row in enumerate(references)
        ]
        moved = prediction
        if most := max(len(row) for row in measured):
            moved = self._moved(prediction, found, measured, most, config)
        lost = ring.amount == 0
        if not lost.any():
            return moved
        return _chosen(lost, statistics.guide(prediction, composite, mask, references), moved)

    def _moved(
        self,
        prediction: Prediction,
        found: RegionStatistics,
        measured: Sequence[ReferenceMeasurement],
        most: int,
        config: StatisticsConfig,
    ) -> Prediction:
        assert prediction.lab is not None
        whole, present = stack(measured, most)
        device = prediction.lab.shift.device
        whole = ReferenceMeasurement(*(part.to(device) for part in whole.parts))
        lab, share = self(whole, present.to(device), found, prediction.lab, config)
        affine = prediction.affine
        if affine is not None:
            affine = affine * (1 - share.mean(1))[:, None, None, None]
        return Prediction(lab=lab, affine=affine)


def _chosen(rows: Tensor, first: Prediction, second: Prediction) -> Prediction:
    """The first prediction in some rows (B,), the second in the others."""
    assert first.lab is not None
    assert second.lab is not None
    names = ("centre", "scale", "shift")
    pairs = [(getattr(first.lab, name), getattr(second.lab, name)) for name in names]
    lab = LabTransfer(**{n: torch.where(rows[:, None], a, b) for n, (a, b) in zip(names, pairs, strict=True)})
    affine = None
    if first.affine is not None and second.affine is not None:
        affine = torch.where(rows[:, None, None, None], first.affine, second.affine)
    return Prediction(lab=lab, affine=affine)


def stack(measured: Sequence[ReferenceMeasurement], most: int) -> tuple[ReferenceMeasurement, Tensor]:
    """Measurements of B objects, padded: (B, K, ...), and which are there (B, K) bool."""
    present = torch.zeros(len(measured), most, dtype=torch.bool)
    parts = [torch.zeros(len(measured), most, count) for count in (NUMBERS, 3, 3, 3)]
    for b, row in enumerate(measured):
        present[b, : len(row)] = True
        for part, value in zip(parts, row.parts, strict=True):
            part[b, : len(row)] = value
    return ReferenceMeasurement(*parts), present
