"""train/build_raharmony4.py on a tiny iHarmony4: the official format, no leaks, resumable, the same bytes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from raiha_core.data.check import ORIENTATION
from raiha_core.data.iharmony4 import read_iharmony4
from raiha_core.data.pictures import decode_mask, decode_rgb
from raiha_core.data.raharmony4 import Listed, read_references
from raiha_core.features.patches import store
from raiha_core.images import read_picture
from raiha_core.nearduplicates import DEFAULT
from raiha_core.retrieval import oracle
from raiha_core.retrieval.query import make_query
from raiha_train.data.batch import as_batch
from raiha_train.evaluation import published
from raiha_train.lists import build_raharmony4
from raiha_train.lists.hashes import calibrate_pool, hash_photos
from raiha_train.lists.leaks import find_leaks
from raiha_train.lists.pool import make_pool, present_reals, reals_of
from raiha_train.lists.queries import ListRules, read_parts
from raiha_train.lists.report import overlap
from tests.gallery_fakes import FakeEncoder
from tests.tiny_iharmony4 import GALLERY, make, photo, save

THRESHOLDS = ("--content-threshold", "0.6", "--appearance-threshold", "0.6")


@pytest.fixture
def root(tmp_path):
    root = make(tmp_path / "data")
    # A near-duplicate of a query's own photo, named like no sibling, joins the pool.
    copy = np.clip(decode_rgb(root / "HCOCO/real_images/c17089.jpg").astype(int) + 12, 0, 255)
    save(root / "HCOCO/real_images/c777.jpg", copy.astype(np.uint8))
    with open(root / "IHD_train.txt", "a", encoding="utf-8") as file:
        file.write("HCOCO/composite_images/c777_1_1.jpg\nHCOCO/composite_images/c17089_9_1.jpg\n")
    return root


@pytest.fixture
def call(root, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(build_raharmony4, "build_encoder", lambda name, weights, device: FakeEncoder())

    def run(*arguments, out="out"):
        command = ["--data", root, "--out", tmp_path / out, "--device", "cpu", "--batch-size", 3, *arguments]
        code = build_raharmony4.main([str(argument) for argument in command])
        return code, capsys.readouterr()

    return run


def qualifying(root: Path, item, photos) -> set[str]:
    """Oracle: eqs. 3 and 5 as loops, photo by photo."""
    encoder = FakeEncoder()
    mask = as_batch(decode_mask(item.mask_path)).float() / 255
    query = make_query(as_batch(decode_rgb(item.composite_path)).float() / 255, mask, encoder=encoder)
    found = set()
    for path in photos:
        patches = store(encoder.encode(read_picture(root / path).pixels))
        content, histogram = patches.content[0], patches.histogram[0]
        if oracle.matches_content(query, content, 0.6) and oracle.matches_illumination(
            query, content, histogram, 0.6, 0.6
        ):
            found.add(path)
    return found


def test_strict_lists_hold_no_leak_and_miss_nothing(root, call, tmp_path):
    assert call(*THRESHOLDS, "--top-k", 99)[0] == 0
    listed = {entry.input: entry for entry in read_references(tmp_path / "out" / "references.jsonl")}
    assert listed
    pool = present_reals(root, root / "IHD_train.txt")
    test_reals = set(reals_of(item.composite for item in read_iharmony4(root)))
    sidecar = json.loads((tmp_path / "out" / "scores.json").read_text(encoding="utf-8"))
    rows = {row["input"]: row for row in sidecar["items"]}
    for item in read_iharmony4(root):
        refs = set(listed[item.composite].refs) if item.composite in listed else set()
        banned = test_reals | {
            "f160_1_1": {"HFlickr/real_images/f161.jpg"},
            "d18959-20120615-084228_1_1": {"Hday2night/real_images/d18959-20120620-120000.jpg"},
            "d18959-20120615-084228_1_2": {"Hday2night/real_images/d18959-20120620-120000.jpg"},
            "c17089_1_1": {"HCOCO/real_images/c777.jpg"},
            "c17089_2_1": {"HCOCO/real_images/c777.jpg"},
        }.get(item.id, set())
        assert not refs & banned
        assert refs == qualifying(root, item, set(pool) - banned)
        assert len(refs) == rows[item.composite]["qualified"]
    assert rows["HCOCO/composite_images/c17089_1_1.jpg"]["excluded"] == {
        "own": 1,
        "test": 0,
        "sibling": 0,
        "near-duplicate": 1,
    }


def test_paper_mode_excludes_the_own_photo_alone(call, tmp_path):
    assert call(*THRESHOLDS, "--mode", "paper")[0] == 0
    sidecar = json.loads((tmp_path / "out" / "scores.json").read_text(encoding="utf-8"))
    assert sidecar["excluded"] == {"own": 2, "test": 0, "sibling": 0, "near-duplicate": 0}
    assert not (tmp_path / "out" / "hashes.jsonl").exists()


def test_format_order_and_scores(root, call, tmp_path):
    assert call(*THRESHOLDS, "--top-k", 2)[0] == 0
    lines = (tmp_path / "out" / "references.jsonl").read_text(encoding="utf-8").splitlines()
    assert all(list(json.loads(line)) == ["input", "mask", "refs"] for line in lines)
    order = [item.composite for item in read_iharmony4(root)]
    inputs = [json.loads(line)["input"] for line in lines]
    assert inputs == [name for name in order if name in inputs]
    sidecar = json.loads((tmp_path / "out" / "scores.json").read_text(encoding="utf-8"))
    assert [row["input"] for row in sidecar["items"]] == order
    for row in sidecar["items"]:
        coverage = [ref["coverage"] for ref in row["refs"]]
        assert coverage == sorted(coverage, reverse=True)
        for ref in row["refs"]:
            assert ref["content"] >= 0.6
            assert ref["illumination"] >= 0.6
            assert ref["content_matches"][0][2] == pytest.approx(ref["content"], abs=1e-5)
    assert {"rules", "near_duplicates", "feature_spec", "pool", "excluded"} <= set(sidecar)
    page = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "items keep a reference" in page


def test_two_runs_and_a_stopped_one_give_the_same_bytes(call, tmp_path, monkeypatch):
    assert call(*THRESHOLDS)[0] == 0
    assert call(*THRESHOLDS, "--workers", 1, "--batch-size", 1, out="again")[0] == 0
    names = ("references.jsonl", "scores.json", "report.md")
    whole = [(tmp_path / "out" / name).read_bytes() for name in names]
    assert [(tmp_path / "again" / name).read_bytes() for name in names] == whole
    part = tmp_path / "again" / "parts" / "0000.jsonl"
    lines = part.read_bytes().splitlines(keepends=True)
    part.write_bytes(b"".join(lines[:3]) + lines[3][:20])  # killed inside a line
    (tmp_path / "again" / "parts" / "0001.jsonl").write_bytes(lines[5])  # two processes ran before
    asked = []
    original = build_raharmony4.answer_all

    def counting(items, *rest, **options):
        asked.extend(item.composite for item in items)
        return original(items, *rest, **options)

    monkeypatch.setattr(build_raharmony4, "answer_all", counting)
    assert call(*THRESHOLDS, out="again")[0] == 0
    assert len(asked) == 8 - 4
    assert [(tmp_path / "again" / name).read_bytes() for name in names] == whole


def test_other_rules_are_refused(call):
    assert call(*THRESHOLDS)[0] == 0
    code, said = call(*THRESHOLDS, "--mode", "paper")
    assert code == 1
    assert "other settings (rules: " in said.err
    assert call(*THRESHOLDS, "--mode", "paper", "--overwrite")[0] == 0


def test_a_band_of_other_light(call, tmp_path):
    def lights(out):
        rows = json.loads((tmp_path / out / "scores.json").read_text(encoding="utf-8"))["items"]
        return {(row["input"], ref["photo"]): ref["illumination"] for row in rows for ref in row["refs"]}

    assert call(*THRESHOLDS, "--top-k", 99)[0] == 0
    every = lights("out")
    values = sorted(set(every.values()))
    limit = sum(values[len(values) // 2 - 1 : len(values) // 2 + 1]) / 2  # between two of them
    assert call(*THRESHOLDS, "--top-k", 99, "--appearance-below", limit, out="band")[0] == 0
    assert lights("band") == {key: value for key, value in every.items() if value < limit}
    assert 0 < len(lights("band")) < len(every)
    assert "no agreement lies in 0.9 <= x < 0.8" in call("--appearance-below", "0.8", out="none")[1].err


def test_the_papers_draw_depends_on_the_seed(call, tmp_path):
    for seed in (0, 1):
        assert call(*THRESHOLDS, "--top-k", 1, "--random", seed, out=f"seed{seed}")[0] == 0
    first, second = (read_references(tmp_path / f"seed{s}" / "references.jsonl") for s in (0, 1))
    assert [e.input for e in first] == [e.input for e in second]
    assert [e.refs for e in first] != [e.refs for e in second]


def test_wrong_calls(root, call):
    (root / "HAdobe5k/real_images/a0100.jpg").unlink()
    assert "1 of 7 photos of" in call(*THRESHOLDS)[1].err
    save(root / "HAdobe5k/real_images/a0100.jpg", photo(100, (64, 48)))
    (root / "HFlickr/masks/f160_1.png").unlink()
    assert "1 of 8 items lack a file" in call(*THRESHOLDS)[1].err
    assert "does not exist" in call("--list", "none.txt")[1].err
    (root / "IHD_train.txt").write_text("", encoding="utf-8")
    code, said = call("--list", "HFlickr/none.txt")
    assert code == 1
    assert said.err.count("\n") == 1
    with pytest.raises(ValueError, match="cap must be at least 1"):
        ListRules(
            mode="strict",
            top_k=0,
            ranking="ranked",
            content_threshold=0.7,
            appearance_threshold=0.9,
            appearance_below=None,
            near_duplicate=0.9,
        )


def test_an_unreadable_pool_photo_is_an_error(root, call):
    (root / "HAdobe5k/real_images/a0100.jpg").write_bytes(b"nothing")
    code, said = call(*THRESHOLDS)
    assert code == 1
    assert "1 photos of the pool cannot be used, the first is 'HAdobe5k/real_images/a0100.jpg'" in said.err


def test_two_processes_give_what_one_gives(root, call, tmp_path):
    """The toy encoder is put in by a small script. `accelerate launch` starts one process on a CPU."""
    assert call(*THRESHOLDS)[0] == 0
    here = Path(__file__).parents[1]
    script = tmp_path / "two.py"
    script.write_text(
        "import sys\n"
        "from raiha_train.lists import build_raharmony4\n"
        "from tests.gallery_fakes import FakeEncoder\n"
        "build_raharmony4.build_encoder = lambda name, weights, device: FakeEncoder()\n"
        "sys.exit(build_raharmony4.main(sys.argv[1:]))\n",
        encoding="utf-8",
    )
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [sys.executable, *launch, script, "--data", root, "--out", tmp_path / "two", "--device", "cpu"]
    paths = os.pathsep.join([str(here), str(here / "train")])
    done = subprocess.run(
        [str(part) for part in [*command, *THRESHOLDS]],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(list((tmp_path / "two" / "parts").glob("*.jsonl"))) == 2
    for name in ("references.jsonl", "scores.json", "report.md"):
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "out" / name).read_bytes()


def test_leaks_of_the_official_list():
    # Oracle: counted by hand from the published list.
    leaks = find_leaks(published.official_list(), reals_of(published.test_names()))
    assert (leaks.items, leaks.references) == (2248, 6273)
    assert "own" not in leaks.by_rule
    assert leaks.by_rule["test"] == (572, 458)
    flickr_and_day = leaks.by_rule["sibling"][1]
    assert flickr_and_day == 59 + 2
    assert leaks.surviving_items == sum(leaks.surviving_by_subset.values()) < 2248 - 40


def test_overlap_of_two_lists():
    def entry(name, *refs):
        return Listed(input=name, mask="", refs=refs)

    found = overlap([entry("a", "1", "2"), entry("b", "3")], [entry("a", "2", "4"), entry("c", "3")])
    assert found["items_both"] == 1
    assert found["shared_references"] == found["items_with_a_shared_reference"] == 1
    assert (found["photos_ours"], found["photos_official"], found["photos_both"]) == (3, 3, 2)


def test_the_pool_folder_holds_exactly_its_photos(root, tmp_path):
    reals = [f"{subset}/real_images/{image}.jpg" for subset, image in GALLERY]
    make_pool(root, reals, tmp_path / "pool")
    make_pool(root, reals[1:], tmp_path / "pool")
    found = sorted(p.relative_to(tmp_path / "pool").as_posix() for p in (tmp_path / "pool").rglob("*.jpg"))
    assert found == sorted(reals[1:])
    assert Image.open(tmp_path / "pool" / reals[1]).size == (64, 48)


def test_the_pool_shows_pixels_as_stored_whatever_the_file_says_of_turns_and_profiles(tmp_path):
    # Oracle: what the readers of composites, masks and training see, byte for byte; galleries apply both.
    name = "HCOCO/real_images/c1.jpg"
    plain = photo(3, (64, 48))
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # lies on its side
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    (tmp_path / "data" / name).parent.mkdir(parents=True)
    Image.fromarray(plain).save(tmp_path / "data" / name, exif=exif, icc_profile=profile)
    assert read_picture(tmp_path / "data" / name).pixels.shape[-2:] == (64, 48)  # it would be turned
    (tmp_path / "pool" / name).parent.mkdir(parents=True)
    (tmp_path / "pool" / name).symlink_to(tmp_path / "data" / name)  # as earlier versions left it
    make_pool(tmp_path / "data", [name], tmp_path / "pool")
    stored = as_batch(decode_rgb(tmp_path / "data" / name)).float() / 255
    assert torch.equal(read_picture(tmp_path / "pool" / name).pixels, stored)


def test_hashes_survive_a_stop_and_calibrate(root, tmp_path):
    photos = present_reals(root, root / "IHD_train.txt")
    first = hash_photos(root, photos[:3], tmp_path / "hashes.jsonl", 2, lambda *_: None)
    again = hash_photos(root, photos, tmp_path / "hashes.jsonl", 1, lambda *_: None)
    assert all(np.array_equal(first[p], again[p]) for p in photos[:3])
    assert set(again) == set(photos)
    assert calibrate_pool(again, photos) == DEFAULT  # too few pairs


def test_torn_parts_are_left_out(tmp_path):
    (tmp_path / "0.jsonl").write_text('{"input": "a"}\n{"input": "b"', encoding="utf-8")
    assert list(read_parts(tmp_path)) == ["a"]
