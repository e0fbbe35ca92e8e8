"""What one micro-batch is scored by: the harmonizer and, where it has a weight, the region-wise contrast.

One module, so that processes average the gradients of all that is trained. Shapes: B pictures of S x S.
"""

import torch
from torch import Tensor, nn

from raiha_core import render
from raiha_core.models.network import Network
from raiha_core.models.statistics import distance_to_ring
from raiha_core.remembered import remembering
from raiha_core.render import LabTransfer, Prediction

from ..data.batch import Batch
from ..experiment import Experiment
from ..losses.contrastive import RegionContrast
from ..losses.steadiness import another_view, apart
from ..losses.terms import total

MOVED = 8.0  # grey levels: further than this from the ring than the truth is what catches the eye


def conspicuous(batch: Batch) -> Tensor:
    """1 where the recolouring moved the object away from its surroundings, else 0: (B,)."""
    moved = distance_to_ring(batch.composite, batch.mask) - distance_to_ring(batch.target, batch.mask)
    return (moved > MOVED).to(batch.composite)


class Objective(nn.Module):
    """The loss of a micro-batch; `network` is the harmonizer that is wanted in the end."""

    def __init__(self, network: Network, experiment: Experiment) -> None:
        super().__init__()
        self.network = network
        self.loss = experiment.loss
        self.contrast = RegionContrast(experiment.contrast) if experiment.loss.contrast > 0 else None

    def forward(
        self, batch: Batch, content: Tensor | None, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, a scalar, and its terms by name.

        Args:
            content: patch features of the composites (B, D, g, g), where the network reads them.
            generator: on the batch's device, draws what the contrast compares.
        """
        with remembering():  # the network, what renders its answer and the weights ask the same of the batch
            return self._score(batch, content, generator)

    def _score(
        self, batch: Batch, content: Tensor | None, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        prediction = self.network(batch.composite, batch.mask, content, batch.references)
        new = render.apply(prediction, batch.composite, batch.mask).float()
        weight = None
        if self.loss.conspicuous > 0:
            weight = 1 + self.loss.conspicuous * conspicuous(batch)
        contrast = None
        if self.contrast is not None:
            features = self.network.contrast_features  # of a U-Net: `Experiment` sees to it
            with torch.no_grad():
                target, composite = features(batch.target), features(batch.composite)
            contrast = self.contrast(
                features(new), target, composite, batch.mask, content=content, generator=generator
            )
        return total(
            new,
            batch.target,
            batch.mask,
            self.loss,
            composite=batch.composite,
            contrast=contrast,
            steadiness=self._steadiness(prediction, batch, generator) if self.loss.steady > 0 else None,
            weight=weight,
        )

    def _steadiness(self, prediction: Prediction, batch: Batch, generator: torch.Generator) -> Tensor:
        """How far the first half's answers lie from those to another view: a scalar, of a range of 1."""
        half = max(1, len(batch) // 2)
        image, mask = batch.composite[:half], batch.mask[:half]
        second = self.network(*another_view(image, mask, generator)).lab
        first = prediction.lab
        assert first is not None  # `Experiment` sees to it
        assert second is not None
        own = LabTransfer(centre=first.centre[:half], scale=first.scale[:half], shift=first.shift[:half])
        return apart(own, second, image, mask).mean()
