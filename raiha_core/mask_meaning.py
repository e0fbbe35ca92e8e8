"""What a mask means, decided in one place for the node, the command line and Python alike.

People bring masks of labels, masks whose black is not 0, masks that left 0..1 on the way, masks of
another size, inverted ones, and none at all. The rules, in their order: no mask was given; overshoot;
labels; nearly black; size; polarity. Data sets of evaluation and training are read as stored instead.
Shapes: B masks (B, 1, H, W), 1 = pasted object.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from . import masks
from .render import shrink
from .strips import any_pixel, count_pixels, row_strips, value_range, with_objects

LARGEST_LABEL = 20  # codes up to here are labels: no soft mask is so faint everywhere
NEARLY_BLACK = 2.01 / 255  # codes 1 and 2 of 255: Photoshop's and JPEG's black
_NOISE_FLOOR = 0.05  # a share of nearly black pixels above this is no soft edge, and is said
_ASPECT = 0.01  # sides whose ratio differs by less than this are one shape
_PLACEHOLDER = (64, 64)  # what LoadImage hands over for a picture without alpha
# By what a wire's values came from a file's codes: 8 bits, ComfyUI's way with grey files, 16 bits.
_WIRE_SCALES = (255, 65535 / 256, 65535)


class MaskWarning(UserWarning):
    """What was done to a mask before it was used."""


class SeveralLabelsError(ValueError):
    """A mask of several labels, of which none was chosen."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """How messages call a mask and its composite, and the EXIF orientations that were applied to them."""

    mask: str = "the mask"
    composite: str = "the composite"
    mask_orientation: int | None = None  # None: not known, as behind a wire
    composite_orientation: int | None = None
    remedy: str = "invert the mask"  # for one that is inverted, in the words of what is used


@dataclass(frozen=True, slots=True)
class Meaning:
    """A mask as it was meant, and in sentences what was done to it."""

    mask: Tensor  # (B, 1, H, W), 0..1
    notes: tuple[str, ...]


def understand(
    composite: Tensor, mask: Tensor, *, invert: bool = False, origin: Origin | None = None
) -> Meaning:
    """The mask as it was meant for this composite.

    What is understood already comes back as it is, so the rules may be applied twice.
    Args:
        composite: sRGB (B, 3, H, W), floating point.
        mask: (B or 1, 1, h, w), floating point, of nearly the composite's aspect.
        invert: the object is where the mask is 0.
    Returns: the mask at the composite's size, in its own dtype.
    Raises: ValueError in one sentence where no mask was given, where it holds NaN, several labels, or
        is of another shape than the composite, and as `masks.check_tensors` does.
    """
    origin = origin or Origin()
    masks.check_tensors(composite, mask)
    size = (composite.shape[-2], composite.shape[-1])
    require_given(mask, size, origin.mask)
    mask = masks.clamped(mask)
    notes: tuple[str, ...] = ()
    # a soft value anywhere; else there is nothing to understand. As a product it takes a fifth of the time
    if any(bool((strip * (1 - strip)).amax() > 0) for strip in row_strips(mask)):
        refuse_void(mask, origin.mask)
        for rule in (_wire_labels, blackened):
            mask, note = rule(mask, origin.mask)
            notes += note
    mask, note = fitted(mask, size, origin)
    notes += note
    if invert:
        mask, _ = blackened(1 - mask, origin.mask)  # what was nearly white is nearly black now
    return Meaning(mask, notes + _polarity(mask, origin) + _sideways(mask, origin))


def require_given(mask: Tensor, size: tuple[int, int], name: str = "the mask") -> None:
    """Refuse what stands for no mask.

    Raises: ValueError for 64x64 zeros or ones beside a picture of another size (height, width), which
        is what LoadImage gives for a picture without alpha, and for 1/255 everywhere, which it gives
        for grey, CMYK and GIF pictures.
    """
    low, high = value_range(mask)
    small = mask.shape[-2:] == _PLACEHOLDER and size != _PLACEHOLDER
    if low == high and ((small and low in (0, 1)) or 0.5 / 255 < low < 1.5 / 255):
        kind = f"{mask.shape[-1]}x{mask.shape[-2]} and {low:.3g} everywhere"
        raise ValueError(
            f"no mask was given: {name} is {kind}, which is what ComfyUI's LoadImage hands over for a "
            "picture without alpha; draw a mask in the mask editor, or load one with Load Mask (Raiha)"
        )


def choose_label(found: Sequence[int], name: str) -> tuple[int | None, tuple[str, ...]]:
    """The label that is the object, of the codes found in a mask of labels; None where all is background.

    Raises: SeveralLabelsError listing them where there are several beside 0.
    """
    objects = [code for code in found if code]
    if len(objects) > 1:
        listed = ", ".join(map(str, found[:LARGEST_LABEL])) + (", ..." if len(found) > LARGEST_LABEL else "")
        raise SeveralLabelsError(
            f"{name} is a mask of labels with the values {listed}: choose the object's label"
        )
    if not objects:
        return None, ()
    return objects[0], (f"{name} is a mask of labels: its value {objects[0]} is taken as the object",)


def _wire_labels(mask: Tensor, name: str) -> tuple[Tensor, tuple[str, ...]]:
    """Labels that a reader divided by full scale: whole codes, the largest at most 20."""
    low, high = value_range(mask)
    if not low < high < (LARGEST_LABEL + 0.5) / 255:
        return mask, ()
    for scale in _WIRE_SCALES:
        codes = mask.float() * scale
        whole = codes.round()
        if 1 <= whole.amax().item() <= LARGEST_LABEL and (codes - whole).abs().amax().item() < 0.02:
            label, notes = choose_label([int(code) for code in whole.unique().tolist()], name)
            return whole.eq(float(label or 0)).to(mask.dtype), notes
    return mask, ()


def refuse_void(mask: Tensor, name: str) -> None:
    """Refuse labels beside the code 255, which label tools give to what nobody judged.

    Told from a faint soft edge by what is missing (any code of 21 to 253) and by the larger area.
    Raises: SeveralLabelsError listing the values.
    """
    low, high = (LARGEST_LABEL + 0.5) / 255, 253.5 / 255  # ComfyUI makes 254 of 255 of a grey file

    def label(part: Tensor) -> Tensor:
        return (part > NEARLY_BLACK) & (part < low)

    if not any_pixel(mask, label) or not any_pixel(mask, lambda part: part == 0):
        return
    if any_pixel(mask, lambda part: (part >= low) & (part <= high)):
        return
    if 0 < count_pixels(mask, lambda part: part > high) < count_pixels(mask, label):
        choose_label([int(code) for code in (mask.float() * 255).round().unique().tolist()], name)


def blackened(mask: Tensor, name: str) -> tuple[Tensor, tuple[str, ...]]:
    """The mask with 1/255 and 2/255 as 0; said where that is more than a soft edge has."""

    def is_faint(part: Tensor) -> Tensor:
        return (part > 0) & (part <= NEARLY_BLACK)

    if not any_pixel(mask, is_faint):
        return mask, ()
    faint = is_faint(mask)
    share = faint.float().mean().item()
    note = f"{name} is nearly black (at most 2 of 255) in {share:.0%} of its pixels: they count as outside"
    return mask.masked_fill(faint, 0), (note,) if share > _NOISE_FLOOR else ()


def _one_shape(size: tuple[int, int], other: tuple[int, int]) -> bool:
    return abs(size[0] * other[1] / (size[1] * other[0]) - 1) <= _ASPECT


def fitted(mask: Tensor, size: tuple[int, int], origin: Origin) -> tuple[Tensor, tuple[str, ...]]:
    """The mask at the picture's size (height, width), resized where both have one aspect.

    Raises: ValueError with both sizes and the remedy where they have not.
    """
    own = (mask.shape[-2], mask.shape[-1])
    if own == size:
        return mask, ()
    sizes = f"{origin.mask} is {own[1]}x{own[0]} but {origin.composite} is {size[1]}x{size[0]}"
    if _one_shape(own, size):
        return shrink(mask, size).to(mask.dtype), (f"{sizes}: the mask was resized",)
    if _one_shape(own[::-1], size):
        raise ValueError(f"{sizes}{_turned(origin)}")
    raise ValueError(
        f"{sizes}; they must have the same size: make the mask from this picture, or crop both alike"
    )


def _turned(origin: Origin) -> str:
    """How the sides of one of the two were swapped, and what to do about it."""
    if (origin.composite_orientation or 1) >= 5:
        return (
            f", as turned upright by its EXIF orientation {origin.composite_orientation}; the mask fits it "
            "as stored: save the picture upright, or turn the mask in the same way"
        )
    if (origin.mask_orientation or 1) >= 5:
        return (
            f"; the mask was turned upright by its EXIF orientation {origin.mask_orientation}, and would fit "
            "as stored: remove that from the mask, or turn the picture in the same way"
        )
    return (
        "; one of them lies on its side, as when an EXIF orientation is applied to one and not to the other: "
        "save both upright"
    )


def _sideways(mask: Tensor, origin: Origin) -> tuple[str, ...]:
    """Said where sizes cannot tell whether a mask was drawn before or after its photo was turned."""
    turned = origin.composite_orientation or 1
    fits_both = turned < 5 or _one_shape((mask.shape[-2], mask.shape[-1]), (mask.shape[-1], mask.shape[-2]))
    if turned == 1 or origin.mask_orientation != 1 or not fits_both:
        return ()
    return (
        f"{origin.composite} was turned upright by its EXIF orientation {turned}, {origin.mask} has none: "
        "if it was drawn on the photo as stored, the object lies elsewhere",
    )


def _polarity(mask: Tensor, origin: Origin) -> tuple[str, ...]:
    frame = torch.cat(
        [mask[:, 0, 0], mask[:, 0, -1], mask[:, 0, 1:-1, 0], mask[:, 0, 1:-1, -1]], 1
    )  # (B, pixels of the border)
    around = (frame > 0.5).float().mean(1) > 0.5
    # a mask without background is another matter: there references alone guide, or an error says so
    inverted = (
        count_pixels(one, lambda part: part > 0.5) > one.numel() / 2
        and any_pixel(one, lambda part: part <= 0)
        for one in mask[around][:, None]
    )
    if not any(inverted):
        return ()
    return (
        f"{origin.mask} looks inverted: it touches most of the border and holds more than half of the "
        f"picture; if its object is black, {origin.remedy}",
    )


def empty_note(mask: Tensor, filled: Tensor | None = None) -> str | None:
    """What to say of masks without an object, None where all have one.

    Args: filled: (B,) bool, which masks have one, where that is known.
    """
    filled = with_objects(mask) if filled is None else filled
    empty = (~filled).nonzero().flatten().tolist()
    if not empty:
        return None
    which = "the mask is" if len(mask) == 1 else f"the masks of images {empty} are"
    return f"{which} empty: nothing to harmonize, the input comes back"
