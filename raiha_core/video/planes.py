"""The samples of a video frame <-> sRGB, in such a way that what nobody changes keeps its samples.

A frame's planes are read as sRGB, and only what was changed there is added to the planes: a pixel that is
left alone costs no rounding, lies it outside what RGB can show or not. Where one sample of colour serves
several pixels (4:2:0 and the like) it gets their mean change, so the border of a mask reaches as far as that.
Source: ITU-T H.273 (matrices, ranges). Shapes: H x W pixels; planes of colour h x w.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..resizing import area_means, bilinear
from ..strips import touched_rows


class UnreadFrameError(ValueError):
    """A frame of a kind that is not read; the sentence goes on from the file's name."""


StoredFrame = Any  # av.VideoFrame: PyAV is an extra, and this file calls nothing of it by name
# Code of the matrix -> what red and blue weigh in luma
_MATRICES = {1: (0.2126, 0.0722), 4: (0.3, 0.11), 5: (0.299, 0.114), 6: (0.299, 0.114), 7: (0.212, 0.087),
             9: (0.2627, 0.0593)}  # fmt: skip
_RGB, _UNSPECIFIED, BT709, BT601 = 0, 2, 1, 6
_HD = 720  # rows from which players take the matrix of HD where none is named
FULL, LIMITED = 2, 1  # of the codes' range
_GREY_LEVELS = {16: "PQ", 18: "HLG"}  # transfer curves of high dynamic range
_BITS = (8, 9, 10, 12, 14, 16)
_SUBSAMPLING = {(1, 1): "444", (2, 1): "422", (2, 2): "420", (4, 1): "411", (1, 2): "440", (4, 4): "410"}


def planar_name(kind: Any) -> str:
    """The format of the same samples with a plane for each component, little-endian.

    Raises: ValueError for samples that are no whole codes, or no picture in RGB, YUV or grey.
    """
    parts = kind.components
    bits = max((part.bits for part in parts), default=0)
    if bits <= 8 and not kind.is_bit_stream:
        bits = 8
    if bits not in _BITS:
        raise UnreadFrameError(f"its frames are '{kind.name}', which is not read")
    tail = "" if bits == 8 else f"{bits}le"
    alpha = any(part.is_alpha for part in parts)
    if kind.is_rgb or kind.has_palette or (len(parts) == 2 and alpha):
        return ("gbrap" if alpha else "gbrp") + tail
    if len(parts) == 1:
        return f"gray{tail}"
    planes = {part.plane for part in parts}
    if len(planes) == len(parts) and not kind.is_big_endian:
        return kind.name.replace("yuvj", "yuv")  # the frame's range says what the j does
    across = round(parts[0].width / parts[1].width)
    down = round(parts[0].height / parts[1].height)
    if kind.name.startswith(("yuyv", "uyvy", "yvyu")):
        across, down = 2, 1
    if (across, down) not in _SUBSAMPLING:
        raise UnreadFrameError(f"its frames are '{kind.name}', which is not read")
    return f"yuv{'a' if alpha else ''}{_SUBSAMPLING[across, down]}p{tail}"


@dataclass(frozen=True, slots=True)
class Coding:
    """How the samples of a frame stand for colours."""

    red: float  # what it weighs in luma
    blue: float
    full: bool  # whether codes use the whole range
    bits: int

    @classmethod
    def of(cls, frame: StoredFrame) -> "Coding":
        """Raises: ValueError naming a curve or matrix that is not read."""
        if int(frame.color_trc) in _GREY_LEVELS:
            raise UnreadFrameError(
                f"it is of high dynamic range ({_GREY_LEVELS[int(frame.color_trc)]}), which is not read: "
                "make an SDR version of it first"
            )
        bits = frame.format.components[0].bits
        matrix, name = int(frame.colorspace), frame.format.name
        if name.startswith(("gbr", "gray")):
            grey_in_video_range = name.startswith("gray") and int(frame.color_range) == LIMITED
            return cls(*_MATRICES[BT709], not grey_in_video_range, bits)
        if matrix in (_RGB, _UNSPECIFIED):
            matrix = BT709 if frame.height >= _HD else BT601
        if matrix not in _MATRICES:
            raise UnreadFrameError(f"its colours have the matrix {matrix} of H.273, which is not read")
        return cls(*_MATRICES[matrix], int(frame.color_range) == FULL, bits)

    @property
    def green(self) -> float:
        return 1 - self.red - self.blue

    @property
    def luma(self) -> tuple[float, float]:
        """Code of black, and codes from black to white."""
        step = 1 << (self.bits - 8)
        return (0, 256 * step - 1) if self.full else (16 * step, 219 * step)

    @property
    def colour(self) -> tuple[float, float]:
        """Code of grey, and codes of the whole range of a colour difference."""
        step = 1 << (self.bits - 8)
        return 128 * step, 256 * step - 1 if self.full else 224 * step


def _planes(frame: StoredFrame) -> list[np.ndarray]:
    """(rows, columns) of each component, in the order of the components; views."""
    found = []
    for part in frame.format.components:
        plane = frame.planes[part.plane]
        codes = np.frombuffer(plane, np.uint8 if part.bits <= 8 else "<u2")
        found.append(codes.reshape(plane.height, -1)[:, : plane.width])
    return found


def _tensor(plane: np.ndarray, zero: float, span: float) -> Tensor:
    return torch.from_numpy(plane.astype(np.float32)).sub_(zero).div_(span)[None, None]


def _cell(frame: StoredFrame) -> tuple[int, int]:
    """Rows and columns of pixels that one sample of colour serves."""
    colour = frame.format.components[1]
    return -(-frame.height // colour.height), -(-frame.width // colour.width)


def _spread(colour: Tensor, cell: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """A plane of colour at the frame's size (height, width)."""
    if cell == (1, 1):
        return colour
    whole = (colour.shape[-2] * cell[0], colour.shape[-1] * cell[1])
    return bilinear(colour, whole)[..., : size[0], : size[1]]


def srgb_of(frame: StoredFrame) -> Tensor:
    """A planar frame as (1, 3, H, W) float32; colours beyond sRGB pass 0 and 1.

    Raises: ValueError as `Coding.of`.
    """
    coding = Coding.of(frame)
    planes = _planes(frame)
    if frame.format.name.startswith("gbr"):
        return torch.cat([_tensor(plane, *coding.luma) for plane in planes[:3]], 1)
    luma = _tensor(planes[0], *coding.luma)
    if frame.format.name.startswith("gray"):
        return luma.repeat(1, 3, 1, 1)
    cell, size = _cell(frame), (frame.height, frame.width)
    blue_less, red_less = (_spread(_tensor(plane, *coding.colour), cell, size) for plane in planes[1:3])
    red = luma + 2 * (1 - coding.red) * red_less
    blue = luma + 2 * (1 - coding.blue) * blue_less
    return torch.cat([red, (luma - coding.red * red - coding.blue * blue) / coding.green, blue], 1)


def grey_of(frame: StoredFrame) -> Tensor:
    """(1, 1, H, W) float32 in 0..1: the lightness of a planar frame, for one that is a mask."""
    coding, planes = Coding.of(frame), _planes(frame)
    if frame.format.name.startswith("gbr"):
        return torch.cat([_tensor(plane, *coding.luma) for plane in planes[:3]], 1).mean(1, keepdim=True)
    return _tensor(planes[0], *coding.luma).clamp_(0, 1)


def _add(codes: np.ndarray, change: Tensor, span: float, top: int) -> None:
    """Move a window of codes by a change (1, 1, h, w) of which `span` codes are one."""
    moved = torch.from_numpy(codes.astype(np.float32)).add_(change[0, 0] * span)
    codes[:] = moved.round_().clamp_(0, top).numpy()


def _mean_change(change: Tensor, size: tuple[int, int], cell: tuple[int, int]) -> Tensor:
    """The change of each sample of colour: the mean over the pixels that it serves."""
    if cell == (1, 1):
        return change
    below, right = size[0] * cell[0] - change.shape[-2], size[1] * cell[1] - change.shape[-1]
    return area_means(F.pad(change, (0, right, 0, below), mode="replicate"), size)


def _window(mask: Tensor, cell: tuple[int, int]) -> tuple[slice, slice] | None:
    """Rows and columns of whole cells around a mask (1, 1, H, W); None where it is empty."""
    rows = touched_rows(mask)
    if not len(rows):
        return None
    columns = (mask[0, 0, rows[0] : rows[-1] + 1] > 0).any(0).nonzero().flatten()
    ends = []
    for found, side, size in zip((rows, columns), cell, mask.shape[-2:], strict=True):
        ends.append(slice(int(found[0]) // side * side, min(size, -(-(int(found[-1]) + 1) // side) * side)))
    return ends[0], ends[1]


def changed(frame: StoredFrame, before: Tensor, after: Tensor, mask: Tensor) -> StoredFrame:
    """The planar frame with the difference of two pictures added to what it shows.

    Args: before, after: (1, 3, H, W) sRGB on the CPU, alike outside the mask (1, 1, H, W).
    Returns: a frame whose alpha, and samples that serve no pixel of the mask, are the frame's own.
    """
    coding = Coding.of(frame)
    planes = [plane.copy() for plane in _planes(frame)]
    grey, rgb = frame.format.name.startswith("gray"), frame.format.name.startswith("gbr")
    cell = (1, 1) if grey or rgb else _cell(frame)
    window = _window(mask, cell)
    if window is not None:
        part = (..., *window)
        change = after[part].float() - before[part].float()
        if rgb:
            for plane, one in zip(planes, change.split(1, 1), strict=False):  # a fourth is alpha
                _add(plane[window], one, coding.luma[1], (1 << coding.bits) - 1)
        else:
            _add_luma_and_colour(planes[:1] if grey else planes[:3], change, coding, window, cell)
    result = type(frame)(frame.width, frame.height, frame.format.name)
    for component, codes in zip(frame.format.components, planes, strict=True):
        _fill(result.planes[component.plane], codes)
    copy_tags(frame, result)
    return result


def _add_luma_and_colour(
    planes: list[np.ndarray],
    change: Tensor,
    coding: Coding,
    window: tuple[slice, slice],
    cell: tuple[int, int],
) -> None:
    top = (1 << coding.bits) - 1
    red, green, blue = change.split(1, 1)
    luma = coding.red * red + coding.green * green + coding.blue * blue
    _add(planes[0][window], luma, coding.luma[1], top)
    differences = ((blue - luma) / (2 * (1 - coding.blue)), (red - luma) / (2 * (1 - coding.red)))
    small = tuple(
        slice(part.start // side, -(-part.stop // side)) for part, side in zip(window, cell, strict=True)
    )
    for plane, part in zip(planes[1:], differences, strict=False):
        codes = plane[small]
        _add(codes, _mean_change(part, (codes.shape[0], codes.shape[1]), cell), coding.colour[1], top)


def _fill(plane: Any, codes: np.ndarray) -> None:
    rows = np.zeros((plane.height, plane.line_size // codes.itemsize), codes.dtype)
    rows[:, : plane.width] = codes
    plane.update(rows)


def copy_tags(frame: StoredFrame, result: StoredFrame) -> None:
    """When the frame is shown, and what its codes mean."""
    result.pts = frame.pts
    if frame.time_base is not None:
        result.time_base = frame.time_base
    if frame.duration:
        result.duration = frame.duration
    for name in ("colorspace", "color_range", "color_trc", "color_primaries"):
        setattr(result, name, getattr(frame, name))


def in_format(frame: StoredFrame, name: str) -> StoredFrame:
    """The same colours in another format: RGB becomes YUV by BT.709, YUV keeps its matrix and range."""
    kind = frame.format
    from_rgb = kind.is_rgb or kind.has_palette
    full = frame.color_range
    if from_rgb or kind.name.startswith(("yuvj", "gray", "ya")):
        full = FULL
    elif full != FULL:
        full = LIMITED
    to_yuv = from_rgb and name.startswith("yuv")
    result = frame.reformat(
        format=name,
        dst_colorspace=BT709 if to_yuv else None,
        src_color_range=full,
        dst_color_range=LIMITED if to_yuv else full,
    )
    copy_tags(frame, result)
    if to_yuv:
        result.colorspace, result.color_range, result.color_primaries = BT709, LIMITED, BT709
    elif kind.name.startswith("yuvj"):
        result.color_range = FULL
    return result
