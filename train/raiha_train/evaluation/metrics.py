"""Scores of a harmonized image, defined once: sums first, ratios last.

Grey levels are 0..255. P, T prediction and truth, M mask in 0..1, A = sum of M, H x W pixels.
Images are (B, 3, H, W), uint8 (0..255) or floating (sRGB 0..1); masks (B, 1, H, W), uint8 (0..255),
bool or floating (0..1). uint8 sums are whole numbers in float64: exact, in any order of summing.
Source: arXiv:1911.13239 (MSE, PSNR), arXiv:2006.00809 (fMSE), Wang et al. 2004 (SSIM), re-derived.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

PEAK = 255.0
FLOOR = 1e-6  # stands in for an error of zero, so that decibels and their means stay finite
RATIO_BINS = (0.05, 0.15, 1.0)  # upper ends of the foreground-ratio bins; closed, as HDNet has them
BIN_NAMES = ("0-5 %", "5-15 %", "15-100 %")

SsimWindow = Literal["box", "gauss"]

_STRIP = 64  # rows summed at a time: a 24-megapixel photo in float64 would not fit in memory
_TILE = 128  # windows per side filtered at a time, so that a tile stays in the cache


def _levels(image: Tensor) -> Tensor:
    return image.double() if image.dtype == torch.uint8 else image.double() * PEAK


def _check(pred: Tensor, target: Tensor, mask: Tensor | None) -> None:
    if pred.ndim != 4 or pred.shape[1] != 3 or pred.shape != target.shape:
        raise ValueError(
            f"prediction {tuple(pred.shape)} and truth {tuple(target.shape)} must be one (B, 3, H, W)"
        )
    if mask is not None and mask.shape != (len(pred), 1, *pred.shape[-2:]):
        raise ValueError(f"the mask {tuple(mask.shape)} does not fit images {tuple(pred.shape)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class ErrorSums:
    """What all errors are ratios of, per image."""

    squared: Tensor  # (B,) float64: sum over pixels and channels of M (P - T)^2
    area: Tensor  # (B,) float64: A
    pixels: int  # H W

    def mse(self) -> Tensor:
        """(B,) squared grey levels over the whole image, the truth standing outside the mask."""
        return self.squared / (3 * self.pixels)

    def foreground_mse(self) -> Tensor:
        """(B,) squared grey levels over the object (fMSE). Raises: ValueError where there is none."""
        if not self.area.all():
            raise ValueError(f"no foreground in images {(self.area == 0).nonzero().flatten().tolist()}")
        return self.squared / (3 * self.area)


def error_sums(pred: Tensor, target: Tensor, mask: Tensor) -> ErrorSums:
    """The sums behind MSE and fMSE. Raises: ValueError where shapes disagree or a value is not finite."""
    _check(pred, target, mask)
    unit = PEAK if mask.dtype == torch.uint8 else 1.0  # divided out last, so that uint8 sums stay whole
    squared = torch.zeros(len(pred), dtype=torch.float64, device=pred.device)
    area = torch.zeros_like(squared)
    for top in range(0, pred.shape[2], _STRIP):
        rows = slice(top, top + _STRIP)
        weight = mask[:, :, rows].double()
        error = _levels(pred[:, :, rows]) - _levels(target[:, :, rows])
        squared += (weight * error**2).sum((1, 2, 3))
        area += weight.sum((1, 2, 3))
    if not torch.isfinite(squared).all():
        bad = (~torch.isfinite(squared)).nonzero().flatten().tolist()
        raise ValueError(f"NaN or infinite values in the images or masks {bad}")
    return ErrorSums(squared=squared / unit, area=area / unit, pixels=pred.shape[2] * pred.shape[3])


def mse(pred: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean squared error of the whole image; with a mask, as if the truth were pasted outside it.

    Returns: (B,) float64, squared grey levels; 0 is perfect.
    """
    everywhere = torch.ones_like(pred[:, :1], dtype=torch.bool)
    return error_sums(pred, target, everywhere if mask is None else mask).mse()


def foreground_mse(pred: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error over the pasted object (fMSE): (B,) float64, squared grey levels.

    Raises: ValueError if shapes disagree or an image has no foreground.
    """
    return error_sums(pred, target, mask).foreground_mse()


def psnr(error: Tensor, peak: float = PEAK) -> Tensor:
    """Decibels of each image's (f)MSE; an error of 0 counts as 1e-6 (108.13 dB)."""
    return 10 * torch.log10(peak**2 / torch.where(error == 0, FLOOR, error))


def foreground_bin(ratio: float) -> int:
    """Which of `BIN_NAMES` a foreground ratio (mask area / image area) in (0, 1] belongs to.

    Raises: ValueError for a ratio outside, 0 included: an image without foreground is in no bin.
    """
    if not 0 < ratio <= 1:
        raise ValueError(f"a foreground ratio lies in (0, 1], got {ratio}")
    return next(i for i, end in enumerate(RATIO_BINS) if ratio <= end)


def _taps(window: SsimWindow) -> tuple[list[float], float]:
    """Weights of one axis, and what turns the window's covariance into the definition's."""
    if window == "box":  # HDNet, scikit-image's default: 7x7, sample covariance
        return [1 / 7] * 7, 49 / 48
    if window == "gauss":  # PCT-Net, Wang et al.: 11x11, sigma 1.5
        bell = [math.exp(-0.5 * ((i - 5) / 1.5) ** 2) for i in range(11)]
        return [value / sum(bell) for value in bell], 1.0
    raise ValueError(f"the SSIM window is 'box' or 'gauss', got '{window}'")


def _filter(planes: Tensor, taps: list[float]) -> Tensor:
    """Separable, valid region only: (N, h, w) -> (N, h - k + 1, w - k + 1).

    Shifted sums in a fixed order, not a convolution, whose order depends on the number of threads.
    """
    for dim in (1, 2):
        length = planes.shape[dim] - len(taps) + 1
        total = planes.narrow(dim, 0, length) * taps[0]
        for shift, tap in enumerate(taps[1:], start=1):
            total.add_(planes.narrow(dim, shift, length), alpha=tap)
        planes = total
    return planes


def _tile_deficit(p: Tensor, t: Tensor, taps: list[float], covariance: float) -> float:
    """Sum over windows and channels of 1 - SSIM; p, t: (3, h, w) float64 grey levels."""
    c1, c2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
    # SSIM needs only the sum of the two variances, so four filtered planes suffice.
    mean_p, mean_t, power, cross = _filter(torch.cat([p, t, p * p + t * t, p * t]), taps).split(3)
    means = mean_p * mean_t
    squares = mean_p**2 + mean_t**2
    top = (2 * means + c1) * (2 * covariance * (cross - means) + c2)
    bottom = (squares + c1) * (covariance * (power - squares) + c2)
    # numpy sums in one order; torch's depends on the number of threads.
    return float((1 - top / bottom).cpu().numpy().sum())


def ssim(pred: Tensor, target: Tensor, window: SsimWindow, mask: Tensor | None = None) -> Tensor:
    """Structural similarity, K1 0.01, K2 0.03, range 255, mean over channels and whole windows.

    Args:
        window: 'box' (7x7, sample covariance) or 'gauss' (11x11, sigma 1.5).
        mask: where given, T + M (P - T) is scored: the truth stands outside.
    Returns: (B,) float64; 1 is perfect. Windows without a difference are 1 and are not filtered.
    Raises: ValueError if shapes disagree or the image is smaller than the window.
    """
    _check(pred, target, mask)
    taps, covariance = _taps(window)
    k = len(taps)
    height, width = pred.shape[2] - k + 1, pred.shape[3] - k + 1  # windows per column and row
    if min(height, width) < 1:
        raise ValueError(
            f"{pred.shape[3]}x{pred.shape[2]} pixels are smaller than the SSIM window of {k}x{k}"
        )
    scores = torch.ones(len(pred), dtype=torch.float64)
    for b in range(len(pred)):
        deficit = 0.0
        for y in range(0, height, _TILE):
            for x in range(0, width, _TILE):
                rows = slice(y, min(y + _TILE, height) + k - 1)
                columns = slice(x, min(x + _TILE, width) + k - 1)
                m = None if mask is None else mask[b, :, rows, columns]
                if m is not None and not m.any():
                    continue
                p, t = _levels(pred[b, :, rows, columns]), _levels(target[b, :, rows, columns])
                if m is not None:
                    p = t + (m.double() / PEAK if m.dtype == torch.uint8 else m.double()) * (p - t)
                if not torch.equal(p, t):
                    deficit += _tile_deficit(p, t, taps, covariance)
        scores[b] = 1 - deficit / (3 * height * width)
    return scores
