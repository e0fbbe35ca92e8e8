"""Names, lists and layouts of the data sets."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from raiha_core.data.check import check_data_set
from raiha_core.data.folder import read_triples
from raiha_core.data.iharmony4 import (
    camera,
    number,
    parse_name,
    read_iharmony4,
    read_list,
    subset_of,
)
from raiha_core.data.item import missing_files
from raiha_core.data.layout import read_root
from raiha_core.data.pictures import decode_mask, decode_rgb, picture_size
from raiha_core.data.raharmony4 import (
    Listed,
    draw_other_photo,
    draw_reference,
    read_references,
    write_references,
)
from tests.tiny_iharmony4 import make, save


@pytest.fixture
def root(tmp_path):
    return make(tmp_path / "data")


def test_the_worked_example_of_a_name():
    name = parse_name("Hday2night/composite_images/d18959-20120615-084228_1_6.jpg")
    assert (name.subset, name.mask, name.variant) == ("Hday2night", "1", "6")
    assert name.mask_path == "Hday2night/masks/d18959-20120615-084228_1.png"
    assert name.real_path == "Hday2night/real_images/d18959-20120615-084228.jpg"
    assert camera(name.image) == "d18959"
    assert number(parse_name("HAdobe5k/composite_images/a0041_1_3.jpg").image) == 41


@pytest.mark.parametrize(
    "bad", ["a0041_1_3.jpg", "HAdobe5k/composite_images/a0041_1.jpg", "x/y/a_1_1.jpg", ""]
)
def test_other_names_are_refused_by_name(bad):
    with pytest.raises(ValueError, match=re.escape(f"'{bad}' is not SUBSET/composite_images")):
        parse_name(bad)


def test_ids_without_a_number_or_subset():
    with pytest.raises(ValueError, match="'d1-2' has no image number"):
        number("d1-2")
    with pytest.raises(ValueError, match="'x1' does not begin"):
        subset_of("x1")


def test_items_of_the_tiny_set(root):
    items = read_iharmony4(root)
    assert [item.id for item in items][:3] == ["a0041_1_1", "a0041_1_2", "a3630_1_1"]
    assert missing_files(items) == []
    assert all(item.mask_path.is_file() for item in items)
    (root / "HFlickr/masks/f160_1.png").unlink()
    assert [(i.id, p) for i, p in missing_files(items)] == [("f160_1_1", "HFlickr/masks/f160_1.png")]


def test_a_subsets_own_list_holds_bare_names(root):
    (root / "HCOCO/HCOCO_test.txt").write_bytes(b"c17089_1_1.jpg\r\n\r\nc17089_2_1.jpg\r\n")
    expected = ["HCOCO/composite_images/c17089_1_1.jpg", "HCOCO/composite_images/c17089_2_1.jpg"]
    assert read_list(root / "HCOCO/HCOCO_test.txt") == expected
    assert [item.composite for item in read_root(root, root / "HCOCO/HCOCO_test.txt")] == expected


def test_bad_lists_name_themselves(root):
    with pytest.raises(ValueError, match=r"none\.txt' does not exist"):
        read_root(root, root / "none.txt")
    (root / "twice.txt").write_text("HCOCO/composite_images/c1_1_1.jpg\n" * 2, encoding="utf-8")
    with pytest.raises(ValueError, match="1 items stand twice in the list, the first is 'c1_1_1'"):
        read_root(root, root / "twice.txt")
    for way_out in ("../x/composite_images/c1_1_1.jpg", "/x/HCOCO/composite_images/c1_1_1.jpg"):
        (root / "out.txt").write_text(way_out, encoding="utf-8")
        with pytest.raises(ValueError, match="leads out of the data folder"):
            read_root(root, root / "out.txt")
    (root / "empty.txt").write_text("\n", encoding="utf-8")
    with pytest.raises(ValueError, match="is empty"):
        read_root(root, root / "empty.txt")
    (root / "binary.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="is no UTF-8 text"):
        read_root(root, root / "binary.txt")


def test_layouts_are_told_apart(root, tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        read_root(tmp_path / "nothing")
    (tmp_path / "other").mkdir()
    with pytest.raises(ValueError, match="neither iHarmony4"):
        read_root(tmp_path / "other")
    for name in ("composite", "mask", "real"):
        save(tmp_path / "three" / name / "x.png", np.zeros((4, 4, 3), np.uint8))
    assert [(i.id, i.subset, i.real) for i in read_root(tmp_path / "three")] == [("x", "", "real/x.png")]
    save(tmp_path / "three/mask/y.png", np.zeros((4, 4), np.uint8))
    with pytest.raises(ValueError, match=r"1 of 2 triples in .* are incomplete, the first is 'y'"):
        read_triples(tmp_path / "three")


def test_references_round_trip_and_name_their_bad_line(root, tmp_path):
    listed = read_references(root / "refs.jsonl")
    assert [len(entry.refs) for entry in listed] == [1, 2, 3, 4, 1, 2, 3]
    write_references(tmp_path / "again.jsonl", listed)
    assert (tmp_path / "again.jsonl").read_bytes() == (root / "refs.jsonl").read_bytes()
    good = json.loads((root / "refs.jsonl").read_text(encoding="utf-8").split("\n")[0])
    for change, message in (
        ({"refs": []}, "at least one path"),
        ({"refs": good["refs"] * 2}, "stands twice"),
        ({"mask": "HAdobe5k/masks/a0001_1.png"}, "is not the mask of"),
        ({"score": 1}, "the keys must be"),
        ({"input": ["x"]}, "'input' must be a path"),
        ({"refs": ["../../photo.jpg"]}, "leads out of the data folder"),
        ({"refs": ["/etc/photo.jpg"]}, "leads out of the data folder"),
    ):
        (tmp_path / "bad.jsonl").write_text(
            json.dumps(good) + "\n" + json.dumps(good | change), encoding="utf-8"
        )
        with pytest.raises(ValueError, match=rf"line 2: .*{message}"):
            read_references(tmp_path / "bad.jsonl")
    (tmp_path / "bad.jsonl").write_text("[" * 100_000, encoding="utf-8")
    with pytest.raises(ValueError, match="line 1: it is nested without end"):
        read_references(tmp_path / "bad.jsonl")
    (tmp_path / "bad.jsonl").write_text('{"input":', encoding="utf-8")
    with pytest.raises(ValueError, match="line 1"):
        read_references(tmp_path / "bad.jsonl")


def test_draws_depend_on_seed_and_name_only():
    refs = tuple(f"HCOCO/real_images/c{i}.jpg" for i in range(4))
    entries = [
        Listed(input=f"HCOCO/composite_images/c{i}_1_1.jpg", mask=f"HCOCO/masks/c{i}_1.png", refs=refs)
        for i in range(100, 500)
    ]
    first = {entry.input: draw_reference(entry, 0) for entry in entries}
    assert first == {entry.input: draw_reference(entry, 0) for entry in reversed(entries)}
    assert first != {entry.input: draw_reference(entry, 1) for entry in entries}
    counts = [list(first.values()).count(ref) for ref in refs]
    assert sum(counts) == 400
    assert min(counts) > 70  # uniform: 100 +- 8.7 (one sigma)
    pool = [*refs, "HCOCO/real_images/c100.jpg", "HCOCO/real_images/c9.jpg"]
    assert draw_other_photo(entries[0], pool, 0) == "HCOCO/real_images/c9.jpg"  # not its own photo c100
    with pytest.raises(ValueError, match="no photo is left"):
        draw_other_photo(entries[0], refs, 0)


def test_masks_of_every_kind(tmp_path):
    grey = np.array([[0, 90], [255, 128]], dtype=np.uint8)
    save(tmp_path / "l.png", grey)
    save(tmp_path / "rgb.png", np.stack([grey, 0 * grey, 0 * grey], axis=-1))
    Image.fromarray(grey > 100).save(tmp_path / "bit.png")
    Image.fromarray(grey).convert("P").save(tmp_path / "p.png")
    for name in ("l", "rgb", "p"):
        assert np.array_equal(decode_mask(tmp_path / f"{name}.png"), grey)
    assert decode_mask(tmp_path / "bit.png").tolist() == [[0, 0], [255, 255]]
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    with pytest.raises(ValueError, match=r"deep\.png' has pixels of kind"):
        decode_mask(tmp_path / "deep.png")


@pytest.mark.parametrize("largest", [1, 2, 20])
def test_masks_of_labels_are_refused_by_name(tmp_path, largest):
    codes = np.zeros((4, 6), np.uint8)
    codes[1:3, 2:4] = largest
    save(tmp_path / "grey.png", codes)
    save(tmp_path / "rgb.png", np.stack([codes] * 3, axis=-1))
    coloured = Image.fromarray(codes, "P")
    coloured.putpalette([0, 0, 0] + [128, 0, 0] * 20)
    coloured.save(tmp_path / "voc.png")
    for name in ("grey.png", "rgb.png", "voc.png"):
        with pytest.raises(ValueError, match=f"{name}' is a .*labels"):
            decode_mask(tmp_path / name)
    save(tmp_path / "empty.png", codes * 0)
    assert not decode_mask(tmp_path / "empty.png").any()


def test_orientation_is_ignored_and_grey_becomes_rgb(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (8, 4), 77).save(tmp_path / "turned.jpg", exif=exif)
    assert decode_rgb(tmp_path / "turned.jpg").shape == (4, 8, 3)
    assert picture_size(tmp_path / "turned.jpg") == (8, 4)


def test_unreadable_pictures_are_named(tmp_path):
    save(tmp_path / "whole.jpg", np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:900])
    (tmp_path / "zero.jpg").write_bytes(b"")
    for name in ("cut", "zero", "none"):
        with pytest.raises(ValueError, match=rf"{name}\.jpg'"):
            decode_rgb(tmp_path / f"{name}.jpg")
    with pytest.raises(ValueError, match=r"zero\.jpg'"):
        picture_size(tmp_path / "zero.jpg")


def test_check_reports_what_is_wrong_and_what_moves_scores(root):
    report = check_data_set(root)
    assert report.whole
    assert report.counts == {"HAdobe5k": 3, "HCOCO": 2, "HFlickr": 1, "Hday2night": 2}
    assert report.expected["HCOCO"] == 4283
    assert report.lists["refs.jsonl"].startswith("7 items")
    assert any("grey edges" in text and text.startswith("2 of 8") for text in report.pitfalls)
    assert any("shrunk copy" in text for text in report.pitfalls)
    (root / "HFlickr/masks/f160_1.png").unlink()
    (root / "HCOCO/composite_images/c17089_1_1.jpg").write_bytes(b"no picture")
    save(root / "HAdobe5k/composite_images/a3630_1_1.jpg", np.zeros((9, 9, 3), np.uint8))
    report = check_data_set(root, workers=3)
    assert not report.whole
    assert [text for text in report.missing if "f160_1.png" in text] == list(report.missing)
    assert len(report.broken) == 2
    assert "'a3630_1_1': composite, mask and real differ in size (9x9" in " ".join(report.broken)
