"""data/photos.py: rows from a manifest or a folder, and a split that keeps groups together."""

import json

import numpy as np
import pytest
from PIL import Image

from raiha_train.data.photos import PhotoRow, fingerprint, in_validation, read_photos


def picture(path, size=(8, 6)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((size[1], size[0], 3), 90, np.uint8)).save(path)


def row(image, group="", root=None):
    return PhotoRow(id=image, image=(root / image) if root else image, mask=None, group=group)


def test_a_folder_without_a_manifest_is_its_photos(tmp_path):
    picture(tmp_path / "b.png")
    picture(tmp_path / "deep" / "a.jpg")
    (tmp_path / "note.txt").write_text("no photo")
    rows = read_photos(tmp_path)
    assert [r.id for r in rows] == ["b.png", "deep/a.jpg"]
    assert all(r.mask is None and r.group == "" for r in rows)


def test_a_manifest_names_masks_and_groups_and_leaves_cut_outs_out(tmp_path):
    lines = [
        {"image": "a.jpg", "mask": "a1.png", "labelme": "room 7", "cls": "car"},
        {"image": "a.jpg", "mask": "a2.png", "labelme": "room 7"},
        {"image": "b.jpg", "sequence": "walk", "kind": "photo"},
        {"image": "c.png", "kind": "cutout"},
        {"image": "d.jpg", "group": "first", "sequence": "second"},
    ]
    text = "\n".join(json.dumps(line) for line in lines)
    (tmp_path / "manifest.jsonl").write_text(text + "\n\n", encoding="utf-8")
    rows = read_photos(tmp_path)
    assert [(r.id, r.group) for r in rows] == [
        ("a.jpg|a1.png", "room 7"),
        ("a.jpg|a2.png", "room 7"),
        ("b.jpg", "walk"),
        ("d.jpg", "first"),
    ]
    assert rows[0].mask == tmp_path / "a1.png"


@pytest.mark.parametrize(
    "line", ["{", '{"mask": "a.png"}', "[1]", '{"image": "a.png", "mask": [1]}', "[" * 100_000]
)
def test_a_bad_line_is_named_with_its_number(tmp_path, line):
    (tmp_path / "manifest.jsonl").write_text('{"image": "a.jpg"}\n' + line + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"manifest\.jsonl, line 2 is no photo"):
        read_photos(tmp_path)


def test_a_missing_or_empty_folder_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no folder of photos .*nowhere"):
        read_photos(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="holds no photo"):
        read_photos(tmp_path)


def test_the_split_holds_the_share_and_never_parts_a_group(tmp_path):
    rows = [row(f"p{i}.jpg", group=f"scene {i // 5}", root=tmp_path) for i in range(5000)]
    out = [in_validation(r, 0.1) for r in rows]
    assert 0.07 < sum(out) / len(out) < 0.13  # 1,000 groups: three deviations are 2.8 %
    assert all(len({out[i] for i in range(k, k + 5)}) == 1 for k in range(0, 5000, 5))
    # Masks of one photo stay together also without a group, wherever the folder lies.
    twins = [PhotoRow(id=i, image=tmp_path / "x.jpg", mask=None, group="") for i in ("x|1", "x|2")]
    assert in_validation(twins[0], 0.5) == in_validation(twins[1], 0.5)
    assert not in_validation(rows[0], 0.0)
    assert in_validation(rows[0], 1.0)
    assert [in_validation(r, 0.5, 1) for r in rows] != [in_validation(r, 0.5, 2) for r in rows]


def test_the_fingerprint_changes_with_photos_masks_and_groups(tmp_path):
    picture(tmp_path / "a.png")
    rows = [row("a.png", root=tmp_path)]
    first = fingerprint(rows)
    assert fingerprint(rows) == first
    assert fingerprint([*rows, row("b.png", root=tmp_path)]) != first
    assert fingerprint([row("a.png", group="g", root=tmp_path)]) != first
    picture(tmp_path / "a.png", size=(64, 64))
    assert fingerprint(rows) != first


def test_the_fingerprint_changes_with_a_mask_of_the_same_name(tmp_path):
    picture(tmp_path / "a.png")
    picture(tmp_path / "m.png")
    rows = [PhotoRow(id="a|m", image=tmp_path / "a.png", mask=tmp_path / "m.png", group="")]
    first = fingerprint(rows)
    picture(tmp_path / "m.png", size=(64, 64))
    assert fingerprint(rows) != first
