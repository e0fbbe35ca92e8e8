"""calibrate: thresholds against a loop over pairs, on galleries whose likeness is known."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from raiha_core.features.patches import normalise
from raiha_core.features.spec import spec_from_json
from raiha_core.gallery.memory import MemoryGallery
from raiha_core.masks import foreground_patches
from raiha_core.retrieval import calibrate as module
from raiha_core.retrieval.calibrate import calibrate
from tests.retrieval_cases import make_gallery, make_spec

SPEC = make_spec(grid=4, dim=6)


def gallery(count: int = 40, seed: int = 0, **labels: list[str]) -> MemoryGallery:
    generator = torch.Generator().manual_seed(seed)
    content = normalise(torch.randn(count, SPEC.patches, SPEC.dim, generator=generator), 2)
    histogram = torch.randint(0, 256, (count, SPEC.patches, 9), generator=generator)
    return make_gallery(SPEC, content, histogram, **labels)


def full_masks(photos: MemoryGallery, every: int = 1) -> dict[str, torch.Tensor]:
    """The top left quarter of every n-th photo: 4 of 16 patches."""
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., :8, :8] = 1
    return {photo.id: mask for photo in list(photos.photos)[::every]}


def pair_scores(photos: MemoryGallery, masks: dict[str, torch.Tensor]) -> np.ndarray:
    """Best cosine of every pair of a masked photo and another one of another group, by loops."""
    rows = {photo.id: row for row, photo in enumerate(photos.photos)}
    vectors = photos.gather(list(range(len(photos)))).content.double().numpy()
    scores = []
    for name, mask in masks.items():
        own = photos.photos[rows[name]]
        inside = foreground_patches(mask, SPEC.grid)[0].numpy()
        line = []
        for row, other in enumerate(photos.photos):
            same_group = own.group != "" and own.group == other.group
            if other.sha256 == own.sha256 or same_group:
                continue
            line.append(max(float(q @ x) for q in vectors[rows[name]][inside] for x in vectors[row]))
        scores.append(line)
    return scores


def test_thresholds_let_the_named_share_of_pairs_pass():
    photos = gallery()
    masks = full_masks(photos)
    found = calibrate(photos, masks=masks)
    scores = np.concatenate(pair_scores(photos, masks))
    assert [v.false_positive_rate for v in found.levels] == [0.01, 0.05, 0.20]
    for level in found.levels:
        share = (scores >= level.threshold - 1e-6).mean()
        assert abs(share - level.false_positive_rate) <= 1 / len(scores)
        assert np.abs(scores - level.threshold).min() < 1e-5  # an observed score
        assert level.low <= level.threshold <= level.high
    thresholds = [v.threshold for v in found.levels]
    assert thresholds == sorted(thresholds, reverse=True)
    assert found.foregrounds == "masks"
    assert found.queries == found.compared == found.photos == 40


def test_counts_are_those_of_a_search():
    photos = gallery()
    masks = full_masks(photos, every=2)
    found = calibrate(photos, masks=masks, false_positive_rates=(0.05, 0.001))
    scores = pair_scores(photos, masks)
    for level in found.levels:
        hits = np.array([sum(s >= level.threshold - 1e-6 for s in line) for line in scores])
        assert level.qualifying_median == pytest.approx(np.median(hits))
        assert level.qualifying_p10 == pytest.approx(np.quantile(hits, 0.1))
        assert level.qualifying_p90 == pytest.approx(np.quantile(hits, 0.9))
        assert level.empty == pytest.approx((hits == 0).mean())
    assert found.queries == 20


def test_own_photo_copies_and_group_do_not_count():
    # All photos are copies in pairs; their best cosine is 1 and would set every threshold.
    half = gallery(20)
    content = half.gather(list(range(20))).content.float().repeat(2, 1, 1)
    histogram = torch.zeros(40, SPEC.patches, 9)
    labels = [str(n % 20) for n in range(40)]
    for known in ({"groups": labels}, {"hashes": labels}):
        found = calibrate(make_gallery(SPEC, content, histogram, **known), false_positive_rates=(0.05,))
        assert found.default.threshold < 0.999
        assert found.copies == 0
    # The same pixels in other bytes, in no group: told by their cosine, left out and said.
    unknown = calibrate(make_gallery(SPEC, content, histogram), false_positive_rates=(0.01, 0.05))
    assert unknown.levels[0].threshold < 0.999
    assert unknown.copies == unknown.queries
    assert f"{unknown.queries} pairs of nearly the same picture" in unknown.report()


def test_boxes_stand_in_for_masks():
    found = calibrate(gallery())
    assert found.foregrounds == "boxes"
    assert "boxes in the middle" in found.report()
    areas = []
    generator = np.random.Generator(np.random.PCG64(0))
    for _ in range(200):
        box = module._middle_box(generator)
        areas.append(box.mean().item())
        assert box[0, 0, 48, 48] == 1
        assert not box[..., 0].any()
        assert not box[..., -1].any()
        assert (box - box.flip(2)).abs().sum() <= 2 * 96  # in the middle, up to one row
    assert 0.15 < np.median(areas) < 0.25


def test_same_seed_same_numbers_other_seed_others():
    photos = gallery()
    first, again, other = (calibrate(photos, seed=s, queries=10, photos=20) for s in (1, 1, 2))
    assert first == again
    assert first.levels != other.levels
    assert (first.queries, first.compared) == (10, 20)


def test_a_part_of_the_gallery_is_scaled_up_and_said():
    photos = gallery(120, seed=3)
    part, whole = calibrate(photos, photos=40), calibrate(photos, photos=None)
    assert "scaled up from 40 photos" in part.report()
    assert "scaled up" not in whole.report()
    ratio = part.levels[2].qualifying_median / whole.levels[2].qualifying_median
    assert 0.7 < ratio < 1.4
    assert abs(part.default.threshold - whole.default.threshold) < 0.05


def test_blocks_do_not_change_the_numbers(monkeypatch):
    photos = gallery()
    whole = calibrate(photos)
    monkeypatch.setattr(module, "_SCORES", 1)  # one photo at a time
    for one, other in zip(calibrate(photos).levels, whole.levels, strict=True):
        assert one.threshold == pytest.approx(other.threshold, abs=1e-5)
        assert one.qualifying_median == pytest.approx(other.qualifying_median, abs=1)


def test_the_result_is_json_and_a_store_finds_its_thresholds_in_it():
    photos = gallery()
    found = calibrate(photos)
    data = json.loads(json.dumps(found.to_json()))
    assert data["content_threshold"] == found.levels[1].threshold  # at 5 %
    assert data["appearance_threshold"] == SPEC.appearance_threshold
    assert spec_from_json(data["spec"]) == SPEC
    assert data["gallery"] == photos.fingerprint
    assert data["levels"][0]["false_positive_rate"] == 0.01
    replace(SPEC, content_threshold=data["content_threshold"], threshold_source=data["threshold_source"])
    assert "5 % of other photos pass" in data["threshold_source"]


def test_the_report_says_what_the_rates_are_worth():
    report = calibrate(gallery()).report()
    assert "'Other photo' stands for 'unrelated photo'" in report
    assert "a rough guide only" in report  # 40 photos


def test_progress_is_told_to_the_end():
    seen = []
    calibrate(gallery(), photos=30, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (30, 30)
    assert [d for d, _ in seen] == sorted({d for d, _ in seen})


def test_bad_calls_name_the_value():
    photos = gallery()
    with pytest.raises(ValueError, match="19 photos; at least 20"):
        calibrate(gallery(19))
    with pytest.raises(ValueError, match=r"rates must lie in \(0, 1\)"):
        calibrate(photos, false_positive_rates=(0.05, 1.0))
    with pytest.raises(ValueError, match=r"hold 0\.05"):
        calibrate(photos, false_positive_rates=(0.1,))
    with pytest.raises(ValueError, match="at least 1, got 0"):
        calibrate(photos, queries=0)
    with pytest.raises(ValueError, match="none of the masks belongs to a photo"):
        calibrate(photos, masks={"elsewhere.png": torch.ones(1, 1, 8, 8)})
    with pytest.raises(ValueError, match="none of the masks"):
        calibrate(photos, masks={"0000.png": torch.zeros(1, 1, 8, 8)})
    with pytest.raises(ValueError, match="one group"):
        calibrate(gallery(groups=["g"] * 40))


def test_features_that_never_agree_give_no_threshold():
    # Vectors of photo n point along axis n only: two photos have cosine 0 and no threshold above it.
    spec = make_spec(grid=4, dim=24)
    content = torch.zeros(24, 16, 24)
    content[torch.arange(24), :, torch.arange(24)] = 1
    with pytest.raises(ValueError, match=r"threshold would be 0\.000"):
        calibrate(make_gallery(spec, content, torch.zeros(24, 16, 9)))
