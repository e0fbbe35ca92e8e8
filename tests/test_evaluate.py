"""train/evaluate.py on a tiny iHarmony4: scores, resuming, and every wrong call."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from raiha_core.data.iharmony4 import read_iharmony4
from raiha_core.data.pictures import decode_mask, decode_rgb
from raiha_core.data.raharmony4 import draw_reference, read_references
from raiha_core.pipeline import harmonize
from raiha_train.data.batch import as_batch
from raiha_train.evaluation import evaluate
from raiha_train.evaluation.compare_runs import compare_runs
from raiha_train.evaluation.plan import NONE, UNTOUCHED
from raiha_train.evaluation.protocols import Protocol, prepare, score
from raiha_train.evaluation.published import official_list
from raiha_train.evaluation.score_log import ScoredPair, append_pairs, read_pairs
from tests.gallery_fakes import FakeEncoder
from tests.tiny_iharmony4 import make

COLUMNS = ["id", "subset", "mse", "psnr", "fmse", "fpsnr", "ssim", "foreground_ratio"]


@pytest.fixture
def root(tmp_path):
    return make(tmp_path / "data")


@pytest.fixture
def call(root, tmp_path, capsys):
    """Run evaluate.py; returns its exit code and the line of its error."""

    def run(*arguments, out="out", data=None):
        command = ["--data", data or root, "--out", tmp_path / out, "--workers", 2, *arguments]
        code = evaluate.main([str(argument) for argument in command])
        return code, capsys.readouterr().err

    return run


def scores_of(folder: Path) -> dict:
    return json.loads((folder / "scores.json").read_text(encoding="utf-8"))


def table_of(folder: Path) -> list[dict]:
    with open(folder / "per_image.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def save_predictions(
    root: Path, folder: Path, change=lambda pixels: pixels, ending=".png", size=None
) -> Path:
    """The composites, changed, as another method's outputs."""
    folder.mkdir()
    for item in read_iharmony4(root):
        picture = Image.fromarray(change(decode_rgb(item.composite_path)))
        (picture if size is None else picture.resize(size)).save(folder / f"{item.id}{ending}")
    return folder


def by_hand(item, protocol, references=()):
    """Oracle: one image scored without any of the evaluator's machinery."""
    prepared = prepare(
        protocol,
        decode_rgb(item.composite_path),
        decode_mask(item.mask_path),
        decode_rgb(item.real_path),
        item.id,
    )
    return score(protocol, prepared, harmonize(*prepared.inputs(), references, "statistics"))


@pytest.mark.parametrize("name", ["A", "A-full", "B", "C"])
def test_scores_are_those_of_single_images(root, call, tmp_path, name):
    assert call("--model", "statistics", "--protocol", name, "--no-plots")[0] == 0
    rows = table_of(tmp_path / "out")
    assert list(rows[0]) == COLUMNS
    items = read_iharmony4(root)
    expected = [by_hand(item, Protocol(name=name)) for item in items]
    assert [row["id"] for row in rows] == [item.id for item in items]
    for row, scores in zip(rows, expected, strict=True):
        for metric in COLUMNS[2:]:
            assert float(row[metric]) == pytest.approx(getattr(scores, metric), rel=1e-7)
    found = scores_of(tmp_path / "out")
    assert found["protocol"] == ("B(size=256, kernel=linear)" if name == "B" else name)
    overall = found["variants"]["no reference"]["overall"]
    assert overall["psnr"] == pytest.approx(np.mean([s.psnr for s in expected]), rel=1e-12)
    assert overall["n"] == 8
    assert found["overall"] == overall
    adobe = [s.mse for s, item in zip(expected, items, strict=True) if item.subset == "HAdobe5k"]
    assert found["variants"]["no reference"]["subsets"]["HAdobe5k"]["mse"] == pytest.approx(np.mean(adobe))


def test_workers_and_batches_change_nothing(call, tmp_path):
    for out, workers, batch in (("one", 1, 1), ("many", 4, 3)):
        arguments = ("--model", "statistics", "--no-plots", "--workers", workers, "--batch-size", batch)
        assert call(*arguments, out=out)[0] == 0
    for name in ("scored_pairs.csv", "per_image.csv", "report.md", "scores.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "many" / name).read_bytes()


def test_a_batch_gives_what_single_pictures_give(root):
    # On a GPU pictures of one size are one forward; here the path is run on the CPU.
    from raiha_core.harmonizer import load_harmonizer
    from raiha_train.evaluation.predictors import ModelPredictor, PredictionRequest
    from raiha_train.evaluation.scoring import load_triple

    source = ModelPredictor(load_harmonizer("statistics"), torch.device("cpu"), 1.0)
    jobs = [
        PredictionRequest(item, load_triple(Protocol(name="A"), item), [NONE])
        for item in read_iharmony4(root)
    ]
    single = [found[0] for found in source.predict(jobs)]
    together = [found[0] for found in source._group(jobs)]
    for a, b in zip(single, together, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


def test_the_composite_scores_itself(root, call, tmp_path):
    assert call("--model", "composite", "--protocol", "C", "--no-plots")[0] == 0
    found = scores_of(tmp_path / "out")
    assert found["headline"] == "composite"
    item = read_iharmony4(root)[0]
    composite, real = (decode_rgb(p).astype(float) for p in (item.composite_path, item.real_path))
    weight = decode_mask(item.mask_path)[..., None] / 255
    expected = (weight * (composite - real) ** 2).mean()
    assert float(table_of(tmp_path / "out")[0]["mse"]) == pytest.approx(expected, rel=1e-7)


def test_a_stopped_run_goes_on(root, call, tmp_path, monkeypatch):
    arguments = ("--model", "statistics", "--no-plots")
    assert call(*arguments, out="whole")[0] == 0
    assert call(*arguments, out="cut")[0] == 0
    log = tmp_path / "cut" / "scored_pairs.csv"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:8]) + lines[8][:11])  # killed inside the row of the fourth image
    (tmp_path / "cut" / "scores.json").unlink()
    decoded = []
    original = evaluate.evaluate

    def counting(items, *rest):
        decoded.extend(item.id for item in items)
        return original(items, *rest)

    monkeypatch.setattr(evaluate, "evaluate", counting)
    assert call(*arguments, out="cut")[0] == 0
    assert decoded == [item.id for item in read_iharmony4(root)][3:]
    for name in ("per_image.csv", "report.md", "scores.json"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_other_settings_are_refused_and_shown(call, tmp_path):
    assert call("--model", "composite", "--no-plots")[0] == 0
    code, error = call("--model", "composite", "--protocol", "C", "--no-plots")
    assert code == 1
    assert "protocol: 'A' there, 'C' now" in error
    assert call("--model", "composite", "--protocol", "C", "--no-plots", "--overwrite")[0] == 0
    assert scores_of(tmp_path / "out")["protocol"] == "C"


def test_another_methods_outputs(root, call, tmp_path):
    folder = save_predictions(root, tmp_path / "outputs")
    assert call("--predictions", folder, "--protocol", "C", "--no-plots")[0] == 0
    found = scores_of(tmp_path / "out")
    assert found["variants"]["no reference"]["overall"] == found["composite"]["overall"]
    harm = found["variants"]["no reference"]["against_composite"]
    assert (harm["above"], harm["same"], harm["below"]) == (0, 8, 0)
    for path in folder.iterdir():  # the names of DoveNet's test script
        path.rename(path.with_name(f"{path.stem}_harmonized.png"))
    code, error = call("--predictions", folder, "--protocol", "C", out="again")
    assert code == 1
    assert "8 of 8 items have no prediction" in error
    suffixed = ("--predictions", folder, "--suffix", "_harmonized", "--protocol", "C", "--no-plots")
    assert call(*suffixed, out="again")[0] == 0


def test_sizes_of_a_and_a_full(root, call, tmp_path):
    full = save_predictions(root, tmp_path / "full")
    small = save_predictions(root, tmp_path / "small", size=(256, 256))
    code, error = call("--predictions", full, "--protocol", "A")
    assert code == 1
    assert "8 predictions have another size, the first: '" in error
    assert "a0041_1_1.png' is 72x48, A expects 256x256; --protocol A-full scores" in error
    assert call("--predictions", full, "--protocol", "A-full", "--no-plots", out="full_out")[0] == 0
    assert call("--predictions", small, "--protocol", "A", "--no-plots", out="small_out")[0] == 0
    code, error = call("--predictions", small, "--protocol", "C", out="c")
    assert code == 1
    assert "is 256x256, C expects 72x48" in error


def test_missing_extra_and_odd_predictions(root, call, tmp_path):
    folder = save_predictions(root, tmp_path / "outputs")
    (folder / "a0041_1_2.png").unlink()
    (folder / "f160_1_1.png").unlink()
    code, error = call("--predictions", folder, "--protocol", "C")
    assert code == 1
    assert "2 of 8 items have no prediction, the first is 'a0041_1_2'" in error
    Image.new("RGB", (9, 9)).save(folder / "stranger.png")
    assert (
        "1 predictions belong to no item, the first is" in call("--predictions", folder, "--protocol", "C")[1]
    )
    picture = Image.open(folder / "a3630_1_1.png")
    picture.save(folder / "a3630_1_1.jpg")
    assert "1 predictions stand twice" in call("--predictions", folder, "--protocol", "C")[1]
    (folder / "a3630_1_1.png").unlink()
    error = call("--predictions", folder, "--protocol", "C")[1]
    assert "1 predictions have another ending than the other 5 (.png), the first is" in error
    picture.resize((5, 5)).save(folder / "c17089_1_1.png")
    assert "c17089_1_1.png' is 5x5, C expects 64x56" in call("--predictions", folder, "--protocol", "C")[1]
    arguments = ("--predictions", folder, "--protocol", "C", "--allow-missing", "--no-plots")
    assert call(*arguments)[0] == 0
    assert len(table_of(tmp_path / "out")) == 4
    page = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    for text in ("2 of 8 items have no prediction", "belong to no item", "another ending", "another size"):
        assert text in page.split("| ---")[0]  # in the header, above the table


def test_predictions_that_are_not_there(root, call, tmp_path):
    assert "does not exist" in call("--predictions", tmp_path / "nowhere")[1]
    (tmp_path / "empty").mkdir()
    code, error = call("--predictions", tmp_path / "empty", "--allow-missing")
    assert code == 1
    assert "holds no prediction that can be scored: 8 of 8 items have no prediction" in error


def test_a_list_that_names_missing_files(root, call, tmp_path):
    (root / "HFlickr/real_images/f160.jpg").unlink()
    (root / "HAdobe5k/masks/a3630_1.png").unlink()
    code, error = call("--model", "composite")
    assert code == 1
    assert "2 of 8 items lack a file, the first is '" in error
    assert "a3630_1.png'. --allow-missing scores the rest" in error
    assert call("--model", "composite", "--allow-missing", "--no-plots")[0] == 0
    assert "left out: 2 of 8 items lack a file" in (tmp_path / "out" / "report.md").read_text(
        encoding="utf-8"
    )
    (root / "other.txt").write_text("HCOCO/composite_images/c1_1_1.jpg\n", encoding="utf-8")
    assert "nothing is left" in call("--model", "composite", "--list", "other.txt", "--allow-missing")[1]


def test_a_broken_picture_is_named(root, call, tmp_path):
    path = root / "HFlickr/composite_images/f160_1_1.jpg"
    path.write_bytes(path.read_bytes()[:700])
    code, error = call("--model", "composite", "--no-plots")
    assert code == 1
    assert "f160_1_1.jpg' cannot be read as a picture" in error
    assert call("--model", "composite", "--no-plots", "--allow-missing")[0] == 0
    assert scores_of(tmp_path / "out")["composite"]["overall"]["n"] == 7
    assert "1 items cannot be scored" in scores_of(tmp_path / "out")["left_out"][0]


def test_wrong_calls(root, call, tmp_path):
    assert "no model 'nonsense'" in call("--model", "nonsense")[1]
    assert "has no weights here" in call("--model", "hdnet")[1]
    assert "--workers must be at least 1" in call("--model", "composite", "--workers", 0)[1]
    assert "does not exist" in call("--model", "composite", data=tmp_path / "nothing")[1]
    assert "belong to protocol B" in call("--model", "composite", "--b-size", 512)[1]
    assert "guide a model" in call("--model", "composite", "--references", "refs.jsonl")[1]
    with pytest.raises(SystemExit) as wrong:
        evaluate.main(["--data", str(root), "--out", str(tmp_path)])
    assert wrong.value.code == 2


def test_runs_of_random_references(root, call, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate, "build_encoder", lambda name, weights, device: FakeEncoder())
    arguments = ("--model", "statistics", "--references", "refs.jsonl", "--no-plots")
    assert call(*arguments)[0] == 0
    found, listed = scores_of(tmp_path / "out"), read_references(root / "refs.jsonl")
    rows = read_pairs(tmp_path / "out" / "scored_pairs.csv")
    assert list(found["variants"]) == [
        "no reference",
        "random photo",
        "best reference",
        *(f"run {s}" for s in range(5)),
    ]
    for seed in range(5):  # oracle: the draw itself
        chosen = [rows[Path(e.input).stem, draw_reference(e, seed)].scores.psnr for e in listed]
        assert found["variants"][f"run {seed}"]["overall"]["psnr"] == pytest.approx(np.mean(chosen))
    assert found["overall"]["psnr"] == pytest.approx(found["runs"]["overall"]["psnr"]["mean"])
    per_run = [found["variants"][f"run {s}"]["overall"]["mse"] for s in range(5)]
    assert found["runs"]["overall"]["mse"]["mean"] == pytest.approx(np.mean(per_run))
    assert found["runs"]["overall"]["mse"]["std"] == pytest.approx(np.std(per_run, ddof=1))
    gains = found["references_against_none"]
    plain = np.mean([rows[Path(e.input).stem, NONE].scores.psnr for e in listed])
    best = np.mean([rows[Path(e.input).stem, e.refs[0]].scores.psnr for e in listed])
    assert gains["best reference"]["difference"]["mean"] == pytest.approx(best - plain)
    assert len(table_of(tmp_path / "out")) == 7
    distinct = {(Path(e.input).stem, draw_reference(e, s)) for e in listed for s in range(5)}
    assert all(key in rows for key in distinct)
    assert len(rows) <= 7 * 2 + len(distinct) + 14  # each pair is rendered once
    with open(tmp_path / "out" / "beliefs.csv", newline="", encoding="utf-8") as file:
        said = list(csv.DictReader(file))
    assert {(line["id"], line["reference"]) for line in said} == {
        k for k in rows if k[1] not in (UNTOUCHED, NONE)
    }
    assert found["belief"]["n"] == len(said)
    assert found["belief"]["colour"] == pytest.approx(np.mean([float(line["colour"]) for line in said]))
    assert "References were followed" in (tmp_path / "out" / "report.md").read_text()


def test_missing_references(root, call, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate, "build_encoder", lambda name, weights, device: FakeEncoder())
    (root / "HAdobe5k/real_images/a0100.jpg").unlink()
    arguments = ("--model", "statistics", "--references", "refs.jsonl", "--no-plots")
    code, error = call(*arguments)
    assert code == 1
    assert "1 of 5 references are missing, the first is" in error
    assert call(*arguments, "--allow-missing")[0] == 0
    found = scores_of(tmp_path / "out")
    assert "1 of 7 items keep none" in found["left_out"][0]
    assert found["variants"]["no reference"]["overall"]["n"] == 7
    assert found["variants"]["best reference"]["overall"]["n"] == 6


def test_two_runs_are_compared(root, call, tmp_path):
    def brighter(pixels):
        return np.clip(pixels.astype(int) + 10, 0, 255).astype(np.uint8)

    first = save_predictions(root, tmp_path / "p1")
    second = save_predictions(root, tmp_path / "p2", brighter)
    for name, folder in (("one", first), ("two", second)):
        assert call("--predictions", folder, "--protocol", "C", "--no-plots", out=name)[0] == 0
    found = compare_runs(tmp_path / "one", tmp_path / "two")
    a, b = (np.array([float(r["psnr"]) for r in table_of(tmp_path / n)]) for n in ("one", "two"))
    assert found["psnr"]["difference"]["mean"] == pytest.approx((b - a).mean())
    assert found["psnr"]["above"] == ((b - a) > 0.01).sum()
    assert found["images"] == 8
    assert call("--model", "composite", "--protocol", "A", "--no-plots", out="other")[0] == 0
    with pytest.raises(ValueError, match=r"under protocol C, .* under A"):
        compare_runs(tmp_path / "one", tmp_path / "other")
    with pytest.raises(ValueError, match="is not a finished run"):
        compare_runs(tmp_path / "one", tmp_path / "nothing")
    shutil.rmtree(tmp_path / "two")
    arguments = ("--predictions", second, "--protocol", "C", "--no-plots", "--compare", tmp_path / "one")
    assert call(*arguments, out="two")[0] == 0
    assert scores_of(tmp_path / "two")["comparison"]["psnr"] == found["psnr"]


def test_plots_and_sheets(call, tmp_path):
    assert call("--model", "statistics")[0] == 0
    for name in ("scatter.png", "bins.png", "worst.jpg", "best.jpg"):
        picture = np.asarray(Image.open(tmp_path / "out" / name).convert("L"))
        assert min(picture.shape) > 200
        assert picture.std() > 10  # something is drawn
    assert not [path for path in (tmp_path / "out").iterdir() if ".part" in path.name]


def test_the_log_reads_back_bit_for_bit(root, tmp_path):
    item = read_iharmony4(root)[0]
    scores = by_hand(item, Protocol(name="A"))
    rows = [ScoredPair(item.id, item.subset, name, scores) for name in (UNTOUCHED, NONE, "a, b.jpg")]
    append_pairs(tmp_path / "log.csv", rows[:2])
    append_pairs(tmp_path / "log.csv", rows[2:])
    assert list(read_pairs(tmp_path / "log.csv").values()) == rows
    (tmp_path / "log.csv").write_text("something else\n", encoding="utf-8")
    with pytest.raises(ValueError, match="is not a log"):
        read_pairs(tmp_path / "log.csv")


def test_official_runs_draw_within_their_lists():
    listed = official_list()
    seen = {entry.input: {draw_reference(entry, seed) for seed in range(5)} for entry in listed}
    assert all(seen[entry.input] <= set(entry.refs) for entry in listed)
    assert sum(len(refs) > 1 for refs in seen.values()) > 1400  # of 1,587 with a choice


def test_tensors_of_bytes_share_no_read_only_memory():
    pixels = np.zeros((4, 5, 3), np.uint8)
    pixels.setflags(write=False)
    assert as_batch(pixels).shape == (1, 3, 4, 5)
