"""How a picture of any size becomes the square that an encoder reads.

Shapes: B images, s pixels per side of the square.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..resizing import bicubic, bilinear


@dataclass(frozen=True, kw_only=True, slots=True)
class Preprocessing:
    """Squashed to a square, as the paper's square patch grid asks, then (x - mean) / std per channel."""

    size: int  # s
    interpolation: str  # "bicubic" or "bilinear", always with antialiasing
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def apply(self, images: Tensor) -> Tensor:
        """sRGB (B, 3, H, W), 0..1, any size and floating type -> the network's input (B, 3, s, s) float32.

        Raises: ValueError for another shape or type, or values that are not finite.
        """
        check_images(images)
        kernel = {"bicubic": bicubic, "bilinear": bilinear}[self.interpolation]
        pixels = images.to(torch.float32).contiguous()  # the filter's rounding depends on the memory layout
        square = kernel(pixels, (self.size, self.size), antialias=True)
        if not torch.isfinite(square).all():  # every pixel reaches the square, and testing that is cheaper
            raise ValueError("the image holds NaN or infinite values")
        square = square.clamp(0, 1)  # bicubic overshoots at edges, pictures do not
        mean, std = (torch.tensor(v, device=square.device)[:, None, None] for v in (self.mean, self.std))
        return (square - mean) / std


def check_images(images: Tensor) -> None:
    """Raises: ValueError unless these are (B, 3, H, W) of a floating type, with B, H, W >= 1."""
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point() or not images.numel():
        raise ValueError(
            f"an encoder needs floating-point images (B, 3, H, W), got {images.dtype} {tuple(images.shape)}"
        )


def shows_one_colour(images: Tensor) -> Tensor:
    """(B, 3, H, W) -> (B,) bool: images that show nothing, so that their content vectors are zeros."""
    return (images.amax((2, 3)) == images.amin((2, 3))).all(1)
