"""Small copies of photos and masks as HDNet's and Raiha's released code makes and reads them.

Source: their preprocessing script and loader, read for facts: OpenCV without antialiasing, JPEG at OpenCV's
default quality (95), masks opened as 1 bit, which dithers a grey edge.
"""

import io
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from raiha_core.resizing import resize_picture

from .opencv_resizing import OpenCVKernel, opencv_resize

Codes = NDArray[np.uint8]


def paper_copy(pixels: Codes, side: int, kernel: Literal["linear", "cubic"] = "linear") -> Codes:
    """What the preprocessing script leaves on disk of a photo (H, W, 3) or a mask (H, W), squashed to a side.

    Args: kernel: released is "linear" for all files, because the flag stands where the output array belongs;
        "cubic" is what its author meant: cubic photos, nearest masks.
    Raises: ValueError where OpenCV is not installed.
    """
    try:
        import cv2
    except ImportError:
        raise ValueError(
            "copies as the paper's code makes them need OpenCV: pip install 'raiha[train]'"
        ) from None
    photo = pixels.ndim == 3
    meant: OpenCVKernel = "cubic" if photo else "nearest"
    small = opencv_resize(pixels, (side, side), "linear" if kernel == "linear" else meant)
    if not photo:
        return np.asarray(small)
    done, data = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
    if not done:
        raise ValueError(f"OpenCV could not encode a picture of {side} pixels")
    return np.asarray(Image.open(io.BytesIO(data.tobytes())).convert("RGB"))


def dithered(mask: Codes, side: int) -> Codes:
    """A mask (h, w) as the loader reads it: one bit, dithered, then nearest: (S, S), 0 or 255."""
    bits = Image.fromarray(mask).convert("1")
    return np.asarray(resize_picture(bits, (side, side), Image.Resampling.NEAREST).convert("L"))
