"""The manifest: sealed batches, and what they add up to."""

import dataclasses
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raiha_core.gallery import journal
from raiha_core.gallery.manifest import (
    Entry,
    Folder,
    Photo,
    Promise,
    State,
    begin_line,
    end_line,
    folder_line,
    folder_of,
    last_whole,
    photo_line,
    replay,
    shard_line,
    snapshot_lines,
)
from raiha_core.gallery.manifest import ShardInfo as Info


def entry(name: str, shard: str = "000000", row: int = 0, sha256: str = "a" * 64, group: str = "") -> Entry:
    photo = Photo(
        id=name, path="", size=10, mtime_ns=2**60 + 1, sha256=sha256, width=4, height=3, group=group
    )
    return Entry(photo, 0, shard, row)


FOLDER = folder_line(0, Folder("", "/photos", "../photos"))
BATCHES = [
    [FOLDER, {"kind": "begin", "photos": 3, "todo": 3}],
    [shard_line("000000", Info(2, 99, "b" * 64)), photo_line(entry("a")), photo_line(entry("b", row=1))],
    [{"kind": "remove", "id": "a", "why": "gone"}, {"kind": "end", "bad": [{"id": "x", "reason": "no"}]}],
    [{"kind": "remove", "id": "b", "why": "asked"}],
]


def write(path, batches=BATCHES):
    for batch in batches:
        journal.append(path, batch)
    return path.read_bytes()


names = st.text(st.characters(exclude_categories=[]), max_size=20)  # lone surrogates too


@given(st.lists(st.lists(names, max_size=4), max_size=5))
def test_any_file_name_survives_the_round_trip(batches):
    written = [tuple({"kind": "remove", "id": name} for name in batch) for batch in batches]
    raw = "".join(f"{text}\n" for batch in written for text in journal.seal(batch)).encode("ascii")
    assert journal.parse(raw) == journal.Journal(tuple(written), 0, ())


def test_cut_anywhere_the_manifest_keeps_its_whole_batches_and_is_not_damaged(tmp_path):
    path = tmp_path / "manifest.jsonl"
    ends = []
    for batch in BATCHES:
        journal.append(path, batch)
        ends.append(path.stat().st_size)
    raw = path.read_bytes()
    for cut in range(len(raw) + 1):
        found = journal.parse(raw[:cut])
        whole = sum(end <= cut for end in ends)  # oracle: batches that ended before the cut
        assert found.batches == tuple(tuple(batch) for batch in BATCHES[:whole])
        assert found.torn == cut - (ends[whole - 1] if whole else 0)
        assert not found.damaged


def test_a_flipped_byte_costs_its_batch_and_never_changes_another(tmp_path):
    raw = write(tmp_path / "manifest.jsonl")
    last = len(raw) - sum(len(text) + 1 for text in journal.seal(BATCHES[-1]))
    whole = [tuple(batch) for batch in BATCHES]
    for at in range(len(raw)):
        found = journal.parse(raw[:at] + bytes([raw[at] ^ 0x04]) + raw[at + 1 :])
        joined = raw[at : at + 1] == b"\n" and 0 < at < len(raw) - 1  # two lines, perhaps of two batches
        assert len(found.batches) in ((len(whole) - 1, len(whole) - 2) if joined else (len(whole) - 1,)), at
        assert all(batch in whole for batch in found.batches)
        assert bool(found.damaged) == (at < last - 1)
        assert bool(found.torn) == (at >= last - 1)  # the newline before the last batch belongs to both


def test_a_broken_line_is_named_by_its_number(tmp_path):
    path = tmp_path / "manifest.jsonl"
    lines = write(path).split(b"\n")
    path.write_bytes(b"\n".join([*lines[:4], b"?" + lines[4], *lines[5:]]))
    assert journal.read(path).damaged == (4, 5, 6, 7)  # the batch of lines 4 to 7


def test_an_absent_manifest_holds_nothing(tmp_path):
    assert journal.read(tmp_path / "manifest.jsonl") == journal.Journal((), 0, ())


def test_rewriting_gives_what_appending_gave(tmp_path):
    raw = write(tmp_path / "one.jsonl")
    journal.rewrite(tmp_path / "two.jsonl", BATCHES)
    assert (tmp_path / "two.jsonl").read_bytes() == raw


def test_later_lines_override_earlier_ones():
    state = replay(BATCHES[:2])
    assert sorted(state.live) == ["a", "b"]
    assert (state.expected, state.finished) == (3, False)
    assert state.promises == [Promise(folder=0, photos=3, todo=1)]
    state = replay(BATCHES)
    assert (state.live, state.promises, state.excluded) == ({}, [], {"b"})
    assert state.finished
    assert state.bad == (("x", "no"),)
    assert state.by_content["a" * 64].photo.id == "b"  # features of dead photos can be used again
    state.apply([photo_line(entry("b", "000001"))])
    assert (state.live["b"].shard, state.excluded) == ("000001", set())


def test_the_last_whole_state_is_the_one_before_the_build_under_way():
    seen = [last_whole(BATCHES[:n]) for n in range(5)]
    assert [state.ended for state in seen] == [False, False, False, True, True]
    assert [sorted(state.live) for state in seen] == [[], [], [], ["b"], []]
    more = [*BATCHES[:3], [begin_line(Promise(folder=0, photos=9, todo=9))], [photo_line(entry("c"))]]
    assert sorted(last_whole(more).live) == ["b"]
    assert sorted(replay(more).live) == ["b", "c"]
    assert last_whole([*more, BATCHES[3]]).live == {}  # what was removed on request is gone at once


TRIP = [
    folder_line(1, Folder("trip", "/trip", "")),
    begin_line(Promise(folder=1, adding=True, photos=4, todo=2)),
]


def of_trip(name):
    return photo_line(dataclasses.replace(entry(name), folder=1))


def test_each_folder_is_seen_as_it_was_before_what_is_under_way_there():
    begun = [*BATCHES[:3], TRIP, [of_trip("trip:1")]]
    assert sorted(last_whole(begun).live) == ["b"]
    build = Promise(folder=0, photos=3, todo=1)
    built = [*begun, [begin_line(build)], [photo_line(entry("n")), end_line([], build)]]
    state = last_whole(built)
    assert sorted(state.live) == ["b", "n"]  # the first folder is whole, the other is still to be ended
    assert state.promises == [Promise(folder=1, adding=True, photos=4, todo=1)]
    ended = last_whole([*built, [of_trip("trip:2"), end_line([], Promise(folder=1, adding=True))]])
    assert sorted(ended.live) == ["b", "n", "trip:1", "trip:2"]
    assert ended.finished


@pytest.mark.parametrize(
    ("promised", "end", "kept"),
    [
        (Promise(folder=1, adding=True), Promise(folder=0), False),
        (Promise(folder=1, adding=True), Promise(folder=1), True),  # a build does all of its folder
        (Promise(folder=0), Promise(folder=0, adding=True), False),  # an add drops nothing
        (Promise(folder=0, inside="a", adding=True), Promise(folder=0, adding=True), True),
        (Promise(folder=0, inside="a/b", adding=True), Promise(folder=0, inside="a", adding=True), True),
        (Promise(folder=0, inside="ab", adding=True), Promise(folder=0, inside="a", adding=True), False),
        (Promise(folder=0, inside="a", adding=True), Promise(folder=0, inside="a/b", adding=True), False),
    ],
)
def test_which_end_keeps_which_promise(promised, end, kept):
    state = replay([[FOLDER, folder_line(1, Folder("trip", "/trip", "")), begin_line(promised)]])
    state.apply([end_line([], end)])
    assert state.finished is kept


def test_the_end_of_an_older_version_keeps_all_promises():
    state = replay([[FOLDER, begin_line(Promise(folder=0, photos=1, todo=1)), {"kind": "end", "bad": []}]])
    assert state.finished


def test_a_snapshot_replays_to_the_same_state():
    for n in range(1, 5):
        state = replay(BATCHES[:n])
        again = replay([snapshot_lines(state)])
        state.by_content = again.by_content  # dead features are forgotten on purpose
        assert again == state


def test_a_line_of_another_version_is_refused_by_name():
    for line in ({"kind": "photo", "id": "a"}, {"kind": "dance"}, {"id": "a"}, [], 7, "photo", None):
        with pytest.raises(ValueError, match="not a manifest line"):
            replay([[line]])


def test_ids_of_a_further_folder_carry_its_name():
    plain, named = Folder("", "/p", ""), Folder("trip", "/t", "")
    assert plain.id_of("a/b.png") == "a/b.png" == plain.file_of("a/b.png")
    assert named.id_of("a/b.png") == "trip:a/b.png"
    assert named.file_of("trip:a/b.png") == "a/b.png"
    assert folder_of([plain, named], "trip:a.png") == 1
    assert folder_of([plain, named], "other:a.png") == 0


def test_a_new_state_is_unfinished():
    assert not State().finished
    assert not replay([snapshot_lines(State())]).finished


PHOTO = photo_line(entry("a"))
STRANGE = {
    "id": ["../secret.png", "/etc/passwd", "a/../../b.png", "a\0.png", 7, None, "x" * 20_000],
    "folder": [1, -1, True, "0", 0.0],
    "size": [-1, "10", 1.5, True, 1 << 70],
    "mtime_ns": [1 << 70, "now", None],
    "ctime_ns": [1 << 70, "now"],
    "sha256": ["aa", "A" * 64, 5, None],
    "width": [-4, "4"],
    "group": [None, 3, ["a"]],
    "view": ["00", "z" * 66, 0],
    "shard": ["../../000000", "0", "000000000000000", 0],
    "row": [-1, "0", 1.0],
}


@pytest.mark.parametrize(("name", "value"), [(name, v) for name, vs in STRANGE.items() for v in vs])
def test_fields_of_a_strangers_photo_are_typed_and_bounded(name, value):
    replay([[FOLDER, PHOTO]])
    with pytest.raises(ValueError, match=f"not a manifest line.*'{name}'|not a manifest line"):
        replay([[FOLDER, {**PHOTO, name: value}]])


@pytest.mark.parametrize(
    "line",
    [
        {**FOLDER, "index": 3},
        {**FOLDER, "path": None},
        {"kind": "shard", "name": "../x", "rows": 1, "bytes": 1, "sha256": "b" * 64},
        {"kind": "shard", "name": "000000", "rows": -1, "bytes": 1, "sha256": "b" * 64},
        {"kind": "begin", "photos": "many", "todo": 0},
        {"kind": "begin", "photos": 1, "todo": 1, "inside": "../.."},
        {"kind": "end", "bad": 5},
        {"kind": "end", "bad": [{"id": "a"}]},
        {"kind": "remove", "id": ["a"], "why": "asked"},
    ],
)
def test_other_lines_of_a_stranger_are_typed_and_bounded_too(line):
    with pytest.raises(ValueError, match="not a manifest line"):
        replay([[line]])


@pytest.mark.parametrize("inner", ["[" * 100_000, "{", "9" * 5000])
def test_a_sealed_batch_that_is_no_json_is_damage(inner):
    digest = hashlib.sha256(inner.encode()).hexdigest()
    closing = json.dumps({"kind": "commit", "lines": 1, "sha256": digest}, separators=(",", ":"))
    found = journal.parse(f"{inner}\n{closing}\n".encode())
    assert found.batches == ()
    assert found.damaged == (1, 2)
