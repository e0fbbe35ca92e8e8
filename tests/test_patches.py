"""PatchFeatures and their rounded form: what a gallery keeps and compares."""

import math

import pytest
import torch

from raiha_core.features.patches import PatchFeatures, normalise, store
from tests.feature_cases import SPEC


def random_features(batch: int = 3) -> PatchFeatures:
    generator = torch.Generator().manual_seed(0)
    content = normalise(torch.randn(batch, 5, 2, 2, generator=generator), 1)
    return PatchFeatures(content, torch.rand(batch, 9, 2, 2, generator=generator), SPEC)


def test_length_is_the_number_of_images():
    assert len(random_features(3)) == 3


@pytest.mark.parametrize(
    ("content", "appearance"), [((1, 5, 2, 3), (1, 9, 2, 2)), ((1, 5, 2, 2), (1, 8, 2, 2))]
)
def test_shapes_must_be_those_of_the_spec(content, appearance):
    with pytest.raises(ValueError, match=r"is not of .*toy-64"):
        PatchFeatures(torch.zeros(content), torch.zeros(appearance), SPEC)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("which", [0, 1])
def test_values_that_are_not_finite_are_refused(which, bad):
    tensors = [torch.zeros(1, 5, 2, 2), torch.zeros(1, 9, 2, 2)]
    tensors[which][0, 0, 0, 0] = bad
    with pytest.raises(ValueError, match="NaN or infinite"):
        PatchFeatures(*tensors, SPEC)


def test_normalise_gives_length_1_and_keeps_zero():
    vectors = torch.tensor([[3.0, 4.0], [0.0, 0.0], [1e-30, 0.0]])
    result = normalise(vectors, 1)
    torch.testing.assert_close(result[0], torch.tensor([0.6, 0.8]))
    assert torch.equal(result[1], torch.zeros(2))
    assert torch.isfinite(result).all()
    assert result[2].norm() <= 1  # too short to have a direction: stays near zero, never grows


def test_store_agrees_with_a_loop_over_patches():
    features = random_features()
    stored = store(features)
    assert stored.content.dtype == torch.float16
    assert stored.histogram.dtype == torch.uint8
    for b in range(3):
        for p in range(4):
            row, column = divmod(p, 2)  # row-major
            expected = features.content[b, :, row, column].to(torch.float16)
            assert torch.equal(stored.content[b, p], expected)
            counts = features.appearance[b, :, row, column].tolist()
            scaled = [255 * c / max(counts) for c in counts]
            for kept, value in zip(stored.histogram[b, p].tolist(), scaled, strict=True):
                assert abs(kept - value) <= 0.5 + 1e-3
            assert stored.histogram[b, p].max() == 255


def test_zero_vectors_and_empty_histograms_stay_zero():
    stored = store(PatchFeatures(torch.zeros(1, 5, 2, 2), torch.zeros(1, 9, 2, 2), SPEC))
    assert not stored.content.any()
    assert not stored.histogram.any()


def test_a_stored_duplicate_scores_1_within_its_rounding():
    stored = store(random_features()).content.to(torch.float64)
    assert ((stored * stored).sum(2) - 1).abs().max() < 1e-3  # two factors, each within 2**-11


def test_rounding_keeps_histogram_cosines():
    features = random_features()
    stored = store(features).histogram.to(torch.float64)
    exact = features.appearance.flatten(2).transpose(1, 2).to(torch.float64)
    cosine = torch.nn.functional.cosine_similarity(stored, exact, dim=2)
    # The rounding moves each of 9 bins by at most half of 1/255 of the largest: an angle below asin(...)
    assert cosine.min() > math.cos(math.asin(math.sqrt(9) * 0.5 / 255))
