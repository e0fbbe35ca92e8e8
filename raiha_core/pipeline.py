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
from .background import has_outside
from .controls import BY_GATE, BY_HARMONIZER, Controls, adjusted, require_strength
from .features.encoders import Encoder
from .features.patches import PatchFeatures
from .features.references import Belief, Reference
from .harmonizer import DEFAULT_MODEL, Harmonizer, load_harmonizer, shipped_gate
from .local_light import LightRamp, border_ramp, light_across
from .mask_shape import shaped
from .models.following import follow
from .network_view import painted_over, window_around, window_by_share
from .retrieval.rematch import in_space
from .strips import value_range, with_objects

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
    filled = with_objects(mask)
    if note := mask_meaning.empty_note(mask, filled):
        warnings.warn(note, HarmonizeWarning, stacklevel=3)
    return filled.nonzero().flatten().tolist()


def _require_guidance(mask: Tensor, rows: list[int], references: list[Sequence[Reference]]) -> None:
    for row in rows:
        if not references[row] and not has_outside(mask[row : row + 1]):
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
    notes: tuple[str, ...] = ()  # what was done otherwise than asked for, in sentences
    # of a single composite: what was rendered at strength 1, before the controls; None where there is no one
    # transform
    transform: render.Prediction | None = None


def harmonize(
    composite: Tensor,
    mask: Tensor,
    references: GivenReferences = (),
    model: "Harmonizer | str | Path" = DEFAULT_MODEL,
    *,
    encoder: Encoder | None = None,
    features: PatchFeatures | None = None,
    strength: float = 1.0,
    controls: Controls | None = None,
    background: Tensor | None = None,
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
        strength: 0 gives the composite, 1 the harmonizer's full answer, up to 2 more than that.
        controls: light, colour and contrast apart, the mask's border and so on; as `Controls` says.
        background: (B, 1, H, W), batch 1 broadcasts: 1 where the background is that the object shall fit;
            None: all that is not object. What it leaves out is not looked at.
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
        controls=controls,
        background=background,
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
    controls: Controls | None = None,
    background: Tensor | None = None,
    exact: bool = False,
    as_stored: bool = False,
    gate: bool | None = None,
) -> Harmonized:
    """`harmonize`, and how far each reference was followed. Arguments and errors are those of `harmonize`."""
    require_strength(strength)
    controls = controls or Controls()
    composite, mask = masks.check_pair(composite, mask) if as_stored else _understood(composite, mask)
    rows_of_references = per_composite(references, len(composite))
    rows = _rows_with_an_object(mask)
    mask, rows, notes = _shaped(mask, rows, controls)
    if background is not None:
        background = masks.check_pair(composite, background.to(composite))[1]
    beliefs: list[tuple[Belief, ...]] = [() for _ in rows_of_references]
    if not rows or strength == 0:
        return Harmonized(image=composite.clone(), beliefs=tuple(beliefs), notes=notes)
    if controls.reference_strength == 0:
        rows_of_references = [() for _ in rows_of_references]
    _require_guidance(mask, rows, rows_of_references)
    harmonizer = model if isinstance(model, Harmonizer) else load_harmonizer(model, composite.device)
    asked = _Asked(
        harmonizer=harmonizer,
        encoder=encoder,
        gated=harmonizer.max_references == 0 if gate is None else gate,
        strength=strength,
        controls=controls,
        exact=exact,
    )
    result = composite.clone() if len(composite) > 1 else composite
    # one at a time: a batch is then its single pictures to the bit, and needs no more memory
    for row in rows:
        one = slice(row, row + 1)
        rendered, beliefs[row], transform = _harmonize_one(
            composite[one],
            mask[one],
            rows_of_references[row],
            _row(features, row),
            None if background is None else background[one],
            asked,
        )
        if len(composite) == 1:
            return Harmonized(image=rendered, beliefs=tuple(beliefs), notes=notes, transform=transform)
        result[one] = rendered
    return Harmonized(image=result, beliefs=tuple(beliefs), notes=notes)


def _understood(composite: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Composites and masks of one batch; what had to be understood of the masks is a warning."""
    meant = mask_meaning.understand(composite, mask)
    for note in meant.notes:
        warnings.warn(note, HarmonizeWarning, stacklevel=3)
    batch = max(len(composite), len(meant.mask))  # both are checked by now
    return composite.expand(batch, -1, -1, -1), meant.mask.expand(batch, -1, -1, -1)


def _shaped(mask: Tensor, rows: list[int], controls: Controls) -> tuple[Tensor, list[int], tuple[str, ...]]:
    """The mask that the controls make, the rows that still have an object, and what to say of the others."""
    if not rows or not (controls.grow or controls.feather):
        return mask, rows, ()
    mask = shaped(mask, controls.grow, controls.feather)
    left = [row for row in rows if (mask[row] > 0).any()]
    if left == rows:
        return mask, rows, ()
    return mask, left, (f"shrunk by {-controls.grow} pixels the mask is empty: the input comes back",)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Asked:
    """What is asked of every composite alike."""

    harmonizer: Harmonizer
    encoder: Encoder | None
    gated: bool
    strength: float
    controls: Controls
    exact: bool


def _harmonize_one(
    composite: Tensor,
    mask: Tensor,
    references: Sequence[Reference],
    features: PatchFeatures | None,
    background: Tensor | None,
    asked: _Asked,
) -> tuple[Tensor, tuple[Belief, ...], render.Prediction | None]:
    """One composite with an object: what is seen of it, what the harmonizer says, what is made of that."""
    if asked.controls.context == BY_HARMONIZER:
        window = window_by_share(mask, asked.harmonizer.least_share)
    else:
        window = window_around(mask, asked.controls.context)
    part = (..., window.rows, window.columns)
    near, inside = composite[part], mask[part]
    low, high = value_range(near)
    bright = low < 0 or high > 1
    if bright:  # what is beyond the display's white is white, as in files of floats
        near = near.clamp(0, 1)
    if near.shape != composite.shape or background is not None:
        features = None  # they are of another picture than the one that is seen
    seen = near if background is None else painted_over(near, inside, background[part])
    by_itself = asked.harmonizer.max_references > 0
    share = asked.controls.reference_strength
    read = references if by_itself else ()
    prediction = _predict(seen, inside, read, features, asked)
    beliefs: tuple[Belief, ...] = ()
    if references and asked.gated:
        prediction, beliefs = _follow(prediction, composite, mask, references, (seen, inside), asked)
    ramp = border_ramp(seen, inside) if asked.controls.local_light > 0 else None
    rendered = _render(prediction, near, inside, ramp, asked)
    whole = prediction if ramp is None else None
    if by_itself and references and 0 < share < 1:
        alone = _render(_predict(seen, inside, (), features, asked), near, inside, ramp, asked)
        rendered = render.paste(near, torch.lerp(alone, rendered, share), (inside > 0).to(near))
        whole = None
    if bright:
        rendered = torch.where(inside > 0, rendered, composite[part])
    if near.shape == composite.shape:
        return rendered, beliefs, whole
    result = composite.clone()
    result[part] = rendered
    return result, beliefs, whole


def _predict(
    seen: Tensor,
    inside: Tensor,
    read: Sequence[Reference],
    features: PatchFeatures | None,
    asked: _Asked,
) -> render.Prediction:
    return asked.harmonizer.predict(seen, inside, [read], encoder=asked.encoder, features=features)


def _render(
    prediction: render.Prediction, near: Tensor, inside: Tensor, ramp: LightRamp | None, asked: _Asked
) -> Tensor:
    controls = asked.controls
    if asked.strength <= 1 and not controls.change_pixels:
        return render.apply(prediction, near, inside, strength=asked.strength, exact=asked.exact)
    answer = render.apply(prediction, near, inside, exact=asked.exact, unblended=True)
    if asked.exact and prediction.step is not None and prediction.step.blends:
        inside = (inside > 0).to(inside)  # the answer is blended already
    if ramp is not None:
        answer = light_across(answer, inside, ramp, controls.local_light)
    return adjusted(near, answer, inside, asked.strength, controls)


def _follow(
    prediction: render.Prediction,
    composite: Tensor,
    mask: Tensor,
    references: Sequence[Reference],
    seen: tuple[Tensor, Tensor],
    asked: _Asked,
) -> tuple[render.Prediction, tuple[Belief, ...]]:
    """The answer moved towards the references, whose matches are with patches of the whole composite."""
    share = asked.controls.reference_strength
    fitted = asked.harmonizer.gate or shipped_gate()
    prediction, (belief,) = follow(
        prediction,
        composite,
        mask,
        in_space([references], composite, mask, fitted.spec),
        fitted,
        strength=asked.harmonizer.reference_strength,
        share=None if share == BY_GATE else share,
        seen=seen,
        usual_error=asked.harmonizer.usual_error,
    )
    return prediction, belief


def _row(features: PatchFeatures | None, row: int) -> PatchFeatures | None:
    """One composite's features; a single row serves them all."""
    if features is None or len(features) == 1:
        return features
    one = slice(row, row + 1)
    return PatchFeatures(features.content[one], features.appearance[one], features.spec)
