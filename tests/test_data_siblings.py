"""Which photos must not serve as references."""

import numpy as np
import pytest
from PIL import Image

from raiha_core.data.iharmony4 import camera, number
from raiha_core.nearduplicates import (
    BITS,
    DEFAULT,
    agreement,
    background_bits,
    calibrate_threshold,
    difference_hash,
)
from raiha_train.lists.siblings import SERIES, Pool, photo_of

POOL = [
    "HAdobe5k/real_images/a0041.jpg",
    "HAdobe5k/real_images/a0046.jpg",  # distance 5
    "HAdobe5k/real_images/a0047.jpg",  # distance 6
    "HFlickr/real_images/f157.jpg",  # distance 3
    "HFlickr/real_images/f156.jpg",
    "HCOCO/real_images/c160.jpg",
    "HCOCO/real_images/c161.jpg",
    "Hday2night/real_images/d18959-20120620-120000.jpg",
    "Hday2night/real_images/d1895-20120620-120000.jpg",
]


def exclusions(query, alike=(), strict=True):
    return Pool(POOL, ["HCOCO/real_images/c161.jpg", "HCOCO/real_images/c999.jpg"]).excluded(
        query, alike, strict
    )


def test_each_rule_names_its_photos():
    test_real = {"HCOCO/real_images/c161.jpg": "test"}
    assert exclusions("HAdobe5k/composite_images/a0041_1_3.jpg") == test_real | {
        "HAdobe5k/real_images/a0041.jpg": "own",
        "HAdobe5k/real_images/a0046.jpg": "sibling",
    }
    assert exclusions("HFlickr/composite_images/f160_1_1.jpg") == test_real | {
        "HFlickr/real_images/f157.jpg": "sibling"
    }
    assert exclusions("Hday2night/composite_images/d18959-20120615-084228_1_6.jpg") == test_real | {
        "Hday2night/real_images/d18959-20120620-120000.jpg": "sibling"
    }
    assert exclusions("HCOCO/composite_images/c161_7_1.jpg") == {"HCOCO/real_images/c161.jpg": "own"}


def test_the_first_rule_wins_and_paper_mode_has_only_one():
    query, alike = "HAdobe5k/composite_images/a0041_1_3.jpg", POOL
    found = exclusions(query, alike)
    assert set(found) == set(POOL)
    assert found["HAdobe5k/real_images/a0046.jpg"] == "sibling"
    assert found["HAdobe5k/real_images/a0047.jpg"] == "near-duplicate"
    assert exclusions(query, alike, strict=False) == {"HAdobe5k/real_images/a0041.jpg": "own"}


def siblings_by_id(subset: str, first: str, second: str) -> bool:
    """The rule for two images of one subset, in words."""
    if subset == "Hday2night":
        return camera(first) == camera(second)
    return subset in SERIES and abs(number(first) - number(second)) <= SERIES[subset]


def test_the_quick_table_agrees_with_the_rule():
    rng = np.random.default_rng(0)
    images = {
        "HAdobe5k": [f"a{n:04d}" for n in rng.choice(200, 60, replace=False)],
        "HFlickr": [f"f{n}" for n in rng.choice(200, 60, replace=False)],
        "HCOCO": [f"c{n}" for n in rng.choice(200, 60, replace=False)],
        "Hday2night": [f"d{n % 7}-{n}" for n in range(40)],
    }
    pool = Pool([f"{s}/real_images/{i}.jpg" for s, names in images.items() for i in names], [])
    for subset, names in images.items():
        for image in names[:20]:
            slow = {f"{subset}/real_images/{i}.jpg" for i in names if siblings_by_id(subset, image, i)}
            assert pool.siblings(subset, image) == slow


def test_other_paths_are_refused():
    with pytest.raises(ValueError, match=r"'a/b\.jpg' is not SUBSET/real_images"):
        photo_of("a/b.jpg")


def scene(seed, size=(240, 160)):
    small = np.random.default_rng(seed).integers(0, 256, (8, 10, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize(size, Image.Resampling.BICUBIC))


def test_a_relit_resized_copy_agrees_and_another_scene_does_not():
    photo = scene(0)
    dark = Image.fromarray((photo * 0.6).astype(np.uint8)).resize((120, 80))
    everywhere = np.ones(BITS, dtype=bool)
    hashes = np.stack([difference_hash(np.asarray(dark)), *(difference_hash(scene(s)) for s in range(1, 30))])
    found = agreement(difference_hash(photo), everywhere, hashes)
    assert found[0] > 0.95
    assert found[1:].max() < 0.75
    assert abs(found[1:].mean() - 0.5) < 0.05


def test_only_the_background_is_compared():
    photo, mask = scene(0), np.zeros((160, 240), dtype=np.uint8)
    mask[40:120, 60:180] = 255
    other = photo.copy()
    other[40:120, 60:180] = 255 - other[40:120, 60:180]  # another object in the same view
    hashes = difference_hash(other)[None]
    query = difference_hash(photo)
    assert agreement(query, np.ones(BITS, dtype=bool), hashes)[0] < 0.9
    assert agreement(query, background_bits(mask), hashes)[0] > 0.98
    full = np.full_like(mask, 255)
    assert agreement(query, background_bits(full), hashes)[0] == 0


def test_calibration_keeps_its_rate():
    rng = np.random.default_rng(1)
    unrelated, siblings = rng.normal(0.5, 0.05, 20_000), rng.normal(0.9, 0.03, 100)
    found = calibrate_threshold(siblings, unrelated, rate=1e-3, floor=0)
    assert found.false_positive_rate == 1e-3
    assert found.recall == 1
    assert 0.6 < found.value < 0.75
    assert calibrate_threshold(siblings, unrelated).value == DEFAULT.value  # never below the default
    assert calibrate_threshold(siblings, unrelated[:10]) == DEFAULT
