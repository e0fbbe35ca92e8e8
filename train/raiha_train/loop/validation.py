"""How good a network is on pictures it never trained on; the same pictures every time.

Shapes: B pictures per micro-batch.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from raiha_core import render
from raiha_core.features.encoders import Encoder
from raiha_core.models.network import Network

from ..data.batch import Batch
from ..data.feed import Feed
from ..evaluation.metrics import error_sums, psnr


@dataclass(frozen=True, kw_only=True, slots=True)
class Validation:
    """Means over pictures with an object; fMSE in squared grey levels, at the network's size, not rounded.

    fPSNR in dB, at most 60 a picture: composites that were right already would decide the mean otherwise.
    """

    pictures: int
    fmse: float
    fmse_composite: float
    fpsnr: float
    fpsnr_composite: float
    better: float  # share of pictures whose fMSE fell

    def __str__(self) -> str:
        return (
            f"fMSE {self.fmse:.1f} (composite {self.fmse_composite:.1f}), fPSNR {self.fpsnr:.2f} "
            f"({self.fpsnr_composite:.2f}), better {self.better:.0%} of {self.pictures}"
        )


def content_of(network: Network, batch: Batch, encoder: Encoder | None) -> Tensor | None:
    """Patch features of the composites (B, D, g, g), where the network will read them."""
    needs = network.config.requirements
    if encoder is None or not (needs.content_without_references or batch.references is not None):
        return None
    return encoder.encode(batch.composite).content


def harmonize_batch(network: Network, batch: Batch, encoder: Encoder | None) -> Tensor:
    """The network's pictures (B, 3, S, S), 0..1, the composite's own outside the mask."""
    prediction = network(batch.composite, batch.mask, content_of(network, batch, encoder), batch.references)
    return render.apply(prediction, batch.composite, batch.mask)


def foreground_errors(new: Tensor, batch: Batch) -> Tensor:
    """The evaluator's fMSE of the pictures that have an object, (N,), N <= B, float64, squared grey levels.

    A crop or the packing can leave a mask empty; such a picture has no error to count.
    """
    sums = error_sums(new, batch.target, batch.mask)
    some = sums.area > 0
    return sums.squared[some] / (3 * sums.area[some])


def batches(feed: Feed, limit: int) -> Iterator[Batch]:
    """The first `limit` pictures of a feed, whole micro-batches of them.

    Where composites are given there are no more than the feed has; made ones go on with other draws.
    """
    size = feed.experiment.micro_batch
    wanted = limit if feed.synthesis is not None else min(limit, len(feed))
    for k in range(max(1, wanted // size)):
        yield feed.finish(feed.raw(k), k)


@torch.no_grad()
def validate(network: Network, feed: Feed, limit: int, encoder: Encoder | None) -> Validation:
    """Score the network on the held-out feed. Leaves it in the mode it was in."""
    training = network.training
    network.eval()
    before, after = [], []
    for batch in batches(feed, limit):
        before.append(foreground_errors(batch.composite, batch).cpu())
        after.append(foreground_errors(harmonize_batch(network, batch, encoder), batch).cpu())
    network.train(training)
    old, new = torch.cat(before), torch.cat(after)

    if not len(new):
        raise ValueError("no held-out picture has an object left at the network's size")

    def decibels(error: Tensor) -> float:
        return float(psnr(error).clamp(max=60).mean())

    return Validation(
        pictures=len(new),
        fmse=float(new.mean()),
        fmse_composite=float(old.mean()),
        fpsnr=decibels(new),
        fpsnr_composite=decibels(old),
        better=float((new < old).float().mean()),
    )
