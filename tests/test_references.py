"""collate: references of any number and size become padded tensors."""

from dataclasses import replace

import pytest
import torch

from raiha_core.features.patches import PatchFeatures, normalise
from raiha_core.features.references import Reference, ReferenceBatch, collate
from raiha_core.features.spec import FeatureSpec
from tests.feature_cases import SPEC


def reference(
    name: str, size=(8, 8), score: float | None = None, spec: FeatureSpec | None = SPEC
) -> Reference:
    generator = torch.Generator().manual_seed(sum(name.encode()))
    features = None
    if spec is not None:
        content = normalise(torch.randn(1, 5, 2, 2, generator=generator), 1)
        features = PatchFeatures(content, torch.rand(1, 9, 2, 2, generator=generator), spec)
    image = torch.rand(1, 3, *size, generator=generator)
    return Reference(id=name, image=image, score=score, features=features)


def test_nothing_to_collate_is_none():
    assert collate([], (8, 8), with_features=False) is None
    assert collate([[], []], (8, 8), with_features=True) is None


def test_rows_are_padded_and_marked():
    a, b, c = reference("a", score=0.25), reference("b", score=0.5), reference("c")
    batch = collate([[a, b], [], [c]], (8, 8), with_features=True)
    assert batch.present.tolist() == [[True, True], [False, False], [True, False]]
    for row, k, expected in ((0, 0, a), (0, 1, b), (2, 0, c)):  # the size is theirs: pixels pass unchanged
        torch.testing.assert_close(batch.images[row, k], expected.image[0], atol=1e-6, rtol=0)
        assert torch.equal(batch.content[row, k], expected.features.content[0])
    for row, k in ((1, 0), (1, 1), (2, 1)):
        assert not batch.images[row, k].any()
        assert not batch.content[row, k].any()
    assert batch.spec == SPEC


def test_references_of_other_sizes_are_averaged_down():
    # Oracle: halving a picture of 2 x 2 blocks with antialiasing keeps each constant area's colour.
    image = torch.zeros(1, 3, 16, 32)
    image[..., 16:] = 0.75
    batch = collate([[Reference(id="blocks", image=image)]], (8, 16), with_features=False)
    assert batch.images.shape == (1, 1, 3, 8, 16)
    torch.testing.assert_close(batch.images[0, 0, :, :, 12], torch.full((3, 8), 0.75))
    assert not batch.images[0, 0, :, :, 3].any()
    assert batch.content is None
    assert batch.spec is None


def test_missing_features_name_the_reference():
    with pytest.raises(ValueError, match="reference 'bare' has no features"):
        collate([[reference("bare", spec=None)]], (8, 8), with_features=True)


def test_features_of_two_spaces_name_both():
    other = replace(SPEC, name="other-64", weights="1")
    with pytest.raises(ValueError, match="'toy-64' but 'b' has 'other-64'"):
        collate([[reference("a")], [reference("b", spec=other)]], (8, 8), with_features=True)


def test_a_batch_checks_itself():
    images, present = torch.zeros(2, 3, 3, 4, 4), torch.zeros(2, 2, dtype=torch.bool)
    with pytest.raises(ValueError, match="disagree"):
        ReferenceBatch(images=images, present=present, content=None, spec=None)
    with pytest.raises(ValueError, match="come together"):
        ReferenceBatch(images=images[:, :2], present=present, content=None, spec=SPEC)
