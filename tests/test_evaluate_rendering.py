"""train/evaluate.py on a network that a published method's authors trained: rendered as they render."""

import csv
import json

import pytest

from raiha_core import checkpoint
from raiha_core.checkpoint import describe
from raiha_core.data.iharmony4 import read_iharmony4
from raiha_core.pipeline import harmonize
from raiha_train.evaluation import evaluate
from raiha_train.evaluation.protocols import Protocol, score
from raiha_train.evaluation.scoring import load_triple
from tests.network_cases import fill, small
from tests.tiny_iharmony4 import make


@pytest.mark.parametrize("name", ["A", "B", "C"])
def test_an_authors_network_is_rendered_as_its_authors_do(tmp_path, capsys, name):
    # Oracle: one `harmonize` a picture. Weights that are not an authors' file are rendered our way.
    network = fill(small("pctnet-cnn")).eval()
    for file, notes in (("theirs", {"converted_from": "PCTNet_CNN.pth"}), ("trained", {})):
        about = describe(network, "pctnet-cnn", data="-", licence="-", notes=notes)
        checkpoint.save(tmp_path / f"{file}.safetensors", network, about)
    root = make(tmp_path / "data")
    protocol, items = Protocol(name=name), read_iharmony4(root)

    def call(model, out, *asked):
        command = ["--data", root, "--model", model, "--protocol", name, "--out", tmp_path / out, *asked]
        code = evaluate.main([str(argument) for argument in [*command, "--no-plots", "--workers", 2]])
        return code, capsys.readouterr().err

    found = {}
    for out, file, asked in (
        ("authors", "theirs", ()),
        ("ours", "theirs", ("--rendering", "ours")),
        ("plain", "trained", ()),
    ):
        model = tmp_path / f"{file}.safetensors"
        assert call(model, out, *asked)[0] == 0
        with open(tmp_path / out / "per_image.csv", newline="", encoding="utf-8") as file:
            found[out] = [float(row["mse"]) for row in csv.DictReader(file)]
        exact = out == "authors"
        prepared = [load_triple(protocol, item) for item in items]
        said = [harmonize(*p.inputs(), model=model, exact=exact, as_stored=True) for p in prepared]
        wanted = [score(protocol, *pair).mse for pair in zip(prepared, said, strict=True)]
        assert found[out] == pytest.approx(wanted, rel=1e-7)
        scores = json.loads((tmp_path / out / "scores.json").read_text(encoding="utf-8"))
        assert scores["rendering"] == ("authors" if exact else "ours")
    assert found["ours"] == found["plain"]
    if name == "C":
        assert found["ours"] != found["authors"]
        assert "rendered as the network's authors render" in (tmp_path / "authors/report.md").read_text()
        again = call(tmp_path / "theirs.safetensors", "ours")
        assert "rendering: 'ours' there, 'authors' now" in again[1]
