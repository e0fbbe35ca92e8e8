"""Workflow files that nobody would write, and the one sentence that each gets."""

import json
import signal

import pytest

from workflows.run import ROOT, main, pack

HARMONIZE = ROOT / "workflows" / "api" / "harmonize.json"


@pytest.fixture(autouse=True)
def _signals():
    """`main` takes over SIGTERM."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


# ---- odd workflow files


ODD_WORKFLOWS = [
    (b"", "is not a workflow"),
    ("{}".encode("utf-16"), "it is no UTF-8 text"),
    (b"[" * 100_000, "nested more than 64 levels deep"),
    (b'{"1": {"class_type": "X", "inputs": {"a": ' + b"[" * 900 + b"]" * 900 + b"}}}", "nested more than 64"),
    (b'{"1": {"class_type": "X", "inputs": {"a": NaN}}}', "a number that is not finite"),
    (b'{"1": {"class_type": "X", "inputs": {"a": 1e999}}}', "a number that is not finite"),
    (b'{"1": {"class_type": "X"}, "1": {"class_type": "Y"}}', "'1' stands in it twice"),
    (b'{"1": {"class_type": "X", "inputs": {"a": "\\u0000"}}}', "a text that is none"),
    (b'{"1": {"class_type": "X", "inputs": {"a": "\\ud800"}}}', "a text that is none"),
    (b'{"1": {"class_type": ["X"]}}', "'class_type' of node 1 is not a text"),
    (b'{"1": {"class_type": "X", "_meta": "title"}}', "'_meta' of node 1 is not an object"),
    (b'{"1": {}}', "node 1: 'None' is not known to the embedded host"),
    (
        b'{"1": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}}}',
        "in a loop: 1 (PreviewAny) -> 1",
    ),
    (b"null", "it must be an object of nodes by id"),
]


@pytest.mark.parametrize(("content", "sentence"), ODD_WORKFLOWS)
def test_an_odd_workflow_is_one_sentence(tmp_path, capsys, content, sentence):
    path = tmp_path / "odd.json"
    path.write_bytes(content)
    assert main([str(path), "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1


def test_a_workflow_may_begin_with_a_mark(tmp_path):
    path = tmp_path / "marked.json"
    path.write_bytes(b"\xef\xbb\xbf" + HARMONIZE.read_bytes())
    assert pack("workflows.host_prompt").read_prompt(path) == json.loads(HARMONIZE.read_bytes())


def test_a_run_that_takes_too_long_says_so(tmp_path, capsys):
    assert main([str(HARMONIZE), "--out", str(tmp_path / "out"), "--timeout", "0.001"]) == 1
    assert "did not finish in time" in capsys.readouterr().err
