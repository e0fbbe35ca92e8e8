"""The revision that weights say they were made by: git's own answer, and none where it has none."""

import shutil
import subprocess

import pytest

from raiha_train.loop.provenance import commit_at

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def git(folder, *call):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    done = subprocess.run(
        ["git", "-C", str(folder), *identity, *call], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path):
    folder = tmp_path / "main"
    folder.mkdir()
    git(folder, "init", "-q")
    git(folder, "commit", "-q", "--allow-empty", "-m", "first")
    return folder


def test_it_is_the_commit_that_is_checked_out(checkout):
    first = commit_at(checkout)
    assert len(first) == 40
    assert git(checkout, "cat-file", "-t", first) == "commit"
    git(checkout, "commit", "-q", "--allow-empty", "-m", "second")
    second = commit_at(checkout)
    assert git(checkout, "rev-parse", "HEAD~1") == first != second
    git(checkout, "checkout", "-q", "--detach", first)
    assert commit_at(checkout) == first


def test_a_worktree_has_its_own(checkout, tmp_path):
    first = commit_at(checkout)
    git(checkout, "worktree", "add", "-q", "-b", "side", str(tmp_path / "side"))
    git(checkout, "commit", "-q", "--allow-empty", "-m", "second")
    assert commit_at(tmp_path / "side") == first != commit_at(checkout)


def test_outside_a_checkout_or_below_another_one_there_is_none(checkout, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    below = checkout / "copied here"
    below.mkdir()
    (tmp_path / "elsewhere").mkdir()
    assert commit_at(below) == commit_at(tmp_path / "elsewhere") == commit_at(tmp_path / "missing") == ""
    monkeypatch.setenv("PATH", "")
    assert commit_at(checkout) == ""
