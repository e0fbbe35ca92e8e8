"""What training minimises: sums first, ratios last; every term per image, then the mean.

Sources: eq. 11 of arXiv:2412.13916 with the divisor of its public code; the other terms are named below.
Shapes: B images of H x W.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

REFERENCE_PIXELS = 256 * 256  # the size at which the sources state their minimum area


@dataclass(frozen=True, kw_only=True, slots=True)
class LossConfig:
    """Terms and their weights; a weight of 0 leaves the term out, unmeasured."""

    # fmse is eq. 11; root and log of it weigh hard and mild images alike; l1 is the mean difference
    kind: Literal["fmse", "root", "log", "l1"] = "fmse"
    minimum_area: float = 100.0  # pixels at 256 x 256, scaled with the picture: tiny objects do not rule
    span: float = 2.0  # length of the value range the loss counts in; 2 is the sources' -1..1
    gradient: float = 0.0  # differences of neighbours inside the object
    harm: float = 0.0  # only what is worse than the untouched composite (ours)
    contrast: float = 0.0  # region-wise contrast (`contrastive.py`); 0.01 to start from
    # how much more a composite counts that its recolouring has moved away from its surroundings: such ones
    # look wrong, and those that look wrong are what people bring (ours)
    conspicuous: float = 0.0
    # answers to two views of one composite are to be the same (`steadiness.py`), for half of the pictures
    steady: float = 0.0
    # answers as those of the weights that the run began with (`distillation.py`)
    distil: float = 0.0
    # and what the network makes of a picture before it answers, in shares of its variance
    alike: float = 0.0

    @property
    def teaches(self) -> bool:
        return self.distil > 0 or self.alike > 0

    def __post_init__(self) -> None:
        if self.minimum_area <= 0 or self.span <= 0:
            raise ValueError(f"minimum_area and span must be positive: {self}")
        extra = (self.contrast, self.conspicuous, self.steady, self.distil, self.alike)
        if min(self.gradient, self.harm, *extra) < 0:
            raise ValueError(f"weights of loss terms must not be negative: {self}")


def _area(mask: Tensor, minimum: float) -> Tensor:
    """(B,) the object's area, at least `minimum` pixels of a 256 x 256 picture."""
    pixels = mask.shape[-2] * mask.shape[-1]
    return mask.sum((1, 2, 3)).clamp_min(minimum * pixels / REFERENCE_PIXELS)


def foreground_loss(
    new: Tensor, target: Tensor, mask: Tensor, *, minimum_area: float = 100.0, span: float = 2.0
) -> Tensor:
    """Eq. 11: squared error summed over the *whole* image, over the object's area.

    Args:
        new, target: sRGB (B, 3, H, W), values 0..1; mask: (B, 1, H, W), values 0..1.
        minimum_area: pixels at 256 x 256; the floor grows with the picture (ours; fixed in the source).
        span: values count as if they ran over this length.
    Returns: (B,). With the object's own area and span 1 it is the fMSE over 255^2.
    Raises: ValueError naming shapes that disagree.
    """
    _check(new, target, mask)
    squares = (span * (new - target)).square().sum((1, 2, 3))
    return squares / (3 * _area(mask, minimum_area))


def foreground_l1(
    new: Tensor, target: Tensor, mask: Tensor, *, minimum_area: float = 100.0, span: float = 2.0
) -> Tensor:
    """The same with absolute differences: (B,)."""
    _check(new, target, mask)
    return (span * (new - target)).abs().sum((1, 2, 3)) / (3 * _area(mask, minimum_area))


def gradient_difference(new: Tensor, target: Tensor, mask: Tensor, *, span: float = 2.0) -> Tensor:
    """Mean |∂new - ∂target| over both axes, inside the mask eroded by a pixel: (B,); 0 where none is left.

    Source: the gradient term of intrinsic image harmonization (CVPR 2021); the erosion is ours.
    """
    _check(new, target, mask)
    # Within the eroded object both neighbours of every difference lie in the object.
    inner = -F.max_pool2d(-F.pad(mask, (1, 1, 1, 1)), 3, 1)
    error = span * (new - target)
    down = ((error[..., 1:, :] - error[..., :-1, :]).abs() * inner[..., :-1, :]).sum((1, 2, 3))
    right = ((error[..., :, 1:] - error[..., :, :-1]).abs() * inner[..., :, :-1]).sum((1, 2, 3))
    return (down + right) / (6 * inner.sum((1, 2, 3)).clamp_min(1.0))


def _shape(error: Tensor, kind: str, span: float) -> Tensor:
    floor = 1e-5 * span**2  # about one grey level of 8 bits: below it nothing is to be gained
    if kind == "root":
        return (error + floor).sqrt()
    if kind == "log":
        return (error + floor).log()
    return error


def total(
    new: Tensor,
    target: Tensor,
    mask: Tensor,
    config: LossConfig,
    *,
    composite: Tensor | None = None,
    contrast: Tensor | None = None,
    steadiness: Tensor | None = None,
    teaching: dict[str, Tensor] | None = None,
    weight: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a batch and its terms.

    Args:
        new: what the network made, at any size; composite: needed where `harm` has a weight;
        contrast: the value of `contrastive.RegionContrast`, needed where it has a weight.
        steadiness: mean of `steadiness.apart`, needed where it has a weight.
        teaching: 'distil', the mean of `steadiness.apart` the teacher, and 'alike', `distillation.unlike`;
            needed where they have weights.
        weight: (B,), how much each picture's error counts beside the others'; None: all the same.
    Returns: a scalar, and each weighted-in term unweighted and detached, by name.
    Raises: ValueError naming shapes that disagree or the input that a weight needs.
    """
    measure = foreground_l1 if config.kind == "l1" else foreground_loss
    error = measure(new, target, mask, minimum_area=config.minimum_area, span=config.span)
    share = torch.ones_like(error) if weight is None else weight / weight.mean()
    loss = (share * _shape(error, config.kind, config.span)).mean()
    terms: dict[str, Tensor] = {config.kind: loss.detach()}
    if config.gradient > 0:
        term = gradient_difference(new, target, mask, span=config.span).mean()
        loss, terms["gradient"] = loss + config.gradient * term, term.detach()
    if config.harm > 0:
        if composite is None:
            raise ValueError("the harm term compares with the composite, which is not given")
        before = measure(composite, target, mask, minimum_area=config.minimum_area, span=config.span)
        worse = _shape(error, config.kind, config.span) - _shape(before, config.kind, config.span)
        term = (share * worse.clamp_min(0)).mean()
        loss, terms["harm"] = loss + config.harm * term, term.detach()
    if config.contrast > 0:
        if contrast is None:
            raise ValueError("the contrast term has a weight, but its value is not given")
        loss, terms["contrast"] = loss + config.contrast * contrast, contrast.detach()
    if config.steady > 0:
        if steadiness is None:
            raise ValueError("the steadiness term has a weight, but its value is not given")
        loss = loss + config.steady * config.span * steadiness
        terms["steady"] = config.span * steadiness.detach()
    for name, scale in (("distil", config.span), ("alike", 1.0)):
        if factor := getattr(config, name):
            if teaching is None:
                raise ValueError(f"the term '{name}' has a weight, but there is no teacher")
            loss = loss + factor * scale * teaching[name]
            terms[name] = scale * teaching[name].detach()
    return loss, terms


def _check(new: Tensor, target: Tensor, mask: Tensor) -> None:
    if new.shape != target.shape or mask.shape != new[:, :1].shape:
        raise ValueError(
            f"shapes disagree: {tuple(new.shape)}, {tuple(target.shape)}, mask {tuple(mask.shape)}"
        )
