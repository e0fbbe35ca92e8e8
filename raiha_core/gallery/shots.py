"""Which photos are one shot: copies, other formats and sizes of it, the frames of a burst.

Two photos of one view are one shot only under one light: a place at noon and at dusk are two references.
"""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..nearduplicates import BITS, DEFAULT, agreement, difference_hash
from .manifest import Photo

# Mean cosine of the patches' colour histograms, place by place. Measured with lite0: at least 0.88 between
# a photo and what JPEG, half the size, a crop of 5 % or 20 % more brightness make of it; at most 0.82
# between pictures of one webcam at other times.
SAME_LIGHT = 0.85
_ALL: NDArray[np.bool_] = np.ones(BITS, dtype=np.bool_)


def view_of(pixels: Tensor) -> str:
    """The difference hash of a picture (1, 3, H, W), sRGB 0..1, as 66 hex digits."""
    codes = (pixels[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    return np.packbits(difference_hash(np.ascontiguousarray(codes)) > 0).tobytes().hex()


def _signs(view: str) -> NDArray[np.int8]:
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(view), dtype=np.uint8), count=BITS)
    return np.where(bits > 0, 1, -1).astype(np.int8)


def one_view(first: Photo, second: Photo) -> bool:
    """Whether two photos show the same view; False where nobody computed their hashes."""
    if not first.view or not second.view:
        return False
    return agreement(_signs(first.view), _ALL, _signs(second.view)[None])[0] >= DEFAULT.value


def one_light(first: Tensor, second: Tensor) -> bool:
    """Whether two photos of one view were taken under the same light.

    Args: first, second: colour histograms of the photos' patches, (P, K) uint8, patch by patch.
    Returns: whether the cosine of the two, in the mean of all patches, reaches `SAME_LIGHT`.
    """
    a, b = first.double(), second.double()
    cosine = (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1)).clamp_min(1)
    return cosine.mean().item() >= SAME_LIGHT
