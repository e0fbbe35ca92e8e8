"""train/provenance.py: the commit that a weight file names, read without git."""

import pytest

from raiha_train.loop.provenance import commit_at

HASH = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def git(tmp_path):
    folder = tmp_path / "main" / ".git"
    (folder / "refs" / "heads").mkdir(parents=True)
    (folder / "HEAD").write_text("ref: refs/heads/main\n")
    return folder


def test_a_branch_of_its_own_file_a_packed_one_and_a_bare_commit(git):
    assert commit_at(git) == ""
    (git / "packed-refs").write_text(
        f"# pack-refs with: peeled\n{'f' * 40} refs/heads/not/main\n{HASH} refs/heads/main\n"
    )
    assert commit_at(git) == HASH
    (git / "refs/heads/main").write_text("e" * 40 + "\n")
    assert commit_at(git) == "e" * 40
    (git / "HEAD").write_text(HASH + "\n")
    assert commit_at(git) == HASH


def test_a_worktree_finds_the_branch_in_the_main_checkout(git, tmp_path):
    own = git / "worktrees" / "side"
    own.mkdir(parents=True)
    (own / "HEAD").write_text("ref: refs/heads/side\n")
    (own / "commondir").write_text("../..\n")
    (git / "refs/heads/side").write_text(HASH + "\n")
    (tmp_path / "side").mkdir()
    (tmp_path / "side" / ".git").write_text(f"gitdir: {own}\n")
    assert commit_at(tmp_path / "side" / ".git") == HASH


def test_outside_a_checkout_there_is_none(tmp_path):
    assert commit_at(tmp_path / ".git") == ""
