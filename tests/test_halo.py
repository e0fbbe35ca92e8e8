"""Steps that look around a pixel: with the halo they declare, strips are the whole picture."""

from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F

from raiha_core import render
from raiha_core.enlargement import Window
from raiha_core.models.dccf import SHARE, ReadableFilters, filtered
from raiha_core.render import Prediction
from tests.network_cases import PUBLISHED, fill, noise, small
from tests.published_weights import picture


@dataclass(frozen=True, kw_only=True, slots=True)
class Blur:
    """A mean over (2 r + 1) x (2 r + 1) pixels; the picture's own edge is repeated, a strip's must not be."""

    radius: int
    halo: int

    count = 1
    blends = False

    def start(self, composite, mask, *, exact):
        def blurred(image, window):
            r = self.radius
            return F.avg_pool2d(F.pad(image, (r, r, r, r), mode="replicate"), 2 * r + 1, 1)

        return blurred


def rendered(step, monkeypatch, rows=None):
    image, mask = picture(61, 47)
    if rows is not None:
        monkeypatch.setattr(render, "STRIP_PIXELS", 47 * rows)
    return render.apply(Prediction(step=step), image, mask)


@pytest.mark.parametrize("rows", [1, 2, 7, 60])
@pytest.mark.parametrize("radius", [0, 1, 5, 40])
def test_strips_of_a_step_with_a_halo_are_the_whole(monkeypatch, radius, rows):
    # Oracle: the blur of the whole picture. The object's box is narrower than the picture on every side.
    image, mask = picture(61, 47)
    blurred = Blur(radius=radius, halo=radius).start(image, mask, exact=False)
    whole = blurred(image, Window(slice(0, 61), slice(0, 47)))
    wanted = render.paste(image, whole.clamp(0, 1), mask)
    found = rendered(Blur(radius=radius, halo=radius), monkeypatch, rows)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("rows", [2, 7])
def test_a_halo_that_is_too_small_shows(monkeypatch, rows):
    whole = rendered(Blur(radius=5, halo=5), monkeypatch, 61)
    short = rendered(Blur(radius=5, halo=3), monkeypatch, rows)
    assert (short - whole).abs().max() > 1e-4


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("name", PUBLISHED)
def test_what_lies_beyond_the_halo_changes_nothing(name, exact):
    # Each step of the table, shown a window with the halo it declares and shown the whole picture.
    image, mask = picture(150, 203)
    with torch.no_grad():
        said = fill(small(name)).eval()(image, mask)
    step = said.step
    if step is None:  # a picture, which is enlarged as a change
        assert said.dense is not None
        return
    changed = step.start(image, mask, exact=exact)
    whole = changed(image, Window(slice(0, 150), slice(0, 203)))
    for rows, columns in ((slice(40, 47), slice(31, 160)), (slice(0, 3), slice(190, 203))):
        grown = [
            slice(max(0, part.start - step.halo), min(side, part.stop + step.halo))
            for part, side in ((rows, 150), (columns, 203))
        ]
        part = changed(image[..., grown[0], grown[1]], Window(*grown))
        inside = part[
            ..., rows.start - grown[0].start : rows.stop - grown[0].start,
            columns.start - grown[1].start : columns.stop - grown[1].start,
        ]  # fmt: skip
        torch.testing.assert_close(inside, whole[..., rows, columns], rtol=0, atol=1e-6)


@pytest.mark.parametrize("rows", [3, 150])
def test_dccf_blends_by_its_enlarged_attention(monkeypatch, rows):
    # Oracle: the authors' full-size path, written out: all maps bicubic, the filters, then the attention.
    image, mask = picture(150, 203)
    maps = 0.5 + noise((1, 35, 16, 20), 3) / 2
    big = F.interpolate(maps, size=(150, 203), mode="bicubic", align_corners=False)
    wanted = (image + big[:, SHARE] * (filtered(image, big) - image)).clamp(0, 1)
    monkeypatch.setattr(render, "STRIP_PIXELS", 203 * rows)
    step = ReadableFilters(maps=maps)
    got = render.apply(Prediction(step=step), image, mask, exact=True)
    inside = (mask > 0).expand_as(image)
    torch.testing.assert_close(got[inside], wanted[inside], rtol=0, atol=1e-5)
    whole = render.apply(Prediction(step=step), image, mask)
    monkeypatch.setattr(render, "STRIP_PIXELS", 203 * 150)
    torch.testing.assert_close(whole, render.apply(Prediction(step=step), image, mask), rtol=0, atol=1e-6)
