"""A network learns from another one what it answers, and what it makes of a picture before it answers.

For a student that sees less than its teacher does (a trunk that smooths what it halves): the teacher's
answers jump with the pixel grid, the student is to give their mean, and so learns from two views.
Sources: the answers after Hinton et al., arXiv:1503.02531; what comes before them after FitNets,
arXiv:1412.6550, here as the vector that sums up a picture. Shapes: B pictures, d numbers.
"""

from types import TracebackType

import torch
from torch import Tensor, nn

from raiha_core.models.plus import Plus

TOLERATED = 3.0  # grey levels: the teacher's own answers to two views lie about so far apart
_FLOOR = 1e-6


class Summaries:
    """What a `raiha-plus` hands to its mixer in each call within the block, (B, d) each, in order."""

    def __init__(self, network: Plus) -> None:
        self.network, self.found = network, list[Tensor]()

    def __enter__(self) -> "Summaries":
        self._handle = self.network.dropout.register_forward_pre_hook(self._keep)
        return self

    def _keep(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.found.append(inputs[0])

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handle.remove()


def unlike(student: Tensor, teacher: Tensor) -> Tensor:
    """The share of the teacher's variance over pictures that the student misses, both (B, d): a scalar.

    0 where they are equal; 1 where the student says the mean for every picture. Needs two pictures or more.
    """
    teacher = teacher.detach().float()
    spread = (teacher - teacher.mean(0)).square().mean()
    return (student.float() - teacher).square().mean() / spread.clamp_min(_FLOOR)


def fixed(network: Plus) -> Plus:
    """A teacher: it neither learns nor drops anything."""
    return network.eval().requires_grad_(False)


@torch.no_grad()
def taught(teacher: Plus, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The teacher's scale and shift (B, 3) for the object, Lab, and its summary (B, d)."""
    with Summaries(teacher) as summaries:
        lab = teacher(image, mask).lab
    assert lab is not None  # of every `raiha-plus`
    return lab.scale, lab.shift, summaries.found[0]
