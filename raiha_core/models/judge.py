"""How far each reference is believed: a judge with a few weights, fitted where the true look is known.

Retrieval names pairs of patches: the object's with those that show the like (eq. 3), the background's with
those in the like light (eq. 5), and says which of the reference's patches are more like the object than like
its background. Where the object is seen by that (`sighting`), its look there is what the reference proposes;
else the object's pairs say it. The background's pairs say how the reference's light differs; how many
pairs there are, how alike and how much of one mind, tells another photo of the same thing from a photo of
something similar.
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
from .guidance import (
    LIGHT_LIMIT,
    check_weight,
    checked_grid,
    matched_cells,
    over_partners,
    patch_means,
    squash,
)
from .sighting import sight
from .statistics import Statistics, StatisticsConfig, check_rows, working_copy

NUMBERS = 30
GROUPS = ((0,), (1, 2), (3, 4, 5))  # judged apart: lightness, colour, the three deviations
STARTING_TRUST = -2.0  # of a logit
LARGEST = 4.0  # standard deviations: an odd reference is no odder than this
SURE = 8.0  # of a logit, at most


@dataclass(frozen=True, slots=True)
class Testimony:
    """What references say of one object, and what speaks for and against them."""

    numbers: Tensor  # (K, NUMBERS)
    difference: Tensor  # (K, 3) Lab: the object as it is seen there minus as it was pasted
    light: Tensor  # (K, 3) Lab: the same of the background, by its pairs
    deviation: Tensor  # (K, 3) Lab: of the object as it is seen there

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
    looks = [m.appearance for m in matches]
    count, partners = len(matches), len({m.photo_patch for m in matches})
    known = torch.tensor([count, partners]).log1p().tolist()
    return [*known, float(weight.mean()), float(weight.max()), sum(looks) / count, max(looks)], mean, spread


def _seen(
    lab: Tensor, reference: Reference, grid: int, area: float, pairs: RegionStatistics
) -> tuple[list[float], RegionStatistics]:
    """Seven numbers of where and how the object is seen in a reference, and its look there.

    Args: lab: the squashed reference; pairs: the look by the pairs, all there is where it is not seen.
    """
    if not reference.likeness:
        return [0.0] * 7, pairs
    if len(reference.likeness) != grid * grid:
        raise ValueError(
            f"reference '{reference.id}' has {len(reference.likeness)} likenesses for {grid} x {grid} patches"
        )
    likeness = torch.tensor(reference.likeness).view(grid, grid)
    found = sight(lab, likeness, matched_cells(reference.content_matches, False, grid)[0, 0] > 0)
    if not found.seen:
        return [0.0] * 7, pairs
    apart = (found.look.mean - pairs.mean)[0].abs() / 10
    numbers = [1.0, math.log(found.share / area), float(likeness.max()), found.sureness, *apart.tolist()]
    return numbers, found.look


def testify(
    references: Sequence[Reference], image: Tensor, mean: Tensor, area: float, working_side: int
) -> Testimony:
    """What each reference says that has a weight and a patch like one of the object's.

    Args: image: the composite (1, 3, h, w), sRGB 0..1, at a working size; mean: Lab of the object in it,
        (3,); area: the object's share of the picture, above 0.
    Raises: ValueError naming a reference whose weight is not 0..1, whose patch grid is unknown, or whose
        likenesses are not those of its patches.
    """
    numbers, differences, lights, deviations = [], [], [], []
    seen: dict[int, Tensor] = {}  # the composite's patches, by their number per side
    for reference in references:
        check_weight(reference)
        if not reference.content_matches or reference.weight == 0:
            continue
        grid = checked_grid(reference)
        shown = squash(reference.image.to(image), grid, working_side)
        if grid not in seen:
            seen[grid] = patch_means(squash(image, grid, working_side), grid).cpu()
        here, there = seen[grid], patch_means(shown, grid).cpu()
        of_object, difference, spread = _pairs(reference.content_matches, here, there)
        of_light, light, light_spread = _pairs(reference.illumination_matches, here, there)
        partners = over_partners(shown, reference.content_matches, grid)
        own = mean.cpu()
        by_pairs = RegionStatistics((own + difference)[None], partners.variance.cpu(), partners.amount.cpu())
        of_sight, look = _seen(shown, reference, grid, area, by_pairs)
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
                    *of_sight,
                ]
            )
        )
        differences.append(look.mean[0] - own)
        lights.append(light)
        deviations.append(look.variance[0].sqrt())
    if not numbers:
        none = torch.zeros(0, 3)
        return Testimony(torch.zeros(0, NUMBERS), none, none, none)
    return Testimony(*(torch.stack(rows) for rows in (numbers, differences, lights, deviations)))


class Judge(nn.Module):
    """Turns testimonies into a share of the way from the network's look to the references'."""

    centre: Tensor
    spread: Tensor

    def __init__(self, operations: Operations = nn) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(NUMBERS))
        self.register_buffer("spread", torch.ones(NUMBERS))
        self.trust = operations.Linear(NUMBERS, len(GROUPS))
        self.light = nn.Parameter(torch.full((len(GROUPS) - 1,), 0.5))  # share of the light's difference
        zero_initialise(self.trust)
        if self.trust.bias is not None:  # a host's layers may be empty until their weights are read
            nn.init.constant_(cast("Tensor", self.trust.bias), STARTING_TRUST)

    def forward(
        self,
        testimony: Testimony,
        present: Tensor,
        found: RegionStatistics,
        alone: LabTransfer,
        config: StatisticsConfig,
    ) -> tuple[LabTransfer, Tensor]:
        """An answer without references, moved towards their common look as far as they are believed.

        Args: testimony: of B objects, (B, K, ...); present (B, K) bool; found: Lab of the objects as they
            were pasted; config: its floor of variances, and its limits of their ratio.
        Returns: the transfer, and the share of the way (B, 6), 0..1, for the three means and the three
            deviations; 0 where nothing is present.
        """
        normal = ((testimony.numbers - self.centre) / self.spread).clamp(-LARGEST, LARGEST)
        logits = self.trust(normal).clamp(-SURE, SURE)  # (B, K, 3)
        logits = logits.masked_fill(~present[..., None], -torch.inf)
        # the best witness decides how far; several that are poor are no good one
        share = logits.amax(1).sigmoid()
        voices = torch.nan_to_num(logits.softmax(1))  # no reference at all: 0 / 0
        group = torch.tensor([g for g, members in enumerate(GROUPS) for _ in members], device=share.device)
        share, voices = share[:, group], voices[..., group]
        light = torch.stack((self.light[0], self.light[1], self.light[1]))
        turned = (light * testimony.light).clamp(-LIGHT_LIMIT, LIGHT_LIMIT)
        shift = (voices[..., :3] * (testimony.difference - turned)).sum(1)
        variance = (voices[..., 3:] * testimony.deviation).sum(1).square()
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
        heard = [
            testify(row, small[b : b + 1], found.mean[b], area[b], config.working_side)
            for b, row in enumerate(references)
        ]
        moved = prediction
        if most := max(len(row) for row in heard):
            moved = self._moved(prediction, found, heard, most, config)
        lost = ring.amount == 0
        if not lost.any():
            return moved
        return _chosen(lost, statistics.guide(prediction, composite, mask, references), moved)

    def _moved(
        self,
        prediction: Prediction,
        found: RegionStatistics,
        heard: Sequence[Testimony],
        most: int,
        config: StatisticsConfig,
    ) -> Prediction:
        assert prediction.lab is not None
        whole, present = stack(heard, most)
        device = prediction.lab.shift.device
        whole = Testimony(*(part.to(device) for part in whole.parts))
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


def stack(heard: Sequence[Testimony], most: int) -> tuple[Testimony, Tensor]:
    """Testimonies of B objects, padded: (B, K, ...), and which are there (B, K) bool."""
    present = torch.zeros(len(heard), most, dtype=torch.bool)
    parts = [torch.zeros(len(heard), most, count) for count in (NUMBERS, 3, 3, 3)]
    for b, row in enumerate(heard):
        present[b, : len(row)] = True
        for part, value in zip(parts, row.parts, strict=True):
            part[b, : len(row)] = value
    return Testimony(*parts), present
