"""The head of `raiha-plus` alone: from pooled features to the transfer, with room for one more input.

Shapes: B pictures, S numbers, E further numbers.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raiha_core.models.plus import SHRINKAGE_BOUND, Plus, correct
from raiha_core.models.region_colour import RunningScale
from raiha_core.models.statistics import LEVELS_PER_LAB
from raiha_core.render import LabTransfer

from .pooled import Pooled


class Head(nn.Module):
    """A copy of a network's head; the further input starts at nothing."""

    def __init__(self, network: Plus, extra: int = 0) -> None:
        """
        Args: extra: how many further numbers there are, in any unit: they are standardised.
        Raises: ValueError where the network has a part that pooled features cannot feed.
        """
        super().__init__()
        if network.decoder is not None or network.from_references is not None or not network.config.residual:
            raise ValueError(
                f"the head of '{network.name}' reads more than pooled features: it has a local map, reads "
                "references, or does not start from the ring"
            )
        own = copy.deepcopy(network)
        self.standard, self.squeeze, self.vector = own.scale, own.squeeze, own.vector
        self.detail, self.mixer, self.dropout = own.detail, own.mixer, own.dropout
        self.colour, self.learned = own.colour, own.learned_shrinkage
        self.shrinkage = network.config.shrinkage
        self.further = RunningScale(extra) if extra else None
        self.extra = nn.Linear(extra, network.config.hidden, bias=False) if extra else None
        if self.extra is not None:
            nn.init.zeros_(self.extra.weight)

    def forward(self, pooled: Pooled, extra: Tensor | None = None) -> LabTransfer:
        """What the network says of the pictures: `Plus.predict`, from pooled features; extra (B, E)."""
        inside, outside = self.squeeze(pooled["deep"]).unbind(1)
        numbers = self.standard(pooled["numbers"])
        x = self.vector(torch.cat((numbers, inside, outside, inside - outside), 1))
        if self.detail is not None:
            found = []
            for name, squeeze in zip(("near2", "near3"), self.detail.squeeze, strict=True):
                own, beside, far = squeeze(pooled[name]).unbind(1)
                found += [own, beside, far, own - beside]
            x = x + self.detail.out(torch.cat(found, 1))
        if self.extra is not None and self.further is not None and extra is not None:
            x = x + self.extra(self.further(extra))
        summary = F.gelu(self.mixer(self.dropout(F.gelu(x))))
        base = LabTransfer(centre=pooled["centre"], scale=pooled["scale"], shift=pooled["shift"])
        return self._shrunk(correct(base, self.colour(summary)), pooled["variance"], summary)

    def _shrunk(self, lab: LabTransfer, variance: Tensor, summary: Tensor) -> LabTransfer:
        if self.shrinkage == 0:
            return lab
        usual: Tensor | float = self.shrinkage
        if self.learned is not None:
            usual = usual * torch.exp(SHRINKAGE_BOUND * torch.tanh(self.learned(summary) / SHRINKAGE_BOUND))
        squares = lab.shift.square() + (lab.scale - 1).square() * variance
        size = (squares * squares.new_tensor(LEVELS_PER_LAB)).sum(1, keepdim=True)
        share = size / (size + usual**2)
        return LabTransfer(centre=lab.centre, scale=1 + (lab.scale - 1) * share, shift=lab.shift * share)
