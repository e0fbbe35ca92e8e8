"""What a run would do, before it does it; and pictures of what it does.

Shapes: B pictures per micro-batch.
"""

import itertools
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from raiha_core import render
from raiha_core.drawing import to_pil
from raiha_core.durable import durable_path
from raiha_core.features.encoders import Encoder
from raiha_core.models.cost import macs, parameters, trainable
from raiha_core.models.network import Network
from raiha_core.models.presets import PRESETS

from ..data.batch import Batch
from ..data.feed import Feed
from ..data.training_data import TrainingData
from ..experiment import Experiment
from ..losses.contrastive import RegionContrast
from .pasted_cutouts import paste_cutouts
from .validation import batches, harmonize_batch

_ROWS = 8
GIB = 1 << 30


@torch.no_grad()
def write_samples(
    network: Network, feed: Feed, encoder: Encoder | None, path: Path, rows: int = _ROWS
) -> None:
    """A sheet of held-out pictures (composite, result, truth, mask), then cut-outs pasted into some.

    The latter show the photo below in place of a truth, which they do not have.
    """
    training = network.training
    network.eval()
    lines = []
    for batch in itertools.islice(batches(feed, rows), -(-rows // feed.experiment.micro_batch)):
        lines += [torch.cat(row, -1) for row in _rows(batch, harmonize_batch(network, batch, encoder))]
    lines = lines[:rows]
    if (looks := paste_cutouts(feed, rows // 2)) is not None:
        lines += [torch.cat(row, -1) for row in _rows(looks, harmonize_batch(network, looks, encoder))]
    network.train(training)
    # a micro-batch with references has a fifth column, one without has four
    widest = max(line.shape[-1] for line in lines)
    _save(torch.cat([F.pad(line, (0, widest - line.shape[-1])) for line in lines], -2), path)


def write_batch(batch: Batch, path: Path, rows: int = _ROWS) -> None:
    """A sheet of a training batch: composite, truth, mask, and the first reference where there is one."""
    _save(torch.cat([torch.cat(row, -1) for row in _rows(batch, None)[:rows]], -2), path)


def _rows(batch: Batch, new: Tensor | None) -> list[list[Tensor]]:
    """Per picture the tiles (3, S, S) that are shown of it."""
    rows = []
    for b in range(len(batch)):
        tiles = [batch.composite[b], batch.target[b], batch.mask[b].expand(3, -1, -1)]
        if new is not None:
            tiles.insert(1, new[b])
        if batch.references is not None:
            tiles.append(batch.references.images[b, 0])
        rows.append([tile.detach().float().cpu() for tile in tiles])
    return rows


def _save(sheet: Tensor, path: Path) -> None:
    picture: Image.Image = to_pil(sheet[None].clamp(0, 1))
    with durable_path(path) as temporary:
        picture.save(temporary)


def activation_bytes(experiment: Experiment) -> int:
    """Bytes that the backward pass of one picture keeps, in float32, counted on shapes alone."""
    kept: dict[int, int] = {}
    holders: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor.untyped_storage().nbytes()
        holders.append(tensor)  # an address is unique only as long as its owner lives
        return tensor

    with torch.device("meta"):
        network = PRESETS[experiment.preset].build(config=experiment.network, pretrained=False).to("meta")
        contrast = None
        if experiment.loss.contrast > 0:  # counted by regions: windows depend on values, which shapes lack
            contrast = RegionContrast(replace(experiment.contrast, positives="regions"))
        image = torch.empty(1, 3, experiment.size, experiment.size)
        mask = torch.empty(1, 1, experiment.size, experiment.size)
        dim = getattr(experiment.network, "content_dim", 0)
        content = torch.empty(1, dim, 12, 12) if dim else None
        with saved_tensors_hooks(pack, lambda tensor: tensor):
            prediction = network(image, mask, content)
            if contrast is not None:  # the output goes through the network's first half once more
                new = render.apply(prediction, image, mask).float()
                maps = network.contrast_features(new)
                with torch.no_grad():
                    fixed = network.contrast_features(image)
                contrast(maps, fixed, fixed, mask)
    parts = [network] if contrast is None else [network, contrast]
    for weight in (
        weight for part in parts for weight in part.parameters()
    ):  # also kept, but once and for all pictures
        kept.pop(weight.untyped_storage()._cdata, None)
    return sum(kept.values())


def memory_estimate(experiment: Experiment, network: Network) -> dict[str, float]:
    """GiB by what they are for; references and the encoder of their features come on top."""
    weights = parameters(network) * 4
    learnt = trainable(network) * 4
    half = 1 if experiment.precision == "no" else 0.5  # most activations are halved then
    return {
        "weights": weights / GIB,
        "gradients and optimizer": 3 * learnt / GIB,
        "average": (weights if experiment.optimisation.ema else 0) / GIB,
        "activations": half * experiment.micro_batch * activation_bytes(experiment) / GIB,
    }


def dry_run(experiment: Experiment, network: Network, sources: TrainingData, steps: int, output: Path) -> int:
    """Print what a run would do, and draw its first micro-batch to `output`/first_batch.png.

    References are drawn as they will be, their features are left out: an encoder may take minutes. Hence
    `sources.training` has no encoder afterwards.
    Args: steps: of the optimizer. output: is made where it is missing.
    Returns: 0, the exit status. Raises: OSError where the picture cannot be written.
    """
    feed = sources.training
    feed.encoder = None
    memory = memory_estimate(experiment, network)
    cost = macs(PRESETS[experiment.preset], experiment.size, config=experiment.network)
    batch = feed.finish(feed.raw(0), 0)
    output.mkdir(parents=True, exist_ok=True)
    path = output / "first_batch.png"
    write_batch(batch, path)
    lines = {
        "experiment": experiment.name,
        "network": f"{experiment.preset}, {parameters(network):,} parameters, {trainable(network):,} trained",
        "cost": f"{cost / 1e9:.2f} G multiply-adds per picture forward at {experiment.size} px",
        "data": f"{sources.about} (fingerprint {sources.fingerprint})",
        "steps": f"{steps:,} of {experiment.batch} pictures = {steps * experiment.batch:,} pictures, "
        f"{steps * experiment.batch / len(feed):.1f} epochs",
        "memory": f"about {sum(memory.values()):.2f} GiB: "
        + ", ".join(f"{name} {value:.2f}" for name, value in memory.items()),
        "references": "none in the first micro-batch"
        if batch.references is None
        else f"{int(batch.references.present.sum())} in the first micro-batch",
        "first batch": str(path),
        "disk": "; ".join(sources.disk),
    }
    for name, line in lines.items():
        print(f"{name + ':':13}{line}")
    return 0
