import pytest
import torch

from raiha_core import render, strips
from raiha_core.background import has_outside, outside
from raiha_core.masks import coverage
from raiha_core.pipeline import harmonize


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def small_strips(monkeypatch):
    monkeypatch.setattr(strips, "STRIP_NUMBERS", 60)


def test_strips_are_the_picture_in_order(small_strips):
    picture = noise(2, 3, 11, 7)
    parts = list(strips.row_strips(picture))
    assert len(parts) == 11  # a row alone has 42 numbers
    assert torch.equal(torch.cat(parts, -2), picture)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_one_value_that_is_not_finite_is_found(small_strips, bad):
    picture = noise(1, 3, 11, 7).movedim(1, -1).contiguous().movedim(-1, 1)  # as ComfyUI's lie
    assert strips.all_finite(picture)
    picture[0, 2, 10, 6] = bad
    assert not strips.all_finite(picture)


def test_questions_about_strips_are_those_about_the_picture(small_strips):
    mask = noise(3, 1, 13, 9)
    mask[1] = 0
    mask[:, :, :4] = 0
    assert strips.with_objects(mask - 0.2).tolist() == [True, False, True]
    assert strips.count_pixels(mask, lambda part: part > 0.2) == int((mask > 0.2).sum())
    assert strips.value_range(mask) == (0.0, mask.amax().item())
    assert strips.touched_rows(mask).tolist() == list(range(4, 13))


@pytest.mark.parametrize("level", [0.0, 0.01, 0.02, 0.3, 1.0])
def test_has_outside_says_what_outside_holds(small_strips, level):
    for mask in (torch.full((1, 1, 9, 9), level), noise(1, 1, 9, 9) * level, noise(1, 1, 9, 9).add(level)):
        assert has_outside(mask) == bool(outside(mask).any())


def test_coverage_in_strips_is_that_of_the_whole(small_strips, monkeypatch):
    mask = noise(2, 1, 50, 33)
    whole = coverage(mask, 6)
    monkeypatch.setattr("raiha_core.masks._WHOLE", 1)
    torch.testing.assert_close(coverage(mask, 6), whole, rtol=0, atol=1e-14)


def test_out_of_memory_halves_the_strip_and_goes_on():
    # Oracle: every row is written once, in order, by strips that fit.
    asked, written = [], []

    def work(part: slice) -> None:
        asked.append(part.stop - part.start)
        if part.stop - part.start > 3:
            raise torch.cuda.OutOfMemoryError("planted")
        written.extend(range(part.start, part.stop))

    strips.in_strips(work, slice(5, 30), 16)
    assert written == list(range(5, 30))
    assert asked[:4] == [16, 8, 4, 2]


def test_a_row_that_does_not_fit_is_an_error():
    def work(part: slice) -> None:
        raise torch.cuda.OutOfMemoryError("planted")

    with pytest.raises(torch.cuda.OutOfMemoryError):
        strips.in_strips(work, slice(0, 4), 4)


def test_rendering_goes_on_after_running_out_of_memory(monkeypatch):
    composite, mask = noise(1, 3, 40, 30), (noise(1, 1, 40, 30) > 0.5).float()
    affine = 0.1 * noise(1, 12, 8, 8) - 0.05
    whole = render.apply(render.Prediction(affine=affine), composite, mask)
    transform = render._transform

    def scarce(prediction, field, image, window, lab=None):
        if window.rows.stop - window.rows.start > 6:
            raise torch.cuda.OutOfMemoryError("planted")
        return transform(prediction, field, image, window, lab)

    monkeypatch.setattr(render, "_transform", scarce)
    torch.testing.assert_close(render.apply(render.Prediction(affine=affine), composite, mask), whole)


def test_what_is_brighter_than_white_is_white_inside_and_itself_outside():
    composite, mask = noise(1, 3, 48, 40) * 2.5, torch.zeros(1, 1, 48, 40)
    mask[..., 10:30, 8:30] = 1
    done = harmonize(composite, mask, model="statistics")
    bounded = harmonize(composite.clamp(0, 1), mask, model="statistics")
    assert torch.equal(torch.where(mask > 0, done, 0), torch.where(mask > 0, bounded, 0))
    assert torch.equal(torch.where(mask > 0, 0, done), torch.where(mask > 0, 0, composite))


def test_strips_are_multiples_of_32_rows_so_that_their_height_changes_no_bit():
    # the last few powers of a run differ by a bit from the others: each strip but the last must have none
    asked = []
    strips.in_strips(lambda part: asked.append(part.stop - part.start), slice(5, 205), 77)
    assert asked == [64, 64, 64, 8]
    composite, mask = noise(1, 3, 130, 21), torch.zeros(1, 1, 130, 21)
    mask[..., 3:, 2:20] = 1
    whole = harmonize(composite, mask, model="statistics")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(render, "STRIP_PIXELS", 40 * 21)
        assert torch.equal(harmonize(composite, mask, model="statistics"), whole)
