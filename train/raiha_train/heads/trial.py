"""A head trained from the shipped one on pooled features, and its score: seconds, not hours.

Shapes: B pictures, E further numbers, P pixels of an object.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from raiha_core.models.plus import Plus
from raiha_core.render import LabTransfer, paste

from ..evaluation.metrics import FLOOR, PEAK
from ..losses.terms import LossConfig, total
from ..seeds import generator
from .head import Head
from .pooled import Pooled

PICTURE = 256 * 256  # pixels of a picture under protocol A


@dataclass(frozen=True, kw_only=True, slots=True)
class HeadBudget:
    """The same for every trial."""

    steps: int = 1500
    batch: int = 64
    rate: float = 3e-4
    weight_decay: float = 5e-2
    warmup_steps: int = 50

    def __post_init__(self) -> None:
        if min(self.steps, self.batch, self.warmup_steps) < 1 or self.rate <= 0:
            raise ValueError(f"steps, batch, warmup_steps and rate must be positive: {self}")

    def rate_at(self, step: int) -> float:
        """A short way up, then half a cosine down."""
        falling = 0.5 * (1 + math.cos(math.pi * step / self.steps))
        return self.rate * falling * min(1.0, (step + 1) / self.warmup_steps)


def train_head(
    network: Plus, rows: Pooled, extra: Tensor | None, loss: LossConfig, budget: HeadBudget, seed: int
) -> Head:
    """The network's head after `budget` on pooled rows of training pictures (`composites.make_chunks`)."""
    torch.manual_seed(seed)  # dropout
    head = Head(network, 0 if extra is None else extra.shape[1]).requires_grad_(True).train()
    head.standard.eval()  # its numbers are of the same kind as before
    optimizer = torch.optim.AdamW(head.parameters(), lr=budget.rate, weight_decay=budget.weight_decay)
    draws, count = generator("head trial", seed), len(rows["numbers"])
    for step in range(budget.steps):
        pick = torch.randint(count, (budget.batch,), generator=draws)
        batch = {name: value[pick] for name, value in rows.items()}
        pixels = batch["pixels"].float() / 255
        composite, truth, mask = pixels[:, :3], pixels[:, 3:6], pixels[:, 6:]
        transfer = head(batch, None if extra is None else extra[pick])
        new = paste(composite, transfer(composite), mask)
        weight = 1 + loss.conspicuous * batch["conspicuous"]
        value, _ = total(new, truth, mask, loss, composite=composite, weight=weight)
        for group in optimizer.param_groups:
            group["lr"] = budget.rate_at(step)
        optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimizer.step()
    return head.eval().requires_grad_(False)


@torch.no_grad()
def squared_errors(transfer: LabTransfer | None, rows: Pooled) -> Tensor:
    """Sums of squared grey levels over each object of a set (`composites.read_set`), 8-bit answers: (B,).

    Args: transfer: the answers; None: the untouched composites.
    """
    sums, start = [], 0
    for b, count in enumerate(rows["counts"].tolist()):
        pixels = rows["pixels"][start : start + count].T.float()[None, :, :, None]
        start += count
        composite, truth = pixels[:, :3], pixels[:, 3:]
        new = composite
        if transfer is not None:
            own = LabTransfer(
                centre=transfer.centre[b : b + 1],
                scale=transfer.scale[b : b + 1],
                shift=transfer.shift[b : b + 1],
            )
            new = (own(composite / PEAK).clamp(0, 1) * PEAK).round()
        sums.append((new - truth).square().sum())
    return torch.stack(sums).double()


def psnr_of(sums: Tensor) -> Tensor:
    """PSNR of whole pictures whose background is the truth's, from `squared_errors`: (B,)."""
    return 10 * torch.log10(PEAK**2 / (sums / (3 * PICTURE)).clamp_min(FLOOR))


def harm(sums: Tensor, counts: Tensor) -> Tensor:
    """fMSE of each picture: (B,)."""
    return sums / (3 * counts)
