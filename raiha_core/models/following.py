"""References followed by any network's answer: measure, weigh, blend.

The answer, whatever it is, gave the object some mean and deviation in Lab; it is moved towards those that the
references show, as far as the gate believes them. Where a mask leaves no background the network knows
nothing: there the references are followed whole.
Source: this project. Shapes: B composites of H x W, K references of each.
"""

from collections.abc import Sequence
from dataclasses import fields, replace

import torch
from torch import Tensor

from ..color import srgb_to_lab
from ..features.references import Belief, Reference
from ..features.spec import require_same_space
from ..masked_statistics import RegionStatistics, deviation_ratio, measure
from ..render import LabTransfer, Prediction, apply
from .matched_patches import over_patches, patch_grid, squash
from .reference_gate import FittedGate, Weighed, reason_against
from .reference_measurement import measure_references, reference_quality, stack
from .reference_observation import WORKING_SIDE
from .statistics import MeasuredObject, StatisticsConfig, measure_object, steps_towards

NO_MATCH, NOT_COMPARED = "no patch matched the object", "its patches were not compared with the object"
NEAR_ZERO = 0.05  # of a belief: below, the result shows nothing of a reference
UNMATCHED = 0.25  # what a whole picture counts beside one with matched patches, where there is no background
_WHOLE_WAY = StatisticsConfig(lightness=1.0, chroma=1.0, deviation=1.0)  # all of a difference is closed
Rows = Sequence[Sequence[Reference]]


def follow(
    prediction: Prediction,
    composite: Tensor,
    mask: Tensor,
    rows: Rows,
    fitted: FittedGate,
    *,
    strength: float = 0.0,
    share: float | None = None,
    seen: tuple[Tensor, Tensor] | None = None,
    usual_error: float | None = None,
) -> tuple[Prediction, list[tuple[Belief, ...]]]:
    """A network's answer, moved towards the references of each composite as far as they are believed.

    Args:
        composite: sRGB (B, 3, H, W), values 0..1; mask (B, 1, H, W), values 0..1; rows: of references,
            one for each composite.
        strength: -1..1; 0 follows the gate, -1 no reference at all, 1 goes all the way to what the
            references show wherever a patch of theirs matched.
        share: in place of what the gate says, 0..1 of the way; None: the gate says it.
        seen: the parts of composite and mask that the network saw and speaks of; None: all.
        usual_error: of the network, in grey levels; None: that of the network that the gate was fitted to.
    Returns: the answer, and what was believed of each reference, in the order given. A row without
        references, or with none that has a matched patch, keeps its answer's own bits.
    Raises: ValueError where there are rows for another number of composites, or a reference's matches are
        of another feature space than the gate's; as `measure_references`.
    """
    if len(rows) != len(composite):
        raise ValueError(f"{len(rows)} rows of references for {len(composite)} composites")
    if not -1 <= strength <= 1:
        raise ValueError(f"reference strength must lie in -1..1, got {strength}")
    if not any(rows):
        return prediction, [() for _ in rows]
    _require_space(rows, fitted)
    measured = measure_object(composite, mask)
    each = [measure_references(row, measured.row(b)) for b, row in enumerate(rows)]
    measurement, present = stack(each, max(1, *(len(one) for one in each)))
    device = measured.colour.mean.device
    of_answer = measured if seen is None or seen[0].shape == composite.shape else measure_object(*seen)
    answer = transfer_of(prediction, of_answer)
    alone = LabTransfer(centre=answer.centre.cpu(), scale=answer.scale.cpu(), shift=answer.shift.cpu())
    error = fitted.gate.usual_error if usual_error is None else torch.tensor(usual_error)
    about = (measured.colour.cpu(), alone, error.expand(len(rows)))
    weighed = fitted.gate(measurement, present, *about)
    if share is not None:
        weighed = replace(weighed, total=torch.full_like(weighed.total, share) * present.any(1)[:, None])
    elif strength <= 0:  # who asks for more than the gate gives is not held back
        weighed = weighed.within(alone, measured.colour.cpu(), about[-1])
    weighed = _strengthened(weighed, present, strength)
    evidence = fitted.gate.evidence(measurement, *about)
    beliefs = [_beliefs(row, evidence[b], weighed.beliefs[b], fitted) for b, row in enumerate(rows)]
    weighed = weighed.to(device)
    for b in (measured.ring.amount == 0).nonzero().flatten().tolist():
        if rows[b]:
            whole = 1.0 if share is None else share
            weighed, beliefs[b] = _whole(weighed, b, rows[b], measured.row(b), whole)
    if not weighed.total.any():
        return prediction, beliefs
    return blend(prediction, of_answer, weighed, answer), beliefs


def _is_transfer(prediction: Prediction) -> bool:
    others = (getattr(prediction, field.name) for field in fields(prediction) if field.name != "lab")
    return prediction.lab is not None and all(part is None for part in others)


def transfer_of(prediction: Prediction, measured: MeasuredObject) -> LabTransfer:
    """What an answer makes of the object's mean and deviation, as a transfer (B, 3)."""
    if _is_transfer(prediction):
        assert prediction.lab is not None
        return prediction.lab
    return _statistics_of(prediction, measured)


def blend(
    prediction: Prediction, measured: MeasuredObject, weighed: Weighed, answer: LabTransfer
) -> Prediction:
    """The answer with the object's mean and deviation moved as far as `weighed` says.

    A transfer of Lab statistics is changed in itself; what else an answer may hold is rendered first, on the
    working copy to learn its statistics, and a second transfer follows it.
    Args: answer: `transfer_of` it.
    """
    if _is_transfer(prediction):
        return Prediction(lab=towards(answer, weighed))
    moved = towards(answer, weighed)
    return replace(
        prediction,
        after=LabTransfer(
            centre=measured.colour.mean + answer.shift,
            scale=moved.scale / answer.scale,
            shift=moved.shift - answer.shift,
        ),
    )


def towards(alone: LabTransfer, weighed: Weighed) -> LabTransfer:
    """A transfer moved towards that of the references."""
    way = weighed.way
    return LabTransfer(
        centre=alone.centre,
        scale=alone.scale + way[:, 3:] * (weighed.scale - alone.scale),
        shift=alone.shift + way[:, :3] * (weighed.shift - alone.shift),
    )


def _statistics_of(prediction: Prediction, measured: MeasuredObject) -> LabTransfer:
    """What an answer makes of the object's mean and deviation, as a transfer (B, 3)."""
    everywhere = (measured.own > 0).to(measured.image)
    rendered = apply(prediction, measured.image, everywhere)
    before, after = (measure(srgb_to_lab(image), measured.own) for image in (measured.image, rendered))
    floor = StatisticsConfig().variance_floor
    return LabTransfer(
        centre=measured.colour.mean,
        scale=deviation_ratio(after.variance, before.variance, floor),
        shift=after.mean - before.mean,
    )


def _require_space(rows: Rows, fitted: FittedGate) -> None:
    """Raises: ValueError naming both feature spaces where a reference was matched in another one."""
    for reference in (reference for row in rows for reference in row):
        if reference.content_matches and reference.features is not None:
            require_same_space(
                fitted.spec,
                reference.features.spec,
                "the gate that weighs references",
                f"the gallery of reference '{reference.id}'",
            )


def _strengthened(weighed: Weighed, present: Tensor, strength: float) -> Weighed:
    if strength == 0:
        return weighed
    total = weighed.total * (1 + strength)
    if strength > 0:
        total = weighed.total + strength * (1 - weighed.total) * present.any(1)[:, None]
    return replace(weighed, total=total)


def _beliefs(
    row: Sequence[Reference], evidence: Tensor, shares: Tensor, fitted: FittedGate
) -> tuple[Belief, ...]:
    """In the row's order; `evidence` (K, ...) and `shares` (K, 3) hold those that have a matched patch."""
    place, found = 0, []
    strongest = float(shares.amax()) if shares.numel() else 0.0
    for reference in row:
        if not reference.content_matches:
            compared = reference.score is not None or reference.features is not None
            found.append(Belief(reason=NO_MATCH if compared else NOT_COMPARED))
            continue
        lightness, colour, contrast = shares[place].tolist()
        why = ""
        if max(lightness, colour, contrast) < NEAR_ZERO:
            why = reason_against(fitted.gate, evidence[place])
            if strongest >= NEAR_ZERO:
                why = f"another one is believed more: {why}"
        found.append(Belief(lightness=lightness, colour=colour, contrast=contrast, reason=why))
        place += 1
    return tuple(found)


def _whole(
    weighed: Weighed, b: int, row: Sequence[Reference], measured: MeasuredObject, way: float
) -> tuple[Weighed, tuple[Belief, ...]]:
    """References followed `way` of the way, by the quality of their matches: `b` has no background."""
    means, variances, weights = [], [], []
    object_patches: dict[int, int] = {}
    for reference in row:
        image, weight, grid = reference.image.to(measured.image), UNMATCHED, 1
        if reference.content_matches:
            grid = patch_grid(reference)
            count = object_patches.setdefault(grid, grid * grid)  # the mask covers them all
            weight = reference_quality(reference, count)
        lab = squash(image, grid, WORKING_SIDE)
        if reference.content_matches:
            shown = over_patches(lab, reference.content_matches, grid)
        else:
            shown = measure(lab, torch.ones_like(lab[:, :1]))
        means.append(shown.mean[0])
        variances.append(shown.variance[0])
        weights.append(weight)
    share = torch.tensor(weights).to(means[0])
    share = (share / share.sum())[:, None]
    mean = (share * torch.stack(means)).sum(0)
    variance = (share * (torch.stack(variances) + (torch.stack(means) - mean).square())).sum(0)
    target = RegionStatistics(mean[None], variance[None], mean.new_ones(1))
    stretch, shift = steps_towards(measured.colour, target, _WHOLE_WAY)
    total, scales, shifts = (part.clone() for part in (weighed.total, weighed.scale, weighed.shift))
    total[b], scales[b], shifts[b] = way, 1 + stretch[0], shift[0]
    parts = (way * share).flatten().tolist()
    beliefs = tuple(Belief(lightness=part, colour=part, contrast=part) for part in parts)
    return replace(weighed, total=total, scale=scales, shift=shifts), beliefs
