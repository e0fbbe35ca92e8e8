"""Micro-batches for training. The unit of every random draw is the micro-batch: number k is the same
pictures, crops, colours and references whatever process makes it, and however often a run was resumed.
So two processes with one micro-batch each see what one process sees that accumulates two.

Shapes: B pictures per micro-batch, S the experiment's size, K references.
"""

import queue
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeVar

import torch
from torch import Tensor

from raiha_core.features.encoders import Encoder
from raiha_core.features.references import ReferenceBatch
from raiha_core.features.spec import FeatureSpec
from raiha_core.resizing import area_means

from ..experiment import Experiment
from ..seeds import generator
from .augment import draw_view, self_references, take, take_with_mask
from .batch import Batch
from .cache import Photos
from .random_masks import random_regions
from .reference_features import StoredFeatures
from .synthesis import Synthesis

Item = TypeVar("Item")


def rows_of(k: int, count: int, micro_batch: int, seed: int) -> list[int]:
    """Which of `count` training rows are in micro-batch k; an epoch is one permutation, none is dropped."""
    rows = []
    for position in range(k * micro_batch, (k + 1) * micro_batch):
        epoch, place = divmod(position, count)
        rows.append(int(_permutation(epoch, count, seed)[place]))
    return rows


@lru_cache(maxsize=8)
def _permutation(epoch: int, count: int, seed: int) -> Tensor:
    return torch.randperm(count, generator=generator("order", seed, epoch))


@dataclass(frozen=True, kw_only=True, slots=True)
class Raw:
    """What comes from the disk for one micro-batch, as bytes on the CPU: a quarter of the floats."""

    ids: tuple[str, ...]
    truth: Tensor  # (B, 3, P, P) uint8, P the packed size
    mask: Tensor  # (B, 1, P, P) uint8
    composite: Tensor | None  # (B, 3, P, P) uint8 where composites are given, not made
    donor: Tensor | None  # (B, 3, P, P) uint8, other photos, for colours
    donor_mask: Tensor | None
    references: Tensor | None  # (B, K, 3, P, P) uint8, retrieved ones
    reference_rows: list[list[int]]

    def pinned(self) -> "Raw":
        """In memory that a GPU reads without waiting."""
        tensors = {
            name: value.pin_memory()
            for name in ("truth", "mask", "composite", "donor", "donor_mask", "references")
            if (value := getattr(self, name)) is not None
        }
        return replace(self, **tensors)


@dataclass(frozen=True, slots=True)
class ReferenceBank:
    """Photos that references come from, the lists that name them, and their stored features."""

    cache: Photos
    lists: dict[str, list[int]]  # id of a training row -> rows of the cache, best first
    content: StoredFeatures | None  # None where the network reads none


class Feed:
    """Makes micro-batches: `raw` reads, in any thread; `finish` computes, on the device."""

    def __init__(
        self,
        experiment: Experiment,
        cache: Photos,
        rows: Sequence[int],
        device: torch.device,
        *,
        composites: Photos | None = None,
        truth_of: Sequence[int] | None = None,
        synthesis: Synthesis | None = None,
        bank: ReferenceBank | None = None,
        encoder: Encoder | None = None,
    ) -> None:
        """
        Args:
            cache: real photos; with `composites` given, row i of those has its truth at `truth_of[i]`.
            rows: the training rows, of `composites` where given, else of `cache`.
        """
        if not rows:
            raise ValueError("no photo is left to train on")
        if (composites is None) == (synthesis is None):
            raise ValueError("composites are either given or made")
        self.experiment, self.cache, self.rows, self.device = experiment, cache, list(rows), device
        self.composites, self.truth_of, self.synthesis = composites, truth_of, synthesis
        self.bank, self.encoder = bank, encoder
        self.kinds: dict[str, list[int]] = {}
        if synthesis is not None:
            for row in self.rows:
                if kind := cache.rows[row].kind:
                    self.kinds.setdefault(kind, []).append(row)

    def __len__(self) -> int:
        return len(self.rows)

    def raw(self, k: int) -> Raw:
        """Read micro-batch k. Draws only what the reading itself needs."""
        e = self.experiment
        rows = [self.rows[i] for i in rows_of(k, len(self.rows), e.micro_batch, e.seed)]
        donor = donor_mask = composite = None
        if self.composites is not None:
            assert self.truth_of is not None
            composite, mask, _ = self.composites.gather(rows)
            truth, _, _ = self.cache.gather([self.truth_of[row] for row in rows])
            mask = (mask > 127).byte() * 255  # the data set's masks are binary; packing softened them
        else:
            truth, mask, has = self.cache.gather(rows)
            mask = self._with_regions(mask, has, k)
            donor, donor_mask, donor_has = self.cache.gather(self._donors(rows, k))
            donor_mask[~donor_has] = 255  # a photo without an object lends the colours of all of it
        chosen, pictures = self._retrieved(rows, k)
        source = (self.composites or self.cache).rows
        return Raw(
            ids=tuple(source[row].id for row in rows),
            truth=truth,
            mask=mask,
            composite=composite,
            donor=donor,
            donor_mask=donor_mask,
            references=pictures,
            reference_rows=chosen,
        )

    def _donors(self, rows: list[int], k: int) -> list[int]:
        """Rows that lend their colours: a share shows the same kind of thing, where kinds are known."""
        g = generator("donor", self.experiment.seed, k)
        picks = torch.randint(len(self.rows), (len(rows),), generator=g).tolist()
        alike = torch.rand(len(rows), 2, generator=g).tolist()
        donors = []
        for row, pick, (chance, place) in zip(rows, picks, alike, strict=True):
            same = self.kinds.get(self.cache.rows[row].kind, [])
            take = same and chance < self.experiment.synthesis.same_kind
            donors.append(same[int(place * len(same))] if take else self.rows[pick])
        return donors

    def _with_regions(self, mask: Tensor, has: Tensor, k: int) -> Tensor:
        """Masks (B, 1, P, P) uint8, a share of which, and all that are missing, are random regions."""
        e = self.experiment
        g = generator("regions", e.seed, k)
        region = (torch.rand(len(mask), generator=g) < e.region_share) | ~has
        rows = region.nonzero().flatten()
        if len(rows):
            mask[rows] = (random_regions(len(rows), mask.shape[-1], g) * 255).round().byte()
        return mask

    def _retrieved(self, rows: list[int], k: int) -> tuple[list[list[int]], Tensor | None]:
        """Rows of the bank drawn for each picture, and their pixels (B, K, 3, P, P)."""
        if self.bank is None or self.experiment.references.retrieved == 0:
            return [[] for _ in rows], None
        g = generator("retrieved", self.experiment.seed, k)
        source = (self.composites or self.cache).rows
        most = self.experiment.references.most
        chosen = []
        for row in rows:
            known = self.bank.lists.get(source[row].id, [])
            order = torch.randperm(len(known), generator=g).tolist()[:most]  # at random, as in the paper
            chosen.append([known[i] for i in order])
        if not any(chosen):
            return chosen, None
        side = self.bank.cache.size
        pictures = torch.zeros(len(rows), most, 3, side, side, dtype=torch.uint8)
        for b, picks in enumerate(chosen):
            if picks:
                pictures[b, : len(picks)] = self.bank.cache.gather(picks)[0]
        return chosen, pictures

    def finish(self, raw: Raw, k: int) -> Batch:
        """Crops, colours and references of micro-batch k, on the device."""
        e = self.experiment
        g = generator("micro-batch", e.seed, k)
        truth, mask = self._floats(raw.truth), self._floats(raw.mask)
        if raw.composite is not None:
            pair, mask, known = self._views([truth, self._floats(raw.composite)], mask, raw, g)
            truth, composite = pair
            if e.true_background:
                composite = composite * mask + truth * (1 - mask)
        else:
            assert self.synthesis is not None
            assert raw.donor is not None
            assert raw.donor_mask is not None
            (truth,), mask, known = self._views([truth], mask, raw, g)
            donor, donor_mask = (
                area_means(self._floats(x), (truth.shape[-2], truth.shape[-1]))
                for x in (raw.donor, raw.donor_mask)
            )
            truth, composite, _ = self.synthesis.recolour(truth, mask, donor, donor_mask, g)
        references = self._references(raw, truth, known, g)
        return Batch(composite=composite, mask=mask, target=truth, ids=raw.ids, references=references)

    def _floats(self, values: Tensor) -> Tensor:
        """Bytes as floats 0..1, on the device."""
        return values.to(self.device, non_blocking=True).float() / 255

    def _views(
        self, pictures: list[Tensor], mask: Tensor, raw: Raw, g: torch.Generator
    ) -> tuple[list[Tensor], Tensor, Tensor]:
        """The same crops and flips of pictures (B, 3, P, P) and their mask, at the experiment's size.

        Returns: the pictures, the mask, and the mask on the CPU, whose values wait for no GPU.
        """
        size = self.experiment.size
        whole = mask if mask.device.type == "cpu" else raw.mask.float() / 255
        view = draw_view(whole, self.experiment.crop, g)
        views, small = [], mask
        for picture in pictures:
            seen, small = take_with_mask(picture, mask, view, size)
            views.append(seen)
        if small.device.type == "cpu":
            return views, small, small
        return views, small, take(whole, view[0], size, view[1]).clamp(0, 1)

    def _references(self, raw: Raw, truth: Tensor, mask: Tensor, g: torch.Generator) -> ReferenceBatch | None:
        """None, retrieved or made from the truth, drawn per sample or per micro-batch.

        Args: mask: on the CPU.
        """
        shares = self.experiment.references
        draw = torch.rand(1 if shares.per_batch else len(truth), generator=g).expand(len(truth))
        draw = draw * (shares.none + shares.retrieved + shares.augmented)
        has = torch.tensor([bool(picks) for picks in raw.reference_rows])
        retrieved = (draw >= shares.none) & (draw < shares.none + shares.retrieved) & has
        # A sample whose list is empty takes one made from the truth where the run has those at all.
        augmented = (draw >= shares.none) & ~retrieved & (shares.augmented > 0)
        if not (retrieved | augmented).any():
            return None
        own = self_references(truth, mask, g, shares.augmented_side) if augmented.any() else None
        size, most = truth.shape[-1], shares.most
        images = torch.zeros(len(truth), most, 3, size, size, device=truth.device)
        present = torch.zeros(len(truth), most, dtype=torch.bool)
        if raw.references is not None:
            small = area_means(self._floats(raw.references.flatten(0, 1)), (size, size))
            small = small.view(len(truth), -1, 3, size, size)
            for b in retrieved.nonzero().flatten().tolist():
                count = len(raw.reference_rows[b])
                images[b, :count] = small[b, :count]
                present[b, :count] = True
        if own is not None:
            rows = augmented.nonzero().flatten()
            images[rows.to(truth.device), 0] = own[rows.to(truth.device)]
            present[rows, 0] = True
        content, spec = self._reference_content(raw, images, present, retrieved)
        present = present.to(truth.device)
        return ReferenceBatch(images=images, present=present, content=content, spec=spec)

    def _reference_content(
        self, raw: Raw, images: Tensor, present: Tensor, retrieved: Tensor
    ) -> tuple[Tensor | None, FeatureSpec | None]:
        """Stored features of retrieved photos; a forward pass for views that were made just now."""
        if self.encoder is None:
            return None, None
        spec = self.encoder.spec
        content = torch.zeros(*present.shape, spec.dim, spec.grid, spec.grid, device=images.device)
        stored = None if self.bank is None else self.bank.content
        made = present.clone()
        if stored is not None:
            for b in retrieved.nonzero().flatten().tolist():
                for slot, row in enumerate(raw.reference_rows[b]):
                    content[b, slot] = stored[row].to(content)
                    made[b, slot] = False
        if made.any():
            rows, slots = (place.to(images.device) for place in made.nonzero(as_tuple=True))
            with torch.no_grad():
                content[rows, slots] = self.encoder.encode(images[rows, slots]).content
        return content, spec


def with_waits(items: Iterator[Item]) -> Iterator[tuple[Item, float]]:
    """Each item, and the seconds that were spent on waiting for it."""
    while True:
        begun = time.perf_counter()
        try:
            item = next(items)
        except StopIteration:
            return
        yield item, time.perf_counter() - begun


def prefetch(feed: Feed, numbers: Sequence[int], depth: int = 3) -> Iterator[tuple[int, Raw]]:
    """The raw micro-batches in order, read ahead in one thread. Errors of the thread are raised here."""
    ready: queue.Queue[tuple[int, Raw | BaseException]] = queue.Queue(depth)
    stop = threading.Event()
    pin = feed.device.type == "cuda"

    def work() -> None:
        for k in numbers:
            if stop.is_set():
                return
            try:
                raw = feed.raw(k)
                item: tuple[int, Raw | BaseException] = (k, raw.pinned() if pin else raw)
            except BaseException as error:
                item = (k, error)
            while not stop.is_set():
                try:
                    ready.put(item, timeout=0.2)
                    break
                except queue.Full:
                    continue
            if isinstance(item[1], BaseException):
                return

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        for _ in numbers:
            k, raw = ready.get()
            if isinstance(raw, BaseException):
                raise raw
            yield k, raw
    finally:
        stop.set()
        thread.join()
