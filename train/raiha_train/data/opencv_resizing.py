"""OpenCV's resizing, for what papers and foreign networks did with it; all else: `raiha_core.resizing`."""

from typing import Literal

import numpy as np

OpenCVKernel = Literal["nearest", "linear", "cubic", "area"]


def opencv_resize(pixels: np.ndarray, size: tuple[int, int], kernel: OpenCVKernel) -> np.ndarray:
    """(H, W) or (H, W, 3) of 8 bits or floats -> (h, w) or (h, w, 3), of the same type.

    None but `area` is antialiased. Args: size: (w, h), pixels.
    Raises: ValueError where OpenCV is not installed.
    """
    try:
        import cv2
    except ImportError:
        raise ValueError("this needs OpenCV: pip install 'raiha[train]'") from None
    kernels = {
        "nearest": cv2.INTER_NEAREST,
        "linear": cv2.INTER_LINEAR,
        "cubic": cv2.INTER_CUBIC,
        "area": cv2.INTER_AREA,
    }
    return cv2.resize(pixels, size, interpolation=kernels[kernel])
