"""`raiha data check` as a user calls it."""

import json

import pytest

from raiha_core.cli import main
from tests.tiny_iharmony4 import make


@pytest.fixture
def root(tmp_path):
    return make(tmp_path / "data")


def test_a_whole_set_is_counted_and_its_pitfalls_named(root, capsys):
    assert main(["data", "check", str(root)]) == 0
    said = capsys.readouterr().out
    assert "8 triples" in said
    assert "HCOCO: 2 (of 4283 published)" in said
    assert "list refs.jsonl: 7 items" in said
    assert "masks have grey edges" in said
    assert said.endswith("whole\n")


def test_a_reference_list_can_be_checked(root, capsys):
    assert main(["data", "check", str(root), "--list", "refs.jsonl", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["whole"] is True
    assert sum(found["counts"].values()) == 7
    assert found["expected"]["HCOCO"] == 1465


def test_missing_and_broken_files_are_named_and_the_exit_code_says_so(root, capsys):
    (root / "HFlickr/masks/f160_1.png").unlink()
    (root / "HCOCO/real_images/c17089.jpg").write_bytes(b"")
    assert main(["data", "check", str(root)]) == 1
    said = capsys.readouterr().out
    assert "missing files: 1" in said
    assert "f160_1.png' does not exist" in said
    assert "broken triples: 2" in said
    assert "--allow-missing" in said


def test_wrong_calls(tmp_path, capsys):
    assert main(["data", "check", str(tmp_path / "nowhere")]) == 1
    assert "does not exist" in capsys.readouterr().err
    assert main(["data", "check", str(tmp_path)]) == 1
    assert "neither iHarmony4" in capsys.readouterr().err
    with pytest.raises(SystemExit) as wrong:
        main(["data", "check", str(tmp_path), "--workers", "0"])
    assert wrong.value.code == 2
    with pytest.raises(SystemExit) as wrong:
        main(["data"])
    assert wrong.value.code == 2
