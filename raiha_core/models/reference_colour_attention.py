"""Colours of the references' cells, read by an attention over retrieval features: no second pass over them.

Ours, after the attention of arXiv:2412.13916: reference cells stand beside background cells in one softmax,
values are raw colours. A learned "nothing" competes with them, so that poor matches say little.
Shapes: B images, K references, D content numbers, P = g*g cells of the content grid, S = P + K*P + 1 keys.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..background import complement, pure_cells
from ..color import srgb_to_lab
from ..features.match_quality import batch_match_quality
from ..features.references import ReferenceBatch
from ..masked_statistics import VARIANCE_FLOOR, cell_moments, weighted_mean
from ..precision import widen, without_autocast
from .blocks import Operations
from .reference_attention import attend, cells
from .region_colour import LAB_UNIT

INITIAL_SHARPNESS = 20.0  # of the cosine; 0.05 was measured to be a good temperature
NOTHING = 0.4  # initial cosine at which a match weighs as much as nothing at all
QUALITY = 5.0  # initial pull towards references of high match quality
MAP_NUMBERS = 15  # per cell
VECTOR_NUMBERS = 2 * (6 + 1) + 4  # per picture


def cell_colours(image: Tensor, weight: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Mean and deviation of Lab / 100 in each cell, over pixels of some weight.

    Args: image (B, 3, h, w) sRGB 0..1; weight (B, 1, h, w).
    Returns: (B, P, 6) with 0 in cells without weight, and the mean weight (B, P).
    """
    lab = srgb_to_lab(widen(image)) / LAB_UNIT
    mean, variance, share = cell_moments(lab, weight, grid)
    deviation = (variance + VARIANCE_FLOOR).sqrt()
    known = share > 1e-3
    return cells(torch.cat((mean, deviation), 1) * known), (share * known).flatten(1)


class ReferenceColourAttention(nn.Module):
    """Attention from the composite's cells to its background and to the references' cells."""

    def __init__(self) -> None:
        super().__init__()
        self.sharpness = nn.Parameter(torch.tensor(INITIAL_SHARPNESS))
        self.nothing = nn.Parameter(torch.tensor(INITIAL_SHARPNESS * NOTHING))
        self.quality = nn.Parameter(torch.tensor(QUALITY))

    def forward(
        self, image: Tensor, mask: Tensor, content: Tensor, references: ReferenceBatch
    ) -> tuple[Tensor, Tensor]:
        """What is read, per cell and per picture.

        Args: image (B, 3, h, w), mask (B, 1, h, w), content (B, D, g, g) of unit length.
        Returns: (B, 15, g, g) and (B, 18), float32; exact zeros for a composite without references.
        """
        assert references.content is not None
        rows, most = references.present.shape
        grid = (content.shape[-2], content.shape[-1])
        there = (references.content.shape[-2], references.content.shape[-1])
        pictures = references.images.to(image).flatten(0, 1)
        reference_colours, _ = cell_colours(pictures, torch.ones_like(widen(pictures)[:, :1]), there)
        reference_colours = reference_colours.reshape(rows, -1, 6)  # (B, K*P', 6)
        object_colours, object_share = cell_colours(image, widen(mask), grid)
        back_colours, back_share = cell_colours(image, complement(widen(mask)), grid)
        own = cells(widen(content))  # (B, P, D)
        offered = widen(references.content.to(image.device)).flatten(0, 1)  # (B*K, D, g', g')
        theirs = cells(offered).reshape(rows, -1, own.shape[2])
        present = references.present.to(image.device)
        per_cell = reference_colours.shape[1] // most
        exists = present.repeat_interleave(per_cell, 1)  # (B, K*P')
        match = batch_match_quality(mask, content, references).to(own)  # (B, K)
        quality = match.repeat_interleave(per_cell, 1)
        is_object, clean = object_share > 0, pure_cells(back_share)
        with without_autocast(image):
            read = self._read(own, theirs, quality, exists, is_object, clean, back_colours, reference_colours)
            best = self._best(own, theirs, exists)
        some = present.any(1)[:, None, None]
        from_all, mass, from_references = read[..., :6], read[..., 6:7], read[..., 7:8]
        towards = (from_all - mass * object_colours) * is_object[..., None]
        around = (from_all - mass * back_colours) * (~is_object)[..., None]
        per_place = torch.cat((towards, around, mass, from_references, best[..., None]), 2) * some
        towards_mean = _average(torch.cat((towards, mass), 2), object_share)
        around_mean = _average(torch.cat((around, mass), 2), back_share * ~is_object)
        best_object = _average(best[..., None], object_share)
        best_around = _average(best[..., None], back_share)
        best_match = match.amax(1, keepdim=True)
        count = present.sum(1, keepdim=True).to(own) / 4
        vector = torch.cat((towards_mean, around_mean, best_object, best_around, best_match, count), 1)
        return per_place.transpose(1, 2).unflatten(2, grid), vector * some[:, 0]

    def _read(
        self,
        own: Tensor,
        theirs: Tensor,
        quality: Tensor,
        exists: Tensor,
        is_object: Tensor,
        clean: Tensor,
        back_colours: Tensor,
        reference_colours: Tensor,
    ) -> Tensor:
        """(B, P, 8): six numbers of the colour, the mass not lost to "nothing", the references' part."""
        sharpness, nothing, pull = (widen(p).to(own) for p in (self.sharpness, self.nothing, self.quality))
        rows, places, _ = own.shape
        one = own.new_ones(rows, places, 1)
        query = torch.cat((sharpness * own, one), 2)  # the last number meets each key's own bias
        sink = torch.cat((torch.zeros_like(own[:, :1]), nothing.expand(rows, 1, 1)), 2)
        key = torch.cat(
            (
                torch.cat((own, torch.zeros_like(one)), 2),
                torch.cat((theirs, (pull * (quality - 1))[..., None]), 2),
                sink,
            ),
            1,
        )
        value = torch.cat(
            (
                torch.cat((back_colours, one, torch.zeros_like(one)), 2),
                F.pad(reference_colours, (0, 2), value=1.0),
                own.new_zeros(rows, 1, 8),
            ),
            1,
        )
        # the object reads from both; a background cell would only find itself, so it reads references alone
        near = is_object[:, :, None] & clean[:, None, :]
        allowed = torch.cat((near, exists[:, None].expand(-1, places, -1), one.bool()), 2)
        return attend(query, key, value, allowed)

    @staticmethod
    def _best(own: Tensor, theirs: Tensor, exists: Tensor) -> Tensor:
        """Highest cosine of each cell among the references: (B, P), 0 where there is none."""
        cosine = own @ theirs.transpose(1, 2)
        return cosine.masked_fill(~exists[:, None], 0).amax(2)


class LearnedReferences(nn.Module):
    """The attention, and what its numbers per picture add to the network's summary."""

    def __init__(self, hidden: int, operations: Operations) -> None:
        super().__init__()
        self.attention = ReferenceColourAttention()
        # without bias, so that no references add exactly nothing
        self.to_summary = operations.Linear(VECTOR_NUMBERS, hidden, bias=False)

    def forward(
        self, image: Tensor, mask: Tensor, content: Tensor, references: ReferenceBatch
    ) -> tuple[Tensor, Tensor]:
        """As `ReferenceColourAttention`."""
        return self.attention(image, mask, content, references)


def _average(values: Tensor, weight: Tensor) -> Tensor:
    """(B, P, N) over cells with weight (B, P) -> (B, N); 0 where there is none."""
    return weighted_mean(values, weight[..., None], (1,))[:, 0]
