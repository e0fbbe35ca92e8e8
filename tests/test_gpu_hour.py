"""train/bench/gpu_hour.py: the rehearsal of what is measured on a GPU leaves a figure in every row."""

import importlib.util
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "train" / "bench" / "gpu_hour.py"
THEIRS = """
import torch

def make_step(device, size, batch):
    x = torch.rand(batch, 3, size, size, device=device)
    return lambda: x.square().sum()
"""


def script():
    spec = importlib.util.spec_from_file_location("gpu_hour", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_rehearsal_measures_everything(tmp_path, capsys):
    (tmp_path / "theirs.py").write_text(THEIRS)
    hour, out = script(), tmp_path / "table.md"
    call = ["--device", "cpu", "--tiny", "--out", str(out), "--authors", str(tmp_path / "theirs.py")]
    assert hour.main(call) == 0
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in out.read_text().splitlines()[2:]]
    assert [row[0] for row in rows] == [
        *("machine", "training, the authors' loop", "training, raiha", "training, raiha"),
        *("harmonize, statistics", "gallery build, lite0", "search"),
    ]
    assert all(float(row[2]) > 0 for row in rows[1:])
    capsys.readouterr()


def test_what_fails_and_what_is_too_late_is_said_and_the_rest_goes_on(tmp_path, capsys):
    hour = script()
    report = hour.Measured(out=tmp_path / "t.md", device="cpu", until=float("inf"))

    def broken():
        raise RuntimeError("no kernel\nfor this")

    report.measure("a", "b", "s", broken)
    report.measure("c", "d", "s", lambda: 2.5)
    report.until = 0.0
    report.measure("e", "f", "s", lambda: 2.5)
    text = (tmp_path / "t.md").read_text()
    assert "| a | b | failed: RuntimeError: no kernel |  |  |" in text
    assert "| c | d | 2.50 | s |" in text
    assert "| e | f | skipped: the minutes are over |" in text
    capsys.readouterr()
