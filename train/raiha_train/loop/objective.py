"""What one micro-batch is scored by: the harmonizer and, where it has a weight, the region-wise contrast.

One module, so that processes average the gradients of all that is trained. Shapes: B pictures of S x S.
"""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from raiha_core import render
from raiha_core.models.network import Network
from raiha_core.models.plus import Plus
from raiha_core.models.statistics import distance_to_ring
from raiha_core.remembered import remembering
from raiha_core.render import LabTransfer

from ..data.batch import Batch
from ..experiment import Experiment
from ..losses.contrastive import RegionContrast
from ..losses.distillation import TOLERATED, Summaries, fixed, taught, unlike
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
        self._teacher: tuple[Plus, ...] = ()  # in a tuple, so that it is no part of what is trained and kept
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
        with self._summaries() as summaries:
            prediction = self.network(batch.composite, batch.mask, content, batch.references)
            between = self._between_views(prediction.lab, batch, generator, summaries)
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
            steadiness=between.pop("steady", None),
            teaching=between or None,
            weight=weight,
        )

    def learn_from(self, teacher: Network, device: torch.device) -> None:
        """The network whose answers count where the loss has weights for them; it stays as it is."""
        assert isinstance(teacher, Plus)  # `Experiment` sees to it that the network is one, and starts fit
        self._teacher = (fixed(teacher.to(device)),)

    def _summaries(self) -> AbstractContextManager[Summaries | None]:
        if not self.loss.teaches:
            return nullcontext()
        assert isinstance(self.network, Plus)
        return Summaries(self.network)

    def _between_views(
        self,
        first: LabTransfer | None,
        batch: Batch,
        generator: torch.Generator,
        summaries: Summaries | None,
    ) -> dict[str, Tensor]:
        """Scalars: how far the answers to two views of the composites lie from each other, of a range of 1,
        and from the teacher's to the first view; without a teacher half of the pictures are looked at."""
        if self.loss.steady == 0 and not self.loss.teaches:
            return {}
        assert first is not None  # `Experiment` sees to it
        count = len(batch) if self.loss.teaches else max(1, len(batch) // 2)
        image, mask = batch.composite[:count], batch.mask[:count]
        second = self.network(*another_view(image, mask, generator)).lab
        assert second is not None
        own = LabTransfer(centre=first.centre[:count], scale=first.scale[:count], shift=first.shift[:count])
        found = {"steady": apart(own, second, image, mask).mean()} if self.loss.steady > 0 else {}
        if summaries is None:
            return found
        if not self._teacher:
            raise ValueError(
                "the loss has weights for a teacher's answers, but the run begins without weights"
            )
        scale, shift, summary = taught(self._teacher[0], image, mask)
        teacher = LabTransfer(centre=own.centre, scale=scale, shift=shift)
        errors = [apart(answer, teacher, image, mask, TOLERATED).mean() for answer in (own, second)]
        misses = [unlike(seen, summary) for seen in summaries.found]
        return found | {"distil": sum(errors) / 2, "alike": sum(misses) / 2}
