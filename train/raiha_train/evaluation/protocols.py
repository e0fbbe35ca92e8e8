"""The rulers by which papers measure: how a triple is prepared and a prediction scored.

The same prediction moves by up to 8 dB on one image between them, so no score is printed without
its protocol. A is the default; B is the path of HDNet's and Raiha's released code; C is PCT-Net's
full-resolution script. Source: those scripts, re-derived; worked examples in tests/test_protocols.py.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from raiha_core.data.pictures import Bytes
from raiha_core.resizing import BILINEAR, NEAREST, resize_codes

from ..data.batch import as_batch
from ..data.paper_copies import dithered, paper_copy
from .metrics import FLOOR, error_sums, psnr, ssim

ProtocolName = Literal["A", "A-full", "B", "C", "C-float"]
PROTOCOLS: tuple[ProtocolName, ...] = ("A", "A-full", "B", "C", "C-float")
SIZE = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class Protocol:
    """Which ruler. `size` and `kernel` are B's alone: how its files were made before training."""

    name: ProtocolName
    size: int = 256
    kernel: Literal["linear", "cubic"] = "linear"  # linear is what the released script does

    def __post_init__(self) -> None:
        if self.name not in PROTOCOLS:
            raise ValueError(f"unknown protocol '{self.name}': one of {', '.join(PROTOCOLS)}")
        if self.kernel not in ("linear", "cubic"):
            raise ValueError(f"B's kernel is 'linear' or 'cubic', got '{self.kernel}'")
        if self.size < SIZE:
            raise ValueError(f"B's files are at least {SIZE} pixels a side, got {self.size}")
        if self.name != "B" and (self.size, self.kernel) != (256, "linear"):
            raise ValueError(f"size and kernel belong to protocol B, not to {self.name}")

    def __str__(self) -> str:
        return f"B(size={self.size}, kernel={self.kernel})" if self.name == "B" else self.name

    @property
    def full_size(self) -> bool:
        """Whether the harmonizer gets the photo at its own size."""
        return self.name in ("A-full", "C", "C-float")


DESCRIPTIONS: dict[ProtocolName, str] = {
    "A": "256x256 (PIL bilinear), the composite's own background read, rounded to 8 bits, truth outside",
    "A-full": "rendered at full size, rounded to 8 bits, then scored as A",
    "B": "HDNet's and Raiha's code: JPEG copies, true background read, truncated to 8 bits, truth outside",
    "C": "PCT-Net's full-resolution script: stored size, soft mask as weight; rounded to 8 bits",
    "C-float": "C without rounding",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """One triple under one protocol, uint8 0..255; the harmonizer sees h x w, scored is H x W."""

    name: str
    composite: Bytes  # (h, w, 3) what the harmonizer sees
    mask: Bytes  # (h, w) what the harmonizer sees
    truth: Bytes  # (H, W, 3) at the size of the scoring
    weight: Bytes  # (H, W) 0..255 at the size of the scoring

    def inputs(self) -> tuple[Tensor, Tensor]:
        """Composite (1, 3, h, w) and mask (1, 1, h, w), float32, 0..1."""
        return as_batch(self.composite).float().div_(255), as_batch(self.mask).float().div_(255)


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """One image's scores; MSE in squared grey levels, PSNR in dB."""

    mse: float
    psnr: float
    fmse: float
    fpsnr: float
    ssim: float
    foreground_ratio: float  # of the mask that the protocol evaluates


def _resize(pixels: Bytes, kernel: Image.Resampling) -> Bytes:
    return resize_codes(pixels, (SIZE, SIZE), kernel)


def _require_foreground(weight: Bytes, name: str, protocol: Protocol) -> None:
    if not weight.any():
        raise ValueError(f"'{name}' has no foreground under protocol {protocol}")


def prepare(protocol: Protocol, composite: Bytes, mask: Bytes, real: Bytes, name: str) -> Prepared:
    """A triple as decoded (`data.pictures`) -> what is harmonized and scored.

    Raises: ValueError naming the image where sizes disagree or no foreground is left.
    """
    if composite.shape != real.shape or composite.shape[:2] != mask.shape:
        sizes = [f"{x.shape[1]}x{x.shape[0]}" for x in (composite, mask, real)]
        raise ValueError(
            f"'{name}': composite {sizes[0]}, mask {sizes[1]} and real {sizes[2]} differ in size"
        )
    if protocol.name == "B":
        prepared = _prepare_b(protocol, composite, mask, real, name)
    elif protocol.name in ("C", "C-float"):
        prepared = Prepared(name=name, composite=composite, mask=mask, truth=real, weight=mask)
    else:
        binary = np.where(mask >= 128, np.uint8(255), np.uint8(0))
        small, truth = (_resize(x, BILINEAR) for x in (composite, real))
        weight = _resize(binary, NEAREST)
        seen = (composite, binary) if protocol.name == "A-full" else (small, weight)
        prepared = Prepared(name=name, composite=seen[0], mask=seen[1], truth=truth, weight=weight)
    _require_foreground(prepared.weight, name, protocol)
    return prepared


def _prepare_b(protocol: Protocol, composite: Bytes, mask: Bytes, real: Bytes, name: str) -> Prepared:
    files = [paper_copy(x, protocol.size, protocol.kernel) for x in (composite, mask, real)]
    small, _, truth = (_resize(x, BILINEAR) for x in files)
    weight = dithered(files[1], SIZE)
    seen = np.where(weight[..., None] > 0, small, truth)  # the network reads the true background
    return Prepared(name=name, composite=seen, mask=weight, truth=truth, weight=weight)


def encode(protocol: Protocol, prediction: Tensor) -> Tensor:
    """What is scored of a harmonizer's output (B, 3, h, w), float sRGB: uint8, or 0..1 under C-float.

    A and C round half to even. B truncates in float32 after its trip through -1..1, as released.
    Raises: ValueError for NaN, which no rounding can hide.
    """
    if prediction.dtype == torch.uint8:
        return prediction
    if not torch.isfinite(prediction.sum(dtype=torch.float64)):  # a sum needs no copy of 12 megapixels
        raise ValueError("the prediction holds NaN or infinite values")
    if protocol.name == "C-float":
        return prediction.clamp(0, 1)
    if protocol.name == "B":
        signed = (prediction.float().clamp(0, 1) - 0.5) / 0.5
        return ((signed + 1) / 2 * 255).to(torch.uint8)
    return (prediction * 255).clamp_(0, 255).round_().to(torch.uint8)


def score(protocol: Protocol, prepared: Prepared, prediction: Tensor) -> Scores:
    """Scores of one prediction.

    Args:
        prediction: (1, 3, h, w) at the size of `prepared.composite`, float sRGB 0..1, or the bytes
            of a stored prediction as uint8.
    Raises: ValueError naming the image where the size is another.
    """
    expected = (1, 3, *prepared.composite.shape[:2])
    if prediction.shape != expected:
        raise ValueError(
            f"the prediction for '{prepared.name}' has shape {tuple(prediction.shape)}, "
            f"protocol {protocol} expects {expected}"
        )
    result = encode(protocol, prediction)
    truth, weight = as_batch(prepared.truth), as_batch(prepared.weight)
    if protocol.name == "A-full":
        full = np.ascontiguousarray(result[0].permute(1, 2, 0).cpu().numpy())
        result = as_batch(_resize(full, BILINEAR))
    elif protocol.name == "B":  # the truth makes the same trip: 63 of its 256 levels lose one
        truth = encode(protocol, truth.float() / 255)
    result = result.cpu()
    sums = error_sums(result, truth, weight)
    mse, fmse = sums.mse(), sums.foreground_mse()
    offset = FLOOR if protocol.name in ("C", "C-float") else 0.0  # C adds it always, A and B to zero only
    if offset:
        fmse = sums.squared / (3 * sums.area + offset)
    return Scores(
        mse=float(mse),
        psnr=float(psnr(mse + offset)),
        fmse=float(fmse),
        fpsnr=float(psnr(fmse + offset)),
        ssim=float(ssim(result, truth, "gauss" if offset else "box", weight)),
        foreground_ratio=float(sums.area) / sums.pixels,
    )


def composite_prediction(protocol: Protocol, prepared: Prepared) -> Tensor:
    """The untouched composite as a prediction (1, 3, h, w); under B it makes the output's trip as well."""
    pixels = as_batch(prepared.composite)
    return pixels.float() / 255 if protocol.name == "B" else pixels
