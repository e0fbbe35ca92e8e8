"""From a harmonizer's prediction to pixels, at the photo's own size: the only place that writes pixels.

What goes wrong between the network's size and the photo's, and what is done here about it: parameters
outside the mask are junk and must not bleed into the rim (`enlarge`); transforming and resizing do not
commute with a clamp (one clamp, at the very end); 16 megapixels must not need tens of gigabytes (strips).
Shapes: B images; h x w is the network's size, H x W the photo's.
"""

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from .color import lab_to_srgb, srgb_to_lab

STRIP_PIXELS = 1 << 18  # rendered at a time; the working memory is about 100 floats for each


@dataclass(frozen=True, kw_only=True, slots=True)
class LabTransfer:
    """new = lab + (scale - 1) * (lab - centre) + shift, per image and Lab channel."""

    centre: Tensor  # (B, 3)
    scale: Tensor  # (B, 3)
    shift: Tensor  # (B, 3)

    def __call__(self, image: Tensor) -> Tensor:
        """sRGB (B, 3, H, W) in 0..1 to sRGB, not clamped. Where nothing changes, the image's own bits."""
        scale, shift, centre = (
            values[:, :, None, None].to(image) for values in (self.scale, self.shift, self.centre)
        )
        lab = srgb_to_lab(image)
        new = lab_to_srgb(lab + (scale - 1) * (lab - centre) + shift)
        idle = ((scale == 1) & (shift == 0)).all(1, keepdim=True)  # the way to Lab and back rounds
        still = image + (new - new.detach()) if new.requires_grad else image  # a start at rest can learn
        return torch.where(idle, still, new)


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """What a harmonizer says about the look of the object. Steps that are None are skipped.

    Order of application: `lab`, then `affine`, or `dense` alone.
    """

    lab: LabTransfer | None = None  # global statistics transfer, exact at every size
    affine: Tensor | None = (
        None  # (B, 12, h, w) or (B, 12, 1, 1): (M - I) row-major (9), then b (3), sRGB 0..1
    )
    dense: Tensor | None = None  # (B, 3, h, w) sRGB 0..1, at the network's size

    def __post_init__(self) -> None:
        if self.dense is not None and (self.lab is not None or self.affine is not None):
            raise ValueError("a dense prediction stands alone")


def shrink(image: Tensor, size: tuple[int, int]) -> Tensor:
    """The picture or mask at a network's size, antialiased; at its own size, itself.

    Args: image (B, C, H, W), values 0..1; size (height, width), which may also be larger.
    Returns: (B, C, *size) float32 (float64 stays), values 0..1.
    """
    image = _computable(image)
    if image.shape[-2:] == size:
        return image
    small = F.interpolate(image, size=size, mode="bilinear", antialias=True, align_corners=False)
    return small.clamp(0, 1)  # the filter's weights sum to 1 up to rounding


def enlarge(parameters: Tensor, inside: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear enlargement in which only cells inside the object have a say: up(P w) / up(w).

    Args: parameters (B, C, h, w), any values; inside (B, 1, h, w) bool; size (height, width).
    Returns: (B, C, *size); 0 where no cell inside is near. What stands in cells outside, even NaN,
        never shows.
    """
    return _Enlarged(parameters, inside, size).rows(0, size[0])


class _Enlarged:
    """`enlarge`, some rows at a time: an enlarged map of 12 parameters is four times the photo."""

    def __init__(self, parameters: Tensor, inside: Tensor, size: tuple[int, int]) -> None:
        self.size = size
        self.constant = parameters.shape[-2:] == (1, 1)
        kept = torch.where(inside, parameters, torch.zeros((), dtype=parameters.dtype, device=inside.device))
        self.weighted = torch.cat((kept, inside.to(parameters.dtype)), 1)  # (B, C + 1, h, w)
        self.parameters = parameters

    def rows(self, top: int, bottom: int) -> Tensor:
        """(B, C, bottom - top, W), or (B, C, 1, 1) where the parameters are the same everywhere."""
        if self.constant:
            return self.parameters
        height = self.weighted.shape[-2]
        row = torch.arange(top, bottom, device=self.weighted.device, dtype=torch.float64)
        source = ((row + 0.5) * (height / self.size[0]) - 0.5).clamp(0, height - 1)
        above = source.floor().long()
        below = (above + 1).clamp_max(height - 1)
        share = (source - above)[:, None].to(self.weighted)
        upper, lower = self.weighted[..., above, :], self.weighted[..., below, :]
        lines = upper + share * (lower - upper)  # (B, C + 1, rows, w)
        wide = F.interpolate(lines, size=(bottom - top, self.size[1]), mode="bilinear", align_corners=False)
        weight = wide[:, -1:]
        return torch.where(weight > 0, wide[:, :-1] / weight.clamp_min(1e-12), torch.zeros_like(weight))


def paste(composite: Tensor, new: Tensor, mask: Tensor) -> Tensor:
    """composite + mask * (new - composite); outside the mask the composite's own bits.

    Args: composite, new: (B, 3, H, W); mask (B, 1, H, W), values 0..1.
    Returns: (B, 3, H, W) in the composite's dtype; between composite and new everywhere.
    """
    # torch.where, because x + 0 * inf is not x, and -0.0 + 0.0 loses its sign bit.
    return torch.where(mask > 0, torch.lerp(*_alike(composite, new, mask)).to(composite.dtype), composite)


def apply(prediction: Prediction, composite: Tensor, mask: Tensor, strength: float = 1.0) -> Tensor:
    """Render a prediction at the photo's own size, inside the mask only.

    Args:
        composite: sRGB (B, 3, H, W), floating point, values 0..1; mask (B, 1, H, W), values 0..1.
        strength: share of the change, 0..1; 0 gives the composite's own bits.
    Returns: (B, 3, H, W) in the composite's dtype, 0..1 inside; outside the mask the composite's bits.
    Raises: ValueError where shapes disagree, the composite is not floating point, or strength is not 0..1.
    """
    composite, mask = _check(prediction, composite, mask, strength)
    rows, columns = _extent(mask) if strength > 0 else (slice(0), slice(0))
    field = _field(prediction, composite, mask)
    result = composite.clone()
    step = max(1, STRIP_PIXELS // (len(composite) * composite.shape[-1]))
    for top in range(rows.start or 0, rows.stop, step):
        bottom = min(top + step, rows.stop)
        old = composite[..., top:bottom, columns]
        new = _transform(prediction, field, _computable(old), (top, bottom), columns)
        new = cast("Tensor", _Clamp.apply(new))
        weight = _computable(mask[..., top:bottom, columns]) * strength
        result[..., top:bottom, columns] = paste(old, new, weight)
    return result


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
    height, width = image.shape[-2:]
    y = torch.arange(height, device=image.device, dtype=torch.float64)[:, None]
    x = torch.arange(width, device=image.device, dtype=torch.float64)
    noise = torch.frac(52.9829189 * torch.frac(0.06711056 * x + 0.00583715 * y))  # 0..1
    level = image.to(torch.float64) * 255
    near = level.round()
    spread = torch.where((level - near).abs() < 1e-3, near, (level + noise).floor())
    return torch.where(mask > 0, (spread.clamp(0, 255) / 255).to(image.dtype), image)


def _computable(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()


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
    if prediction.lab is not None:
        parts.append(len(prediction.lab.shift))
    batch = max(len(composite), len(mask), *parts, 1)
    if any(count not in (1, batch) for count in (len(composite), len(mask), *parts)):
        raise ValueError(f"{len(composite)} composites, {len(mask)} masks and predictions for {parts}")
    return composite.expand(batch, -1, -1, -1), mask.expand(batch, -1, -1, -1)


def _extent(mask: Tensor) -> tuple[slice, slice]:
    """Rows and columns of the box around the masks of all images; empty where all are."""
    touched = (mask > 0).any(0)[0]
    rows, columns = touched.any(1).nonzero().flatten(), touched.any(0).nonzero().flatten()
    if not len(rows):
        return slice(0), slice(0)
    return (
        slice(int(rows[0]), int(rows[-1]) + 1),
        slice(int(columns[0]), int(columns[-1]) + 1),
    )


def _field(prediction: Prediction, composite: Tensor, mask: Tensor) -> _Enlarged | None:
    """The map to enlarge: the affine parameters, or what `dense` adds to the composite at its size."""
    parameters = prediction.affine
    size = (composite.shape[-2], composite.shape[-1])
    if prediction.dense is not None:
        if prediction.dense.shape[-2:] == size:
            return None  # taken as it is
        # the change is enlarged and not the picture, so that the photo keeps its detail and grain
        small = (prediction.dense.shape[-2], prediction.dense.shape[-1])
        parameters = _computable(prediction.dense) - shrink(composite, small)
    if parameters is None:
        return None
    parameters = parameters.to(_computable(composite).dtype)
    inside = shrink(mask, (parameters.shape[-2], parameters.shape[-1])) > 0
    return _Enlarged(parameters.expand(len(composite), -1, -1, -1), inside, size)


def _transform(
    prediction: Prediction, field: _Enlarged | None, image: Tensor, rows: tuple[int, int], columns: slice
) -> Tensor:
    """The strip's new pixels, not clamped; `image` is the composite's strip (B, 3, rows, columns)."""
    if prediction.lab is not None:
        image = prediction.lab(image)
    if field is None:
        return image if prediction.dense is None else prediction.dense[..., slice(*rows), columns].to(image)
    parameters = field.rows(*rows)
    if not field.constant:
        parameters = parameters[..., columns]
    if prediction.dense is not None:
        return image + parameters
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
