"""What of a picture is the object to paste: its alpha, however it was brought.

Files carry alpha, 1 where opaque; ComfyUI's LoadImage hands over 1 - alpha beside the colours; a hand-drawn
mask is white on the object. Shapes: one picture (1, 3, H, W), masks (1, 1, H, W).
"""

import torch
from torch import Tensor

from .mask_meaning import blackened, require_given
from .masks import clamped

MEANINGS = ("auto", "object", "transparent")


def object_alpha(image: Tensor, own: Tensor | None, mask: Tensor | None, means: str = "auto") -> Tensor:
    """The object's alpha (1, 1, H, W), 0..1.

    Args:
        own: the picture's alpha channel; mask: what came beside it. Where both are there, both must agree
            that a pixel is the object's.
        means: of `mask`: "object", it is 1 on the object; "transparent", it is 0 there; "auto": transparent
            where it covers the picture's corners (with two of them, most of its border) or is 0 everywhere,
            because what surrounds a cut-out reaches its corners.
    Raises: ValueError where there is neither, or the mask is of another size or stands for none.
    """
    if means not in MEANINGS:
        raise ValueError(f"mask_means must be one of {', '.join(MEANINGS)}, got '{means}'")
    if mask is None:
        if own is None:
            raise ValueError("the object needs a mask, or a picture with alpha: nothing says what it is")
        return own
    size = (image.shape[-2], image.shape[-1])
    require_given(mask, size, "the object's mask")
    if (mask.shape[-2], mask.shape[-1]) != size:
        sizes = f"{mask.shape[-1]}x{mask.shape[-2]} but the object is {size[1]}x{size[0]}"
        raise ValueError(f"the object's mask is {sizes}: they must have the same size")
    mask = clamped(mask)
    if means == "transparent" or (means == "auto" and _surrounds(mask)):
        mask = 1 - mask
    mask, _ = blackened(mask, "the object's mask")
    return mask if own is None else mask * own


def _surrounds(mask: Tensor) -> bool:
    """Whether a mask marks what surrounds an object rather than the object."""
    inside = mask[0, 0] > 0.5
    if not (mask > 0).any():
        return True
    corners = int(inside[[0, 0, -1, -1], [0, -1, 0, -1]].sum())
    border = torch.cat([inside[0], inside[-1], inside[1:-1, 0], inside[1:-1, -1]])
    return corners > 2 or (corners == 2 and float(border.float().mean()) > 0.5)
