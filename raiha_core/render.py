"""From a harmonizer's prediction to pixels, at the photo's own size: the only place that writes pixels.

What goes wrong between the network's size and the photo's, and what is done here about it: parameters
outside the mask are junk and must not bleed into the rim (`enlarge`); transforming and resizing do not
commute with a clamp (one clamp, at the very end); 16 megapixels must not need tens of gigabytes (strips).
What published networks say is rendered here too, each as a `Step` that the network's file defines.
Shapes: B images; h x w is the network's size, H x W the photo's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import Tensor

from .color import lab_to_srgb, srgb_to_lab
from .enlargement import Enlarged, Window, shrink
from .masks import repeated
from .precision import has_double, widen
from .remembered import once, remembers
from .strips import in_strips, touched_columns, touched_rows
from .value_reading import may_read

STRIP_PIXELS = 1 << 18  # rendered at a time; the working memory is about 100 floats for each


@dataclass(frozen=True, kw_only=True, slots=True)
class LabTransfer:
    """new = lab + (scale - 1) * (lab - centre) + shift, per image and Lab channel."""

    centre: Tensor  # (B, 3)
    scale: Tensor  # (B, 3)
    shift: Tensor  # (B, 3)

    def __call__(self, image: Tensor, lab: Tensor | None = None) -> Tensor:
        """sRGB (B, 3, H, W) in 0..1 to sRGB, not clamped. Where nothing changes, the image's own bits.

        Args: lab: the image in Lab, where that is known.
        """
        scale, shift, centre = (
            values[:, :, None, None].to(image) for values in (self.scale, self.shift, self.centre)
        )
        lab = srgb_to_lab(image) if lab is None else lab
        new = lab_to_srgb(lab + (scale - 1) * (lab - centre) + shift)
        idle = ((scale == 1) & (shift == 0)).all(1, keepdim=True)  # the way to Lab and back rounds
        still = image + (new - new.detach()) if new.requires_grad else image  # a start at rest can learn
        return torch.where(idle, still, new)


# The strip (B, 3, rows, columns), sRGB 0..1, and where it lies in the photo -> its new pixels, like it.
Renderer = Callable[[Tensor, Window], Tensor]


class Step(Protocol):
    """A change of the picture that no other field of `Prediction` holds: curves, filters, maps.

    It is rendered strip by strip, and the strips together must be what the whole picture would give.
    """

    @property
    def count(self) -> int:
        """How many pictures it speaks of: B, or 1 for all."""

    @property
    def halo(self) -> int:
        """Pixels around a strip that its rendering looks at; 0 where each pixel stands for itself."""

    @property
    def blends(self) -> bool:
        """Whether the authors blend by a map of the network's own and not by the mask."""

    def start(self, composite: Tensor, mask: Tensor, *, exact: bool) -> Renderer:
        """Look at the whole photo, whatever of it must be known before the first strip.

        Args: composite (B, 3, H, W); mask (B, 1, H, W); exact: as the authors render at full size.
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """What a harmonizer says about the look of the object. Steps that are None are skipped.

    Order of application: `step`, `lab`, then `affine`, or `dense` alone; then `after`.
    """

    step: Step | None = None  # what a published network says
    lab: LabTransfer | None = None  # global statistics transfer, exact at every size
    affine: Tensor | None = (
        None  # (B, 12, h, w) or (B, 12, 1, 1): (M - I) row-major (9), then b (3), sRGB 0..1
    )
    dense: Tensor | None = None  # (B, 3, h, w) sRGB 0..1, at the network's size
    after: LabTransfer | None = None  # of what the other steps gave, e.g. towards what references show

    def __post_init__(self) -> None:
        if self.dense is not None and (self.lab, self.affine, self.step) != (None, None, None):
            raise ValueError("a dense prediction stands alone")


def paste(composite: Tensor, new: Tensor, mask: Tensor) -> Tensor:
    """composite + mask * (new - composite); outside the mask the composite's own bits.

    Args: composite, new: (B, 3, H, W); mask (B, 1, H, W), values 0..1.
    Returns: (B, 3, H, W) in the composite's dtype; between composite and new everywhere.
    """
    # torch.where, because x + 0 * inf is not x, and -0.0 + 0.0 loses its sign bit.
    return torch.where(mask > 0, torch.lerp(*_alike(composite, new, mask)).to(composite.dtype), composite)


def apply(
    prediction: Prediction,
    composite: Tensor,
    mask: Tensor,
    strength: float = 1.0,
    *,
    exact: bool = False,
    unblended: bool = False,
) -> Tensor:
    """Render a prediction at the photo's own size, inside the mask only.

    Args:
        composite: sRGB (B, 3, H, W), floating point, values 0..1; mask (B, 1, H, W), values 0..1.
        strength: share of the change, 0..1; 0 gives the composite's own bits.
        exact: inside the mask as the authors of a published network render at full size: their
            enlargement, and where they blend by a map of the network's own, that map alone. Other
            predictions are rendered as always.
        unblended: the prediction alone wherever the mask is above 0, for what blends by itself.
    Returns: (B, 3, H, W) in the composite's dtype, 0..1 inside; outside the mask the composite's bits.
    Raises: ValueError where shapes disagree, the composite is not floating point, or strength is not 0..1.
    """
    composite, mask = _check(prediction, composite, mask, strength)
    rows, columns = _extent(mask) if strength > 0 else (slice(0, 0), slice(0, 0))
    result = composite.clone()
    if rows.stop == 0:
        return result
    field = _field(prediction, composite, mask)
    changed = None if prediction.step is None else prediction.step.start(composite, mask, exact=exact)
    whole = unblended or (exact and prediction.step is not None and prediction.step.blends)

    # a training step has asked for the whole picture in Lab before
    shares = changed is None and prediction.lab is not None and remembers(composite)
    whole_lab = once(srgb_to_lab, widen(composite)) if shares else None

    def write(part: slice) -> None:
        across = _columns(mask[..., part, :], columns)
        if across.start == across.stop:
            return
        window = Window(part, across)
        old = composite[..., part, across]
        if changed is None or prediction.step is None:
            new = widen(old)
        else:
            new = _stepped(prediction.step.halo, changed, composite, window)
        lab = None if whole_lab is None else whole_lab[..., part, across]
        new = _new_pixels(prediction, field, new, window, lab)
        weight = widen(mask[..., part, across])
        if whole:
            weight = (weight > 0).to(weight)
        result[..., part, across] = paste(old, new, weight * strength)

    in_strips(write, rows, max(1, STRIP_PIXELS // (len(composite) * composite.shape[-1])))
    return result


class PartByPart:
    """A prediction that is a function of colour and place, for photos of which no copy in floats is made."""

    def __init__(self, prediction: Prediction, mask_at: Callable[[tuple[int, int]], Tensor]) -> None:
        """Args: mask_at: the photo's mask, made small to a size (height, width): (1, 1, *size).

        Raises: ValueError for predictions that look at the whole photo (`step`, `dense`).
        """
        if prediction.step is not None or prediction.dense is not None:
            raise ValueError("this prediction looks at the whole photo")
        self._prediction, self._mask_at = prediction, mask_at

    def of(self, size: tuple[int, int]) -> Callable[[Tensor, Tensor, Window], Tensor]:
        """For a photo of a size (height, width): (old pixels, mask, where they lie) -> the new pixels."""
        affine, field = self._prediction.affine, None
        if affine is not None:
            small = (affine.shape[-2], affine.shape[-1])
            field = Enlarged(widen(affine), self._mask_at(small).to(affine.device) > 0, size)

        def rendered(old: Tensor, mask: Tensor, window: Window) -> Tensor:
            return paste(old, _new_pixels(self._prediction, field, old, window, None), mask)

        return rendered


def _new_pixels(
    prediction: Prediction, field: Enlarged | None, new: Tensor, window: Window, lab: Tensor | None
) -> Tensor:
    """A strip after all steps but `step`, each clamped."""
    new = cast("Tensor", _Clamp.apply(_transform(prediction, field, new, window, lab)))
    if prediction.after is not None:
        new = cast("Tensor", _Clamp.apply(prediction.after(new)))
    return new


def _stepped(halo: int, changed: Renderer, composite: Tensor, window: Window) -> Tensor:
    """The strip after the prediction's step, which is shown its surroundings and cut back."""

    def grown(part: slice, side: int) -> slice:
        return slice(max(0, part.start - halo), min(side, part.stop + halo))

    wide = Window(
        grown(window.rows, composite.shape[-2]),
        grown(window.columns, composite.shape[-1]),
    )
    new = changed(widen(composite[..., wide.rows, wide.columns]), wide)
    top, left = window.rows.start - wide.rows.start, window.columns.start - wide.columns.start
    height, width = window.rows.stop - window.rows.start, window.columns.stop - window.columns.start
    return new[..., top : top + height, left : left + width]


class _Clamp(torch.autograd.Function):
    """clamp(0, 1) whose gradient passes as if it were not there: what left the range can learn to return."""

    @staticmethod
    def forward(ctx: object, new: Tensor) -> Tensor:
        return new.clamp(0, 1)

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        return gradient


def dither(image: Tensor, mask: Tensor) -> Tensor:
    """8-bit levels whose mean over a few pixels is the value: hides the steps that a gain makes visible.

    Args: image (B, C, H, W), values 0..1; mask (B, 1, H, W). Returns: like image; inside the mask
        multiples of 1/255, and values that already are stay; outside the mask the image's own bits.
    Source: interleaved gradient noise, Jimenez, SIGGRAPH 2014: a formula of the place, so repeatable.
    """
    if not has_double(image.device):
        return dither(image.cpu(), mask.cpu()).to(image.device)
    height, width = image.shape[-2:]
    y = torch.arange(height, device=image.device, dtype=torch.float64)[:, None]
    x = torch.arange(width, device=image.device, dtype=torch.float64)
    noise = torch.frac(52.9829189 * torch.frac(0.06711056 * x + 0.00583715 * y))  # 0..1
    level = image.to(torch.float64) * 255
    near = level.round()
    spread = torch.where((level - near).abs() < 1e-3, near, (level + noise).floor())
    return torch.where(mask > 0, (spread.clamp(0, 255) / 255).to(image.dtype), image)


def _alike(first: Tensor, second: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """In one type that loses nothing of the three: float64 if one is, else float32."""
    double = torch.float64 in (first.dtype, second.dtype, weight.dtype)
    dtype = torch.float64 if double else torch.float32
    return first.to(dtype), second.to(dtype), weight.to(dtype)


def _check(prediction: Prediction, composite: Tensor, mask: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    if not 0 <= strength <= 1:
        raise ValueError(f"strength must lie in 0..1, got {strength}")
    if not composite.is_floating_point():
        raise ValueError(f"the composite must be floating point, got {composite.dtype}")
    if composite.ndim != 4 or mask.ndim != 4 or composite.shape[-2:] != mask.shape[-2:]:
        raise ValueError(f"shapes disagree: composite {tuple(composite.shape)}, mask {tuple(mask.shape)}")
    maps = (prediction.affine, prediction.dense)
    parts = [len(part) for part in maps if part is not None]
    parts += [len(lab.shift) for lab in (prediction.lab, prediction.after) if lab is not None]
    if prediction.step is not None:
        parts.append(prediction.step.count)
    batch = max(len(composite), len(mask), *parts, 1)
    if any(count not in (1, batch) for count in (len(composite), len(mask), *parts)):
        raise ValueError(f"{len(composite)} composites, {len(mask)} masks and predictions for {parts}")
    return repeated(composite, batch), repeated(mask, batch)


def _extent(mask: Tensor) -> tuple[slice, slice]:
    """Rows and columns of the box around the masks of all images; empty where all are."""
    if not may_read(mask):
        return slice(0, mask.shape[-2]), slice(0, mask.shape[-1])
    rows = touched_rows(mask)
    if not len(rows):
        return slice(0, 0), slice(0, 0)
    columns = touched_columns(mask[..., rows[0] : rows[-1] + 1, :])
    return (
        slice(int(rows[0]), int(rows[-1]) + 1),
        slice(int(columns[0]), int(columns[-1]) + 1),
    )


def _columns(strip: Tensor, most: slice) -> slice:
    """Those of the columns that the masks of a strip touch: a round object has few at its top."""
    if strip.device.type != "cpu" or not may_read(strip):  # elsewhere the answer would wait for all work
        return most
    columns = touched_columns(strip)
    return slice(int(columns[0]), int(columns[-1]) + 1) if len(columns) else slice(0, 0)


def _field(prediction: Prediction, composite: Tensor, mask: Tensor) -> Enlarged | None:
    """The map to enlarge: the affine parameters, or what `dense` adds to the composite at its size."""
    parameters = prediction.affine
    size = (composite.shape[-2], composite.shape[-1])
    if prediction.dense is not None:
        if prediction.dense.shape[-2:] == size:
            return None  # taken as it is
        # the change is enlarged and not the picture, so that the photo keeps its detail and grain
        small = (prediction.dense.shape[-2], prediction.dense.shape[-1])
        parameters = widen(prediction.dense) - shrink(composite, small)
    if parameters is None:
        return None
    parameters = parameters.to(widen(composite).dtype)
    inside = shrink(mask, (parameters.shape[-2], parameters.shape[-1])) > 0
    return Enlarged(parameters.expand(len(composite), -1, -1, -1), inside, size)


def _transform(
    prediction: Prediction, field: Enlarged | None, image: Tensor, window: Window, lab: Tensor | None
) -> Tensor:
    """The strip's new pixels, not clamped; `image` is the strip (B, 3, rows, columns), `lab` it in Lab."""
    if prediction.lab is not None:
        image = prediction.lab(image, lab)
    if field is None:
        return (
            image
            if prediction.dense is None
            else prediction.dense[..., window.rows, window.columns].to(image)
        )
    parameters = field.part(window)
    return image + parameters if prediction.dense is not None else affine_change(image, parameters)


def affine_change(image: Tensor, parameters: Tensor) -> Tensor:
    """image + (M - I) image + b: (B, 3, h, w) and (B, 12, h, w) or (B, 12, 1, 1), as `Prediction.affine`."""
    red, green, blue = image.unbind(1)
    return torch.stack(
        [
            image[:, c]
            + parameters[:, 3 * c] * red
            + parameters[:, 3 * c + 1] * green
            + parameters[:, 3 * c + 2] * blue
            + parameters[:, 9 + c]
            for c in range(3)
        ],
        1,
    )
