"""Pooled features of made composites and of sets of triples, kept in files of some pictures each.

A run that was stopped goes on where it was: a file that is there is not made again.
Shapes: B pictures of S x S, J recolourings of a photo, P pixels kept of each object.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from raiha_core.color import srgb_to_lab
from raiha_core.data.item import Triple
from raiha_core.masked_statistics import weighted_mean
from raiha_core.models.plus import Plus
from raiha_core.models.region_colour import FAR
from raiha_core.regions import ring

from ..data.batch import Batch
from ..data.feed import Feed
from ..evaluation.protocols import Protocol
from ..evaluation.scoring import load_triple
from ..loop.objective import conspicuous
from ..seeds import generator
from .chosen_changes import choose, moments
from .kinds import ObjectClasses
from .pooled import Pooled, object_pixels, pool
from .rawness import Retoucher

PIXELS = 256  # kept of each training picture's object
PER_FILE = 40  # pictures per file
LOOKED_AT = 64  # side at which recolourings are compared before one is chosen


@dataclass(frozen=True, kw_only=True, slots=True)
class Readers:
    """All that looks at a composite."""

    network: Plus
    classes: ObjectClasses
    retoucher: Retoucher | None  # None: rawness is not measured

    @torch.no_grad()
    def read(self, image: Tensor, mask: Tensor) -> Pooled:
        """What heads may read of composites (B, 3, S, S) and their masks."""
        found = pool(self.network, image, mask)
        found["kinds"] = self.classes(image, mask)
        found["own"], found["ring"] = ring_and_object(image, mask)
        if self.retoucher is not None:
            found["rawness"] = self.retoucher(image, mask)
        return found


def ring_and_object(image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Mean Lab of the object and of its ring: (B, 3) each."""
    lab = srgb_to_lab(image)
    own, near = (weighted_mean(lab, region).flatten(1) for region in (mask, ring(mask, FAR)))
    return own, near


def change_moments(composite: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """(B, 15) of `chosen_changes.moments`: how a composite's object differs from its ring and its truth."""
    own, near = ring_and_object(composite, mask)
    return moments(near - own, ring_and_object(truth, mask)[0] - own)


def recolourings(feed: Feed, count: int, size: int) -> list[Feed]:
    """The same photos recoloured with other draws; `feed` has one picture per micro-batch."""
    e = feed.experiment
    assert e.micro_batch == 1
    return [
        Feed(
            replace(e, seed=e.seed + j, size=size),
            feed.cache,
            feed.rows,
            feed.device,
            synthesis=feed.synthesis,
        )
        for j in range(count)
    ]


def candidate_moments(feed: Feed, feeds: Sequence[Feed], k: int) -> Tensor:
    """Moments of photo k's recolourings by `feeds`: (J, 15)."""
    raw = feed.raw(k)
    found = []
    for other in feeds:
        batch = other.finish(raw, k)
        found.append(change_moments(batch.composite, batch.target, batch.mask))
    return torch.cat(found)


@torch.no_grad()
def make_chunks(
    feed: Feed, readers: Readers, tilted: Tensor, many: int, count: int, out: Path
) -> Iterator[Path]:
    """Files of `PER_FILE` photos each: features of the first recolouring (`first.*`) and of the chosen one.

    Args: tilted: of `chosen_changes.tilt`; many: J; count: photos in all.
    """
    full, small = (recolourings(feed, many, side) for side in (feed.experiment.size, LOOKED_AT))
    out.mkdir(parents=True, exist_ok=True)
    for start in range(0, count, PER_FILE):
        path = out / f"{start:06d}.safetensors"
        if not path.is_file():
            rows = range(start, min(start + PER_FILE, count))
            found: list[Pooled] = []
            for k in rows:
                draws = generator("chosen", feed.experiment.seed, k)
                pick = int(choose(candidate_moments(feed, small, k)[None], tilted, draws))
                raw = feed.raw(k)
                first = _features(full[0].finish(raw, k), readers, k)
                chosen = first if pick == 0 else _features(full[pick].finish(raw, k), readers, k)
                both = {f"first.{name}": value for name, value in first.items()}
                found.append(both | {f"chosen.{name}": value for name, value in chosen.items()})
            _save({name: torch.cat([row[name] for row in found]) for name in found[0]}, path)
        yield path


def _features(batch: Batch, readers: Readers, k: int) -> Pooled:
    found = readers.read(batch.composite, batch.mask)
    pictures = torch.cat((batch.composite, batch.target, batch.mask), 1)
    pixels = object_pixels(pictures, batch.mask, PIXELS, generator("pixels", k))
    found["pixels"] = (pixels * 255).round().byte()
    found["truth"] = ring_and_object(batch.target, batch.mask)[0]
    found["conspicuous"] = conspicuous(batch)
    return found


def _save(tensors: Pooled, path: Path) -> None:
    part = path.with_suffix(".part")
    save_file({name: value.contiguous() for name, value in tensors.items()}, part)
    part.replace(path)


@torch.no_grad()
def read_set(items: Sequence[Triple], readers: Readers, out: Path) -> Iterator[Path]:
    """Features of triples under protocol A, and every pixel of their objects: files of `PER_FILE` each."""
    out.mkdir(parents=True, exist_ok=True)
    protocol = Protocol(name="A")
    for start in range(0, len(items), PER_FILE):
        path = out / f"{start:06d}.safetensors"
        if not path.is_file():
            found, pixels, counts = [], [], []
            for item in items[start : start + PER_FILE]:
                prepared = load_triple(protocol, item)
                found.append(readers.read(*prepared.inputs()))
                inside = torch.tensor(prepared.weight > 0)
                both = (torch.tensor(x)[inside] for x in (prepared.composite, prepared.truth))
                pixels.append(torch.cat(tuple(both), 1))
                counts.append(int(inside.sum()))
            rows = {name: torch.cat([row[name] for row in found]) for name in found[0]}
            _save(rows | {"pixels": torch.cat(pixels), "counts": torch.tensor(counts)}, path)
        yield path


def all_rows(paths: Iterable[Path], prefix: str = "") -> Pooled:
    """All rows of some files; of the names that begin with `prefix`, without it."""
    parts = [load_file(path) for path in paths]
    names = [name for name in parts[0] if name.startswith(prefix)]
    return {name.removeprefix(prefix): torch.cat([part[name] for part in parts]) for name in names}


def genuine_moments(items: Sequence[Triple], progress: Callable[[Triple], object] | None = None) -> Tensor:
    """Mean moments of genuine triples, (15,)."""
    found = []
    for item in items:
        prepared = load_triple(Protocol(name="A"), item)
        image, mask = prepared.inputs()
        truth = torch.tensor(prepared.truth).permute(2, 0, 1)[None].float() / 255
        found.append(change_moments(image, truth, mask))
        if progress is not None:
            progress(item)
    return torch.cat(found).mean(0)
