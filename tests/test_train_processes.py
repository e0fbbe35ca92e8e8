"""Two processes are one process that accumulates twice as much: disjoint pictures, the same gradient."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.training_cases import arguments, write_config, write_photos

WATCHED = Path(__file__).with_name("two_processes.py")


def run(out: Path, call: list[str], launcher: list[str]) -> None:
    out.mkdir()
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "ACCELERATE_USE_CPU": "true",
        "HF_HOME": str(out / "home"),  # no settings of the machine's user
    }
    command = [sys.executable, *launcher, str(WATCHED), str(out), *call]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]


def losses(output: Path) -> list[float]:
    with (output / "history.csv").open(encoding="utf-8") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    photos = write_photos(folder / "photos")
    # 10 pictures each: more than one epoch of the 5 photos that are not held out
    config = write_config(folder, "shared", steps=5, validate_every=5, save_every=5)
    run(folder / "one", arguments(config, photos, folder / "run_one"), [])
    # On a CPU `accelerate launch` starts several processes by way of MPI only.
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    run(folder / "two", arguments(config, photos, folder / "run_two"), launch)
    return folder


def seen(path: Path) -> dict[int, list[str]]:
    return {k: ids for k, ids in json.loads(path.read_text())}


def test_processes_see_disjoint_micro_batches_and_together_all(runs):
    alone = seen(runs / "one" / "seen_0.json")
    first, second = seen(runs / "two" / "seen_0.json"), seen(runs / "two" / "seen_1.json")
    assert sorted(alone) == list(range(10))
    assert sorted(first) == [0, 2, 4, 6, 8]
    assert sorted(second) == [1, 3, 5, 7, 9]
    assert {**first, **second} == alone
    assert not set(first[0]) & set(second[1])  # within an epoch no picture is seen twice


def test_the_averaged_gradient_is_the_single_process_one(runs):
    alone = load_file(runs / "one" / "gradient_0.safetensors")
    for rank in (0, 1):
        shared = load_file(runs / "two" / f"gradient_{rank}.safetensors")
        assert set(shared) == set(alone)
        for name, value in alone.items():
            torch.testing.assert_close(shared[name], value, atol=1e-6, rtol=1e-5)
    assert max(float(value.abs().max()) for value in alone.values()) > 1e-3  # there is something to compare


def test_the_losses_of_two_processes_are_those_of_one(runs):
    one, two = losses(runs / "run_one"), losses(runs / "run_two")
    assert len(one) == len(two) == 5
    assert one[0] == pytest.approx(two[0], rel=1e-6)
    assert one == pytest.approx(two, rel=1e-3)  # Adam turns rounding into small steps


def test_two_processes_go_from_stage_to_stage(tmp_path):
    photos = write_photos(tmp_path / "photos")
    write_config(tmp_path, "first", steps=3, validate_every=3, save_every=3)
    second = write_config(tmp_path, "second", start='"first"', steps=2, validate_every=2, save_every=2)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    run(tmp_path / "out", arguments(second, photos, tmp_path / "runs" / "second"), launch)
    assert len(losses(tmp_path / "runs" / "first")) == 3
    assert len(losses(tmp_path / "runs" / "second")) == 2
    assert (tmp_path / "runs" / "second" / "last.safetensors").is_file()
