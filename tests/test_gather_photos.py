"""train/gather_photos.py and make_held_out.py: what is taken, what is left out, and what the triples hold."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from raiha_core.data.layout import read_root
from raiha_core.data.pictures import decode_mask, decode_rgb
from raiha_train.data.photos import read_photos
from raiha_train.data.recolour import MATRICES, load_illuminants
from raiha_train.prepare import gather_photos, make_held_out
from tests.test_make_real_masked import folders  # noqa: F401  a fixture
from tests.tiny_iharmony4 import photo, save


@pytest.fixture
def checkouts(tmp_path):
    root = tmp_path / "checkouts" / "total-black+U2Net-ECSSD-Evaluation" / "data" / "ECSSD"
    mask = np.zeros((300, 400), np.uint8)
    mask[50:200, 80:300] = 255
    for number in (1, 2, 700, 701, 702, 703, 704, 705, 706):
        save(root / f"images/{number:04d}.jpg", photo(40 + number, (400, 300)))
        save(root / f"ground_truth_mask/{number:04d}.png", mask)
    return tmp_path / "checkouts"


def test_photos_are_gathered_small_with_masks_groups_and_terms(folders, checkouts, tmp_path, capsys):  # noqa: F811
    photos, _ = folders
    rows = [json.loads(line) for line in (photos / "manifest.jsonl").read_text().splitlines()]
    rows[0] |= {"cls": "dog", "sequence": "walk", "license": "CC0"}
    (photos / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "gathered"
    code = gather_photos.main(
        ["--photos", str(photos), "--checkouts", str(checkouts), "--out", str(out)]
    )  # fmt: skip
    assert code == 0
    assert "NilsRublein+DL, left out" in capsys.readouterr().err
    found = read_photos(out)
    assert len(found) == 3 + 2  # the photos numbered above 600 are kept for measuring
    assert (found[0].kind, found[0].group) == ("dog", "walk")
    for row in found:
        image, mask = decode_rgb(row.image), decode_mask(row.mask)
        assert max(image.shape) <= gather_photos.COPY_SIDE
        assert image.shape[:2] == mask.shape
        assert 0.1 < (mask > 127).mean() < 0.5


def test_photos_of_one_thing_are_kept_apart_from_those_to_train_on(folders, checkouts, tmp_path, capsys):  # noqa: F811
    photos, _ = folders
    root = checkouts / "google+dreambooth" / "dataset"
    animals = checkouts / "chanakya2734+Image-classification-using-CNN" / "dataset" / "test_set" / "cats"
    for number in range(9):
        save(animals / f"{number}.jpg", photo(90 + number, (400, 300)))
    for folder, name in (("can", "00"), ("can", "01"), ("dog", "00"), ("red_cartoon", "00")):
        save(root / folder / f"{name}.jpg", photo(70 + len(folder) + int(name), (400, 300)))
    places = ["--checkouts", str(checkouts), "--out"]
    gather_photos.main(["--photos", str(photos), *places, str(tmp_path / "gathered")])
    gather_photos.main(["--own-shoots", *places, str(tmp_path / "shoots")])
    assert len(read_photos(tmp_path / "gathered")) == 3 + 2 + 3  # of the cats every fourth
    groups = [row.group for row in read_photos(tmp_path / "shoots")]
    assert groups == ["google/dreambooth/can"] * 2 + ["google/dreambooth/dog"]
    with pytest.raises(SystemExit):
        gather_photos.main([*places, str(tmp_path / "neither")])
    assert "--photos --own-shoots is required" in capsys.readouterr().err


def test_a_photo_to_measure_by_is_not_gathered_whatever_its_size(folders, checkouts, tmp_path):  # noqa: F811
    photos, _ = folders
    beside = tmp_path / "dev"
    own = Image.open(photos / "images/p1.jpg")
    save(beside / "copy.png", np.asarray(own.resize((80, 60), Image.Resampling.BICUBIC)))
    out = tmp_path / "gathered"
    places = ["--photos", str(photos), "--checkouts", str(tmp_path / "none"), "--beside", str(beside)]
    gather_photos.main([*places, "--out", str(out)])
    kept = [json.loads(line)["mask"] for line in (out / "manifest.jsonl").read_text().splitlines()]
    assert len(kept) == 2


def outlines(folder, objects):
    """Photos with objects (name, polygons, area, kind), as COCO's format lists them."""
    names = sorted({name for name, *_ in objects})
    for i, name in enumerate(names):
        save(folder / name, photo(120 + i, (400, 300)))
    kinds = sorted({kind for *_, kind in objects})
    told = {
        "images": [{"id": i, "file_name": name} for i, name in enumerate(names)],
        "categories": [{"id": i, "name": kind} for i, kind in enumerate(kinds)],
        "annotations": [
            {
                "image_id": names.index(name),
                "category_id": kinds.index(kind),
                "area": area,
                "segmentation": polygons,
            }
            for name, polygons, area, kind in objects
        ],
    }
    (folder / "_annotations.coco.json").write_text(json.dumps(told))


def test_the_largest_outlined_object_is_the_mask_and_names_the_kind(folders, tmp_path, capsys):  # noqa: F811
    photos, _ = folders
    checkouts = tmp_path / "checkouts"
    source = next(source for source in gather_photos.REPOSITORIES if source.outlines)
    folder = checkouts / source.repository.replace("/", "+") / "dataset" / "train"
    square = [[100, 60, 300, 60, 300, 240, 100, 240]]
    cut = [[0, 0, 40, 0, 40, 30, 0, 30], [5, 5, 6, 6]]  # the second part is no area at all
    outlines(
        folder,
        [
            ("a_jpg.rf.1.jpg", square, 36000, "otter"),
            ("a_jpg.rf.1.jpg", cut, 1200, "bear"),
            ("b_jpg.rf.2.jpg", cut, 1200, "bear"),
            ("000000000757_jpg.rf.3.jpg", square, 36000, "elephant"),  # COCO's: measured by elsewhere
        ],
    )
    places = ["--photos", str(photos), "--checkouts", str(checkouts), "--out"]
    assert gather_photos.main([*places, str(tmp_path / "gathered")]) == 0
    rows = read_photos(tmp_path / "gathered")[3:]
    assert [row.kind for row in rows] == ["otter", "bear"]
    masks = [decode_mask(row.mask) > 127 for row in rows]
    assert [mask.shape for mask in masks] == [(240, 320)] * 2
    rectangle = np.zeros((240, 320), bool)
    rectangle[48:192, 80:240] = True
    assert (masks[0] != rectangle).mean() < 0.01
    assert masks[1].mean() == pytest.approx(40 * 30 / (400 * 300), rel=0.1)
    (folder / "_annotations.coco.json").write_text("[]")
    gather_photos.outlined.cache_clear()
    assert gather_photos.main([*places, str(tmp_path / "again")]) == 1
    assert "_annotations.coco.json is no list of objects in COCO's format" in capsys.readouterr().err


def test_photos_in_black_and_white_are_left_out_and_counted(folders, tmp_path, capsys):  # noqa: F811
    photos, _ = folders
    path = photos / "images/p1.jpg"
    Image.open(path).convert("L").convert("RGB").save(path)
    places = ["--photos", str(photos), "--checkouts", str(tmp_path / "none")]
    gather_photos.main([*places, "--out", str(tmp_path / "gathered")])
    assert len(read_photos(tmp_path / "gathered")) == 2
    assert "0 that look like one to measure by, 1 without colour" in capsys.readouterr().out


def test_names_and_with_them_the_split_do_not_depend_on_where_the_folders_lie(folders, checkouts, tmp_path):  # noqa: F811
    photos, _ = folders
    found = []
    for place in (tmp_path, tmp_path / "moved"):
        if place != tmp_path:
            place.mkdir()
            photos = photos.rename(place / "photos")
            checkouts = checkouts.rename(place / "checkouts")
        command = ["--photos", str(photos), "--checkouts", str(checkouts), "--out", str(place / "gathered")]
        assert gather_photos.main(command) == 0
        found.append([row.id for row in read_photos(place / "gathered")])
    assert found[0] == found[1]
    assert len(set(found[0])) == len(found[0])


def test_what_cannot_be_gathered_is_named(folders, tmp_path, capsys):  # noqa: F811
    photos, _ = folders
    rest = ["--checkouts", str(tmp_path / "none"), "--out", str(tmp_path / "gathered")]
    assert gather_photos.main(["--photos", str(tmp_path / "nowhere"), *rest]) == 1
    assert "nowhere" in capsys.readouterr().err
    assert gather_photos.main(["--photos", str(photos), "--beside", str(tmp_path / "dev"), *rest]) == 1
    assert "dev does not exist" in capsys.readouterr().err
    assert gather_photos.main(["--photos", str(photos), *rest]) == 0
    capsys.readouterr()
    assert gather_photos.main(["--photos", str(photos), *rest]) == 1
    assert "holds photos already" in capsys.readouterr().err


def test_held_out_triples_have_every_family_and_keep_their_backgrounds(folders, checkouts, tmp_path):  # noqa: F811
    _, lights = folders
    ecssd = checkouts / "total-black+U2Net-ECSSD-Evaluation" / "data" / "ECSSD"
    command = ["--photos", str(ecssd), "--numbers", "601", "1000", "--illuminants", str(lights)]
    assert make_held_out.main([*command, "--out", str(tmp_path / "out")]) == 0
    items = read_root(tmp_path / "out")
    assert sorted(item.id.split("-")[0] for item in items) == sorted(make_held_out.ORDER)
    for item in items:
        composite, real, mask = (
            decode_rgb(path) for path in (item.composite_path, item.real_path, item.mask_path)
        )
        assert np.array_equal(composite[mask == 0], real[mask == 0])
        changed = np.abs(composite.astype(int) - real)[mask > 0].mean()
        if not item.id.startswith("illuminant"):  # of three lights the same may be drawn twice
            assert (changed == 0) == item.id.startswith("untouched")
    make_held_out.main([*command, "--out", str(tmp_path / "again")])
    for item in items:
        assert (tmp_path / "again" / item.composite).read_bytes() == item.composite_path.read_bytes()


def test_photos_that_were_seen_are_left_out_and_no_photo_is_an_error(folders, checkouts, tmp_path, capsys):  # noqa: F811
    _, lights = folders
    ecssd = checkouts / "total-black+U2Net-ECSSD-Evaluation" / "data" / "ECSSD"
    pairs = make_held_out.candidates(ecssd, range(601, 1001))
    matrices = load_illuminants(lights / MATRICES, ["light0", "light1", "light2"])
    counts = make_held_out.make_held_out(pairs, matrices, [pairs[0][0]], tmp_path / "out", 0)
    assert sum(counts.values()) == len(pairs) - 1
    code = make_held_out.main(
        ["--photos", str(lights), "--illuminants", str(lights), "--out", str(tmp_path / "x")]
    )  # fmt: skip
    assert code == 1
    assert "images does not exist" in capsys.readouterr().err


def test_the_veil_is_a_turn_and_a_haze_in_range():
    picture = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    new = make_held_out.veil(picture, torch.Generator().manual_seed(1))
    assert new.shape == picture.shape
    assert float(new.min()) >= 0
    assert float(new.max()) <= 1
    assert float(new.std()) < float(picture.std())


def test_half_an_object_is_half_of_it_on_one_side_of_a_line():
    mask = torch.zeros(1, 1, 40, 50)
    mask[..., 5:25, 10:40] = 1
    for seed in range(6):
        part = make_held_out.half(mask, torch.Generator().manual_seed(seed))
        rest = mask - part
        assert set(rest.unique().tolist()) <= {0.0, 1.0}
        assert float(part.sum() / mask.sum()) == pytest.approx(0.5, abs=0.05)
        centres = [torch.stack(torch.where(x[0, 0] > 0)).float().mean(1) for x in (part, rest)]
        normal = centres[0] - centres[1]
        heights = [normal @ torch.stack(torch.where(x[0, 0] > 0)).float() for x in (part, rest)]
        # a line parts them, up to the pixels that it cuts and those the centres' line is off by
        overlap = (heights[0][:, None] < heights[1][None]).float().mean()
        assert float(overlap) < 0.1
