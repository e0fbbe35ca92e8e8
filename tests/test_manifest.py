"""The manifest: sealed batches, and what they add up to."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raiha_core.gallery import journal
from raiha_core.gallery.manifest import (
    Entry,
    Folder,
    Photo,
    State,
    finished_part,
    folder_line,
    folder_of,
    photo_line,
    progress_of,
    replay,
    shard_line,
    snapshot_lines,
)
from raiha_core.gallery.manifest import ShardInfo as Info


def entry(name: str, shard: str = "000000", row: int = 0, sha256: str = "aa", group: str = "") -> Entry:
    photo = Photo(
        id=name, path="", size=10, mtime_ns=2**60 + 1, sha256=sha256, width=4, height=3, group=group
    )
    return Entry(photo, 0, shard, row)


FOLDER = folder_line(0, Folder("", "/photos", "../photos"))
BATCHES = [
    [FOLDER, {"kind": "begin", "photos": 3, "todo": 3}],
    [shard_line("000000", Info(2, 99, "bb")), photo_line(entry("a")), photo_line(entry("b", row=1))],
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
    assert (state.expected, state.todo, progress_of(state)) == (3, 1, "2 of 3 photos")
    state = replay(BATCHES)
    assert (state.live, state.expected, state.excluded) == ({}, None, {"b"})
    assert state.bad == (("x", "no"),)
    assert state.by_content["aa"].photo.id == "b"  # features of dead photos can be used again
    state.apply([photo_line(entry("b", "000001"))])
    assert (state.live["b"].shard, state.excluded) == ("000001", set())


def test_the_last_whole_state_is_the_one_before_the_build_under_way():
    assert [finished_part(BATCHES[:n]) for n in range(5)] == [0, 0, 0, 3, 4]
    assert finished_part([*BATCHES, [{"kind": "begin", "photos": 9, "todo": 9}], [FOLDER]]) == 4


def test_a_snapshot_replays_to_the_same_state():
    for n in range(1, 5):
        state = replay(BATCHES[:n])
        again = replay([snapshot_lines(state)])
        state.by_content = again.by_content  # dead features are forgotten on purpose
        assert again == state


def test_a_line_of_another_version_is_refused_by_name():
    for line in ({"kind": "photo", "id": "a"}, {"kind": "dance"}, {"id": "a"}):
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
    assert State().expected is not None
    assert json.dumps(snapshot_lines(State())) == '[{"kind": "begin", "photos": 0, "todo": 0}]'
