"""train/method_table.py: tables say what the scores say, and two methods are shown side by side."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raiha_core.models.cost import on_meta, parameters
from raiha_core.models.presets import PRESETS
from raiha_train.evaluation import evaluate, method_table
from raiha_train.evaluation.method_pictures import most_different
from raiha_train.evaluation.method_table import ImageScore, Method
from raiha_train.evaluation.sheets import CELL, GAP
from tests.tiny_iharmony4 import make


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """A miniature iHarmony4, and runs of the composite and of the preset without weights."""
    folder = tmp_path_factory.mktemp("methods")
    root = make(folder / "data")
    for model in ("composite", "statistics"):
        call = ["--data", str(root), "--model", model, "--out", str(folder / model), "--no-plots", "--quiet"]
        assert evaluate.main(call) == 0
    return folder


def scores_of(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "per_image.csv").open(encoding="utf-8") as file:
        return {row["id"]: row for row in csv.DictReader(file)}


def cells(page: str, name: str) -> list[str]:
    line = next(line for line in page.splitlines() if line.startswith(f"| {name} |"))
    return [cell.strip() for cell in line.split("|")[1:-1]]


def test_a_table_of_runs_and_a_csv_is_what_their_scores_say(runs, tmp_path, capsys):
    before, after = scores_of(runs / "composite"), scores_of(runs / "statistics")
    few = list(before)[:-1]  # what the third method has
    lines = [f"{key},{float(before[key]['mse']) / 4},{float(before[key]['psnr']) + 6}" for key in few]
    (tmp_path / "third.csv").write_text("id,mse,psnr\n" + "\n".join(lines) + "\n")
    call = ["--methods", f"composite={runs / 'composite'}", f"ours={runs / 'statistics'}"]
    call += [f"third@A={tmp_path / 'third.csv'}", "--out", str(tmp_path / "out")]
    call += ["--pictures", "composite", "ours", "--data", str(runs / "data"), "--count", "2"]
    assert method_table.main(call) == 0
    page = capsys.readouterr().out
    assert (tmp_path / "out" / "methods.md").read_text().strip() == page.strip()
    assert f"The {len(few)} images that all have" in page
    assert "composite 1, ours 1" in page
    gains = [float(after[k]["psnr"]) - float(before[k]["psnr"]) for k in few]
    ours, third = cells(page, "ours"), cells(page, "third")
    assert float(re.match(r"[+-][\d.]+", ours[-3])[0]) == pytest.approx(np.mean(gains), abs=0.0051)
    assert ours[-1] == "/".join(
        str(n) for n in (sum(g > 0.01 for g in gains), 0, sum(g < -0.01 for g in gains))
    )
    assert third[-3] == "+6.00 [+6.00, +6.00]"
    mse = np.mean([float(after[k]["mse"]) for k in few])
    assert float(ours[3].split(" / ")[0]) == pytest.approx(mse, abs=0.0051)
    flickr = [k for k in few if before[k]["subset"] == "HFlickr"]
    header = next(line for line in page.splitlines() if line.startswith("| method"))
    column = [c.strip() for c in header.split("|")[1:-1]].index(f"HFlickr ({len(flickr)})")
    psnr = np.mean([float(after[k]["psnr"]) for k in flickr])
    assert float(ours[column].split(" / ")[1]) == pytest.approx(psnr, abs=0.0051)
    sheet = Image.open(tmp_path / "out" / "pictures.jpg")
    assert sheet.width == 5 * (CELL + GAP) + GAP
    assert not (tmp_path / "out" / "cost.png").exists()  # nobody's network is known


def test_published_methods_stand_under_their_protocols_with_their_cost(tmp_path, capsys, monkeypatch):
    known = method_table.test_ids()[:40]
    monkeypatch.setattr(method_table, "test_ids", lambda: known)
    monkeypatch.setattr(
        method_table, "macs", lambda preset, size, config: 10**9
    )  # it takes seconds a network
    assert method_table.main(["--published", "--out", str(tmp_path)]) == 0
    page = capsys.readouterr().out
    assert page.count("### Protocol ") == 3
    cnn = cells(page, "PCT-Net CNN (published)")
    preset = PRESETS["pctnet-cnn"]
    assert cnn[1] == f"{parameters(on_meta(preset)):,}"
    assert (tmp_path / "cost.png").stat().st_size > 1000


def test_images_that_differ_most_come_first_whichever_way():
    def method(name, *psnr):
        scores = {f"i{n}": ImageScore(subset="", mse=1.0, psnr=p) for n, p in enumerate(psnr)}
        return Method(name=name, protocol="A", scores=scores)

    assert most_different(method("a", 30, 30, 30), method("b", 31, 25, 33), 2) == ["i1", "i2"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (["--methods", "runs/x"], r"NAME\[@PROTOCOL\]=PATH, got 'runs/x'"),
        (["--methods", "a={tmp}/none.csv"], "does not say its protocol"),
        (["--methods", "a@A={tmp}/none.csv"], "holds no scores per image"),
        (["--methods", "a={tmp}"], "is not a finished run"),
        ([], "nothing to compare"),
        (["--methods", "a@A={tmp}/a.csv", "b@A={tmp}/b.csv"], "no image was scored of all of a, b"),
        (["--methods", "a@A={tmp}/a.csv", "a@A={tmp}/b.csv"], "are named 'a'"),
        (["--methods", "a@A={tmp}/a.csv", "--pictures", "a", "b", "--data", "x"], "there is no method 'b'"),
    ],
)
def test_what_cannot_be_compared_is_named(tmp_path, call, message, capsys):
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text(f"id,mse,psnr\n{name},1,40\n")
    call = [word.format(tmp=tmp_path) for word in call]
    assert method_table.main([*call, "--out", str(tmp_path / "out")]) == 1
    assert re.search(message, capsys.readouterr().err)
