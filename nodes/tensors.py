"""The only place that knows ComfyUI's axes: IMAGE (B, H, W, C) and MASK (B, H, W) <-> the core's.

Dtype and device stay what they are, and the values of pictures are not clamped.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..raiha_core.mask_meaning import Origin, SeveralLabelsError, empty_note, understand
from ..raiha_core.render import shrink
from .compat import io


def from_image(image: Tensor) -> Tensor:
    """IMAGE (B, H, W, 1, 3 or 4) -> (B, 3, H, W); alpha is dropped, grey becomes three equal channels.

    Raises: ValueError for anything else.
    """
    if not isinstance(image, Tensor) or image.ndim != 4 or image.shape[-1] not in (1, 3, 4):
        got = tuple(image.shape) if isinstance(image, Tensor) else type(image).__name__
        raise ValueError(f"an image must be (batch, height, width, 1, 3 or 4 channels), got {got}")
    pixels = image.movedim(-1, 1)
    return pixels.expand(-1, 3, -1, -1) if image.shape[-1] == 1 else pixels[:, :3]


def alpha_of(image: Tensor) -> Tensor | None:
    """IMAGE -> its alpha (B, 1, H, W), or None without one."""
    return image.movedim(-1, 1)[:, 3:] if image.shape[-1] == 4 else None


def to_image(pixels: Tensor, alpha: Tensor | None = None) -> Tensor:
    """(B, 3, H, W), and perhaps alpha (B, 1, H, W) -> IMAGE (B, H, W, 3 or 4), contiguous."""
    channels = pixels if alpha is None else torch.cat([pixels, alpha.expand(len(pixels), -1, -1, -1)], 1)
    return channels.movedim(1, -1).contiguous()


def from_mask(mask: Tensor) -> Tensor:
    """MASK (B, H, W), or (H, W) from old nodes -> (B, 1, H, W). Raises: ValueError for anything else."""
    if not isinstance(mask, Tensor) or mask.ndim not in (2, 3):
        got = tuple(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
        raise ValueError(f"a mask must be (batch, height, width), got {got}")
    return mask.reshape(-1, 1, *mask.shape[-2:])


def to_mask(mask: Tensor) -> Tensor:
    """(B, 1, H, W) -> MASK (B, H, W), contiguous."""
    return mask[:, 0].contiguous()


def invert_input() -> io.Input:
    """The widget that `from_pair` takes as `invert`; new inputs are optional and stand last."""
    return io.Boolean.Input(
        "invert_mask",
        default=False,
        optional=True,
        tooltip="The object is black: for masks that mark the background, as LoadImage gives for a cut-out.",
    )


def from_pair(image: Tensor, mask: Tensor, *, invert: bool = False) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """A composite and its mask as it was meant, for the core, and notes to show on the node.

    The mask comes to where the picture is.

    Raises: ValueError as `mask_meaning.understand` does: no mask, another shape, several labels.
    """
    pixels, weight = from_image(image), from_mask(mask).to(image)
    try:
        meant = understand(pixels, weight, invert=invert, origin=Origin(remedy="set invert_mask"))
    except SeveralLabelsError as error:
        raise ValueError(f"{error} in Load Mask (Raiha)") from None
    empty = empty_note(meant.mask)
    return pixels, meant.mask, (*meant.notes, *([] if empty is None else [empty]))


def on_squares(pictures: Sequence[Tensor], side: int) -> Tensor:
    """Pictures (1, 3, H, W) of any sizes as one batch (N, 3, side, side): whole, centred, on black.

    Without pictures a single black one, because ComfyUI's nodes cannot take an empty batch.
    """
    batch = torch.zeros(max(1, len(pictures)), 3, side, side)
    for place, picture in zip(batch, pictures, strict=False):
        longest = max(picture.shape[-2:])
        height, width = (max(1, round(length * side / longest)) for length in picture.shape[-2:])
        top, left = (side - height) // 2, (side - width) // 2
        place[:, top : top + height, left : left + width] = shrink(picture.float(), (height, width))[0]
    return batch
