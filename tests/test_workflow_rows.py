"""`run.py --inputs`: tables and folders of inputs, what is done and skipped, a server that is lost."""

import json
import logging
import shutil

import numpy as np
import pytest
from PIL import Image

from workflows.run import ROOT, main, pack

rows = pack("workflows.host_rows")
jobs = pack("workflows.host_jobs")
WrongCallError = pack("workflows.host_prompt").WrongCallError
WORKFLOW = ROOT / "workflows" / "api" / "harmonize.json"


@pytest.fixture
def pictures(tmp_path):
    """1.image and 2.image with two composites and their masks, 8-bit RGB."""
    rng = np.random.default_rng(1)
    for folder in ("1.image", "2.image"):
        (tmp_path / "in" / folder).mkdir(parents=True)
    for number, name in enumerate(("beach", "wood")):
        composite = rng.integers(0, 256, (40, 48 + number, 3), dtype=np.uint8)
        mask = np.zeros_like(composite)
        mask[8:30, 10:30] = 255
        Image.fromarray(composite).save(tmp_path / "in" / "1.image" / f"{name}.png")
        Image.fromarray(mask).save(tmp_path / "in" / "2.image" / f"{name}.png")
    return tmp_path / "in"


def table(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "in" / "rows.csv"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path


def call(inputs, out, *more):
    quick = ("--set", "3.harmonizer=statistics")
    return main([str(WORKFLOW), "--inputs", str(inputs), "--out", str(out), *quick, *more])


def report(capsys):
    return json.loads(capsys.readouterr().out)


def result(out, name):
    return np.asarray(Image.open(out / name / "raiha" / "harmonized_00001_.png"))


def test_a_folder_per_input_gives_a_result_per_stem_and_a_second_call_does_nothing(
    pictures, tmp_path, capsys
):
    out = tmp_path / "out"
    assert call(pictures, out, "--json") == 0
    found = report(capsys)
    assert [found[name] for name in ("done", "skipped", "failed", "not_run")] == [2, 0, 0, 0]
    assert [row["name"] for row in found["rows"]] == ["beach", "wood"]
    for name in ("beach", "wood"):
        before, after = np.asarray(Image.open(pictures / "1.image" / f"{name}.png")), result(out, name)
        inside = np.asarray(Image.open(pictures / "2.image" / f"{name}.png"))[..., 0] > 0
        assert (before[~inside] == after[~inside]).all()
        assert (before[inside] != after[inside]).any()
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    assert call(pictures, out, "--json") == 0
    again = report(capsys)
    assert (again["done"], again["skipped"]) == (0, 2)
    assert [row["files"] for row in again["rows"]] == [row["files"] for row in found["rows"]]
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.png")} == times


@pytest.mark.parametrize("change", ["picture", "setting", "lost", "mark"])
def test_what_has_changed_is_done_again_and_nothing_else(pictures, tmp_path, capsys, change):
    out = tmp_path / "out"
    call(pictures, out)
    more = []
    if change == "picture":
        shutil.copyfile(pictures / "1.image" / "wood.png", tmp_path / "kept.png")
        Image.open(tmp_path / "kept.png").transpose(Image.Transpose.FLIP_TOP_BOTTOM).save(
            pictures / "1.image" / "wood.png"
        )
    elif change == "setting":
        more = ["--set", "4.strength=0.5"]
    elif change == "lost":
        next((out / "wood").rglob("*.png")).unlink()
    else:
        (out / "wood" / "run.json").write_text('{"digest": 1')
    capsys.readouterr()
    assert call(pictures, out, "--json", *more) == 0
    states = [row["state"] for row in report(capsys)["rows"]]
    assert states == (["done", "done"] if change == "setting" else ["skipped", "done"])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_sets_values_keeps_empty_ones_and_finds_pictures_beside_itself(
    pictures, tmp_path, capsys, monkeypatch, encoding, delimiter
):
    lines = [
        ["name", "1.image", "2.image", "4.strength"],
        ["first", "1.image/beach.png", "2.image/beach.png", "0"],
        [],
        ["", "1.image/wood.png", "2.image/wood.png", ""],
    ]
    text = "\r\n".join(delimiter.join(cells) for cells in lines)
    path = table(tmp_path, text, encoding)
    monkeypatch.chdir(ROOT)
    assert call(path, tmp_path / "out") == 0
    assert (result(tmp_path / "out", "first") == np.asarray(Image.open(pictures / "1.image/beach.png"))).all()
    assert (result(tmp_path / "out", "0002") != np.asarray(Image.open(pictures / "1.image/wood.png"))).any()
    assert (
        "1/2 first: done\n2/2 0002: done\n2 done, 0 skipped, 0 failed, 0 not run\n" in capsys.readouterr().out
    )


def test_a_row_that_fails_is_named_and_does_not_stop_the_others(pictures, tmp_path, capsys):
    path = table(
        tmp_path,
        "name,1.image,2.image,4.strength\n"
        "a,gone.png,2.image/beach.png,1\n"
        "b,1.image/beach.png,2.image/beach.png,much\n"
        "c,1.image/beach.png,2.image/beach.png,1\n",
    )
    assert call(path, tmp_path / "out", "--json") == 1
    found = report(capsys)
    assert [row["state"] for row in found["rows"]] == ["failed", "failed", "done"]
    assert "there is no picture 'gone.png'" in found["rows"][0]["error"]
    assert f"line 3 of {path}: 4.strength=much: a number is needed" in found["rows"][1]["error"]
    assert not (tmp_path / "out" / "a").exists()


WRONG = [
    ("", "there is no row"),
    ("1.image\n", "there is no row"),
    ("image\na.png\n", "image: write NODE.INPUT, such as 1.image"),
    ("1.image,1.image\na,b\n", "a column stands in its first line twice"),
    ("1.image\na,b\n", "line 2 has 2 cells for 1 columns"),
    ('1.image\n"a\n', "a quote that is not closed"),
    ("99.image\na.png\n", "the workflow has no such node"),
    ("1.picture\na.png\n", "Raiha_LoadPicture has image"),
    ("name,4.strength\nx,1\nX,0\n", "two rows are called 'x'"),
    ("name,4.strength\n../x,1\n", "'../x' cannot name a folder"),
    ("name,4.strength\n..,1\n", "'..' cannot name a folder"),
]


@pytest.mark.parametrize(("text", "sentence"), WRONG)
def test_a_wrong_table_is_a_wrong_call(tmp_path, capsys, text, sentence):
    with pytest.raises(SystemExit) as caught:
        call(table(tmp_path, text), tmp_path / "out")
    assert caught.value.code == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_table_in_another_encoding_says_so(tmp_path):
    with pytest.raises(WrongCallError, match="no UTF-8 text"):
        rows.read_rows(table(tmp_path, "1.image\nbäh.png\n", "latin-1"))


def test_a_folder_without_folders_or_with_a_hole_says_what_is_missing(pictures, caplog):
    (pictures / "1.image" / "notes.txt").write_text("x")
    with caplog.at_level(logging.WARNING):
        assert len(rows.read_rows(pictures)) == 2
    assert "notes.txt is no picture and was passed over" in caplog.text
    (pictures / "2.image" / "wood.png").unlink()
    with pytest.raises(WrongCallError, match=r"2\.image has no picture for wood"):
        rows.read_rows(pictures)
    with pytest.raises(WrongCallError, match="put the pictures into folders named after inputs"):
        rows.read_rows(pictures / "1.image")


class Flaky:
    """A runner whose server is away at some calls and there at all later ones."""

    def __init__(self, away=()):
        self.away = list(away)
        self.clocks = []

    def start_clock(self, seconds):
        self.clocks.append(seconds)

    def inputs_of(self, class_type):
        return None

    def run(self, prompt):
        if self.away and self.away.pop(0):
            raise ConnectionError("no ComfyUI answers")
        return {"1": {"text": ["fine"]}}


def test_a_lost_server_is_tried_again_each_time_with_the_whole_timeout(tmp_path, monkeypatch):
    pauses = []
    monkeypatch.setattr(jobs.time, "sleep", pauses.append)
    runner = Flaky([True] * 3)
    job = jobs.run_once({"1": {"inputs": {}}}, [], runner, tmp_path, timeout=7, retries=3)
    assert (job.state, job.text) == ("done", {"1": ["fine"]})
    assert pauses == [1, 2, 4]
    assert runner.clocks == [7] * 4
    with pytest.raises(ConnectionError):
        jobs.run_once({"1": {"inputs": {}}}, [], Flaky([True] * 3), tmp_path, timeout=7, retries=2)


def test_rows_end_where_the_server_stays_lost_and_go_on_next_time(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs.time, "sleep", lambda _: None)
    prompt = {"1": {"inputs": {}}}
    todo = [rows.InputRow(name=name, settings=()) for name in ("a", "b", "c")]

    def states(runner):
        found = []
        try:
            for job in jobs.run_rows(prompt, [], todo, runner, tmp_path, timeout=7, retries=0):
                found.append(job.state)
        except ConnectionError:
            found.append("lost")
        return found

    assert states(Flaky([False, True])) == ["done", "lost"]
    assert states(Flaky()) == ["skipped", "done", "done"]
