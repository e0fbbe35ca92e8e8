"""train/reproduce.py and the published figures it stands beside."""

import csv
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from raiha_core import checkpoint, model_folders
from raiha_core.checkpoint import describe
from raiha_core.data.iharmony4 import TEST_COUNTS, parse_name, read_iharmony4
from raiha_core.data.raharmony4 import LISTED_COUNTS
from raiha_core.models.presets import PRESETS
from raiha_core.pipeline import harmonize
from raiha_train.evaluation import beside, evaluate, published, reproduce
from raiha_train.evaluation.metrics import foreground_bin
from raiha_train.evaluation.protocols import Protocol, score
from raiha_train.evaluation.published import REBUILT
from raiha_train.evaluation.scoring import load_triple
from raiha_train.lists import build_raharmony4
from tests.gallery_fakes import FakeEncoder
from tests.network_cases import fill, small
from tests.tiny_iharmony4 import make


@pytest.fixture
def root(tmp_path):
    return make(tmp_path / "data")


def count(names):
    subsets = [parse_name(name).subset for name in names]
    return {subset: subsets.count(subset) for subset in sorted(set(subsets))}


def test_the_official_lists_parse_whole():
    names, listed = published.test_names(), published.official_list()
    assert len(set(names)) == len(names) == 7404
    assert count(names) == dict(sorted(TEST_COUNTS.items()))
    assert len(listed) == 2248
    assert count([e.input for e in listed]) == dict(sorted(LISTED_COUNTS.items()))
    lengths = [len(e.refs) for e in listed]
    assert [lengths.count(n) for n in (1, 2, 3, 4)] == [661, 283, 170, 1134]
    assert {e.input for e in listed} <= set(names)


def test_means_of_the_published_per_image_scores():
    # Oracle: the table of recomputed means, MSE / PSNR over all 7,404 and over RAHarmony4.
    everything = published.peers([row["name"] for row in published.peer_rows()])
    listed = published.peers([row["name"] for row in published.peer_rows() if row["in_RAHarmony4"] == "True"])
    expected = {
        "PCT-Net ViT": ((18.84, 39.29), (20.26, 37.91)),
        "PCT-Net CNN": ((24.02, 38.30), (27.01, 36.69)),
        "DCCF": ((24.72, 38.01), (27.39, 36.55)),
        "Harmonizer": ((27.62, 37.23), (31.07, 35.70)),
        "R2R": ((12.51, 41.93), (13.82, 40.49)),
        "Harmonizer, rebuilt from its fMSE": ((27.41, 37.62), (30.86, 36.00)),
    }
    assert {name for name, _ in everything} == set(expected)
    for found, number in ((everything, 0), (listed, 1)):
        for (name, _), scores in found.items():
            means = np.mean([s.mse for s in scores]), np.mean([s.psnr for s in scores])
            assert means == pytest.approx(expected[name][number], abs=0.0051)


def test_foreground_bins_of_the_test_list():
    bins = [foreground_bin(float(row["fg_ratio"])) for row in published.peer_rows()]
    assert [bins.count(i) for i in range(3)] == [3831, 1955, 1618]


def test_printed_averages_follow_from_their_subsets():
    # Table I weighted by image counts gives the printed average, except where the paper quotes another's.
    weights = np.array([TEST_COUNTS[s] for s in ("HAdobe5k", "HFlickr", "HCOCO", "Hday2night")]) / 7404
    odd = []
    for row in published.paper_tables()["1"]["rows"]:
        scores = row["scores"]
        for metric, tolerance in (("mse", 0.02), ("psnr", 0.02)):
            parts = [scores[s][metric] for s in ("HAdobe5k", "HFlickr", "HCOCO", "Hday2night")]
            if abs(weights @ parts - scores["average"][metric]) > tolerance:
                odd.append(row["method"])
    assert sorted(set(odd)) == ["Intrinsic", "RainNet"]
    composite = published.paper_tables()["1"]["rows"][0]
    assert composite["scores"]["average"] == {"mse": 172.47, "psnr": 31.63}


@pytest.mark.parametrize("table", ["1", "2", "3"])
def test_tables_of_the_tiny_set(root, tmp_path, table, monkeypatch, capsys):
    monkeypatch.setattr(evaluate, "build_encoder", lambda name, weights, device: FakeEncoder())
    (root / "RAHarmony4_test.jsonl").write_bytes((root / "refs.jsonl").read_bytes())
    out = tmp_path / "out"
    command = ["--table", table, "--data", str(root), "--out", str(out), "--protocols", "A"]
    assert reproduce.main(command) == 0
    page = (out / f"table{table}.md").read_text(encoding="utf-8")
    assert "protocols differ" in page or table == "3"
    with open(out / f"table{table}.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    paper = [row for row in rows if row["source"] == "paper"]
    assert len(paper) == len(published.paper_tables()[table]["rows"])
    ours = {row["method"]: row for row in rows if row["source"] == "ours"}
    empty = [row for row in ours.values() if row["note"].startswith(("no checkpoint", "no list"))]
    assert all(not row["average_mse"] for row in empty)
    assert {row["method"] for row in empty} >= ({"Raiha (ours)"} if table != "1" else {"HDNet (ours)"})
    if table != "3":
        assert float(ours["composite"]["average_psnr"]) > 10
        assert ours["composite"]["protocol"] == "A"
        assert int(ours["composite"]["n"]) == (8 if table == "1" else 7)
    if table == "2":
        assert ours["statistics"]["average_mse_std"]
        assert not ours["statistics, no reference"]["average_mse_std"]
    before = (out / f"table{table}.csv").read_bytes()
    assert reproduce.main(command) == 0  # goes on from its runs
    assert (out / f"table{table}.csv").read_bytes() == before
    capsys.readouterr()


def test_peers_are_averaged_over_the_images_at_hand(tmp_path, root, monkeypatch, capsys):
    monkeypatch.setattr(evaluate, "build_encoder", lambda name, weights, device: FakeEncoder())
    # a3630_1_1 of the tiny set is an item of the published table; its peers' row is that one image.
    (root / "one.jsonl").write_text((root / "refs.jsonl").read_text(encoding="utf-8").split("\n")[2] + "\n")
    command = ["--table", "2", "--data", str(root), "--out", str(tmp_path / "out"), "--protocols", "A"]
    (root / "RAHarmony4_test.jsonl").write_bytes((root / "one.jsonl").read_bytes())
    assert reproduce.main(command) == 0
    with open(tmp_path / "out" / "table2.csv", newline="", encoding="utf-8") as file:
        peer = next(row for row in csv.DictReader(file) if row["method"] == "PCT-Net ViT")
    stated = next(row for row in published.peer_rows() if row["name"] == "a3630_1_1")
    assert peer["n"] == "1"
    assert float(peer["average_mse"]) == float(stated["PCTNet_ViT_FR_MSE"])
    capsys.readouterr()


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """The folder of the user's weights, with PCT-Net and RainNet, narrow, as the converter leaves them."""
    folder = tmp_path / "models"
    folder.mkdir()
    monkeypatch.setenv(model_folders.VARIABLE, str(folder))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "no data"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "no data"))
    for name in ("pctnet-cnn", "rainnet"):
        network = fill(small(name)).eval()
        about = describe(network, name, data="formula", licence="-", notes={"converted_from": "x.pth"})
        checkpoint.save(folder / f"{name}.safetensors", network, about)
    return folder


def test_networks_whose_weights_are_here_stand_beside_their_published_figures(
    root, tmp_path, weights, capsys
):
    command = ["--table", "1", "--data", str(root), "--out", str(tmp_path / "out")]
    assert reproduce.main(command) == 0
    assert "published average MSE / PSNR" in capsys.readouterr().out
    with open(tmp_path / "out" / "table1.csv", newline="", encoding="utf-8") as file:
        ours = [row for row in csv.DictReader(file) if row["source"] == "ours"]
    rows = {
        row["method"]: row for row in ours if row["method"].startswith(("PCT-Net", "Rain", "DCCF", "iDIH"))
    }
    # PCT-Net: as its authors render, by their ruler; the published mean is of the pictures that are here
    cnn = rows["PCT-Net (CNN)"]
    item = read_iharmony4(root)
    prepared = [load_triple(Protocol(name="C-float"), one) for one in item]
    said = [
        harmonize(*p.inputs(), model=weights / "pctnet-cnn.safetensors", exact=True, as_stored=True)
        for p in prepared
    ]
    scored = [score(Protocol(name="C-float"), *pair).psnr for pair in zip(prepared, said, strict=True)]
    assert cnn["protocol"] == "C-float"
    assert float(cnn["average_psnr"]) == pytest.approx(np.mean(scored), rel=1e-9)
    here = [r for r in published.peer_rows() if r["name"] in {one.id for one in item}]
    assert here
    means = [np.mean([float(r[f"PCTNet_CNN_FR_{m}"]) for r in here]) for m in ("MSE", "PSNR")]
    assert cnn["published"] == f"{means[0]:.2f} / {means[1]:.2f} (C-float, per image, n {len(here)})"
    # RainNet: 256 pixels, and only a printed row
    assert rows["RainNet"]["protocol"] == "A"
    assert rows["RainNet"]["published"] == "40.29 / 36.12 (printed, protocol DoveNet, n 7404)"
    # what is not here: the sentence that brings it, and the figure it would stand beside
    vit = rows["PCT-Net (ViT)"]
    assert vit["note"].startswith("the weights of 'pctnet-vit' are not here yet: `raiha fetch pctnet-vit`")
    assert vit["published"].endswith(f"(C-float, per image, n {len(here)})")
    assert not vit["average_psnr"]
    assert "get them from the authors" in rows["DCCF (iS2AM)"]["note"]
    assert "on which base is not stated" in rows["DCCF (iS2AM)"]["published"]
    assert rows["iDIH"]["published"] == "30.70 / 36.99 (its authors: iHarmony4, protocol of iDIH)"
    assert [row["protocol"][0] for row in ours if row["method"] == "composite"] == ["B", "C", "A"]


def test_every_figure_that_stands_beside_a_network_is_a_published_one():
    methods = {name for name, _ in published.peers([])} | {REBUILT[0]}
    printed = {row["method"] for row in published.paper_tables()["1"]["rows"]}
    assert set(beside.PER_IMAGE.values()) <= methods
    assert {name for name in beside.PRINTED.values() if name} <= printed
    for table in (beside.PER_IMAGE, beside.PRINTED, beside.DOUBTS):
        assert set(table) <= set(PRESETS)


def test_without_the_listed_references_the_rest_is_scored(root, tmp_path, capsys):
    # The official list names photos that the data lacks, as dev sets do.
    (root / "HCOCO/real_images/c437938.jpg").unlink()
    command = ["--table", "2", "--data", str(root), "--out", str(tmp_path / "out"), "--protocols", "A"]
    assert reproduce.main(command) == 0
    page = (tmp_path / "out" / "table2.md").read_text(encoding="utf-8")
    assert "items lack a file" in page
    assert "no reference of the list is there" in page
    capsys.readouterr()


def test_the_ruler_is_checked_against_the_published_composites(tmp_path):
    rows = published.peer_rows()[:3]
    lines = [f"{row['name']},{row['subset']},1,{float(row['comp_FR_PSNR']) + 0.0004}" for row in rows]
    run = tmp_path / "run"
    run.mkdir()
    (run / "per_image.csv").write_text("id,subset,mse,psnr\n" + "\n".join(lines) + "\n", encoding="utf-8")
    assert "at most 0.0004 dB" in reproduce.ruler_note(run)
    assert "not the published ones" not in reproduce.ruler_note(run)
    off = lines[0].rsplit(",", 1)[0] + ",3"
    (run / "per_image.csv").write_text(
        "id,subset,mse,psnr\n" + "\n".join([off, *lines[1:]]), encoding="utf-8"
    )
    assert "1 images are off by more than 0.01 dB" in reproduce.ruler_note(run)
    (run / "per_image.csv").write_text("id,subset,mse,psnr\nx,,1,2\n", encoding="utf-8")
    assert reproduce.ruler_note(run) == ""


def test_wrong_calls(root, tmp_path, capsys):
    base = ["--table", "1", "--data", str(root), "--out", str(tmp_path / "out"), "--protocols", "A"]
    for extra, message in (
        (["--checkpoint", "nothing=x"], "the table has no row 'nothing'"),
        (["--checkpoint", "raiha=missing.safetensors"], "'missing.safetensors' does not exist"),
        (["--other-light", "light_07=x"], "the table has no row 'light_07'"),
    ):
        assert reproduce.main([*base, *extra]) == 1
        assert message in capsys.readouterr().err
    assert reproduce.main(["--table", "2", *base[2:], "--references", str(tmp_path / "no.jsonl")]) == 1
    assert "no.jsonl' does not exist" in capsys.readouterr().err


def test_documented_commands_parse():
    parsers = {
        "train/evaluate.py": evaluate.make_parser(),
        "train/reproduce.py": reproduce.make_parser(),
        "train/build_raharmony4.py": build_raharmony4.make_parser(),
    }
    text = (Path(__file__).parents[1] / "docs" / "reproduce.md").read_text(encoding="utf-8")
    seen = []
    for block in re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL):
        for command in block.replace("\\\n", " ").replace("$low", "0.7").replace("$high", "0.8").splitlines():
            words = shlex.split(command)
            for script, parser in parsers.items():
                if script in words:
                    parser.parse_args(words[words.index(script) + 1 :])
                    seen.append(script)
    assert {script: seen.count(script) for script in parsers} == {
        "train/evaluate.py": 5,
        "train/reproduce.py": 3,
        "train/build_raharmony4.py": 3,
    }
