"""Oracles: littleCMS called directly (8 bits), the profiles' own formulas in float64 (16 bits)."""

import io
import struct
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from raiha_core import color
from raiha_core.codecs.icc import to_srgb
from raiha_core.codecs.raster import Raster

NAME = Path("photo.tif")
ADOBE = imagecodecs.cms_profile("adobergb")
ADOBE_GAMMA = 563 / 256
WIDE = imagecodecs.cms_profile(
    "rgb",
    whitepoint=(0.3127, 0.3290, 1.0),
    primaries=(0.68, 0.32, 1, 0.265, 0.69, 1, 0.15, 0.06, 1),
    gamma=1.8,
)
GREY = imagecodecs.cms_profile("gray", whitepoint=(0.3457, 0.3585, 1.0), gamma=1.8)


def codes(kind: type, *shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, np.iinfo(kind).max + 1, shape).astype(kind)


def convert(samples: np.ndarray, profile: bytes | None) -> np.ndarray:
    return to_srgb(Raster(samples=samples, profile=profile), NAME)


def encoded(linear: np.ndarray) -> np.ndarray:
    """sRGB encoding of (H, W) grey light."""
    picture = torch.from_numpy(linear).expand(3, *linear.shape)
    return color.linear_to_srgb(picture)[0].numpy()


def ink_profile() -> bytes:
    """A printer that makes greys of lightness 100 (1 - (c + m + y + 3 k) / 6), as an ICC 2 lookup table.

    Linear in the inks, so a table of two steps per ink says it exactly in any interpolation.
    """
    table = []
    for corner in range(16):
        c, m, y, k = (corner >> shift & 1 for shift in (3, 2, 1, 0))
        table += [
            round(0xFF00 * (1 - (c + m + y + 3 * k) / 6)),
            0x8000,
            0x8000,
        ]  # Lab, 16 bits of version 2
    ends = struct.pack(">2H", 0, 65535)
    matrix = struct.pack(">9i", *(65536 if i % 4 == 0 else 0 for i in range(9)))
    lut = b"mft2" + bytes(4) + bytes((4, 3, 2, 0)) + matrix + struct.pack(">2H", 2, 2)
    lut += ends * 4 + struct.pack(f">{len(table)}H", *table) + ends * 3
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    start = 128 + 4 + 2 * 12
    tags = struct.pack(">I", 2)
    tags += b"A2B0" + struct.pack(">2I", start, len(lut))
    tags += b"wtpt" + struct.pack(">2I", start + len(lut), len(white))
    body = tags + lut + white
    head = struct.pack(
        ">I4sI4s4s4s12s4s",
        128 + len(body),
        bytes(4),
        0x02400000,
        b"prtr",
        b"CMYK",
        b"Lab ",
        bytes(12),
        b"acsp",
    )
    head += bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + body


@pytest.mark.parametrize("profile", [ADOBE, WIDE])
def test_eight_bits_agree_with_littlecms(profile):
    samples = codes(np.uint8, 40, 50, 3)
    expected = ImageCms.profileToProfile(
        Image.fromarray(samples),
        io.BytesIO(profile),
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    result = convert(samples, profile)
    assert result.dtype == np.uint8
    assert (result == np.asarray(expected)).all()
    assert (result != samples).any()


def adobe_to_srgb(samples: np.ndarray) -> np.ndarray:
    """Adobe RGB (1998) to sRGB by their published primaries, white and curve; 0..1 in and out."""

    def matrix(primaries: tuple[tuple[float, float], ...]) -> np.ndarray:
        columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in primaries]).T
        white = np.array([0.3127 / 0.3290, 1, (1 - 0.3127 - 0.3290) / 0.3290])
        return columns * np.linalg.solve(columns, white)

    adobe = matrix(((0.64, 0.33), (0.21, 0.71), (0.15, 0.06)))
    srgb = matrix(((0.64, 0.33), (0.30, 0.60), (0.15, 0.06)))
    linear = samples**ADOBE_GAMMA @ (np.linalg.inv(srgb) @ adobe).T
    picture = torch.from_numpy(linear.clip(0, 1)).movedim(-1, 0)
    return color.linear_to_srgb(picture).movedim(0, -1).numpy()


def test_sixteen_bits_follow_the_definition():
    samples = codes(np.uint16, 60, 70, 3)
    result = convert(samples, ADOBE)
    assert result.dtype == np.uint16
    error = np.abs(result / 65535 - adobe_to_srgb(samples / 65535))
    # What remains is the profile's own rounding of primaries (15 bits), steepest near black and where a
    # channel leaves the gamut; littleCMS's optimised path is wrong by 0.079 at worst.
    assert error.max() < 0.001
    assert error.mean() < 3e-5


def test_a_sixteen_bit_gradient_keeps_its_steps():
    ramp = np.arange(65536, dtype=np.uint16)
    result = convert(ramp.reshape(256, 256, 1).repeat(3, 2), ADOBE).reshape(-1, 3).astype(int)
    assert (np.diff(result, axis=0) >= 0).all()
    assert len(np.unique(result[:, 1])) > 60_000  # 256 if it passed through eight bits
    assert np.ptp(result, axis=1).max() <= 1  # grey stays grey
    expected = encoded((ramp[None] / 65535) ** ADOBE_GAMMA)[0] * 65535
    assert np.abs(result[:, 1] - expected).max() < 8


def test_both_depths_agree():
    samples = codes(np.uint8, 40, 50, 3)
    deep = convert(samples.astype(np.uint16) * 257, ADOBE)
    assert np.abs(deep / 257 - convert(samples, ADOBE)).max() < 2


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    "profile",
    [
        None,
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
        imagecodecs.cms_profile("srgb"),
    ],
)
def test_srgb_under_any_name_keeps_its_codes(kind, profile):
    samples = codes(kind, 40, 50, 3)
    assert (convert(samples, profile) == samples).all()


@pytest.mark.parametrize(("kind", "error"), [(np.uint8, 1.5), (np.uint16, 8)])
def test_grey_follows_the_curve_of_its_profile(kind, error):
    full = np.iinfo(kind).max
    samples = codes(kind, 40, 50, 1)
    result = convert(samples, GREY)
    assert result.shape == (40, 50, 3)
    assert result.dtype == kind
    expected = encoded((samples[:, :, 0] / full) ** 1.8) * full
    assert np.abs(result - expected[:, :, None]).max() <= error


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_grey_under_a_colour_profile_is_a_grey_in_it(kind):
    samples = codes(kind, 9, 11, 1)
    assert (convert(samples, ADOBE) == convert(samples.repeat(3, 2), ADOBE)).all()
    assert (convert(samples, None) == samples).all()
    assert convert(samples, None).shape == (9, 11, 3)


@pytest.mark.parametrize(("kind", "error"), [(np.uint8, 1.5), (np.uint16, 5)])
def test_ink_follows_its_profile(kind, error):
    full = np.iinfo(kind).max
    samples = codes(kind, 30, 40, 4)
    samples[0, 0], samples[0, 1] = 0, full
    result = convert(samples, ink_profile())
    c, m, y, k = np.moveaxis(samples / full, 2, 0)
    lab = np.zeros((3, 30, 40))
    lab[0] = 100 * (1 - (c + m + y + 3 * k) / 6)
    expected = color.lab_to_srgb(torch.from_numpy(lab)).numpy()[0] * full
    assert result.dtype == kind
    assert (result[0, 0] == full).all()
    assert (result[0, 1] == 0).all()
    assert np.abs(result - expected[:, :, None]).max() <= error


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_ink_without_a_profile_is_the_product_of_what_it_lets_through(kind):
    full = np.iinfo(kind).max
    samples = codes(kind, 30, 40, 4)
    paper = 1 - samples / full
    expected = np.round(paper[:, :, :3] * paper[:, :, 3:] * full)
    result = convert(samples, None)
    assert result.dtype == kind
    assert np.abs(result - expected).max() <= (0 if kind == np.uint8 else 1)
    pillow = np.asarray(
        Image.frombytes("CMYK", (40, 30), (samples >> (full > 255) * 8).astype(np.uint8).tobytes()).convert(
            "RGB"
        )
    )
    assert np.abs(result / (full / 255) - pillow).max() <= (1 if kind == np.uint8 else 3)


@pytest.mark.parametrize(
    ("profile", "channels", "reason"),
    [
        (b"no profile at all", 3, "damaged"),
        (ADOBE[:200], 3, "damaged"),
        (GREY, 3, "for 1 channels and the picture has 3"),
        (ADOBE, 4, "for 3 channels and the picture has 4"),
        (imagecodecs.cms_profile("xyz"), 3, "colour space XYZ"),
    ],
)
def test_a_profile_that_does_not_fit_is_named_and_not_used(profile, channels, reason):
    samples = codes(np.uint8, 9, 11, channels)
    with pytest.warns(UserWarning, match=rf"photo\.tif: its ICC profile is not used.*{reason}"):
        result = convert(samples, profile)
    assert (result == convert(samples, None)).all()


def test_an_empty_profile_is_none():
    samples = codes(np.uint8, 9, 11, 3)
    assert (convert(samples, b"") == samples).all()
