"""Oracles: scikit-image, exact fractions, the definition in plain floats, round trips, finite differences."""

import colorsys
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import color as oracle
from torch import Tensor

from raiha_core import color

PAIRS = [
    (color.srgb_to_linear, color.linear_to_srgb),
    (color.srgb_to_lab, color.lab_to_srgb),
]
ALL = [*(function for pair in PAIRS for function in pair), color.srgb_to_hsv]


def image(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def pixel(r: float, g: float, b: float, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.tensor([r, g, b], dtype=dtype).reshape(3, 1, 1)


def by_skimage(function: Callable, picture: Tensor) -> Tensor:
    return torch.from_numpy(function(picture.movedim(-3, -1).numpy())).movedim(-1, -3)


def test_lab_agrees_with_skimage():
    # skimage rounds the matrix, the white and the CIE's constants to 3..6 digits: 0.02 is that rounding
    picture = image(2, 3, 17, 9)
    torch.testing.assert_close(
        color.srgb_to_lab(picture), by_skimage(oracle.rgb2lab, picture), atol=0.02, rtol=0
    )
    lab = color.srgb_to_lab(picture)
    torch.testing.assert_close(color.lab_to_srgb(lab), by_skimage(oracle.lab2rgb, lab), atol=3e-3, rtol=0)


def test_hsv_agrees_with_skimage():
    picture = image(2, 3, 17, 9, seed=1)
    torch.testing.assert_close(
        color.srgb_to_hsv(picture), by_skimage(oracle.rgb2hsv, picture), atol=1e-12, rtol=0
    )


def test_linear_light_agrees_with_the_standard():
    # Oracle: IEC 61966-2-1 in plain floats, over all 256 codes
    codes = torch.arange(256, dtype=torch.float64) / 255
    expected = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in codes.tolist()]
    picture = codes.expand(3, 1, 256)
    torch.testing.assert_close(
        color.srgb_to_linear(picture)[0, 0], torch.tensor(expected, dtype=torch.float64)
    )


def test_the_matrix_follows_from_the_primaries():
    # Oracle: exact fractions. Columns are the primaries, scaled so that together they make the white.
    def xyz(x: int, y: int, of: int) -> list[Fraction]:
        return [Fraction(x, y), Fraction(1), Fraction(of - x - y, y)]

    primaries = [xyz(64, 33, 100), xyz(30, 60, 100), xyz(15, 6, 100)]
    white = xyz(3127, 3290, 10000)
    columns = np.array([[float(p[i] / white[i]) for p in primaries] for i in range(3)])
    matrix = columns * np.linalg.solve(columns, np.ones(3))  # over the white, so every row sums to 1
    np.testing.assert_allclose(matrix.sum(1), 1, rtol=1e-14)
    np.testing.assert_allclose(np.array(color._TO_XYZ), matrix[:, [0, 2]], rtol=1e-13)
    np.testing.assert_allclose(np.array(color._FROM_XYZ), np.linalg.inv(matrix)[:, [0, 2]], rtol=1e-12)


def test_lab_of_the_primaries():
    # Oracle: the well-known Lab of sRGB's red, green and blue under D65, to their printed digits
    for rgb, lab in (
        ((1, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 1, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 1), (32.30, 79.19, -107.86)),
    ):
        torch.testing.assert_close(color.srgb_to_lab(pixel(*rgb)), pixel(*lab), atol=0.01, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_greys_stay_grey_to_the_bit(dtype):
    grey = torch.linspace(0, 1, 4097, dtype=dtype).expand(3, 1, -1)
    lab = color.srgb_to_lab(grey)
    assert not lab[1:].any()
    assert (lab[0, 0].diff() > 0).all()
    assert lab[0, 0, 0] == 0
    assert lab[0, 0, -1] == 100
    back = color.lab_to_srgb(lab)
    assert (back == back[:1]).all()
    hsv = color.srgb_to_hsv(grey)
    assert not hsv[:2].any()
    assert (hsv[2:] == grey[:1]).all()


@pytest.mark.parametrize(("there", "back"), PAIRS)
@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-5), (torch.float64, 1e-7)])
def test_round_trip(there, back, dtype, error):
    # every combination of 0, 1, the knee and its neighbours, and plain values; 1e-7 is the step of the
    # standard's rounded constants at the knee
    values = torch.tensor([0, 1e-7, 0.04, 0.04045, 0.0405, 0.2, 0.5, 0.999, 1], dtype=dtype)
    picture = torch.cartesian_prod(values, values, values).T.reshape(3, 27, 27)
    torch.testing.assert_close(back(there(picture)), picture, atol=error, rtol=0)


@pytest.mark.parametrize(("there", "back"), PAIRS)
def test_round_trip_beyond_the_gamut(there, back):
    picture = image(3, 16, 16, seed=2) * 3 - 1  # -1..2
    torch.testing.assert_close(back(there(picture)), picture, atol=1e-10, rtol=0)


@settings(max_examples=100, deadline=None)
@given(st.tuples(*[st.floats(-0.2, 120) for _ in range(3)]))
def test_lab_to_srgb_and_back(values):
    lab = pixel(values[0], values[1] - 60, values[2] - 60)
    torch.testing.assert_close(color.srgb_to_lab(color.lab_to_srgb(lab)), lab, atol=1e-8, rtol=0)


def test_both_sides_of_the_srgb_knee_meet():
    # the standard's rounded constants leave a step of 1e-8 there; a wrong branch leaves 1e-3
    for function, knee in ((color.srgb_to_linear, 0.04045), (color.linear_to_srgb, 0.0031308)):
        sides = function(torch.tensor([knee, np.nextafter(knee, 1)], dtype=torch.float64).expand(3, 1, 2))
        assert abs(sides[0, 0, 0] - sides[0, 0, 1]) < 1e-7


def test_hue_at_ties_and_corners_agrees_with_colorsys():
    levels = (0.0, 0.25, 0.5, 1.0)
    for r in levels:
        for g in levels:
            for b in levels:
                torch.testing.assert_close(
                    color.srgb_to_hsv(pixel(r, g, b)),
                    pixel(*colorsys.rgb_to_hsv(r, g, b)),
                    atol=1e-12,
                    rtol=0,
                )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_hue_is_never_a_whole_turn(dtype):
    # red with a trace more blue than green: -1e-20 turns, which rounds to 1 where hue is in [0, 1)
    hsv = color.srgb_to_hsv(pixel(1, 0, 1e-20, dtype))
    assert hsv[0].item() == 0
    assert (color.srgb_to_hsv(image(3, 99, 99, dtype=dtype))[0] < 1).all()


@pytest.mark.parametrize("function", ALL)
def test_gradients_agree_with_finite_differences(function):
    picture = 0.1 + 0.8 * image(2, 3, 2, 3, seed=4)
    if function is color.lab_to_srgb:
        picture = color.srgb_to_lab(picture)
    assert torch.autograd.gradcheck(function, picture.requires_grad_())
    dark = (0.002 + 0.036 * image(1, 3, 2, 2, seed=5)).requires_grad_()  # the linear branches
    assert torch.autograd.gradcheck(function, dark)


@pytest.mark.parametrize("function", ALL)
@pytest.mark.parametrize("level", [-0.5, 0.0, 0.0031308, 0.04045, 0.5, 1.0])
def test_gradients_are_finite_on_greys_and_outside(function, level):
    picture = torch.full((1, 3, 1, 1), level, requires_grad=True)
    function(picture).sum().backward()
    assert picture.grad is not None
    assert torch.isfinite(picture.grad).all()


@pytest.mark.parametrize("function", ALL)
def test_any_batch_shape(function):
    picture = image(2, 4, 3, 5, 6, seed=6)
    whole = function(picture)
    assert whole.shape == picture.shape
    for i in range(2):
        for j in range(4):
            torch.testing.assert_close(function(picture[i, j]), whole[i, j], atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("function", ALL)
def test_wrong_input_is_refused(function):
    with pytest.raises(ValueError, match=r"\(5, 4, 6\)"):
        function(torch.zeros(5, 4, 6))
    with pytest.raises(ValueError, match=r"\(3, 4\)"):
        function(torch.zeros(3, 4))
    with pytest.raises(ValueError, match="float16"):
        function(torch.zeros(3, 4, 4, dtype=torch.float16))
    with pytest.raises(ValueError, match="uint8"):
        function(torch.zeros(3, 4, 4, dtype=torch.uint8))


def test_hsv_goes_back_and_takes_any_number_of_turns():
    # Oracles: the round trip, and pure colours in closed form.
    generator = torch.Generator().manual_seed(4)
    picture = torch.rand(2, 3, 8, 9, generator=generator, dtype=torch.float64)
    hsv = color.srgb_to_hsv(picture)
    torch.testing.assert_close(color.hsv_to_srgb(hsv), picture, atol=1e-12, rtol=0)
    turned = hsv + torch.tensor([2.0, 0, 0], dtype=torch.float64)[:, None, None]
    torch.testing.assert_close(color.hsv_to_srgb(turned), picture, atol=1e-12, rtol=0)
    cyan = torch.tensor([0.5, 1.0, 0.6])[:, None, None]
    torch.testing.assert_close(color.hsv_to_srgb(cyan).flatten(), torch.tensor([0.0, 0.6, 0.6]))
