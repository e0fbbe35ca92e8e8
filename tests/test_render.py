"""Rendering: the mask rule to the bit, and closed forms at sizes that differ from the network's."""

import hypothesis.strategies as st
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from torch import Tensor

from raiha_core import render
from raiha_core.color import lab_to_srgb, srgb_to_lab
from raiha_core.enlargement import enlarge
from raiha_core.render import LabTransfer, Prediction, apply, dither, paste, shrink

KINDS = ("lab", "affine", "constant affine", "lab and affine", "dense", "dense at full size")
WIDE_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def bits(image: Tensor) -> Tensor:
    """The bytes as integers, so that -0.0 is not 0.0."""
    return image.contiguous().view(WIDE_INTEGERS[image.element_size()])


def make_prediction(kind: str, batch: int, size: tuple[int, int], generator: torch.Generator) -> Prediction:
    """Bold moves: many pixels leave 0..1."""

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    lab = LabTransfer(
        centre=50 + 10 * normal(batch, 3), scale=1 + 0.5 * normal(batch, 3), shift=30 * normal(batch, 3)
    )
    affine = normal(batch, 12, 9, 7)
    parts = {
        "lab": Prediction(lab=lab),
        "affine": Prediction(affine=affine),
        "constant affine": Prediction(affine=normal(batch, 12, 1, 1)),
        "lab and affine": Prediction(lab=lab, affine=affine),
        "dense": Prediction(dense=normal(batch, 3, 16, 16)),
        "dense at full size": Prediction(dense=normal(batch, 3, *size)),
    }
    return parts[kind]


def make_mask(shape: str, batch: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    mask = torch.zeros(batch, 1, *size)
    if shape == "soft":
        coarse = torch.rand(batch, 1, 4, 4, generator=generator)
        mask = (F.interpolate(coarse, size=size, mode="bilinear") * 2 - 1).clamp(0, 1)
    elif shape == "box":
        mask[..., size[0] // 3 : size[0] // 2, : size[1] // 2] = 1
    elif shape == "pixel":
        mask[..., -1, 0] = 1
    elif shape == "one of two":
        mask[0] = 1
    return mask


@settings(max_examples=120, deadline=None)
@given(
    height=st.integers(8, 150).map(lambda n: 2 * n + 1),
    width=st.integers(8, 150).map(lambda n: 2 * n + 1),
    batch=st.integers(1, 3),
    kind=st.sampled_from(KINDS),
    shape=st.sampled_from(("soft", "box", "pixel", "one of two", "empty")),
    dtype=st.sampled_from((torch.float32, torch.float16, torch.bfloat16, torch.float64)),
    mask_dtype=st.sampled_from((torch.float32, torch.float16)),
    strength=st.sampled_from((1.0, 0.3)),
    seed=st.integers(0, 2**31),
)
def test_outside_the_mask_is_the_input_bit_for_bit(
    height, width, batch, kind, shape, dtype, mask_dtype, strength, seed
):
    generator = torch.Generator().manual_seed(seed)
    size = (height, width)
    composite = torch.rand(batch, 3, *size, generator=generator).to(dtype)
    composite[torch.rand(batch, 3, *size, generator=generator) < 0.05] = -0.0
    mask = make_mask(shape, batch, size, generator).to(mask_dtype)
    before = bits(composite).clone()
    result = apply(make_prediction(kind, batch, size, generator), composite, mask, strength)
    outside = (mask == 0).expand_as(composite)
    assert result.dtype == dtype
    assert torch.equal(bits(result)[outside], before[outside])
    assert torch.equal(bits(composite), before)  # the input itself is not written to
    inside = result[~outside]
    assert not inside.isnan().any()
    assert ((inside >= 0) & (inside <= 1)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_strength_zero_and_an_empty_mask_give_the_input_bit_for_bit(kind):
    generator = torch.Generator().manual_seed(0)
    composite = torch.rand(2, 3, 33, 21, generator=generator)
    composite[..., 5] = -0.0
    prediction = make_prediction(kind, 2, (33, 21), generator)
    soft = make_mask("soft", 2, (33, 21), generator)
    for mask, strength in ((soft, 0.0), (torch.zeros_like(soft), 1.0)):
        assert torch.equal(bits(apply(prediction, composite, mask, strength)), bits(composite))


@pytest.mark.parametrize("size", [(16, 16), (64, 48), (301, 77)])
@pytest.mark.parametrize("cells", [(1, 1), (16, 16), (90, 13)])
def test_constant_parameters_equal_the_closed_form(size, cells):
    # Oracle: the 3x4 matrix by hand; 90 x 13 cells also shrink the parameters.
    generator = torch.Generator().manual_seed(1)
    matrix = torch.eye(3) + 0.1 * torch.randn(3, 3, generator=generator)
    offset = 0.1 * torch.randn(3, generator=generator)
    parameters = torch.cat(((matrix - torch.eye(3)).flatten(), offset)).view(1, 12, 1, 1)
    composite = torch.rand(1, 3, *size, generator=generator)
    mask = make_mask("soft", 1, size, generator)
    result = apply(Prediction(affine=parameters.expand(1, 12, *cells)), composite, mask)
    new = torch.einsum("ij,bjhw->bihw", matrix, composite) + offset.view(1, 3, 1, 1)
    expected = composite + mask * (new.clamp(0, 1) - composite)
    torch.testing.assert_close(result, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("junk", [1e3, float("inf"), float("nan")])
def test_junk_outside_the_mask_does_not_reach_the_rim(junk):
    # Oracle: parameters that are constant inside enlarge to that constant, whatever stands outside.
    y, x = torch.meshgrid(torch.linspace(-1, 1, 1024), torch.linspace(-1, 1, 1024), indexing="ij")
    mask = ((x**2 + y**2) < 0.4).float()[None, None]
    inside = shrink(mask, (256, 256)) > 0
    parameters = torch.where(inside, torch.tensor([0.25, -0.5]).view(1, 2, 1, 1), torch.tensor(junk))
    wide = enlarge(parameters, inside, (1024, 1024))
    for channel, value in enumerate((0.25, -0.5)):
        found = wide[0, channel][mask[0, 0] > 0]
        assert (found - value).abs().max() <= 3e-8


def test_enlarging_with_every_cell_inside_is_bilinear():
    generator = torch.Generator().manual_seed(2)
    parameters = torch.randn(2, 5, 7, 9, generator=generator)
    wide = enlarge(parameters, torch.ones(2, 1, 7, 9, dtype=torch.bool), (50, 31))
    expected = F.interpolate(parameters, size=(50, 31), mode="bilinear", align_corners=False)
    torch.testing.assert_close(wide, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_strips_agree_with_one_piece(kind, monkeypatch):
    generator = torch.Generator().manual_seed(3)
    composite = torch.rand(2, 3, 61, 47, generator=generator)
    mask = make_mask("soft", 2, (61, 47), generator)
    prediction = make_prediction(kind, 2, (61, 47), generator)
    whole = apply(prediction, composite, mask)
    monkeypatch.setattr(render, "STRIP_PIXELS", 300)
    # vectorised powers may differ in the last bit between places in a tensor; bold gains enlarge it
    torch.testing.assert_close(apply(prediction, composite, mask), whole, atol=2e-5, rtol=0)


def test_a_lab_transfer_moves_mean_and_deviation_as_it_says():
    generator = torch.Generator().manual_seed(4)
    image = 0.3 + 0.3 * torch.rand(1, 3, 40, 40, generator=generator)
    lab = srgb_to_lab(image)
    centre, scale = lab.mean((2, 3)), torch.tensor([[0.5, 1.2, 0.8]])
    shift = torch.tensor([[6.0, -3.0, 4.0]])
    moved = apply(
        Prediction(lab=LabTransfer(centre=centre, scale=scale, shift=shift)), image, torch.ones(1, 1, 40, 40)
    )
    found = srgb_to_lab(moved)
    torch.testing.assert_close(found.mean((2, 3)), centre + shift, atol=1e-2, rtol=0)
    torch.testing.assert_close(found.std((2, 3)), scale * lab.std((2, 3)), atol=1e-2, rtol=0)


def test_an_idle_lab_transfer_returns_the_bits_and_can_still_learn():
    image = torch.rand(2, 3, 5, 5)
    centre, scale = torch.full((2, 3), 40.0), torch.ones(2, 3, requires_grad=True)
    shift = torch.zeros(2, 3, requires_grad=True)
    new = LabTransfer(centre=centre, scale=scale, shift=shift)(image)
    assert torch.equal(new, image)
    new.sum().backward()
    assert shift.grad is not None
    assert (shift.grad != 0).all()
    one_moves = LabTransfer(centre=centre, scale=scale, shift=torch.tensor([[0.0] * 3, [5.0, 0, 0]]))
    assert torch.equal(one_moves(image)[0], image[0])
    assert not torch.equal(one_moves(image)[1], image[1])


def test_the_clamp_comes_last():
    # Oracle: +80 in lightness leaves sRGB, the affine step halves it back into range; a clamp between
    # the two steps would give 0.5.
    image = torch.full((1, 3, 4, 4), 0.8)
    transfer = LabTransfer(
        centre=torch.zeros(1, 3), scale=torch.ones(1, 3), shift=torch.tensor([[80.0, 0, 0]])
    )
    halve = torch.cat((-0.5 * torch.eye(3).flatten(), torch.zeros(3))).view(1, 12, 1, 1)
    bright = lab_to_srgb(srgb_to_lab(image) + torch.tensor([80.0, 0, 0]).view(1, 3, 1, 1))
    result = apply(Prediction(lab=transfer, affine=halve), image, torch.ones(1, 1, 4, 4))
    assert bright.min() > 1.2
    torch.testing.assert_close(result, bright / 2, atol=1e-5, rtol=0)


def test_a_small_dense_prediction_keeps_the_photos_detail():
    # Oracle: the network adds 0.1 to what it saw, so 0.1 is added to every pixel of the photo.
    generator = torch.Generator().manual_seed(5)
    composite = 0.2 + 0.5 * torch.rand(1, 3, 70, 90, generator=generator)
    mask = make_mask("soft", 1, (70, 90), generator)
    dense = shrink(composite, (16, 16)) + 0.1
    expected = composite + 0.1 * mask
    torch.testing.assert_close(apply(Prediction(dense=dense), composite, mask), expected, atol=1e-6, rtol=0)


def test_a_dense_prediction_of_the_photos_size_is_pasted_as_it_is():
    generator = torch.Generator().manual_seed(6)
    composite, dense = (torch.rand(1, 3, 20, 30, generator=generator) for _ in range(2))
    mask = (torch.rand(1, 1, 20, 30, generator=generator) > 0.5).float()
    assert torch.equal(
        apply(Prediction(dense=dense), composite, mask), torch.where(mask > 0, dense, composite)
    )


def test_paste_blends_by_the_mask_and_keeps_its_ends_exact():
    generator = torch.Generator().manual_seed(7)
    composite, new, mask = (torch.rand(2, c, 9, 9, generator=generator) for c in (3, 3, 1))
    torch.testing.assert_close(paste(composite, new, mask), composite + mask * (new - composite))
    assert torch.equal(paste(composite, new, torch.ones_like(mask)), new)
    infinite = torch.full_like(new, float("inf"))
    assert torch.equal(paste(composite, infinite, torch.zeros_like(mask)), composite)


def test_batches_of_one_broadcast():
    generator = torch.Generator().manual_seed(8)
    composite = torch.rand(1, 3, 20, 20, generator=generator)
    masks = (torch.rand(3, 1, 20, 20, generator=generator) > 0.5).float()
    prediction = make_prediction("lab and affine", 1, (20, 20), generator)
    together = apply(prediction, composite, masks)
    for row in range(3):
        alone = apply(prediction, composite, masks[row : row + 1])
        torch.testing.assert_close(together[row : row + 1], alone, atol=2e-6, rtol=0)


def test_gradients_reach_the_parameters_and_stay_finite():
    generator = torch.Generator().manual_seed(9)
    composite = torch.rand(1, 3, 24, 24, generator=generator)
    affine = torch.zeros(1, 12, 6, 6, requires_grad=True)
    mask = make_mask("box", 1, (24, 24), generator)
    apply(Prediction(affine=affine), composite, mask).sum().backward()
    assert affine.grad is not None
    assert affine.grad.isfinite().all()
    assert (affine.grad.abs().sum((0, 1)) > 0).equal((shrink(mask, (6, 6)) > 0)[0, 0])


def test_shrink_antialiases_and_keeps_constants():
    stripes = torch.zeros(1, 1, 1024, 1024)
    stripes[..., ::4, :] = 1  # protocols.md, section 7: antialiased to 256 this is 64 / 255
    small = shrink(stripes, (256, 256))
    torch.testing.assert_close(small[..., 8:-8, :], torch.full((1, 1, 240, 256), 0.25), atol=1e-3, rtol=0)
    constant = torch.full((1, 3, 37, 91), 0.3)
    torch.testing.assert_close(shrink(constant, (16, 16)), torch.full((1, 3, 16, 16), 0.3))
    assert shrink(constant, (37, 91)) is constant
    assert shrink(constant.half(), (20, 20)).dtype == torch.float32


def test_dither_keeps_levels_means_and_the_outside():
    levels = (torch.arange(256) / 255).view(1, 1, 16, 16)
    everywhere = torch.ones(1, 1, 16, 16)
    assert torch.equal((dither(levels, everywhere) * 255).round(), (levels * 255).round())
    flat = torch.full((1, 3, 256, 256), 100.3 / 255)
    spread = dither(flat, torch.ones(1, 1, 256, 256)) * 255
    assert spread.round().unique().tolist() == [100, 101]
    assert spread.mean() == pytest.approx(100.3, abs=0.01)
    mask = torch.zeros(1, 1, 256, 256)
    mask[..., :128] = 1
    assert torch.equal(dither(flat, mask)[..., 128:], flat[..., 128:])


@pytest.mark.parametrize(
    ("composite", "mask", "strength", "named"),
    [
        (torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 8, 9), 1.0, "8, 9"),
        (torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 8, 8), 1.5, "1.5"),
        (torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 8, 8), float("nan"), "nan"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), torch.zeros(1, 1, 8, 8), 1.0, "uint8"),
        (torch.zeros(2, 3, 8, 8), torch.zeros(3, 1, 8, 8), 1.0, "2 composites, 3 masks"),
    ],
)
def test_wrong_inputs_are_named(composite, mask, strength, named):
    with pytest.raises(ValueError, match=named):
        apply(Prediction(), composite, mask, strength)


def test_a_dense_prediction_stands_alone():
    with pytest.raises(ValueError, match="alone"):
        Prediction(dense=torch.zeros(1, 3, 4, 4), affine=torch.zeros(1, 12, 1, 1))
