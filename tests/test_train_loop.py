"""train/train.py: exact resume, kills, bad input, what a run leaves behind."""

import csv
import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file

from raiha_core import checkpoint
from raiha_train.data import training_data
from raiha_train.loop import curves, run, train
from raiha_train.loop import state as loop_state
from tests.gallery_fakes import FakeEncoder
from tests.tiny_iharmony4 import make
from tests.training_cases import PLUS, UNET, arguments, write_config, write_photos

SCRIPT = Path(__file__).parents[1] / "train" / "train.py"
CONTRAST = (
    'preset="rcl", network=UNetConfig(width=2, size=32, style_fusion=True), loss=LossConfig(contrast=0.01), '
    "contrast=ContrastConfig(channels=(2, 8, 16, 16, 16), width=8, erosion=1, minimum_cells=1)"
)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_photos(tmp_path_factory.mktemp("training") / "photos")


pytestmark = pytest.mark.usefixtures("one_thread", "no_curves")


def leftovers(output: Path) -> dict[str, object]:
    """What must be equal after a resume, byte for byte."""
    newest = max((output / "states").glob("step_*"))
    names = ["validation.jsonl"]
    names += [str(path.relative_to(output)) for path in sorted(newest.iterdir())]
    found: dict[str, object] = {name: (output / name).read_bytes() for name in names}
    with (output / "history.csv").open(encoding="utf-8") as file:  # its other columns are times
        found["history.csv"] = [[r["step"], r["loss"], r["learning_rate"]] for r in csv.DictReader(file)]
    for name in ("best", "last"):  # their headers also name the git revision, which may move meanwhile
        tensors = load_file(output / f"{name}.safetensors")
        found[name] = {key: value.numpy().tobytes() for key, value in tensors.items()}
    return found


class Cut(BaseException):
    """A power failure, as far as one process can play it."""


def run_until(monkeypatch, steps: int, call: list[str]) -> None:
    """A run that dies when it asks for the rate of step `steps`."""
    real = run.set_rate

    def dying(optimizer, step, total, experiment):
        if step == steps:
            raise Cut
        return real(optimizer, step, total, experiment)

    with monkeypatch.context() as patch:
        patch.setattr(run, "set_rate", dying)
        with pytest.raises(Cut):
            train.main(call)


@pytest.mark.parametrize(
    ("name", "network", "where"), [("unet", UNET, 4), ("plus", PLUS, 5), ("contrast", CONTRAST, 7)]
)
def test_resume_continues_bit_for_bit(tmp_path, photos, monkeypatch, name, network, where):
    # Cuts lie inside an epoch, between two states; plus has dropout, a running scale and frozen stages.
    config = write_config(tmp_path, name, network)
    assert train.main(arguments(config, photos, tmp_path / "whole")) == 0
    run_until(monkeypatch, where, arguments(config, photos, tmp_path / "cut"))
    begun = loop_state.whole_states(tmp_path / "cut" / "states")[-1].name
    assert begun == f"step_{3 * (where // 3):08d}"
    assert train.main(arguments(config, photos, tmp_path / "cut", "--resume")) == 0
    whole, resumed = leftovers(tmp_path / "whole"), leftovers(tmp_path / "cut")
    assert list(whole) == list(resumed)
    for file, content in whole.items():
        assert content == resumed[file], file
    with (tmp_path / "whole" / "history.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == list(range(1, 9))
    assert len({row["loss"] for row in rows}) == 8
    assert all(0 <= float(row["data_wait"]) <= float(row["seconds"]) for row in rows)
    assert all(float(row["peak_mib"]) > 50 for row in rows)
    kept = load_file(max((tmp_path / "cut" / "states").glob("step_*")) / "network.safetensors")
    assert any(key.startswith("contrast.") for key in kept) == (name == "contrast")


def test_a_kill_at_a_random_moment_changes_nothing(tmp_path, photos):
    config = write_config(tmp_path, "killed", steps=30, save_every=3, validate_every=25)
    assert train.main(arguments(config, photos, tmp_path / "whole")) == 0
    command = [sys.executable, str(SCRIPT), *arguments(config, photos, tmp_path / "cut")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(SCRIPT.parents[1])}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    states, limit = tmp_path / "cut" / "states", time.monotonic() + 120
    while not loop_state.whole_states(states):
        assert process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < limit
        time.sleep(0.002)
    time.sleep(random.Random().uniform(0, 0.1))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    begun = json.loads((loop_state.whole_states(states)[-1] / "state.json").read_text())["step"]
    assert 0 < begun < 30
    assert train.main(arguments(config, photos, tmp_path / "cut", "--resume")) == 0
    assert leftovers(tmp_path / "whole") == leftovers(tmp_path / "cut")


def test_a_run_leaves_what_it_promises(tmp_path, photos, monkeypatch, capsys):
    monkeypatch.setattr(run, "draw_curves", curves.draw_curves)
    config = write_config(tmp_path, "tidy", keep=2, sample_every=8)
    output = tmp_path / "run"
    assert train.main(arguments(config, photos, output)) == 0
    assert [path.name for path in loop_state.whole_states(output / "states")] == [
        "step_00000006",
        "step_00000008",
    ]
    assert (output / "curves.png").stat().st_size > 1000
    assert (output / "samples_00000008.png").is_file()
    points = [json.loads(line) for line in (output / "validation.jsonl").read_text().splitlines()]
    assert [point["step"] for point in points] == [0, 4, 8]
    loaded = checkpoint.load(output / "best.safetensors")
    best = min(points[1:], key=lambda point: point["fmse"])
    notes = loaded.metadata.notes
    assert notes["step"] == str(best["step"])
    assert loaded.metadata.scores["validation fmse"] == best["fmse"]
    assert json.loads(notes["experiment"])["name"] == "tidy"
    assert "torch" in notes["versions"]
    assert notes["data_fingerprint"]
    hashed = loop_state.weights_hash(checkpoint.load(output / "last.safetensors").network)
    assert len(hashed) == 64
    assert "weights hash: " in capsys.readouterr().out


def test_a_dry_run_says_what_would_be_done_and_draws_it(tmp_path, photos, capsys):
    config = write_config(tmp_path, "dry", PLUS)
    assert train.main(arguments(config, photos, tmp_path / "run", "--dry-run")) == 0
    text = capsys.readouterr().out
    for word in ("parameters", "multiply-adds", "steps:", "GiB", "first_batch.png"):
        assert word in text
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["first_batch.png"]


def test_a_resume_with_another_config_shows_the_difference(tmp_path, photos):
    output = tmp_path / "run"
    train.main(arguments(write_config(tmp_path, "same", steps=1), photos, output))
    with pytest.raises(ValueError, match="holds a run already"):
        train.main(arguments(tmp_path / "same.py", photos, output))
    write_config(tmp_path, "same", seed=3, steps=1)
    with pytest.raises(ValueError, match="seed: 0 != 3"):
        train.main(arguments(tmp_path / "same.py", photos, output, "--resume"))


def test_a_resume_on_other_photos_is_refused(tmp_path, photos):
    output, config = tmp_path / "run", write_config(tmp_path, "moved", steps=1)
    train.main(arguments(config, photos, output))
    other = write_photos(tmp_path / "other", count=11)
    with pytest.raises(ValueError, match="other data"):
        train.main(arguments(config, other, output, "--resume"))


def test_a_loss_that_is_no_number_stops_and_names_the_pictures(tmp_path, photos, monkeypatch):
    config, output = write_config(tmp_path, "broken"), tmp_path / "run"
    real, calls = run.Objective.forward, []

    def breaking(self, batch, content, generator):
        calls.append(batch.ids)
        loss, terms = real(self, batch, content, generator)
        return (loss * float("nan") if len(calls) == 12 else loss), terms  # 12: the 2nd half of step 6

    monkeypatch.setattr(run.Objective, "forward", breaking)
    with pytest.raises(ValueError, match="the loss is nan") as caught:
        train.main(arguments(config, photos, output))
    assert calls[11][0] in str(caught.value)
    assert "at step 5, micro-batch 11" in str(caught.value)
    newest = loop_state.whole_states(output / "states")[-1]
    assert newest.name == "step_00000003"
    assert all(torch.isfinite(t).all() for t in load_file(newest / "network.safetensors").values())


def test_a_full_disk_stops_with_the_previous_state_whole(tmp_path, photos, monkeypatch):
    config, output = write_config(tmp_path, "full"), tmp_path / "run"
    run_until(monkeypatch, 5, arguments(config, photos, output))
    before = {p: p.read_bytes() for p in (output / "states" / "step_00000003").iterdir()}
    real = Path.write_bytes

    def full(self, content):
        if self.name.startswith(".optimizer"):
            real(self, content[: len(content) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))
        return real(self, content)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match=r"No space left.*optimizer\.safetensors"):
            train.main(arguments(config, photos, output, "--resume"))
    assert [path.name for path in (output / "states").iterdir()] == ["step_00000003"]
    assert {p: p.read_bytes() for p in before} == before
    assert train.main(arguments(config, photos, output, "--resume")) == 0


def test_unreadable_photos_are_named_and_skipped_up_to_a_share(tmp_path, capsys):
    photos = write_photos(tmp_path / "photos")
    (photos / "images" / "p4.png").write_bytes(b"no picture")
    config = write_config(tmp_path, "lenient", allowed_bad=0.2, steps=1)
    assert train.main(arguments(config, photos, tmp_path / "run")) == 0
    text = capsys.readouterr().out
    assert "1 of 9 photos cannot be read" in text
    assert "p4.png" in text
    config = write_config(tmp_path, "strict", allowed_bad=0.1)
    (photos / "cache").rename(tmp_path / "old")
    with pytest.raises(ValueError, match=r"1 of 9 photos cannot be read .*10\.0%.*p4\.png"):
        train.main(arguments(config, photos, tmp_path / "other"))


def test_a_run_over_iharmony4_with_references_names_their_features(tmp_path, monkeypatch):
    root = make(tmp_path / "data")
    (root / "IHD_train.txt").write_text((root / "IHD_test.txt").read_text())
    monkeypatch.setattr(training_data, "build_encoder", lambda name, weights, device: FakeEncoder())
    network = 'preset="raiha-plus", network=PlusConfig(size=32, frozen_stages=6, width=8, hidden=16)'
    shares = "ReferenceShares(none=0.2, retrieved=0.4, augmented=0.4, most=2)"
    config = write_config(
        tmp_path, "full", network, source='"iharmony4"', references=shares, encoder='"fake"', steps=6
    )
    call = arguments(config, root, tmp_path / "run", "--lists", str(root / "refs.jsonl"))
    assert train.main(call) == 0
    loaded = checkpoint.load(tmp_path / "run" / "last.safetensors")
    assert loaded.spec == FakeEncoder().spec
    assert "iharmony4" in loaded.metadata.data
    with (tmp_path / "run" / "history.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 6


def test_a_wrong_call_is_one_line_and_exit_code_1(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[1])}
    command = [sys.executable, str(SCRIPT), str(tmp_path / "none.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip() == f"train: there is no config {tmp_path / 'none.py'}"


def validations(output: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (output / "validation.jsonl").read_text().splitlines()]


def test_a_run_goes_on_from_the_stage_before_it_which_is_trained_first_and_once(tmp_path, photos):
    write_config(tmp_path, "first", PLUS, steps=3)
    network = PLUS.replace("max_references=0", "max_references=0, shrinkage=9.0, learned_shrinkage=True")
    second = write_config(tmp_path, "second", network, start='"first"', steps=2)
    call = arguments(second, photos, tmp_path / "runs" / "second")
    assert train.main(call) == 0
    first = checkpoint.load(tmp_path / "runs" / "first" / "last.safetensors")
    last = checkpoint.load(tmp_path / "runs" / "second" / "last.safetensors")
    assert first.metadata.notes["step"] == "3"
    assert last.metadata.notes["step"] == "2"
    assert last.metadata.notes["start"].startswith("first, 3 steps, weights ")
    written = (tmp_path / "runs" / "first" / "last.safetensors").stat().st_mtime_ns
    again = arguments(second, photos, tmp_path / "runs" / "third")
    assert train.main(again) == 0
    assert (tmp_path / "runs" / "first" / "last.safetensors").stat().st_mtime_ns == written
    one, other = (validations(tmp_path / "runs" / name) for name in ("second", "third"))
    assert one == other


def test_a_stage_begins_with_the_weights_of_the_one_before(tmp_path, photos):
    write_config(tmp_path, "first", PLUS, steps=3)
    second = write_config(tmp_path, "second", PLUS, start='"first"', steps=2)
    assert train.main(arguments(second, photos, tmp_path / "runs" / "second")) == 0
    before, after = (validations(tmp_path / "runs" / name) for name in ("first", "second"))
    assert after[0] == {**before[-1], "step": 0}  # its first validation is the other's last
    assert before[0] != {**before[-1], "step": 0}


def test_a_stage_made_by_another_config_or_of_other_data_is_not_begun_with(tmp_path, photos):
    write_config(tmp_path, "first", steps=2)
    second = write_config(tmp_path, "second", start='"first"', steps=1)
    call = arguments(second, photos, tmp_path / "runs" / "second")
    assert train.main(call) == 0
    shutil.rmtree(tmp_path / "runs" / "second")
    write_config(tmp_path, "first", steps=2, seed=3)
    with pytest.raises(ValueError, match=r"last\.safetensors was trained with another config: seed: 0 != 3"):
        train.main(call)
    write_config(tmp_path, "first", steps=2)
    others = write_photos(tmp_path / "others", count=11)
    with pytest.raises(ValueError, match=r"first.last\.safetensors was trained on other data"):
        train.main(arguments(second, others, tmp_path / "runs" / "second"))


def test_a_run_that_has_begun_needs_its_first_stage_no_more(tmp_path, photos, monkeypatch):
    write_config(tmp_path, "first", steps=2)
    second = write_config(tmp_path, "second", start='"first"')
    call = arguments(second, photos, tmp_path / "runs" / "second")
    whole = arguments(second, photos, tmp_path / "runs" / "whole")
    assert train.main(whole) == 0
    run_until(monkeypatch, 6, call)
    shutil.rmtree(tmp_path / "runs" / "first")
    with pytest.raises(ValueError, match="holds a run already: give --resume"):
        train.main(call)
    assert train.main([*call, "--resume"]) == 0
    assert not (tmp_path / "runs" / "first").exists()
    ends = [leftovers(tmp_path / "runs" / name) for name in ("second", "whole")]
    assert ends[0] == ends[1]
    with pytest.raises(ValueError, match="is where an earlier stage of 'second' belongs"):
        train.main(arguments(second, photos, tmp_path / "runs" / "first"))


def test_stages_that_cannot_follow_each_other_are_named(tmp_path, photos):
    write_config(tmp_path, "one", PLUS, start='"two"')
    two = write_config(tmp_path, "two", PLUS, start='"one"')
    with pytest.raises(ValueError, match=r"two\.py starts from itself, by way of 'one'"):
        train.main(arguments(two, photos, tmp_path / "runs" / "two"))
    write_config(tmp_path, "half", PLUS, precision='"bf16"')
    mixed = write_config(tmp_path, "mixed", PLUS, start='"half"')
    with pytest.raises(ValueError, match=r"differ in precision or determinism.*half bf16 False, mixed no"):
        train.main(arguments(mixed, photos, tmp_path / "runs" / "mixed"))
    write_config(tmp_path, "unet", UNET, steps=1)
    odd = write_config(tmp_path, "odd", PLUS, start='"unet"')
    with pytest.raises(ValueError, match=r"unet.last\.safetensors does not fit 'raiha-plus': "):
        train.main(arguments(odd, photos, tmp_path / "runs" / "odd"))


def test_trackers_hear_of_every_term_of_the_loss(photos, tmp_path, monkeypatch):
    told: list[dict[str, float]] = []
    monkeypatch.setattr(Accelerator, "log", lambda self, values, **_: told.append(values))
    loss = "LossConfig(harm=0.5)"
    config = write_config(tmp_path, "terms", PLUS, steps=2, micro_batch=4, loss=loss)
    call = arguments(config, photos, tmp_path / "run")
    call[call.index("none")] = "tensorboard"
    assert train.main(call) == 0
    steps = [values for values in told if "loss" in values]
    assert len(steps) == 2
    for values in steps:  # Oracle: the loss is the sum of its terms
        whole = values["terms/fmse"] + 0.5 * values["terms/harm"]
        assert values["loss"] == pytest.approx(whole, rel=1e-5)


def test_sigterm_saves_and_the_run_goes_on_bit_for_bit(tmp_path, photos):
    config = write_config(tmp_path, "told", steps=40, save_every=35, validate_every=35)
    assert train.main(arguments(config, photos, tmp_path / "whole")) == 0
    command = [sys.executable, str(SCRIPT), *arguments(config, photos, tmp_path / "cut")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(SCRIPT.parents[1])}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    limit = time.monotonic() + 120
    first = tmp_path / "cut" / "validation.jsonl"  # written before the first step
    while not (first.exists() and first.read_text()):
        assert process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < limit
        time.sleep(0.002)
    process.send_signal(signal.SIGTERM)
    said = process.communicate()[1].decode()
    assert process.returncode == 1
    begun = json.loads((loop_state.whole_states(tmp_path / "cut" / "states")[-1] / "state.json").read_text())
    assert f"saved after step {begun['step']} of 40; give --resume" in said
    assert 0 < begun["step"] < 35
    assert train.main(arguments(config, photos, tmp_path / "cut", "--resume")) == 0
    assert leftovers(tmp_path / "whole") == leftovers(tmp_path / "cut")


def test_trackers_get_the_config_the_machine_and_pictures(photos, tmp_path):
    config = write_config(tmp_path, "seen", steps=1, sample_every=1)
    call = arguments(config, photos, tmp_path / "run")
    call[call.index("none")] = "tensorboard"
    assert train.main(call) == 0
    (told,) = (tmp_path / "run" / "logs").rglob("hparams.yml")
    text = told.read_text()
    assert "optimisation.rate: 0.001" in text
    assert "machine.torch: " in text
    events = b"".join(path.read_bytes() for path in (tmp_path / "run" / "logs").rglob("events.*"))
    assert b"samples" in events
    assert b"PNG" in events


def test_a_tracker_that_is_not_installed_is_an_error_before_training(photos, tmp_path):
    config = write_config(tmp_path, "lost", PLUS)
    call = arguments(config, photos, tmp_path / "run")
    call[call.index("none")] = "wandb"
    with pytest.raises(ValueError, match="the tracker 'wandb' is not installed; here: tensorboard"):
        train.main(call)
    assert not (tmp_path / "run").exists()
