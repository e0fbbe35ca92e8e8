"""Where a reference shows the object: by patches that are like it and unlike its background, then by colour.

Patches are coarse: one that holds half the object holds half its background too. So the similarity margin of
patches says only where the object may be, and how often a pixel's colour is met there how likely the colour
is the object's; the two are combined as if they were independent.
Source: this project. Shapes: g x g patches, h x w pixels of the squashed reference.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..masked_statistics import RegionStatistics, measure
from ..resizing import bilinear

SOFTNESS = 0.05  # of the difference of two cosines
MATCHED = 0.8  # probability at least where a patch matched: among its like an object is nowhere likeliest
BIN = 8.0  # side of a bin of colours, in Lab units
BINS = 64  # per axis, more than Lab of sRGB needs
LEAST = 3e-4  # of the picture: less of it is no object


@dataclass(frozen=True, slots=True)
class LocalisedObject:
    """Where a reference shows the object, and in what colours."""

    colour: RegionStatistics  # Lab, (1, 3); amount: 0 where it is not found
    share: float  # of the reference's area, by probability
    certainty: float  # mean probability where it is found, 0.5..1; 0 where it is not

    @property
    def found(self) -> bool:
        return self.share > 0


def object_probabilities(lab: Tensor, similarity_margin: Tensor, matched: Tensor) -> Tensor:
    """That a pixel shows the object: (1, 1, h, w), 0..1.

    Args:
        lab: the reference (1, 3, h, w), on the CPU, where sums have one order.
        similarity_margin: (g, g), of its patches: the best cosine with a patch of the object minus the best
            with one of the background.
        matched: (g, g) bool, partners of the object's patches (eq. 3).
    """
    size = (lab.shape[-2], lab.shape[-1])
    place = torch.sigmoid(similarity_margin.to(lab) / SOFTNESS)
    place = torch.where(matched, place.clamp_min(MATCHED), place)[None, None]
    place = bilinear(place, size)
    bins = ((lab[0] / BIN).floor().long() + BINS // 2).clamp(0, BINS - 1)  # (3, h, w)
    colour = ((bins[0] * BINS + bins[1]) * BINS + bins[2]).flatten()
    inside = torch.bincount(colour, place.flatten(), minlength=BINS**3)
    every = torch.bincount(colour, minlength=BINS**3)
    met = (inside / every.clamp_min(1))[colour].view(1, 1, *size).to(place)
    both, neither = place * met, (1 - place) * (1 - met)
    return both / (both + neither).clamp_min(1e-6)


def localise_object(lab: Tensor, similarity_margin: Tensor, matched: Tensor) -> LocalisedObject:
    """The object in a squashed reference; arguments as `object_probabilities`."""
    lab = lab.cpu()
    found = object_probabilities(lab, similarity_margin, matched)
    found = found * (found > 0.5)
    area = (found > 0).float().mean()
    if float(area) < LEAST:
        nothing = lab.new_zeros(1, 3)
        return LocalisedObject(RegionStatistics(nothing, nothing, lab.new_zeros(1)), 0.0, 0.0)
    return LocalisedObject(measure(lab, found), float(found.mean()), float(found.mean() / area))
