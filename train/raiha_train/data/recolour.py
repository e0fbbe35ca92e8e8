"""Ways in which a pasted object's colours come to differ from its scene's.

Each takes the true picture and returns another look of all of it; `synthesis` keeps it inside the mask.
Everything runs in batch on the picture's device. Source: this project; measured illuminant matrices
after CCHarmony (arXiv:2206.00800), the light field after day/night pairs.

Shapes: B pictures, S numbers of one parameter set. Random numbers are drawn on the CPU, so that a
seed means the same on every device.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from raiha_core.color import lab_to_srgb, linear_to_srgb, srgb_to_lab, srgb_to_linear
from raiha_core.masked_statistics import deviation_ratio, shares_of, weighted_mean, weighted_moments
from raiha_core.opening import read_list_text
from raiha_core.resizing import between_corners

MATRICES = "polynomial_matching_coefficients"  # the folder of CCHarmony that holds the measured lights


@dataclass(frozen=True, kw_only=True, slots=True)
class RetouchConfig:
    """How strongly `retouch` moves a picture: the standard deviation of each step's random setting.

    Each step is taken with `probability`, independently of the others; the logs are natural ones.
    Raises: ValueError where `probability` lies outside 0..1.
    """

    probability: float = 0.7
    exposure: float = 1.0  # in stops, of linear light
    white_balance: float = 0.18  # of the log gains of red and blue
    contrast: float = 0.25  # of the log slope around the object's mean
    gamma: float = 0.15  # of the log exponent per channel
    tone: float = 0.5  # of the shadow and highlight lifts, which are cut off at +-0.9
    saturation: float = 0.35  # of the log factor

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ValueError(f"retouch probability must lie in 0..1, got {self.probability}")


def _normal(
    batch: int, numbers: int, spread: float, taken: float, like: Tensor, g: torch.Generator
) -> Tensor:
    """(B, S, 1, 1) normal draws, zero where the step is not taken."""
    draws = torch.randn(batch, numbers, generator=g) * spread
    draws *= torch.rand(batch, 1, generator=g) < taken
    return draws[..., None, None].to(like)


def retouch(picture: Tensor, mask: Tensor, config: RetouchConfig, generator: torch.Generator) -> Tensor:
    """What a retoucher's sliders do: exposure, white balance, contrast, curves, saturation.

    Args: picture (B, 3, H, W) sRGB 0..1; mask (B, 1, H, W), the region whose mean is contrast's pivot.
    Returns: (B, 3, H, W) sRGB 0..1.
    """
    batch, p = len(picture), config.probability
    exposure = _normal(batch, 1, config.exposure, p, picture, generator)
    balance = _normal(batch, 2, config.white_balance, p, picture, generator)
    gains = torch.cat([balance[:, :1], torch.zeros_like(balance[:, :1]), balance[:, 1:]], 1)
    linear = srgb_to_linear(picture) * torch.exp(exposure * math.log(2) + gains)
    out = linear_to_srgb(linear.clamp(0, 1))
    slope = torch.exp(_normal(batch, 1, config.contrast, p, picture, generator))
    mean = weighted_mean(out, mask).mean(1, keepdim=True)
    out = ((out - mean) * slope + mean).clamp(0, 1)
    out = out.clamp_min(1e-4) ** torch.exp(_normal(batch, 3, config.gamma, p, picture, generator))
    lifts = _normal(batch, 2, config.tone, p, picture, generator)
    # Both bumps vanish at 0 and 1; slopes stay positive within +-1, so tones keep their order.
    bump_low, bump_high = out * (1 - out) ** 2, out**2 * (1 - out)
    out = out + lifts[:, :1].clamp(-0.9, 0.9) * bump_low + lifts[:, 1:].clamp(-0.9, 0.9) * bump_high
    factor = torch.exp(_normal(batch, 1, config.saturation, p, picture, generator))
    luma = (out * out.new_tensor([0.2126, 0.7152, 0.0722]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    return (luma + (out - luma) * factor).clamp(0, 1)


def flatten(picture: Tensor, generator: torch.Generator) -> Tensor:
    """The photo as a camera gives it before anyone has graded it: darker, flatter, less coloured.

    The spreads follow what is known of HAdobe5k (arXiv:1911.13239), whose composites put an expert's
    rendition of the object into the unedited photo: experts brighten by about a stop, and add contrast.
    Args: picture (B, 3, H, W) sRGB 0..1. Returns: the same shape and range.
    """
    batch = len(picture)

    def draw(mean: float, spread: float, low: float, high: float, numbers: int = 1) -> Tensor:
        values = mean + spread * torch.randn(batch, numbers, 1, 1, generator=generator)
        return values.clamp(low, high).to(picture)

    stops = draw(-0.8, 0.45, -2.0, 0.3)
    out = linear_to_srgb((srgb_to_linear(picture) * torch.exp2(stops)).clamp(0, 1))
    balance = draw(1.0, 0.06, 0.8, 1.2, 2)
    out = out * torch.cat([balance[:, :1], torch.ones_like(balance[:, :1]), balance[:, 1:]], 1)
    luma = (out * out.new_tensor([0.2126, 0.7152, 0.0722]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    out = luma + (out - luma) * draw(0.85, 0.12, 0.5, 1.1)
    mean = out.mean((1, 2, 3), keepdim=True)
    return (mean + (out - mean) * draw(0.88, 0.1, 0.6, 1.1)).clamp(0, 1)


def load_illuminants(folder: Path, names: Sequence[str]) -> Tensor:
    """CCHarmony's measured matrices: (N, 2, 3, 11), to the standard light and back from it.

    Raises: ValueError naming the first file that is missing or of another shape.
    """
    pairs = []
    for name in names:
        for file in (folder / f"{name}.npy", folder / f"{name}_reverse.npy"):
            if not file.is_file():
                raise ValueError(f"no illuminant matrix {file}")
            matrix = np.load(file, allow_pickle=False)
            if matrix.shape != (3, 11):
                raise ValueError(f"{file} has shape {matrix.shape}, expected (3, 11)")
            pairs.append(torch.from_numpy(matrix.astype(np.float32)))
    return torch.stack(pairs).view(len(names), 2, 3, 11)


def listed_lights(folder: Path, part: Literal["train", "test"]) -> Tensor:
    """The lights of one of CCHarmony's two lists, (N, 2, 3, 11), in its order.

    Raises: ValueError naming the list or the matrix that the folder lacks.
    """
    listed = folder / f"{part}_list.txt"
    if not listed.is_file():
        raise ValueError(f"there is no list {listed}: is {folder} CCHarmony's folder?")
    return load_illuminants(folder / MATRICES, illuminant_names(listed))


def illuminant_names(list_file: Path) -> list[str]:
    """Photos of a CCHarmony list, in its order, each once: a line names a photo and one of its objects."""
    lines = read_list_text(list_file).split()
    return list(dict.fromkeys(line.rsplit("_", 1)[0] for line in lines))


def polynomial(picture: Tensor, matrices: Tensor) -> Tensor:
    """Apply (B, 3, 11) matrices to [r g b rg rb gb r2 g2 b2 rgb 1] on the 0..255 scale; not clipped."""
    r, g, b = (255 * picture).unbind(1)
    terms = torch.stack([r, g, b, r * g, r * b, g * b, r * r, g * g, b * b, r * g * b, torch.ones_like(r)], 1)
    return torch.einsum("bij,bjhw->bihw", matrices, terms) / 255


def relight(picture: Tensor, illuminants: Tensor, generator: torch.Generator) -> Tensor:
    """Bring each picture from one measured light to another, both drawn at random.

    The way leads through the standard light.
    Args: picture (B, 3, H, W) sRGB 0..1; illuminants (N, 2, 3, 11) as `load_illuminants` gives.
    Returns: (B, 3, H, W) sRGB 0..1; a picture whose two draws are one light is nearly unchanged.
    Source: CCHarmony (arXiv:2206.00800).
    """
    chosen = torch.randint(len(illuminants), (len(picture), 2), generator=generator)
    matrices = illuminants.to(picture)
    standard = polynomial(picture, matrices[chosen[:, 0], 0]).clamp(0, 1)
    return polynomial(standard, matrices[chosen[:, 1], 1]).clamp(0, 1)


def transfer_moments(picture: Tensor, mask: Tensor, donor: Tensor, donor_mask: Tensor) -> Tensor:
    """Mean and deviation per Lab channel, after Reinhard; ratios limited to 1/3..3."""
    lab, donor_lab = srgb_to_lab(picture), srgb_to_lab(donor)
    mean, variance = weighted_moments(lab, mask)
    donor_mean, donor_variance = weighted_moments(donor_lab, donor_mask)
    ratio = deviation_ratio(donor_variance, variance, 1.0).clamp(1 / 3, 3)  # in squared Lab units
    return lab_to_srgb((lab - mean) * ratio + donor_mean).clamp(0, 1)


def _covariance(picture: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    mean = weighted_mean(picture, mask)
    centred = (picture - mean).flatten(2)
    weight = shares_of(mask.flatten(2))
    return mean, (centred * weight) @ centred.transpose(1, 2) + 1e-3 * torch.eye(3).to(picture)


def _power(matrix: Tensor, exponent: float) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return vectors @ torch.diag_embed(values.clamp_min(1e-6) ** exponent) @ vectors.transpose(1, 2)


def transfer_covariance(picture: Tensor, mask: Tensor, donor: Tensor, donor_mask: Tensor) -> Tensor:
    """The Monge-Kantorovich linear map between the two regions' RGB Gaussians (Pitie and Kokaram 2007)."""
    mean, own = _covariance(picture, mask)
    donor_mean, other = _covariance(donor, donor_mask)
    root, inverse = _power(own, 0.5), _power(own, -0.5)
    linear_map = inverse @ _power(root @ other @ root, 0.5) @ inverse
    moved = torch.einsum("bij,bjhw->bihw", linear_map, picture - mean) + donor_mean
    return moved.clamp(0, 1)


def transfer_quantiles(
    picture: Tensor, mask: Tensor, donor: Tensor, donor_mask: Tensor, nodes: int = 17
) -> Tensor:
    """Histogram matching per RGB channel through `nodes` quantiles of the two regions."""
    levels = torch.linspace(0, 1, nodes).to(picture)
    out = picture.clone()
    for b in range(len(picture)):
        inside, donor_inside = mask[b, 0] > 0.5, donor_mask[b, 0] > 0.5
        if inside.sum() < nodes or donor_inside.sum() < nodes:
            continue  # too few pixels for quantiles: the picture stays as it is
        for c in range(3):
            own = torch.quantile(picture[b, c][inside], levels)
            other = torch.quantile(donor[b, c][donor_inside], levels)
            # Equal quantiles (flat regions) would divide by zero.
            own = own + torch.arange(nodes).to(own) * 1e-5
            place = torch.searchsorted(own, picture[b, c].contiguous()).clamp(1, nodes - 1)
            share = ((picture[b, c] - own[place - 1]) / (own[place] - own[place - 1])).clamp(0, 1)
            out[b, c] = other[place - 1] + share * (other[place] - other[place - 1])
    return out.clamp(0, 1)


TRANSFERS = (transfer_moments, transfer_covariance, transfer_quantiles)


def light_field(picture: Tensor, generator: torch.Generator, spread: float = 0.6) -> Tensor:
    """A smooth coloured light over the picture, as lamps and dusk give: linear gains on a 3x3 net."""
    batch, height, width = len(picture), *picture.shape[-2:]
    level = torch.randn(batch, 1, 3, 3, generator=generator) * spread
    tint = torch.randn(batch, 3, 1, 1, generator=generator) * (spread / 3)
    net = (level + tint).to(picture)
    gains = between_corners(net, (height, width), "bicubic")
    return linear_to_srgb((srgb_to_linear(picture) * torch.exp(gains)).clamp(0, 1))
