"""The one call behind the node, the command line, the evaluator and the README: `harmonize`.

A network answers; the one gate moves any network's answer towards the references; `render` writes pixels.

Source: this project. Shapes: B composites of H x W; K references.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from . import mask_meaning, masks, render
from .background import outside
from .features.encoders import Encoder
from .features.patches import PatchFeatures
from .features.references import Belief, Reference
from .harmonizer import DEFAULT_MODEL, Harmonizer, load_harmonizer, shipped_gate
from .models.following import follow
from .retrieval.rematch import in_space

GivenReferences = Sequence[Reference] | Sequence[Sequence[Reference]]


class HarmonizeWarning(mask_meaning.MaskWarning):
    """Something the caller should know, although a correct picture came out."""


def per_composite(references: GivenReferences, batch: int) -> list[Sequence[Reference]]:
    """One row of references per composite; a flat sequence serves them all.

    Raises: ValueError where the number of rows is not the number of composites.
    """
    if all(isinstance(entry, Reference) for entry in references):
        return [cast("Sequence[Reference]", references)] * batch
    rows = cast("Sequence[Sequence[Reference]]", references)
    if len(rows) != batch:
        raise ValueError(f"{len(rows)} rows of references for {batch} composites")
    return list(rows)


def _rows_with_an_object(mask: Tensor) -> list[int]:
    """Indices of the images whose mask is not empty; warns about the others."""
    if note := mask_meaning.empty_note(mask):
        warnings.warn(note, HarmonizeWarning, stacklevel=3)
    return (mask.flatten(1) > 0).any(1).nonzero().flatten().tolist()


def _require_guidance(mask: Tensor, rows: list[int], references: list[Sequence[Reference]]) -> None:
    for row in rows:
        if not references[row] and not outside(mask[row : row + 1]).any():
            where = "" if len(mask) == 1 else f" of image {row}"
            raise ValueError(
                f"the mask{where} covers the whole picture: without a background there must be references"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Harmonized:
    """A result, and how far it followed each reference."""

    image: Tensor  # (B, 3, H, W)
    # a row for each composite, in the order of its references; () where the network read them by itself,
    # the mask is empty, or there are none
    beliefs: tuple[tuple[Belief, ...], ...]


def harmonize(
    composite: Tensor,
    mask: Tensor,
    references: GivenReferences = (),
    model: "Harmonizer | str | Path" = DEFAULT_MODEL,
    *,
    encoder: Encoder | None = None,
    features: PatchFeatures | None = None,
    strength: float = 1.0,
    exact: bool = False,
    as_stored: bool = False,
    gate: bool | None = None,
) -> Tensor:
    """Change the look of the masked object until it belongs to its background.

    Args:
        composite: sRGB (B, 3, H, W), floating point, values 0..1, any size.
        mask: (B, 1, H, W), 1 = pasted object, soft edges allowed; batch 1 broadcasts. Masks of labels,
            of another size and so on are understood as `mask_meaning` says, with a `HarmonizeWarning`.
        references: for all composites, or one row for each of them; may be empty.
        model: a loaded harmonizer, the name of a preset or shipped weights, or a .safetensors file.
        encoder: needed only by networks that read patch features; loaded by name where left out.
        features: the composites' patch features, batch B or 1, where they are known already.
        strength: 0 gives the composite, 1 the harmonizer's full answer.
        exact: inside the mask as a published network's authors render at full size (`render.apply`).
        as_stored: take the mask for what it is, of the composite's own size, as evaluation demands.
        gate: whether the gate moves the answer towards the references as far as it believes them. None:
            where the harmonizer does not read them itself. False ignores them there.
    Returns: (B, 3, H, W) in the composite's dtype and on its device; outside the mask the
        composite's own bits. Each picture of a batch is what it would be alone. An empty mask gives
        the composite back, with a `HarmonizeWarning`.
    Raises: ValueError naming the offending shape or value, as `mask_meaning.understand` does; where a
        mask leaves no background and no reference is given; where features of two spaces meet.
    """
    return harmonize_with_beliefs(
        composite,
        mask,
        references,
        model,
        encoder=encoder,
        features=features,
        strength=strength,
        exact=exact,
        as_stored=as_stored,
        gate=gate,
    ).image


@torch.inference_mode()
def harmonize_with_beliefs(
    composite: Tensor,
    mask: Tensor,
    references: GivenReferences = (),
    model: "Harmonizer | str | Path" = DEFAULT_MODEL,
    *,
    encoder: Encoder | None = None,
    features: PatchFeatures | None = None,
    strength: float = 1.0,
    exact: bool = False,
    as_stored: bool = False,
    gate: bool | None = None,
) -> Harmonized:
    """`harmonize`, and how far each reference was followed. Arguments and errors are those of `harmonize`."""
    if not 0 <= strength <= 1:
        raise ValueError(f"strength must lie in 0..1, got {strength}")
    if not as_stored:
        meant = mask_meaning.understand(composite, mask)
        mask = meant.mask
        for note in meant.notes:
            warnings.warn(note, HarmonizeWarning, stacklevel=2)
    composite, mask = masks.check_pair(composite, mask)
    rows_of_references = per_composite(references, len(composite))
    rows = _rows_with_an_object(mask)
    beliefs: list[tuple[Belief, ...]] = [() for _ in rows_of_references]
    if not rows or strength == 0:
        return Harmonized(image=composite.clone(), beliefs=tuple(beliefs))
    _require_guidance(mask, rows, rows_of_references)
    harmonizer = model if isinstance(model, Harmonizer) else load_harmonizer(model, composite.device)
    gated = harmonizer.max_references == 0 if gate is None else gate
    result = composite.clone() if len(composite) > 1 else composite
    # one at a time: a batch is then its single pictures to the bit, and needs no more memory
    for row in rows:
        one = slice(row, row + 1)
        prediction, beliefs[row] = _answer(
            composite[one],
            mask[one],
            rows_of_references[row],
            harmonizer,
            encoder,
            _row(features, row),
            gated,
        )
        rendered = render.apply(prediction, composite[one], mask[one], strength=strength, exact=exact)
        if len(composite) == 1:
            return Harmonized(image=rendered, beliefs=tuple(beliefs))
        result[one] = rendered
    return Harmonized(image=result, beliefs=tuple(beliefs))


def _answer(
    composite: Tensor,
    mask: Tensor,
    references: Sequence[Reference],
    harmonizer: Harmonizer,
    encoder: Encoder | None,
    features: PatchFeatures | None,
    gated: bool,
) -> tuple[render.Prediction, tuple[Belief, ...]]:
    """What the harmonizer says of one composite, moved towards its references where the gate is asked."""
    read = references if harmonizer.max_references > 0 else ()
    prediction = harmonizer.predict(composite, mask, [read], encoder=encoder, features=features)
    if not (references and gated):
        return prediction, ()
    fitted = harmonizer.gate or shipped_gate()
    prediction, (belief,) = follow(
        prediction,
        composite,
        mask,
        in_space([references], composite, mask, fitted.spec),
        fitted,
        strength=harmonizer.reference_strength,
    )
    return prediction, belief


def _row(features: PatchFeatures | None, row: int) -> PatchFeatures | None:
    """One composite's features; a single row serves them all."""
    if features is None or len(features) == 1:
        return features
    one = slice(row, row + 1)
    return PatchFeatures(features.content[one], features.appearance[one], features.spec)
