"""train/settings.py: what --set changes, in which stage, how it is typed, and what becomes of it."""

import json
from pathlib import Path

import pytest

from raiha_core import checkpoint
from raiha_train.experiment import load_stages, setting_differences
from raiha_train.loop import train
from raiha_train.settings import with_settings
from tests.training_cases import PLUS, arguments, write_config, write_photos

CONFIGS = sorted((Path(__file__).parents[1] / "train" / "configs").glob("*.py"))


def changed(path: Path, *given: str) -> list[str]:
    """'field: before != after' of all stages, those of earlier ones with their name."""
    before = load_stages(path)
    after = with_settings(before, given)
    return [
        line if one is before[-1] else f"{one.name}:{line}"
        for one, other in zip(before, after, strict=True)
        for line in setting_differences(one.to_json(), other.to_json())
    ]


def config(name: str) -> Path:
    return next(path for path in CONFIGS if path.stem == name)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_takes_the_settings_of_the_handbook(path):
    given = ["optimisation.rate=1e-3", "batch=24", "micro_batch=24", "validation_share=0"]
    after = with_settings(load_stages(path), given)[-1]
    assert (after.optimisation.rate, after.batch, after.micro_batch) == (1e-3, 24, 24)
    assert after.validation_share == 0.0
    assert type(after.validation_share) is float


def test_settings_are_typed_and_reach_parts_size_and_earlier_stages():
    assert changed(config("raiha"), "optimisation.marks=0.5", "compile=true", "precision=no", "steps=7") == [
        "compile: False != True",
        "optimisation.marks: [0.6666666666666666] != [0.5]",
        "steps: 0 != 7",
    ]
    assert changed(config("hdnet"), "optimisation.marks=(0.5,0.9)", "network.local_dynamic=none") == [
        "network.local_dynamic: paper != none",
        "optimisation.marks: [0.8333333333333334, 0.9166666666666666] != [0.5, 0.9]",
    ]
    assert changed(config("hdnet"), "size=128") == ["network.size: 256 != 128", "size: 256 != 128"]
    found = changed(config("plus_small_data"), "plus_small_data_128:steps=5", "steps=6")
    assert [line.split(": ")[0] for line in found] == ["plus_small_data_128:steps", "steps"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["batch"], "a setting is FIELD=VALUE, got 'batch'"),
        (["bacth=4"], "there is no field 'bacth'; did you mean 'batch'"),
        (["optimisation.rat=4"], r"'optimisation\.rat'; did you mean 'optimisation\.rate'"),
        (["optimisation=4"], "has fields of its own"),
        (["batch.size=4"], "'batch' has no fields of its own"),
        (["batch=2.5"], "'batch', must be int, got 2.5"),
        (["batch=many"], "'batch', must be int, got 'many'"),
        (["optimisation.rate=fast"], "must be float"),
        (["optimisation.rate=1e999"], "must be a finite number"),
        (["optimisation.rate=0"], "rate > 0"),
        (["precision=half"], "'precision', must be "),
        (["batch=12", "micro_batch=5"], "batch 12 is not a multiple of micro_batch 5"),
        (["batch=12", "batch=6"], "'batch' of 'hdnet' is set twice"),
        (["raiha:batch=12"], "is for no stage of this run; its stages: hdnet"),
        (["name=other"], "copy its config under another name"),
    ],
)
def test_a_setting_that_cannot_be_is_named(given, message):
    with pytest.raises(ValueError, match=message):
        with_settings(load_stages(config("hdnet")), given)


def test_a_run_keeps_its_settings_and_is_resumed_with_the_same_ones_only(tmp_path):
    photos = write_photos(tmp_path / "photos")
    path = write_config(tmp_path, "mine")
    call = arguments(path, photos, tmp_path / "run", "--set", "optimisation.rate=2e-3", "steps=4")
    assert train.main(call) == 0
    notes = checkpoint.read_metadata(tmp_path / "run" / "last.safetensors").notes
    kept = json.loads(notes["experiment"])
    assert (kept["optimisation"]["rate"], kept["steps"]) == (2e-3, 4)
    with pytest.raises(ValueError, match=r"another config: .*rate: 0\.002 != 0\.001; steps: 4 != 8"):
        train.main(arguments(path, photos, tmp_path / "run", "--resume"))
    assert train.main([*call, "--resume"]) == 0


def test_without_a_held_out_share_the_last_weights_are_kept_and_no_best(tmp_path, capsys):
    photos = write_photos(tmp_path / "photos")
    path = write_config(tmp_path, "all", sample_every=4)
    call = arguments(path, photos, tmp_path / "run", "--set", "validation_share=0", "steps=4")
    assert train.main(call) == 0
    names = {file.name for file in (tmp_path / "run").iterdir()}
    assert {"last.safetensors", "samples_00000004.png", "curves.png"} <= names
    assert "best.safetensors" not in names
    about = checkpoint.load(tmp_path / "run" / "last.safetensors").metadata
    assert about.scores == {}
    assert "9 photos" in about.data
    assert "none more held out" in about.data
    assert "nothing was held out" in capsys.readouterr().out


def test_compiling_is_for_gpus_and_refused_elsewhere_before_anything_is_packed(tmp_path):
    photos = write_photos(tmp_path / "photos")
    call = arguments(write_config(tmp_path, "quick"), photos, tmp_path / "run", "--set", "compile=true")
    with pytest.raises(ValueError, match="compile pays on a GPU"):
        train.main(call)
    assert not (photos / "cache").exists()


def test_a_dry_run_packs_nothing_and_decodes_one_micro_batch(tmp_path, monkeypatch, capsys):
    from raiha_train.data import cache

    photos = write_photos(tmp_path / "photos")
    path = write_config(tmp_path, "dry", PLUS)
    real, decoded = cache._decode, []
    monkeypatch.setattr(cache, "_decode", lambda row, size: decoded.append(row.id) or real(row, size))
    assert train.main(arguments(path, photos, tmp_path / "run", "--dry-run")) == 0
    assert len(decoded) == 4  # two pictures, and two that lend their colours
    assert not (photos / "cache").exists()
    said = capsys.readouterr().out
    assert "9 photos 0.00 GiB (to be made)" in said
    assert (tmp_path / "run" / "first_batch.png").is_file()
