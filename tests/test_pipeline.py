"""The one call: its promises about the background, batches, masks and errors."""

import warnings
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from raiha_core import checkpoint
from raiha_core.features.references import Reference
from raiha_core.harmonizer import DEFAULT_MODEL, load_harmonizer
from raiha_core.models.presets import PRESETS
from raiha_core.pipeline import HarmonizeWarning, harmonize, per_composite
from tests.network_cases import DIM, fill, noise, pairs, small


def scene(height=40, width=56, batch=1, dtype=torch.float32):
    """A dark blue object on a warm noisy background, with a soft edge."""
    generator = torch.Generator().manual_seed(height * width + batch)
    composite = 0.6 + 0.2 * torch.rand(batch, 3, height, width, generator=generator)
    composite[:, 2] *= 0.6
    mask = torch.zeros(batch, 1, height, width)
    mask[:, :, height // 4 : height // 2, width // 4 : width // 2] = 1
    mask[:, :, height // 2, width // 4 : width // 2] = 0.5
    composite = torch.where(mask > 0, composite * torch.tensor([0.2, 0.3, 0.9]).view(1, 3, 1, 1), composite)
    return composite.to(dtype), mask


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("size", [(16, 16), (40, 56), (131, 77)])
def test_outside_the_mask_the_composite_keeps_its_bits(size, dtype):
    composite, mask = scene(*size, dtype=dtype)
    result = harmonize(composite, mask)
    assert result.dtype == dtype
    outside = (mask == 0).expand_as(result)
    assert torch.equal(result[outside], composite[outside])
    assert not torch.equal(result, composite)  # something happened inside
    assert result.min() >= 0
    assert result.max() <= 1


@pytest.mark.parametrize(("model", "share"), [("statistics", 0.9), (DEFAULT_MODEL, 0.99)])
def test_the_object_moves_towards_its_background(model, share):
    composite, mask = scene()
    inside = (mask == 1).expand_as(composite)
    background = composite[(mask == 0).expand_as(composite)].mean()
    before = (composite[inside].mean() - background).abs()
    after = (harmonize(composite, mask, model=model)[inside].mean() - background).abs()
    assert after < share * before


def test_strength_zero_is_the_input_and_strength_one_the_full_answer():
    composite, mask = scene()
    assert torch.equal(harmonize(composite, mask, strength=0.0), composite)
    half, whole = (harmonize(composite, mask, strength=s) for s in (0.5, 1.0))
    assert (half - composite).abs().sum() < (whole - composite).abs().sum()


def test_a_batch_gives_what_each_picture_gives_alone():
    composite, mask = scene(batch=3)
    together = harmonize(composite, mask)
    for n in range(3):
        torch.testing.assert_close(together[n : n + 1], harmonize(composite[n : n + 1], mask[n : n + 1]))


def test_one_mask_serves_a_batch():
    composite, mask = scene(batch=2)
    torch.testing.assert_close(harmonize(composite, mask[:1]), harmonize(composite, mask))


def test_an_empty_mask_gives_the_input_back_and_says_so():
    composite, mask = scene()
    with pytest.warns(HarmonizeWarning, match="empty"):
        assert torch.equal(harmonize(composite, torch.zeros_like(mask)), composite)


def test_an_empty_mask_in_a_batch_does_not_disturb_the_others():
    composite, mask = scene(batch=2)
    mask[0] = 0
    with pytest.warns(HarmonizeWarning, match=r"images \[0\]"):
        result = harmonize(composite, mask)
    assert torch.equal(result[0], composite[0])
    torch.testing.assert_close(result[1:], harmonize(composite[1:], mask[1:]))


def test_a_full_mask_needs_references():
    composite, mask = scene()
    with pytest.raises(ValueError, match="covers the whole picture"):
        harmonize(composite, torch.ones_like(mask))
    warm = Reference(
        id="warm", image=torch.full((1, 3, 20, 20), 0.7) * torch.tensor([1.0, 0.8, 0.5])[:, None, None]
    )
    result = harmonize(composite, torch.ones_like(mask), [warm])
    assert result.shape == composite.shape


def test_same_input_gives_the_same_bytes():
    composite, mask = scene(90, 70)
    assert torch.equal(harmonize(composite, mask), harmonize(composite, mask))


def test_the_input_is_not_written_to():
    composite, mask = scene()
    kept = composite.clone()
    harmonize(composite, mask)
    assert torch.equal(composite, kept)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c, m: (c, m[..., :-1]), "55x40 but the composite is 56x40"),
        (lambda c, m: (c[:, :1], m), r"composite must be \(B, 3, H, W\)"),
        (lambda c, m: (c, m[0]), r"mask must be \(B, 1, H, W\)"),
        (lambda c, m: (c * float("nan"), m), "NaN"),
        (lambda c, m: (c, m * 255), r"0\.\.255"),
        (lambda c, m: (c.repeat(2, 1, 1, 1), m.repeat(3, 1, 1, 1)), "2 composites and 3 masks"),
    ],
)
def test_bad_input_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        harmonize(*change(*scene()))


def test_bad_options_are_named():
    composite, mask = scene()
    with pytest.raises(ValueError, match=r"strength must lie in 0\.\.2, got 2\.5"):
        harmonize(composite, mask, strength=2.5)
    with pytest.raises(ValueError, match="no model 'nobody'"):
        harmonize(composite, mask, model="nobody")
    with pytest.raises(ValueError, match="'hdnet' has no weights here"):
        load_harmonizer("hdnet")


def test_references_are_for_all_or_for_each():
    one = Reference(id="a", image=torch.zeros(1, 3, 8, 8))
    assert per_composite([one], 2) == [[one], [one]]
    assert per_composite([[one], []], 2) == [[one], []]
    assert per_composite((), 3) == [(), (), ()]
    with pytest.raises(ValueError, match="1 rows of references for 2 composites"):
        per_composite([[one]], 2)


def test_no_warning_on_ordinary_input():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        harmonize(*scene())


# ---- batches


def _batch_scene(height, width, dtype=torch.float32):
    composite, mask, _ = pairs(3, height, width, seed=height + width)
    return composite.clamp(0, 1).to(dtype), mask.to(dtype)


@pytest.fixture(scope="module", params=["statistics", "raiha-plus (shipped)", *PRESETS])
def any_harmonizer(request, tmp_path_factory):
    """The harmonizers without weights and shipped, and a small one of every preset, with lively weights."""
    name = request.param
    if name not in PRESETS:
        return load_harmonizer(name.partition(" ")[0])
    network = fill(small(name))
    path = tmp_path_factory.mktemp("presets") / f"{name}.safetensors"
    checkpoint.save(path, network, checkpoint.describe(network, name))
    return load_harmonizer(path)


class _Eyes:
    """Content features that depend on the picture alone, for presets that need some without references."""

    @staticmethod
    def encode(images):
        coarse = F.adaptive_avg_pool2d(images, 4).repeat(1, DIM // 3, 1, 1)
        return SimpleNamespace(content=F.normalize(coarse * noise((DIM, 1, 1), 3), dim=1))


def test_a_batch_equals_single_calls_with_every_harmonizer(any_harmonizer):
    # Promised: within 2e-6, and at most one code apart when written in 8 or 16 bits.
    composite, mask = _batch_scene(97, 130)
    whole = harmonize(composite, mask, (), any_harmonizer, encoder=_Eyes)
    singles = zip(composite.split(1), mask.split(1), strict=True)
    each = torch.cat([harmonize(*one, (), any_harmonizer, encoder=_Eyes) for one in singles])
    assert (whole - composite).abs().max() > 0.01  # it did something
    assert (whole - each).abs().max() <= 2e-6
    for most in (255, 65535):
        assert ((whole * most).round() - (each * most).round()).abs().max() <= 1
