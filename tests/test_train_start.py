"""train/train.py --start, and runs and weights from before a field was known."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from raiha_core import checkpoint
from raiha_core.gallery.lock import writer_lock
from raiha_core.models.plus import Plus
from raiha_core.models.reference_gate import ReferenceGate
from raiha_train.loop import train
from raiha_train.loop.run import LOCK
from tests.network_cases import SPEC
from tests.test_train_loop import photos, run_until, validations  # noqa: F401  one is a fixture
from tests.training_cases import PLUS, arguments, write_config, write_photos

pytestmark = pytest.mark.usefixtures("one_thread", "no_curves")


def test_a_second_training_in_one_folder_is_refused_and_harms_nothing(tmp_path, photos, monkeypatch):  # noqa: F811
    config = write_config(tmp_path, "one")
    call = arguments(config, photos, tmp_path / "runs" / "one")
    run_until(monkeypatch, 4, call)
    kept = {path: path.read_bytes() for path in (tmp_path / "runs" / "one").rglob("*") if path.is_file()}
    with (
        writer_lock(tmp_path / "runs" / "one" / LOCK),  # as the first training holds it
        pytest.raises(ValueError, match=r"the run in .*one is being written by another process"),
    ):
        train.main([*call, "--resume"])
    assert {path: path.read_bytes() for path in kept} == kept
    assert train.main([*call, "--resume"]) == 0  # the lock fell with its holder


def test_two_trainings_that_begin_at_once_do_not_share_a_folder(tmp_path, photos):  # noqa: F811
    # the real thing: two processes of the fixed command
    config = write_config(tmp_path, "one")
    script = str(Path(train.__file__).parents[2] / "train.py")
    call = [sys.executable, script, *arguments(config, photos, tmp_path / "runs" / "one")]
    both = [
        subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    ends = [(process.communicate()[1], process.returncode) for process in both]
    assert sorted(code for _, code in ends) == [0, 1]
    (refused,) = [error for error, code in ends if code]
    assert "train: " in refused.splitlines()[-1]
    steps = (tmp_path / "runs" / "one" / "history.csv").read_text().splitlines()
    assert len(steps) == len(set(steps))


def test_a_run_begins_with_the_weights_it_is_told_to_on_other_data(tmp_path, photos):  # noqa: F811
    first = write_config(tmp_path, "first", steps=2)
    assert train.main(arguments(first, photos, tmp_path / "runs" / "first")) == 0
    weights = tmp_path / "runs" / "first" / "last.safetensors"
    second = write_config(tmp_path, "second", start='"never_trained"', steps=1)
    write_config(tmp_path, "never_trained")
    others = write_photos(tmp_path / "others", count=11)
    call = [*arguments(second, others, tmp_path / "runs" / "second"), "--start", str(weights)]
    assert train.main(call) == 0
    assert not (tmp_path / "runs" / "never_trained").exists()
    last = checkpoint.load(tmp_path / "runs" / "second" / "last.safetensors")
    first = checkpoint.load(weights)
    words = last.metadata.notes["start"]
    assert words.startswith("given: first, 2 steps, weights ")
    assert words.endswith(f"; of {first.metadata.data}; terms: {first.metadata.licence}")
    assert last.metadata.notes["data_fingerprint"] != first.metadata.notes["data_fingerprint"]
    # such weights are no stage of a recipe
    third = write_config(tmp_path, "third", start='"second"', steps=1)
    with pytest.raises(
        ValueError, match=r"second.last\.safetensors began with weights that were given: first"
    ):
        train.main(arguments(third, others, tmp_path / "runs" / "third"))


def test_weights_that_are_given_are_looked_at_first_and_again_on_resume(tmp_path, photos, monkeypatch):  # noqa: F811
    config = write_config(tmp_path, "one", steps=2, save_every=1)
    assert train.main(arguments(config, photos, tmp_path / "runs" / "one")) == 0
    last, best = (tmp_path / "runs" / "one" / f"{name}.safetensors" for name in ("last", "best"))
    other = write_config(tmp_path, "other", seed=5, steps=2)
    assert train.main(arguments(other, photos, tmp_path / "runs" / "other")) == 0
    shutil.copy(tmp_path / "runs" / "other" / "last.safetensors", best)
    call = arguments(config, photos, tmp_path / "runs" / "two")
    with pytest.raises(ValueError, match=r"there are no weights .*none\.safetensors"):
        train.main([*call, "--dry-run", "--start", str(tmp_path / "none.safetensors")])
    run_until(monkeypatch, 1, [*call, "--start", str(last)])
    with pytest.raises(ValueError, match=r"this run began with given: one, 2 steps.*, not with .*best"):
        train.main([*call, "--resume", "--start", str(best)])
    assert train.main([*call, "--resume", "--start", str(last)]) == 0


def test_gated_weights_are_begun_with_and_their_gate_is_left_out(tmp_path, photos):  # noqa: F811
    config = write_config(tmp_path, "one", PLUS, steps=2)
    assert train.main(arguments(config, photos, tmp_path / "runs" / "one")) == 0
    loaded = checkpoint.load(tmp_path / "runs" / "one" / "last.safetensors")
    network = Plus(replace(loaded.config, references="gated", max_references=1), pretrained=False)
    network.load_state_dict(loaded.network.state_dict(), strict=False)
    gated = tmp_path / "gated.safetensors"
    about = checkpoint.describe(network, "raiha-plus", data="toys", gate_spec=SPEC)
    checkpoint.save(gated, network, about, gate=ReferenceGate())
    call = [*arguments(config, photos, tmp_path / "runs" / "two"), "--start", str(gated)]
    assert train.main(call) == 0
    before, after = (validations(tmp_path / "runs" / name) for name in ("one", "two"))
    assert after[0] == {**before[-1], "step": 0}


def test_runs_from_before_a_field_was_known_go_on(tmp_path, photos, monkeypatch):  # noqa: F811
    config = write_config(tmp_path, "one", PLUS)
    call = arguments(config, photos, tmp_path / "runs" / "one")
    run_until(monkeypatch, 4, call)
    for path in (tmp_path / "runs" / "one" / "states").glob("*/state.json"):
        state = json.loads(path.read_text())
        del state["experiment"]["network"]["detail"]
        path.write_text(json.dumps(state))
    assert train.main([*call, "--resume"]) == 0
