"""Colour spaces: sRGB to and from linear light, CIE Lab (D65) and HSV; pure and differentiable.

Every function takes and gives (..., 3, H, W), float32 or float64, in any batch shape. sRGB and linear
light are 0..1; values outside continue on the same curves and nothing is clamped, so that inverses
hold beyond the gamut too. Source: IEC 61966-2-1 (sRGB), CIE 15:2004 (Lab), Smith 1978 (HSV).
"""

import torch
from torch import Tensor

_KNEE_ENCODED, _KNEE_LINEAR = 0.04045, 0.0031308  # where sRGB turns from a line into a power
_EPSILON, _KAPPA = 216 / 24389, 24389 / 27  # the CIE's exact constants, not their rounded decimals

# Linear sRGB to XYZ over the white point, from the primaries (0.64, 0.33), (0.30, 0.60), (0.15, 0.06)
# and the white (0.3127, 0.3290). Each row sums to 1, so only the weights of red and blue are kept: with
# x = g + w_r (r - g) + w_b (b - g) a grey keeps its value to the bit, and has a = b = 0 exactly.
_TO_XYZ = (
    (0.43388734556603986, 0.1898886452964614),
    (0.21263900587151036, 0.07219231536073371),
    (0.01775004007097326, 0.8728023390737882),
)
# The inverse, likewise, as weights of X - Y and Z - Y: its rows sum to 1 too.
_FROM_XYZ = (
    (3.0803990906794647, -0.543015913109371),
    (-0.921223358860277, 0.0452558573525563),
    (0.052873938970364444, 1.151103019918612),
)


def _channels(image: Tensor, name: str) -> tuple[Tensor, Tensor, Tensor]:
    if image.ndim < 3 or image.shape[-3] != 3:
        raise ValueError(f"{name} must be (..., 3, H, W), got {tuple(image.shape)}")
    if image.dtype not in (torch.float32, torch.float64):  # half types lose visible steps in the dark
        raise ValueError(f"{name} must be float32 or float64, got {image.dtype}")
    first, second, third = image.unbind(-3)
    return first, second, third


def _decode(encoded: Tensor) -> Tensor:
    # clamp_min keeps the branch that is not taken finite: its NaN would reach the gradient otherwise
    power = ((encoded.clamp_min(_KNEE_ENCODED) + 0.055) / 1.055).pow(2.4)
    return torch.where(encoded > _KNEE_ENCODED, power, encoded / 12.92)


def _encode(linear: Tensor) -> Tensor:
    power = 1.055 * linear.clamp_min(_KNEE_LINEAR).pow(1 / 2.4) - 0.055
    return torch.where(linear > _KNEE_LINEAR, power, linear * 12.92)


def _compress(xyz: Tensor) -> Tensor:
    root = xyz.clamp_min(_EPSILON).pow(1 / 3)
    return torch.where(xyz > _EPSILON, root, (_KAPPA * xyz + 16) / 116)


def _expand(f: Tensor) -> Tensor:
    cube = f.pow(3)
    return torch.where(cube > _EPSILON, cube, (116 * f - 16) / _KAPPA)


def srgb_to_linear(image: Tensor) -> Tensor:
    """Decode sRGB to linear light: (..., 3, H, W), 0..1 to 0..1.

    Raises: ValueError for another shape or dtype.
    """
    _channels(image, "the sRGB image")
    return _decode(image)


def linear_to_srgb(linear: Tensor) -> Tensor:
    """Encode linear light as sRGB: (..., 3, H, W), 0..1 to 0..1; the inverse of `srgb_to_linear`.

    Raises: ValueError for another shape or dtype.
    """
    _channels(linear, "the linear image")
    return _encode(linear)


def srgb_to_lab(image: Tensor) -> Tensor:
    """sRGB (..., 3, H, W) in 0..1 to CIE Lab under D65: L 0..100, a and b about -128..128.

    Greys get a = b = 0 exactly. Raises: ValueError for another shape or dtype.
    """
    # channel by channel, because vectorised powers may differ by a bit between places in one tensor
    r, g, b = (_decode(channel) for channel in _channels(image, "the sRGB image"))
    fx, fy, fz = (_compress(g + red * (r - g) + blue * (b - g)) for red, blue in _TO_XYZ)
    return torch.stack((116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)), -3)


def lab_to_srgb(lab: Tensor) -> Tensor:
    """CIE Lab under D65 (..., 3, H, W) to sRGB; colours outside sRGB leave 0..1 and are not clamped.

    Raises: ValueError for another shape or dtype.
    """
    lightness, a, b = _channels(lab, "the Lab image")
    fy = (lightness + 16) / 116
    x, y, z = (_expand(f) for f in (fy + a / 500, fy, fy - b / 200))
    linear = (y + from_x * (x - y) + from_z * (z - y) for from_x, from_z in _FROM_XYZ)
    return torch.stack([_encode(channel) for channel in linear], -3)


def srgb_to_hsv(image: Tensor) -> Tensor:
    """sRGB (..., 3, H, W) in 0..1 to hue in turns [0, 1), saturation 0..1 and value 0..1.

    Greys have hue and saturation 0. Raises: ValueError for another shape or dtype.
    """
    r, g, b = _channels(image, "the sRGB image")
    value, low = image.amax(-3), image.amin(-3)
    chroma = value - low
    grey = chroma == 0
    safe = torch.where(grey, torch.ones_like(chroma), chroma)
    sector = torch.where(
        value == r, (g - b) / safe, torch.where(value == g, 2 + (b - r) / safe, 4 + (r - g) / safe)
    )
    hue = torch.remainder(sector / 6, 1)
    # a hue just below 0 rounds to a whole turn, which is the hue 0 and not a bin of its own
    hue = torch.where(grey | (hue >= 1), torch.zeros_like(hue), hue)
    saturation = torch.where(grey, torch.zeros_like(chroma), chroma / torch.where(grey, safe, value))
    return torch.stack((hue, saturation, value), -3)


def hsv_to_srgb(hsv: Tensor) -> Tensor:
    """Hue (turns, any real number), saturation and value 0..1 to sRGB: (..., 3, H, W).

    Raises: ValueError for another shape or dtype.
    """
    hue, saturation, value = _channels(hsv, "the HSV image")

    def channel(offset: int) -> Tensor:
        k = torch.remainder(offset + 6 * hue, 6)
        return value - value * saturation * torch.minimum(k, 4 - k).clamp(0, 1)

    return torch.stack((channel(5), channel(3), channel(1)), -3)
