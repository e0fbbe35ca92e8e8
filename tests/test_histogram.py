"""HSV histograms: a loop over pixels with the standard library's HSV, and colours with known bins."""

import colorsys
import math

import numpy as np
import pytest
import torch

from raiha_core.features.histogram import hsv_histograms
from raiha_core.features.spec import HistogramSpec
from raiha_core.resizing import exact_area

SMALL = HistogramSpec(hue=6, saturation=4, value=5, pixels=3)


def slow_resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Mean over each cell, pixel by pixel, by the area that pixel and cell share."""
    result = np.zeros((image.shape[0], height, width))
    for r in range(height):
        for c in range(width):
            top, bottom = r * image.shape[1] / height, (r + 1) * image.shape[1] / height
            left, right = c * image.shape[2] / width, (c + 1) * image.shape[2] / width
            area = 0.0
            for y in range(math.floor(top), min(math.ceil(bottom), image.shape[1])):
                for x in range(math.floor(left), min(math.ceil(right), image.shape[2])):
                    share = (min(bottom, y + 1) - max(top, y)) * (min(right, x + 1) - max(left, x))
                    if share > 0:
                        result[:, r, c] += share * image[:, y, x]
                        area += share
            result[:, r, c] /= area
    return result


def add_softly(counts: np.ndarray, value: float, circular: bool) -> None:
    bins = len(counts)
    position = value * bins - 0.5
    if not circular:
        position = min(max(position, 0), bins - 1)
    low = math.floor(position)
    for b, weight in ((low, 1 - (position - low)), (low + 1, position - low)):
        if weight > 0:
            counts[b % bins] += weight


def slow_histogram(image: np.ndarray, grid: int, spec: HistogramSpec) -> np.ndarray:
    p = spec.pixels
    small = slow_resize(image, grid * p, grid * p)
    result = np.zeros((spec.bins, grid, grid))
    for r in range(grid * p):
        for c in range(grid * p):
            hue, saturation, value = colorsys.rgb_to_hsv(*small[:, r, c])
            cell = result[:, r // p, c // p]
            add_softly(cell[: spec.hue], hue, circular=True)
            add_softly(cell[spec.hue : spec.hue + spec.saturation], saturation, circular=False)
            add_softly(cell[spec.hue + spec.saturation :], value, circular=False)
    return result / p**2


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", [(24, 12), (7, 31), (100, 9), (1, 1), (3, 50)])
@pytest.mark.parametrize("target", [(6, 6), (12, 5)])
def test_exact_area_agrees_with_a_loop_over_pixels(size, target):
    image = noise(1, 3, *size)
    expected = slow_resize(image[0].double().numpy(), *target)
    np.testing.assert_allclose(exact_area(image, target)[0].numpy(), expected, atol=2e-6)


@pytest.mark.parametrize("size", [(24, 24), (17, 40), (5, 6)])
@pytest.mark.parametrize(("grid", "spec"), [(2, SMALL), (3, HistogramSpec())])
def test_histograms_agree_with_a_loop_over_pixels(size, grid, spec):
    image = noise(2, 3, *size)
    found = hsv_histograms(image, grid, spec)
    assert found.shape == (2, spec.bins, grid, grid)
    for b in range(2):
        expected = slow_histogram(image[b].double().numpy(), grid, spec)
        np.testing.assert_allclose(found[b].numpy(), expected, atol=2e-4)


def test_each_part_sums_to_1():
    found = hsv_histograms(noise(1, 3, 50, 70), 4, HistogramSpec())
    for part in found.split((24, 12, 24), 1):
        torch.testing.assert_close(part.sum(1), torch.ones(1, 4, 4))


def bins_of(colour: tuple[float, float, float]) -> dict[int, float]:
    image = torch.tensor(colour)[None, :, None, None].expand(1, 3, 8, 8)
    found = hsv_histograms(image, 1, SMALL)[0, :, 0, 0]
    return {b: round(v, 4) for b, v in enumerate(found.tolist()) if v > 1e-6}


def test_colours_fall_where_they_should():
    # 6 hue bins centred on 1/12, 3/12, ...: red lies between the last and the first of them. Then 4
    # saturation bins from index 6, and 5 value bins from index 10 (centres 0.1, 0.3, 0.5, 0.7, 0.9).
    assert bins_of((1.0, 0.0, 0.0)) == {0: 0.5, 5: 0.5, 9: 1.0, 14: 1.0}
    assert bins_of((0.5, 0.25, 0.0)) == {0: 1.0, 9: 1.0, 12: 1.0}  # orange, hue 1/12
    assert bins_of((0.0, 0.0, 0.0)) == {0: 0.5, 5: 0.5, 6: 1.0, 10: 1.0}  # greys count as hue 0
    assert bins_of((0.6, 0.6, 0.6)) == {0: 0.5, 5: 0.5, 6: 1.0, 12: 0.5, 13: 0.5}


def test_hue_is_a_circle():
    # Two reds on both sides of hue 0 are as alike as two greens at the same distance.
    def cosine(first: float, second: float) -> float:
        vectors = [
            hsv_histograms(
                torch.tensor(colorsys.hsv_to_rgb(h % 1, 1, 1))[None, :, None, None], 1, HistogramSpec()
            )
            for h in (first, second)
        ]
        return torch.nn.functional.cosine_similarity(*(v.flatten() for v in vectors), dim=0).item()

    assert cosine(-0.02, 0.02) == pytest.approx(cosine(8 / 24 - 0.02, 8 / 24 + 0.02), abs=1e-4)
    assert cosine(-0.005, 0.005) > 0.95 > 0.8 > cosine(-0.1, 0.1)


def test_patches_know_only_their_own_pixels():
    image = noise(1, 3, 48, 48)
    changed = image.clone()
    changed[..., 24:, 24:] = 0  # the last of 2 x 2 patches
    before, after = (hsv_histograms(x, 2, SMALL)[0] for x in (image, changed))
    assert torch.equal(before[:, 0], after[:, 0])
    assert torch.equal(before[:, 1, 0], after[:, 1, 0])
    assert not torch.equal(before[:, 1, 1], after[:, 1, 1])


def test_light_moves_them_and_texture_does_not():
    # The point of eq. 4: the same patch mirrored is the same, the same patch under dim light is not.
    image = 0.4 + 0.5 * noise(1, 3, 48, 48)
    same, mirrored, dim = (
        hsv_histograms(x, 1, HistogramSpec()).flatten() for x in (image, image.flip(3), image * 0.4)
    )
    cosine = torch.nn.functional.cosine_similarity
    assert cosine(same, mirrored, dim=0) > 0.999
    assert cosine(same, dim, dim=0) < 0.9


def test_other_types_and_shapes():
    image = noise(1, 3, 20, 20)
    torch.testing.assert_close(
        hsv_histograms(image.double(), 2, SMALL), hsv_histograms(image, 2, SMALL), atol=1e-5, rtol=0
    )
    assert hsv_histograms(image.half(), 2, SMALL).dtype == torch.float32
    with pytest.raises(ValueError, match=r"\(1, 4, 20, 20\)"):
        hsv_histograms(noise(1, 4, 20, 20), 2, SMALL)
