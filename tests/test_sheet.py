"""Sheets: what is marked, where, and that nothing else of a picture changes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from raiha_core.drawing import (
    Frame,
    Panel,
    compose,
    draw_frames,
    fit,
    font,
    from_pil,
    outline,
    shorten,
    to_pil,
)
from raiha_core.features.references import Match, Reference
from raiha_core.sheet import choose_patches, matches_sheet, overlay, reference_frames

GRID = 12


def grey(width=96, height=96, level=0.5):
    return torch.full((1, 3, height, width), level)


def match(query, photo, content=0.8, appearance=0.9):
    return Match(query_patch=query, photo_patch=photo, content=content, appearance=appearance)


def reference(name, content=(), light=(), picture=None):
    return Reference(
        id=name,
        image=grey() if picture is None else picture,
        content_matches=tuple(content),
        illumination_matches=tuple(light),
    )


def colour_at(picture, colour):
    """Pixels of exactly this colour: (row, column) pairs."""
    target = torch.tensor(colour).view(3, 1, 1) / 255
    return (picture[0] - target).abs().amax(0).lt(1e-6).nonzero()


def area(picture, colour):
    """How many pixels have exactly this colour."""
    target = torch.tensor(colour, dtype=torch.uint8).view(3, 1, 1)
    return int(((picture[0] * 255).round().to(torch.uint8) == target).all(0).sum())


def test_tensors_survive_the_way_through_pil():
    picture = torch.randint(0, 256, (1, 3, 7, 5), generator=torch.Generator().manual_seed(0)) / 255
    assert torch.equal(from_pil(to_pil(picture)), picture)
    with pytest.raises(ValueError, match=r"\(2, 3, 4, 4\)"):
        to_pil(torch.zeros(2, 3, 4, 4))


def test_a_frame_lies_on_its_patch_and_leaves_the_rest():
    # Patch 3 of a 4x4 grid over 400x200: columns 300..399, rows 0..49. The label may stand beside it.
    picture = grey(400, 200)
    frame = Frame(3, (255, 153, 0), "1", False)
    drawn = from_pil(draw_frames(to_pil(picture), [frame], 4))
    marked = colour_at(drawn, frame.colour)
    rows, columns = marked.unbind(1)
    on_patch = (columns >= 300) & (rows < 50)
    assert {(0, 300), (0, 399), (49, 300), (49, 399)} <= {tuple(p) for p in marked[on_patch].tolist()}
    assert not colour_at(drawn[..., 5:45, 305:395], frame.colour).numel(), "the patch itself stays visible"
    changed = (drawn != from_pil(to_pil(picture))).any(1)[0]
    assert not changed[80:].any()
    assert not changed[:, :270].any()


def test_frames_on_one_patch_are_nested_and_both_visible():
    frames = [Frame(5, (255, 153, 0), "1", False), Frame(5, (70, 170, 255), "a", True)]
    drawn = from_pil(draw_frames(to_pil(grey(400, 400)), frames, 4))
    outer, inner = (colour_at(drawn[..., 100:200, 100:200], f.colour) for f in frames)
    assert outer.amin(0).tolist() == [0, 0]
    assert inner.amin(0).amin() > 0
    assert inner.numel()


@settings(max_examples=30, deadline=None)
@given(patches=st.lists(st.integers(0, 35), min_size=1, max_size=8), width=st.integers(150, 400))
def test_labels_do_not_cover_each_other_where_there_is_room(patches, width):
    # Every label keeps most of its coloured ground, even with all frames in one corner.
    colours = [(200 + k, 10 * k, 5) for k in range(len(patches))]
    frames = [Frame(p, c, str(k), False) for k, (p, c) in enumerate(zip(patches, colours, strict=True))]
    bare = from_pil(draw_frames(to_pil(grey(width, 300)), frames, 6))
    for frame in frames:
        assert area(bare, frame.colour) >= 60


def test_the_outline_runs_round_the_object_only():
    mask = torch.zeros(1, 1, 50, 50)
    mask[..., 20:30, 20:30] = 1
    drawn = from_pil(outline(to_pil(grey(100, 100)), mask))
    changed = (drawn - from_pil(to_pil(grey(100, 100)))).abs().amax(1)[0] > 0.02
    rows, columns = changed.nonzero().unbind(1)
    assert 34 <= rows.min() < 40
    assert 60 <= rows.max() < 66
    assert 34 <= columns.min() < 40
    assert 60 <= columns.max() < 66
    assert not changed[43:57, 43:57].any()


def test_every_reference_shows_a_pair_of_each_kind():
    references = [
        reference(f"{k}", [match(10 * k + n, n) for n in range(5)], [match(100 + 10 * k, 50)])
        for k in range(3)
    ]
    chosen = choose_patches(references, GRID)
    for shown in (reference_frames(r, chosen) for r in references):
        assert {frame.dashed for frame in shown} == {True, False}
    assert len({frame.colour for frame in chosen.values()}) == len(chosen)
    assert len({frame.label for frame in chosen.values()}) == len(chosen)


def test_a_pair_has_one_colour_and_label_on_both_sides():
    one = reference("a.jpg", [match(3, 77), match(100, 5)], [match(50, 60)])
    chosen = choose_patches([one], GRID)
    for frame in reference_frames(one, chosen):
        (source,) = [k for k, f in chosen.items() if (f.colour, f.label) == (frame.colour, frame.label)]
        pairs = {("content", 3): 77, ("content", 100): 5, ("illumination", 50): 60}
        assert frame.patch == pairs[source]


def test_a_sheet_shows_composite_references_and_result():
    blue, red = grey(), grey()
    blue[:, :2], red[:, 1:] = 0, 0
    mask = torch.zeros(1, 1, 96, 96)
    mask[..., 40:60, 40:60] = 1
    cards = [reference("one.jpg", [match(66, 1)], picture=red) for _ in range(4)]
    composite = grey(level=0.25)
    plain = matches_sheet(composite, mask, cards, grid=GRID, title="Title")
    full = matches_sheet(composite, mask, cards, grid=GRID, title="Title", result=blue)
    assert full.shape[2] > plain.shape[2], "the result stands below the composite"
    for sheet in (plain, full):
        composites, cards_shown, results = (
            area(sheet, colour) for colour in ((64,) * 3, (128, 0, 0), (0, 0, 128))
        )
        assert composites > 300_000
        assert cards_shown > 4 * 90_000
        assert (results > 400_000) == (sheet is full)
    assert torch.equal(full, matches_sheet(composite, mask, cards, grid=GRID, title="Title", result=blue))


def test_a_tall_result_stands_at_the_end():
    tall, mask = grey(60, 120, 0.2), torch.ones(1, 1, 120, 60)
    sheet = matches_sheet(tall, mask, [reference("a")], grid=GRID, title="t", result=grey(60, 120, 0.8))
    before, after = (colour_at(sheet, (level,) * 3)[:, 1].float().mean() for level in (51, 204))
    assert before < sheet.shape[3] / 2 < after
    assert sheet.shape[2] < 900


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5])
@pytest.mark.parametrize("size", [(1, 1), (300, 20), (20, 300)])
def test_any_number_of_references_of_any_shape(count, size):
    cards = [reference("x" * 80, [match(0, 143)], [match(143, 0)], grey(*size)) for _ in range(count)]
    sheet = matches_sheet(grey(*size), torch.ones(1, 1, size[1], size[0]), cards, grid=GRID, title="t")
    assert sheet.shape[:2] == (1, 3)
    assert sheet.min() >= 0
    assert sheet.max() <= 1


def test_captions_must_match_references():
    with pytest.raises(ValueError, match="1 captions for 0 references"):
        matches_sheet(grey(), torch.ones(1, 1, 96, 96), [], grid=GRID, title="t", captions=[("a",)])


def test_panels_do_not_overlap_and_long_captions_are_cut():
    # Two columns of coloured panels: each colour keeps its whole area.
    panels = [
        Panel(
            to_pil(torch.tensor([r, 0.0, 1.0]).view(1, 3, 1, 1).expand(1, 3, 90, 70)),
            "word " * 40,
            ("l" * 200,),
        )
        for r in (0.2, 0.4, 0.6, 0.8)
    ]
    sheet = from_pil(compose([panels[:2], panels[2:]], "T", "s", [(True, (1, 2, 3), "what it means")]))
    for r in (0.2, 0.4, 0.6, 0.8):
        assert area(sheet, (round(255 * r), 0, 255)) == 90 * 70
    assert (sheet[..., -8:, :] == sheet[..., -1:, -1:]).all(), "the margin stays empty"
    assert (sheet[..., -8:] == sheet[..., -1:, -1:]).all()


@given(st.text(alphabet="abcXYZ_-.0 ", max_size=60), st.integers(30, 300))
def test_shortened_text_fits_and_keeps_both_ends(text, width):
    short = shorten(text, width, 18)
    if font(18).getlength(text) <= width:
        assert short == text
    else:
        # The text may hold dots of its own, so every place of the three dots is tried.
        cuts = [at for at in range(len(short)) if short[at : at + 3] == "..."]
        assert any(text.startswith(short[:at]) and text.endswith(short[at + 3 :]) for at in cuts)
        assert font(18).getlength(short) <= width or len(short) <= 5


def test_fit_keeps_the_aspect():
    assert fit(to_pil(grey(200, 100)), 60, 60).size == (60, 30)
    assert fit(to_pil(grey(20, 40)), 60, 60).size == (30, 60)


def test_an_overlay_keeps_the_pictures_size():
    one = reference("a", [match(0, 13)], picture=grey(240, 120))
    drawn = overlay(one, grid=GRID)
    assert drawn.shape == one.image.shape
    assert len(colour_at(drawn, (255, 153, 0)))
    assert torch.equal(overlay(reference("b"), grid=GRID), from_pil(to_pil(grey())))
