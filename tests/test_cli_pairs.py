"""Folders of composites and masks: who belongs to whom, and where results go. Oracle: trees drawn by hand."""

import numpy as np
import pytest
from PIL import Image

from raiha_core.cli import main
from raiha_core.cli.pairs import folder_jobs


def tree(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def pairs(root, composites, masks):
    """{composite: (mask, output)} by names relative to `root`."""
    jobs, done, _ = folder_jobs(root / composites, root / masks, root / "out", False)
    assert not done
    return {
        job.composite.relative_to(root).as_posix(): (
            job.mask.relative_to(root).as_posix(),
            job.output.relative_to(root / "out").as_posix(),
        )
        for job in jobs
    }


def test_frames_of_sequences_find_their_masks_by_relative_path(tmp_path):
    tree(tmp_path, "f/bear/00000.jpg", "f/camel/00000.jpg", "m/bear/00000.png", "m/camel/00000.png")
    assert pairs(tmp_path, "f", "m") == {
        "f/bear/00000.jpg": ("m/bear/00000.png", "bear/00000.png"),
        "f/camel/00000.jpg": ("m/camel/00000.png", "camel/00000.png"),
    }
    assert pairs(tmp_path, "f/bear", "m") == {"f/bear/00000.jpg": ("m/bear/00000.png", "00000.png")}


@pytest.mark.parametrize(
    ("composites", "masks"),
    [
        ("DAVIS", "DAVIS"),
        ("DAVIS/JPEGImages", "DAVIS/Annotations"),
        ("DAVIS/JPEGImages/480p", "DAVIS/Annotations/480p"),
        ("DAVIS/JPEGImages", "DAVIS/Annotations/480p"),
        ("DAVIS/JPEGImages/480p", "DAVIS"),
    ],
)
def test_the_two_trees_of_davis(tmp_path, composites, masks):
    frames = [f"480p/{name}/{i:05}" for name in ("bear", "camel") for i in range(2)]
    tree(
        tmp_path,
        *(f"DAVIS/JPEGImages/{x}.jpg" for x in frames),
        *(f"DAVIS/Annotations/{x}.png" for x in frames),
    )
    found = pairs(tmp_path, composites, masks)
    assert {c: m for c, (m, _) in found.items()} == {
        f"DAVIS/JPEGImages/{x}.jpg": f"DAVIS/Annotations/{x}.png" for x in frames
    }
    inside = composites.removeprefix("DAVIS").removeprefix("/")
    outputs = {o for _, o in found.values()}
    assert outputs == {f"JPEGImages/{x}.png"[len(inside) :].removeprefix("/") for x in frames}


def test_a_mask_of_another_sequence_is_not_taken(tmp_path):
    tree(
        tmp_path,
        "f/bear/0.jpg",
        "f/bear/1.jpg",
        "f/camel/0.jpg",
        "m/bear/0.png",
        "m/camel/0.png",
        "m/camel/1.png",
    )
    with pytest.raises(ValueError, match=r"1 of 3 composites have no mask .*bear.1\.jpg"):
        pairs(tmp_path, "f", "m")


@pytest.mark.parametrize("mask", ["cat_mask.png", "cat_MASK.png", "cat_Mask.PNG", "deep/cat_mask.png"])
def test_a_mask_beside_its_picture_is_never_a_composite(tmp_path, mask):
    tree(tmp_path, "n/cat.jpg", f"n/{mask}")
    assert pairs(tmp_path, "n", "n") == {"n/cat.jpg": (f"n/{mask}", "cat.png")}


def test_a_mask_without_a_picture_is_no_composite_either(tmp_path):
    tree(tmp_path, "n/cat.png", "n/cat_mask.png", "n/dog_mask.png")
    assert list(pairs(tmp_path, "n", "n")) == ["n/cat.png"]


def test_masks_inside_the_folder_of_composites_or_around_it(tmp_path):
    tree(tmp_path, "a/x.png", "a/y.jpg", "a/masks/x.png", "a/masks/y.png")
    expected = {"a/x.png": ("a/masks/x.png", "x.png"), "a/y.jpg": ("a/masks/y.png", "y.png")}
    assert pairs(tmp_path, "a", "a/masks") == expected
    tree(tmp_path, "b/in/x.png", "b/x.png")
    assert pairs(tmp_path, "b/in", "b") == {"b/in/x.png": ("b/x.png", "x.png")}


def test_a_name_mask_beside_its_picture_is_passed_over_with_masks_elsewhere(tmp_path):
    tree(tmp_path, "l/cat.png", "l/cat_mask.png", "k/cat.png")
    jobs, _, passed_over = folder_jobs(tmp_path / "l", tmp_path / "k", tmp_path / "out", False)
    assert [job.mask for job in jobs] == [tmp_path / "k" / "cat.png"]
    assert passed_over == [tmp_path / "l" / "cat_mask.png"]


def test_one_mask_serves_all_frames_and_is_none_itself(tmp_path):
    tree(tmp_path, "f/0.png", "f/s/0.png", "f/logo.png")
    found = pairs(tmp_path, "f", "f/logo.png")
    assert found == {"f/0.png": ("f/logo.png", "0.png"), "f/s/0.png": ("f/logo.png", "s/0.png")}


def test_by_stem_then_by_the_rule_of_iharmony4(tmp_path):
    tree(tmp_path, "c/a_1_1.jpg", "c/a_1_2.jpg", "c/b.jpg", "m/a_1.png", "m/a_1_2.png", "m/b_mask.png")
    assert {c: m for c, (m, _) in pairs(tmp_path, "c", "m").items()} == {
        "c/a_1_1.jpg": "m/a_1.png",
        "c/a_1_2.jpg": "m/a_1_2.png",
        "c/b.jpg": "m/b_mask.png",
    }


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["c/a.jpg", "c/b.jpg", "m/x.png"], r"2 of 2 composites have no mask.*a\.jpg"),
        (["c/a.jpg", "m/p/a.png", "m/q/a.png"], r"two masks fit .*a\.jpg"),
        (["c/a.jpg", "c/a.tif", "m/a.png"], r"a\.jpg and .*a\.tif would both become"),
        (["c/.hidden.png", "m/a.png"], "holds no picture"),
    ],
)
def test_what_does_not_fit_is_said_before_any_work(tmp_path, names, message):
    tree(tmp_path, *names)
    with pytest.raises(ValueError, match=message):
        pairs(tmp_path, "c", "m")


def test_a_video_with_one_mask_and_a_lacking_label(tmp_path, capsys):
    frame = np.full((24, 32, 3), 120, np.uint8)
    frame[8:16, 8:20] = 60
    labels = np.zeros((24, 32), np.uint8)
    labels[8:16, 8:20] = 3
    for name in ("f/bear/0.png", "f/bear/1.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(frame).save(tmp_path / name)
    (tmp_path / "m/bear").mkdir(parents=True)
    Image.fromarray(labels).save(tmp_path / "m/bear/0.png")
    Image.fromarray(labels * 0 + 1).save(tmp_path / "m/bear/1.png")  # label 3 is out of sight here
    call = ["harmonize", tmp_path / "f", "--mask", tmp_path / "m", "-o", tmp_path / "out", "--label", "3"]
    assert main([str(part) for part in [*call, "--model", "statistics"]]) == 0
    assert "has no pixel of label 3" in capsys.readouterr().err
    first, second = (np.asarray(Image.open(tmp_path / f"out/bear/{i}.png")) for i in range(2))
    assert ((first != frame).any(-1) == (labels == 3)).all()
    assert (second == frame).all()
