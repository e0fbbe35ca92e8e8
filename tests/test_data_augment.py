"""data/augment.py: boxes hold the object, views of picture and mask agree, no reference is the answer."""

import pytest
import torch

from raiha_train.data.augment import (
    CropConfig,
    choose_boxes,
    draw_view,
    self_references,
    take,
    take_with_mask,
)


def g(seed=0):
    return torch.Generator().manual_seed(seed)


def views(picture, mask, seed):
    return take_with_mask(picture, mask, draw_view(mask, CropConfig(smallest=0.5), g(seed)), 40)


def object_mask(batch=16, size=64):
    mask = torch.zeros(batch, 1, size, size)
    for b in range(batch):
        mask[b, :, 4 + b : 20 + b, 30 - b : 50 - b] = 1
    return mask


def test_boxes_hold_their_share_of_the_object_counted_by_loops():
    mask, config = object_mask(), CropConfig(smallest=0.5, largest=0.9, object_share=0.6, tries=8)
    boxes = choose_boxes(mask, config, g())
    crops = 0
    for b, box in enumerate(boxes):
        left, top, right, bottom = (round(float(v) * 64) for v in box)
        inside = sum(float(mask[b, 0, y, x]) for y in range(top, bottom) for x in range(left, right))
        assert inside >= 0.6 * float(mask[b].sum())
        assert 0 <= left < right <= 64
        assert 0 <= top < bottom <= 64
        if box.tolist() != [0, 0, 1, 1]:
            crops += 1
            assert 0.5 - 1e-6 <= float(box[2] - box[0]) <= 0.9 + 1e-6
            assert float(box[2] - box[0]) == pytest.approx(float(box[3] - box[1]), abs=1e-6)
    assert crops > 8


def test_where_no_crop_can_hold_the_object_the_frame_stays_whole():
    mask = torch.ones(3, 1, 32, 32)
    boxes = choose_boxes(mask, CropConfig(smallest=0.3, largest=0.5, object_share=0.9), g())
    assert torch.equal(boxes, torch.tensor([[0.0, 0, 1, 1]] * 3))


def test_the_whole_box_is_the_identity_and_a_flip_mirrors():
    picture = torch.rand(2, 3, 24, 24, generator=g())
    whole = torch.tensor([[0.0, 0, 1, 1]]).expand(2, -1)
    kept = take(picture, whole, 24, torch.tensor([False, True]))
    torch.testing.assert_close(kept[0], picture[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(kept[1], picture[1].flip(-1), atol=1e-5, rtol=0)


def test_a_box_on_pixel_borders_is_slicing():
    picture = torch.rand(1, 3, 32, 32, generator=g())
    box = torch.tensor([[8 / 32, 4 / 32, 24 / 32, 20 / 32]])
    torch.testing.assert_close(
        take(picture, box, 16, torch.tensor([False])), picture[..., 4:20, 8:24], atol=1e-5, rtol=0
    )


def test_halving_averages_blocks():
    picture = torch.rand(1, 3, 32, 32, generator=g())
    half = take(picture, torch.tensor([[0.0, 0, 1, 1]]), 16, torch.tensor([False]))
    blocks = picture.view(1, 3, 16, 2, 16, 2).mean((3, 5))
    torch.testing.assert_close(half, blocks, atol=1e-5, rtol=0)


def test_views_of_picture_and_mask_agree():
    mask = object_mask()
    picture = mask.expand(-1, 3, -1, -1)  # a picture that shows its own mask
    view, small = views(picture, mask, 3)
    assert torch.equal(view[:, :1], small)
    again, _ = views(picture, mask, 3)
    assert torch.equal(view, again)
    assert not torch.equal(view, views(picture, mask, 4)[0])


def test_a_reference_from_the_truth_shows_the_object_and_never_all_of_it():
    # The picture's colour is its place, so the reference tells which part it shows.
    line = torch.linspace(0, 1, 64)
    place = torch.stack([line[None].expand(64, 64), line[:, None].expand(64, 64), torch.zeros(64, 64)])[None]
    mask = object_mask()
    made = self_references(place.expand(16, -1, -1, -1), mask, g())
    for b in range(16):
        x, y = made[b, 0], made[b, 1]
        for axis in (x, y):
            assert float(axis.max() - axis.min()) == pytest.approx(196 / 256, abs=0.03)
        shown = (line >= x.min()) & (line <= x.max()), (line >= y.min()) & (line <= y.max())
        held = mask[b, 0][shown[1]][:, shown[0]].sum() / mask[b].sum()
        assert held > 0.45
    full = self_references(place.expand(2, -1, -1, -1), torch.ones(2, 1, 64, 64), g())
    assert float((full[:, 0].amax((1, 2)) - full[:, 0].amin((1, 2))).max()) < 0.8


def test_a_reference_shows_the_object_even_where_no_try_finds_it():
    # One pixel in the last corner: nearly no random crop of half the side reaches it.
    mask = torch.zeros(64, 1, 64, 64)
    mask[..., 63, 63] = 1
    made = self_references(mask.expand(-1, 3, -1, -1), mask, g(), 0.5)
    assert float(made.amax((1, 2, 3)).min()) > 0.2
    full = self_references(torch.rand(2, 3, 64, 64, generator=g()), torch.zeros(2, 1, 64, 64), g())
    assert full.shape == (2, 3, 64, 64)  # a mask that packing has emptied


def test_a_config_out_of_range_names_itself():
    with pytest.raises(ValueError, match=r"crop flip must lie in 0\.\.1, got 2"):
        CropConfig(flip=2)
    with pytest.raises(ValueError, match="smallest <= largest"):
        CropConfig(smallest=0.9, largest=0.5)
