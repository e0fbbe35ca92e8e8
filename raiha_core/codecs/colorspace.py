"""Colours that a file declares without an ICC profile, as a profile: code points, gAMA and cHRM, Adobe RGB.

Every such declaration becomes an ICC profile, so that one place (`icc.py`) converts all of them.
Source: ITU-T H.273 (code points), W3C PNG specification third edition, Adobe RGB (1998).
"""

from collections.abc import Callable
from functools import lru_cache

import imagecodecs
import numpy as np

_D65 = (0.3127, 0.3290)
_Points = tuple[tuple[float, float], tuple[float, float], tuple[float, float], tuple[float, float]]
SRGB_POINTS: _Points = (_D65, (0.64, 0.33), (0.30, 0.60), (0.15, 0.06))  # white, red, green, blue
# Code point -> white, red, green, blue
_PRIMARIES: dict[int, _Points] = {
    1: SRGB_POINTS,
    4: ((0.310, 0.316), (0.67, 0.33), (0.21, 0.71), (0.14, 0.08)),
    5: (_D65, (0.64, 0.33), (0.29, 0.60), (0.15, 0.06)),
    6: (_D65, (0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    7: (_D65, (0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    8: ((0.310, 0.316), (0.681, 0.319), (0.243, 0.692), (0.145, 0.049)),
    9: (_D65, (0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    11: ((0.314, 0.351), (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    12: (_D65, (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    22: (_D65, (0.630, 0.340), (0.295, 0.605), (0.155, 0.077)),
}


def _srgb_curve(codes: np.ndarray) -> np.ndarray:
    return np.where(codes <= 0.04045, codes / 12.92, ((codes + 0.055) / 1.055) ** 2.4)


def _video_curve(codes: np.ndarray) -> np.ndarray:
    alpha, beta = 1.09929682680944, 0.018053968510807
    return np.where(codes < 4.5 * beta, codes / 4.5, ((codes + alpha - 1) / alpha) ** (1 / 0.45))


def _smpte_240(codes: np.ndarray) -> np.ndarray:
    return np.where(codes < 4 * 0.0228, codes / 4, ((codes + 0.1115) / 1.1115) ** (1 / 0.45))


# Code point -> a power, or a curve from codes 0..1 to light 0..1
_TRANSFERS: dict[int, float | Callable[[np.ndarray], np.ndarray]] = {
    1: _video_curve,
    4: 2.2,
    5: 2.8,
    6: _video_curve,
    7: _smpte_240,
    8: 1.0,
    11: _video_curve,
    12: _video_curve,
    13: _srgb_curve,
    14: _video_curve,
    15: _video_curve,
}
_HIGH_RANGE = {16: "PQ", 18: "HLG"}
_UNSPECIFIED = (0, 2)


def _make(points: _Points, *, gamma: float | None = None, table: np.ndarray | None = None) -> bytes:
    white, *primaries = points
    made = imagecodecs.cms_profile(
        "rgb",
        whitepoint=(*white, 1.0),  # littleCMS wants x, y and Y of each
        primaries=tuple(value for point in primaries for value in (*point, 1.0)),
        gamma=gamma,
        transferfunction=table,
    )
    profile = bytearray(made)
    profile[24:36] = bytes((7, 208, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0))  # its date: equal input, equal bytes
    return bytes(profile)


@lru_cache(maxsize=64)
def _profile(points: _Points, transfer: int | float) -> bytes:
    """An ICC profile of given chromaticities; `transfer` is a code point, or a power where it is a float."""
    curve = _TRANSFERS[transfer] if isinstance(transfer, int) else transfer
    if callable(curve):
        return _make(points, table=_table(curve(np.linspace(0, 1, 1024))))
    return _make(points, gamma=curve)


def _table(light: np.ndarray) -> np.ndarray:
    return (light.clip(0, 1) * 65535).round().astype(np.uint16)


def gamma_table_rgb(light: np.ndarray) -> bytes:
    """The bytes of an ICC profile with the primaries of sRGB and a tone curve of its own.

    Args: light: (n,) linear light 0..1 at n evenly spaced codes, of which the first is 0 and the last 1;
        values outside are cut off.
    """
    return _make(SRGB_POINTS, table=_table(light))


def adobe_rgb() -> bytes:
    """The profile of Adobe RGB (1998), which cameras declare in EXIF alone."""
    return _profile((_D65, (0.64, 0.33), (0.21, 0.71), (0.15, 0.06)), 563 / 256)


def linear_rgb(points: _Points = SRGB_POINTS) -> bytes:
    """The profile of scene-linear light."""
    return _profile(points, 1.0)


def from_code_points(primaries: int, transfer: int, *, full_range: bool = True) -> tuple[bytes | None, str]:
    """An ICC profile (None for sRGB) of code points of H.273, and why there is none: "" where there is.

    Unspecified code points count as those of sRGB.
    """
    if name := _HIGH_RANGE.get(transfer):
        return None, (
            f"its colours are high dynamic range ({name}, code points {primaries}/{transfer}), "
            "which has no place in 0..1; export it for an ordinary display (SDR)"
        )
    primaries = 1 if primaries in _UNSPECIFIED else primaries
    transfer = 13 if transfer in _UNSPECIFIED else transfer
    if primaries not in _PRIMARIES or transfer not in _TRANSFERS:
        return None, f"its colours have code points that Raiha does not know ({primaries}/{transfer})"
    if not full_range:
        return None, "its colours have video range (16..235); export it with full range"
    if (primaries, transfer) == (1, 13):
        return None, ""
    return _profile(_PRIMARIES[primaries], transfer), ""


def from_gamma(gamma: int | None, chromaticities: tuple[int, ...] | None) -> bytes | None:
    """An ICC profile of PNG's gAMA (100000 / power) and cHRM (white, red, green, blue; 1/100000), or None.

    None where they say sRGB, within what a gAMA of 1 / 2.2 is off from it, or are no possible colours.
    """
    points = SRGB_POINTS
    if chromaticities is not None:
        x, y = chromaticities[::2], chromaticities[1::2]
        if min(y) <= 0 or max(a + b for a, b in zip(x, y, strict=True)) > 200_000:
            return None
        white, red, green, blue = ((a / 1e5, b / 1e5) for a, b in zip(x, y, strict=True))
        points = (white, red, green, blue)
    # 5 %: what PNG's own library takes for the same curve
    alike = gamma is None or abs(gamma - 45455) < 0.05 * 45455
    near = all(
        abs(p - q) < 0.002
        for a, b in zip(points, SRGB_POINTS, strict=True)
        for p, q in zip(a, b, strict=True)
    )
    if (alike and near) or gamma == 0:
        return None
    try:
        return _profile(points, 13 if gamma is None or alike else 100_000 / gamma)
    except Exception:  # littleCMS gives one type for all that is wrong with chromaticities
        return None
