"""What SECURITY.md promises, of whole commands: no process, no socket, nothing written elsewhere.

Oracles: Python's audit hook, and the system's own calls where strace is present. Hostile files themselves are
in tests/torture/strangers.py.
"""

import os
import pickle
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.gallery_fakes import tree, write_photos
from tests.torture.processes import end_of, start
from tests.torture.watch import Watch

ROOT = Path(__file__).parents[1]
needs_fork = pytest.mark.skipif(
    not hasattr(os, "fork"), reason="a hook stays for ever, so a child installs it"
)


def heard(place, mine, job):
    """What a watched child did that it must not."""

    def child():
        watch = Watch([mine], place, [mine])
        watch.install()
        job()
        watch.on = False
        (mine / "heard").write_text("\n".join(watch.found))

    assert end_of(start(child, place / "error")) == 0, (place / "error").read_text()
    return (mine / "heard").read_text()


@needs_fork
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("process", "subprocess.Popen"),
        ("system", "os.system"),
        ("socket", "socket."),
        ("pickle", "pickle.find_class"),
        ("write", "open changes"),
        ("link", "open changes"),
        ("remove", "os.remove changes"),
        ("read", "read "),
    ],
)
def test_the_watch_hears_what_it_is_for(tmp_path, name, told):
    mine, secret = tmp_path / "mine", tmp_path / "secret"
    mine.mkdir()
    secret.write_text("x")
    (mine / "link").symlink_to(secret)
    hostile = pickle.dumps(Path("x"))
    jobs = {
        "process": lambda: subprocess.run([sys.executable, "-c", ""], check=False),
        "system": lambda: os.system(":"),
        "socket": lambda: socket.socket().connect_ex(("127.0.0.1", 9)),
        "pickle": lambda: pickle.loads(hostile),
        "write": lambda: (tmp_path / "other").write_text("x"),
        "link": lambda: (mine / "link").write_text("x"),
        "remove": secret.unlink,
        "read": secret.read_text,
    }
    assert told in heard(tmp_path, mine, jobs[name])


@needs_fork
def test_the_watch_is_silent_about_work_in_its_own_folder(tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()

    def job():
        (mine / "a").write_text("x")
        os.rename(mine / "a", mine / "b")
        assert (mine / "b").read_text() == "x"
        (mine / "b").unlink()

    assert heard(tmp_path, mine, job) == ""


@pytest.fixture
def work(tmp_path):
    """Photos, a composite and its mask, and a file that nobody named."""
    write_photos(tmp_path / "photos", 4)
    (tmp_path / "pair").mkdir()
    pixels = np.random.default_rng(1).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "pair" / "c.png")
    mask = np.zeros((40, 48), np.uint8)
    mask[8:30, 10:30] = 255
    Image.fromarray(mask).save(tmp_path / "pair" / "m.png")
    (tmp_path / "secret.png").write_bytes((tmp_path / "pair" / "c.png").read_bytes())
    (tmp_path / "out").mkdir()
    return tmp_path


COMMANDS = """
import os, sys
from raiha_core.cli import main
os.environ["OMP_NUM_THREADS"] = "1"
pair = ["pair/c.png", "--mask", "pair/m.png"]
for call in (
    ["gallery", "build", "photos", "out/store", "--encoder", "lite0-fast", "--quiet"],
    ["gallery", "check", "out/store"],
    ["harmonize", *pair, "--references", "photos/002.png", "--model", "statistics", "-o", "out/result.png"],
):
    assert main(call) == 0, call
"""


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_the_system_sees_commands_start_nothing_and_write_in_their_folder_only(work):
    log = work / "out" / "calls"
    calls = "trace=execve,execveat,connect,bind,sendto,openat,open,creat,rename,renameat,renameat2,unlink,"
    calls += "unlinkat,mkdir,mkdirat,symlink,symlinkat,link,linkat,truncate,chmod,fchmodat"
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "TMPDIR": str(work / "out"),
    }
    strace = ["strace", "-f", "--seccomp-bpf", "-qq", "-e", calls, "-e", "signal=none", "-o", str(log)]
    done = subprocess.run(
        [*strace, sys.executable, "-c", COMMANDS], cwd=work, env=environment, capture_output=True, check=False
    )
    if b"ptrace" in done.stderr or b"Operation not permitted" in done.stderr:
        pytest.skip("this machine does not let a process be traced")
    assert done.returncode == 0, done.stderr.decode()
    lines = [line for line in log.read_text(errors="replace").splitlines() if "= -1" not in line]
    started = [line for line in lines if re.search(r"\bexecve(at)?\(", line)]
    assert len(started) == 1, started  # Python itself
    assert [
        line for line in lines if re.search(r"\b(connect|bind|sendto)\(", line) and "AF_INET" in line
    ] == []
    changing = (
        r"\b(rename|unlink|mkdir|symlink|link|truncate|chmod|creat|fchmod)(at|at2)?\(|O_(WRONLY|RDWR|CREAT)"
    )
    for line in (line for line in lines if re.search(changing, line)):
        for name in re.findall(r'"([^"]*)"', line):
            path = os.path.normpath(os.path.join(work, name))
            mine = path.startswith((str(work / "out"), "/dev/", "/proc/"))
            assert mine or "/" not in name, line  # a bare name is below an open folder
    assert not any("secret.png" in line for line in lines)
    assert {path.name for path in work.iterdir()} == {"photos", "pair", "secret.png", "out"}
    assert len(tree(work / "photos")) == 4


def test_the_page_says_where_each_thing_is_held():
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    for path in re.findall(r"`((?:tests|locks)/[a-z_/]+\.[a-z]+)`", text):
        assert (ROOT / path).is_file(), path
    assert len(text.splitlines()) <= 70
    for word in ("gallery", "checkpoint", "workflow", "list", "picture", "server", "--photos"):
        assert word in text
