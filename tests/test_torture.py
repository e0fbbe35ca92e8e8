"""A short slice of each part of `make torture`, and what its runner promises.

Oracle of the runner: parts that hang, take memory, die and fail on purpose.
"""

import json
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
from hypothesis import settings

from tests.tools import make_torture_docs
from tests.torture import child, files, grammar, run, soak
from tests.torture.part import Part, trial_seed
from tests.torture.parts import PARTS
from tests.torture.patching import all_faults, read_fault
from tests.torture.processes import end_of, kill_within, start

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="trials run in forked children"),
    pytest.mark.usefixtures("one_thread"),
]

ROOT = Path(__file__).parents[1]
# trials of each part here; the rest of a part is for `make torture`
TRIALS = {
    "kills-gallery": 8,
    "kills-folder": 2,
    "disks-failing": 12,
    "disks-power": 12,
    "disks-files": 4,
    "disks-full": 2,
    "readers-beside": 1,
    "readers-writers": 1,
    "files-png": 20,
    "files-jpeg": 30,
    "files-tiff": 30,
    "files-webp": 15,
    "files-gif": 15,
    "files-bmp": 15,
    "files-avif": 15,
    "files-other": 15,
    "strangers-store": 8,
    "strangers-stale": 2,
    "strangers-weights": 5,
    "strangers-fetch": 1,
    "strangers-server": 4,
    "truths-outside": 2,
    "truths-permutation": 2,
    "truths-search": 2,
    "truths-saved": 2,
    "truths-lossless": 2,
}
# these take a minute, or start the whole project again
LONG = {"kills-command", "kills-batch", "kills-training", "kills-two-trainings", "planted-faults"}


def call(parts, tmp_path, *words):
    return run.run(parts, run.make_parser().parse_args([*words, "--out", str(tmp_path / "out")]))


def part(name, trial, **limits):
    return Part(name=name, trial=trial, **{"full": 3, "seconds": 20, **limits})


def holds(seed, place):
    assert not list(place.iterdir())
    (place / "file").touch()


def test_the_parts_have_names_of_their_own_and_keep_to_their_limits():
    names = [part.name for part in PARTS]
    assert len(set(names)) == len(names)
    assert set(TRIALS) | LONG <= set(names)


@pytest.mark.parametrize("one", [one for one in PARTS if one.name not in LONG], ids=lambda one: one.name)
def test_a_slice_of_each_part(one, monkeypatch):
    monkeypatch.setattr(soak, "RUNS", 4)
    seeds = [(n, trial_seed(3, one.name, n)) for n in range(TRIALS.get(one.name, 1))]
    found = list(child.run_trials(one, seeds))
    assert [outcome.failure for outcome in found if outcome.failure] == []
    assert len(found) == len(seeds)


# ---- the runner


def sleeps(seed, place):
    time.sleep(60)


def takes_memory(seed, place):
    held = bytearray(os.urandom(1) * (300 << 20))
    time.sleep(0.3)
    return None if held else ""


def dies(seed, place):
    os.kill(os.getpid(), signal.SIGKILL)


def raises(seed, place):
    raise KeyError("x")


@pytest.mark.parametrize(
    ("trial", "limits", "told"),
    [
        (sleeps, {"seconds": 0.3}, "no end after 0.3 seconds"),
        (takes_memory, {"mib": 100}, "MiB"),
        (dies, {}, "the process died: signal SIGKILL"),
        (raises, {}, "KeyError: 'x'"),
        (lambda seed, place: "it broke", {}, "it broke"),
    ],
)
def test_every_way_to_fail_is_a_failure_of_that_trial_and_the_others_go_on(
    tmp_path, capsys, trial, limits, told
):
    def second(seed, place):
        return trial(seed, place) if seed == trial_seed(1, "bad", 1) else holds(seed, place)

    assert call([part("good", holds), part("bad", second, **limits)], tmp_path) == 1
    shown = capsys.readouterr().out
    assert told in shown
    assert "again: make torture SEED=1 ONLY=bad:1" in shown
    rows = {line.split()[0]: line.split()[1:5] for line in shown.splitlines() if line[:4] in ("good", "bad ")}
    assert rows == {"good": ["3", "3", "3", "0"], "bad": ["3", "3", "3", "1"]}


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="only Linux ends a child with its parent")
def test_a_runner_that_is_killed_leaves_no_child_behind(tmp_path):
    def tells_and_sleeps(seed, place):
        (tmp_path / "child").write_text(str(os.getpid()))
        time.sleep(60)

    runner = start(lambda: call([part("bad", tells_and_sleeps)], tmp_path))
    while not (tmp_path / "child").is_file() or not (tmp_path / "child").read_text():
        time.sleep(0.01)
    os.kill(runner, signal.SIGKILL)
    assert end_of(runner) == -signal.SIGKILL
    grandchild = Path("/proc", (tmp_path / "child").read_text(), "stat")
    until = time.monotonic() + 20
    while grandchild.exists() and grandchild.read_text().rsplit(")", 1)[1].split()[0] != "Z":
        assert time.monotonic() < until, "it lives on"
        time.sleep(0.02)


def test_kills_of_what_was_at_work_are_counted_and_remembered(tmp_path, capsys):
    def kills_two_of_three(seed, place):
        for job in (lambda: time.sleep(60), lambda: time.sleep(60)):
            assert kill_within(job, 0.02, random.Random(seed))
        done = start(lambda: None)
        assert end_of(done) == 0

    parts = [part("kind", kills_two_of_three), part("calm", holds)]
    assert call(parts, tmp_path, "--seed", "4") == 0
    path = tmp_path / "out" / "seed4.jsonl"
    path.write_text(path.read_text().replace('{"ended": true}\n', ""))
    first = capsys.readouterr().out
    assert call(parts, tmp_path, "--seed", "4") == 0  # all of it was tried: it reads what the first wrote
    for shown in (first, capsys.readouterr().out):
        rows = {line.split()[0]: line.split()[1:5] for line in shown.splitlines()}
        assert rows["kind"] == ["3", "3", "3", "6"]
        assert rows["calm"] == ["3", "3", "3", "0"]


def test_a_run_goes_on_where_it_was_stopped_and_begins_with_what_failed(tmp_path, capsys):
    def trial(seed, place):
        return "bad" if numbers[seed] == 2 and not (tmp_path / "mended").exists() else None

    def noted():
        lines = (tmp_path / "out" / "seed7.jsonl").read_text().splitlines()
        return [json.loads(line).get("trial") for line in lines]  # None: the run ended

    numbers = {trial_seed(7, "x", n): n for n in range(6)}
    parts = [part("x", trial, full=6)]
    assert call(parts, tmp_path, "--seed", "7", "--stop-at-failure") == 1
    assert call(parts, tmp_path, "--seed", "7", "--stop-at-failure") == 1  # it is still broken
    (tmp_path / "mended").touch()
    assert call(parts, tmp_path, "--seed", "7") == 0
    assert noted() == [0, 1, 2, 2, 2, 3, 4, 5, None]
    assert call(parts, tmp_path, "--seed", "7") == 0  # ended: all of it again
    assert noted() == [0, 1, 2, 3, 4, 5, None]


def test_a_budget_samples_every_part_and_only_names_some(tmp_path, capsys):
    def slow(seed, place):
        time.sleep(0.05)

    parts = [part("a", slow, full=1000), part("b-one", holds, full=2), part("b-two", holds, full=2)]
    assert call(parts, tmp_path, "--budget", "0.01") == 0
    rows = {line.split()[0]: int(line.split()[2]) for line in capsys.readouterr().out.splitlines()[1:4]}
    assert 1 <= rows["a"] < 100
    assert rows["b-one"] == rows["b-two"] == 2
    assert call(parts, tmp_path, "--budget", "0", "--seed", "5") == 0  # each is tried, however late it is
    rows = {line.split()[0]: int(line.split()[2]) for line in capsys.readouterr().out.splitlines()[1:4]}
    assert 1 <= rows["a"] < 100
    assert min(rows["b-one"], rows["b-two"]) >= 1
    assert call(parts, tmp_path, "--only", "b", "--seed", "2") == 0
    assert "a " not in capsys.readouterr().out.split("\n", 1)[1][:20]
    with pytest.raises(SystemExit, match="no part 'c'"):
        call(parts, tmp_path, "--only", "c")


def test_a_file_that_takes_too_long_is_a_fault_however_it_ends(monkeypatch, tmp_path):
    def works():
        until = time.process_time() + 0.05
        while time.process_time() < until:
            pass

    def works_and_refuses():
        works()
        raise ValueError("x is no picture")

    assert [grammar.fault_of(call) for call in (works, works_and_refuses)] == ["", ""]
    monkeypatch.setattr(grammar, "SECONDS", 0.02)
    for call in (works, works_and_refuses):
        assert grammar.fault_of(call).endswith(" s, more than 0.02")
    (tmp_path / "x.png").write_bytes(b"no picture")
    monkeypatch.setattr(files, "open_picture", lambda *_, **__: works_and_refuses())
    assert files.judge("other", tmp_path / "x.png", b"").endswith("names the file: 'x is no picture'")
    monkeypatch.setattr(files, "_sentence_fault", lambda *_: "")
    assert files.judge("other", tmp_path / "x.png", b"").endswith(" s, more than 0.02")


def test_the_page_counts_what_a_record_says(tmp_path, monkeypatch):
    record, page = tmp_path / "seed1.jsonl", tmp_path / "torture.md"
    lines = [
        {"part": "kills-gallery", "trial": 0, "failure": "", "kills": 2},
        {"part": "kills-gallery", "trial": 1, "failure": "lost"},
        {"part": "kills-gallery", "trial": 1, "failure": "", "kills": 1},  # mended, and tried again
        {"part": "own-lists", "trial": 5, "failure": "Traceback"},
        {"part": "files-unheard", "trial": 0, "failure": ""},
        {"ended": True},
    ]
    record.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    page.write_text(f"before\n{make_torture_docs.BEGIN}old\n{make_torture_docs.END}after\n")
    monkeypatch.setattr(make_torture_docs, "PAGE", page)
    assert make_torture_docs.main(["make torture SEED=1", "1234567", str(record)]) == 0
    shown = page.read_text().splitlines()
    assert (shown[0], shown[-1]) == ("before", "after")
    assert "`make torture SEED=1`, revision 1234567:" in shown
    for row in (
        "| kills-gallery | 1000 | 2 | 2 | 3 | 0 |",
        "| own-lists | 400 | 1 | 30 |  | 1 |",
        "| files-unheard |  | 1 | 1 |  | 0 |",
        "| **all** |  | 4 | 33 | 3 | 1 |",
    ):
        assert row in shown


# ---- planted faults


def test_there_are_twenty_planted_faults_of_many_parts():
    faults = all_faults()
    assert len(faults) >= 20
    assert {fault.part for fault in faults} <= {one.name for one in PARTS}
    assert len({fault.part for fault in faults}) >= 10


@pytest.mark.parametrize(
    "path", sorted((ROOT / "tests" / "torture" / "faults").iterdir()), ids=lambda p: p.stem
)
def test_each_planted_fault_still_applies(path, tmp_path):
    fault = read_fault(path)
    for file in {hunk[0] for hunk in fault.hunks}:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / file)
    fault.apply(tmp_path)
    for file in {hunk[0] for hunk in fault.hunks}:
        text = (tmp_path / file).read_text(encoding="utf-8")
        assert text != (ROOT / file).read_text(encoding="utf-8")
        compile(text, file, "exec")
    with pytest.raises(ValueError, match="does not apply"):
        fault.apply(tmp_path)


def test_slices_leave_hypothesis_as_it_was():
    assert settings().derandomize
