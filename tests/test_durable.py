"""Oracle: the file itself, after a child process was killed at each line of a write in turn."""

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from raiha_core import durable

ROOT = Path(durable.__file__).parents[1]

# The child counts the lines that durable.py and its own block run, and kills itself before the n-th.
# It leaves the count in a file when it was not killed, so the parent knows that it tried every point.
CHILD = """
import os, sys
from pathlib import Path
from raiha_core import durable
point, path, done, action = int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
seen = 0

def block(temporary):
    with open(temporary, "wb", buffering=0) as file:
        for _ in range(4):
            file.write(b"n" * 1000)

def write():
    if action == "append":
        durable.append_lines(path, ["new one", "new two"])
    elif action == "text":
        durable.write_text(path, "n" * 4000)
    else:
        with durable.durable_path(path) as temporary:
            block(temporary)

def trace(frame, event, argument):
    global seen
    if frame.f_code.co_filename != durable.__file__ and frame.f_code.co_name not in ("block", "write"):
        return None
    if event == "line":
        seen += 1
        if seen == point:
            os._exit(9)  # no clean-up of any kind, as after a kill
    return trace

sys.settrace(trace)
write()
sys.settrace(None)
done.write_text(str(seen))
"""


def run_child(*arguments: str, before: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", before + CHILD, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def kill_everywhere(path: Path, action: str, old: bytes | None) -> list[bytes | None]:
    """What `path` holds after a kill before each line of a write that starts from `old`."""
    done, found = path.with_name("done"), []
    for point in range(1, 200):
        path.unlink(missing_ok=True)
        if old is not None:
            path.write_bytes(old)
        result = run_child(str(point), str(path), str(done), action)
        if done.exists():
            assert result.returncode == 0
            assert int(done.read_text()) == point - 1
            return found
        assert result.returncode == 9, result.stderr
        found.append(path.read_bytes() if path.exists() else None)
    raise AssertionError("the write never came to its end")


@pytest.mark.parametrize("old", [b"old", None])
def test_killed_anywhere_a_file_is_old_or_new(tmp_path, old):
    new = b"n" * 4000
    found = kill_everywhere(tmp_path / "file.bin", "block", old)
    assert set(found) == {old, new}
    assert len(found) > 12
    # once it is new it stays new: the change happens at one line
    assert found == [old] * found.count(old) + [new] * found.count(new)
    # a part file has a name that listings of photos pass over
    assert all(path.name.startswith(".") for path in tmp_path.glob("*.part*"))


def test_killed_anywhere_a_text_is_old_or_new(tmp_path):
    assert set(kill_everywhere(tmp_path / "file.txt", "text", b"old")) == {b"old", b"n" * 4000}


def test_killed_anywhere_appended_lines_are_whole(tmp_path):
    found = kill_everywhere(tmp_path / "lines", "append", b"first\nto")
    # the torn line of an earlier kill is there, or dropped, or the new lines stand in its place
    assert set(found) == {b"first\nto", b"first\n", b"first\nnew one\nnew two\n"}


def test_a_write_replaces_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "a name with ümlaut.txt"
    durable.write_text(path, "one\r\ntwo\n")
    durable.write_text(path, "drei: ß\n")
    assert path.read_bytes() == "drei: ß\n".encode()
    assert os.listdir(tmp_path) == [path.name]


def test_an_error_in_the_block_keeps_the_old_file(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def fail(error: type[BaseException]) -> None:
        with durable.durable_path(path) as temporary:
            temporary.write_text("half")
            raise error

    for error in (RuntimeError, KeyboardInterrupt):
        with pytest.raises(error):
            fail(error)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.txt"]


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    path = tmp_path / "file.txt"
    with pytest.raises(FileNotFoundError), durable.durable_path(path):
        pass
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_keeps_the_old_file_and_names_it(tmp_path, monkeypatch, call):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match=r"file\.txt") as caught:
        durable.write_text(path, "new")
    assert caught.value.errno == errno.ENOSPC
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.txt"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no file size limit to run into")
@pytest.mark.parametrize("action", ["block", "text", "append"])
def test_a_disk_that_fills_up_during_the_write(tmp_path, action):
    # A real refusal by the kernel after 2000 of 4000 bytes, as on a full disk
    path = tmp_path / "file.bin"
    old = b"o" * 1989 + b"\n"
    path.write_bytes(old)
    limit = (
        "import resource, signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
    )
    result = run_child("0", str(path), str(tmp_path / "done"), action, before=limit)
    assert result.returncode == 1
    assert result.stderr.strip().endswith(f"'{path}'")  # the sentence names the file, not its part file
    assert path.read_bytes() == old
    assert os.listdir(tmp_path) == ["file.bin"]


def test_a_missing_folder_is_named(tmp_path):
    path = tmp_path / "absent" / "file.txt"
    with pytest.raises(FileNotFoundError) as caught:
        durable.write_text(path, "new")
    assert caught.value.filename == str(path)
    with pytest.raises(FileNotFoundError) as caught:
        durable.append_lines(path, ["new"])
    assert caught.value.filename == str(path)


def test_a_folder_in_the_place_of_the_file_is_named(tmp_path):
    path = tmp_path / "folder"
    (path / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match=r"folder'$"):
        durable.write_text(path, "new")
    assert os.listdir(tmp_path) == ["folder"]


@pytest.mark.skipif(os.name == "nt", reason="Windows limits the whole path, which is long already")
def test_a_name_as_long_as_the_file_system_allows(tmp_path):
    path = tmp_path / ("x" * 251 + ".txt")
    durable.write_text(path, "long")
    assert path.read_text() == "long"


@pytest.mark.skipif(os.name == "nt", reason="Windows refuses to replace a file at the same moment twice")
def test_threads_that_write_one_file_do_not_mix(tmp_path):
    path = tmp_path / "file.txt"
    texts = [str(i) * 200_000 for i in range(8)]
    barrier, errors = threading.Barrier(len(texts)), []

    def write(text: str) -> None:
        barrier.wait()
        try:
            for _ in range(5):
                durable.write_text(path, text)
        except OSError as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert path.read_text() in texts
    assert os.listdir(tmp_path) == ["file.txt"]


@pytest.mark.parametrize(
    ("before", "kept"),
    [
        (b"", b""),
        (b"one\n", b"one\n"),
        (b"one\ntwo", b"one\n"),
        (b"torn only", b""),
        (b"one\n" + b"t" * 200_000, b"one\n"),
    ],
)
def test_lines_are_appended_after_the_last_whole_one(tmp_path, before, kept):
    path = tmp_path / "lines"
    path.write_bytes(before)
    durable.append_lines(path, ["ä", "b"])
    durable.append_lines(path, [])
    durable.append_lines(path, ["c"])
    assert path.read_bytes() == kept + "ä\nb\nc\n".encode()


def test_an_append_that_cannot_be_flushed_leaves_the_lines_as_they_were(tmp_path, monkeypatch):
    path = tmp_path / "lines"
    durable.append_lines(path, ["one"])

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"lines'$"):
        durable.append_lines(path, ["two"])
    assert path.read_bytes() == b"one\n"


def test_a_newline_inside_a_line_is_our_own_bug(tmp_path):
    with pytest.raises(AssertionError):
        durable.append_lines(tmp_path / "lines", ["one\ntwo"])


@pytest.mark.skipif(os.name == "nt", reason="Windows has no permission bits")
def test_permissions_are_those_of_an_ordinary_file(tmp_path):
    ordinary = tmp_path / "ordinary"
    ordinary.touch()
    target = tmp_path / "private_writer.bin"
    with durable.durable_path(target) as temporary:
        os.close(os.open(temporary, os.O_CREAT | os.O_WRONLY, 0o600))
    assert target.stat().st_mode == ordinary.stat().st_mode
    target.chmod(0o640)
    with durable.durable_path(target) as temporary:
        temporary.write_bytes(b"again")
    assert target.stat().st_mode & 0o777 == 0o640  # what the owner chose is kept


def test_a_new_folder_is_synced_into_the_one_above_it(tmp_path, monkeypatch):
    # what was not synced into its folder is lost with the power, and all below it
    synced = []
    monkeypatch.setattr(durable, "sync_folder", synced.append)
    durable.make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    assert synced == [tmp_path, tmp_path / "a"]
    durable.make_folder(tmp_path / "a" / "b")
    assert len(synced) == 2
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        durable.make_folder(tmp_path / "file")
