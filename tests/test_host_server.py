"""The client of a ComfyUI server, against a small server that answers as ComfyUI 0.33.0 does."""

import json

import pytest

from tests.comfy_server import PNG, PROMPT, SAVED, running
from workflows.run import pack

Server = pack("workflows.host_server").Server
Checkout = pack("workflows.host_checkout").Checkout

MISSING = {"type": "required_input_missing", "message": "Required input is missing", "details": "images"}
NODE_ERRORS = {"1": {"errors": [MISSING], "dependent_outputs": ["1"], "class_type": "SaveImage"}}


@pytest.fixture
def comfy():
    with running() as found:
        yield found


def test_a_run_waits_for_the_history_and_fetches_by_subfolder_and_type(comfy):
    with Server(comfy.url) as server:
        outputs = server.run(PROMPT)
        assert outputs == {"1": {"images": [SAVED]}}
        assert server.fetch(SAVED) == PNG
    assert comfy.asked[-1][1] == "/view?filename=a_00001_.png&subfolder=x&type=output"
    route, body = comfy.posted[0]
    assert route == "prompt"
    assert json.loads(body)["prompt"] == PROMPT


def test_node_errors_with_status_200_are_a_failure_and_the_rest_is_stopped(comfy):
    comfy.prompt = (200, {"prompt_id": "p", "node_errors": NODE_ERRORS})
    with pytest.raises(ValueError, match=r"node 1 \(SaveImage\): Required input is missing: images"):
        Server(comfy.url).run(PROMPT)
    assert [route for route, _ in comfy.posted] == ["prompt", "queue", "interrupt"]


def test_a_prompt_that_was_stopped_takes_no_time_from_the_next(comfy, monkeypatch):
    monkeypatch.setattr(pack("workflows.host_server"), "_GOODBYE", 0.0)
    sound, comfy.prompt = comfy.prompt, (200, {"prompt_id": "p", "node_errors": NODE_ERRORS})
    server = Server(comfy.url)
    with pytest.raises(ValueError, match="Required input is missing"):
        server.run(PROMPT)
    comfy.prompt = sound
    assert server.run(PROMPT) == {"1": {"images": [SAVED]}}


def test_a_refusal_names_the_node_although_its_details_are_empty(comfy):
    error = {"type": "prompt_outputs_failed_validation", "message": "failed", "details": ""}
    comfy.prompt = (400, {"error": error, "node_errors": NODE_ERRORS})
    with pytest.raises(ValueError, match=r"refused: node 1 \(SaveImage\): Required input is missing"):
        Server(comfy.url).run(PROMPT)


def test_a_bare_500_is_one_sentence(comfy):
    comfy.prompt = (500, b"500 Internal Server Error")
    with pytest.raises(ValueError, match="refused: HTTP 500 for prompt"):
        Server(comfy.url).run(PROMPT)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            ["execution_error", {"node_id": "4", "node_type": "X", "exception_message": "no mask\n"}],
            r"node 4 \(X\): no mask$",
        ),
        (["execution_interrupted", {"node_id": "4", "node_type": "X"}], r"node 4 \(X\) was interrupted"),
    ],
)
def test_a_failed_run_names_the_node(comfy, message, expected):
    comfy.history = {"p": {"outputs": {}, "status": {"status_str": "error", "messages": [message]}}}
    with pytest.raises(ValueError, match=expected):
        Server(comfy.url).run(PROMPT)


def test_a_prompt_that_vanishes_is_a_failure(comfy, monkeypatch):
    monkeypatch.setattr(pack("workflows.host_server"), "_POLL", 0.001)
    comfy.queue = {"queue_running": [], "queue_pending": []}
    comfy.polls_before_history = 10**6
    with pytest.raises(ValueError, match="deleted from the server's queue"):
        Server(comfy.url).run(PROMPT)


def test_a_timeout_stops_the_job(comfy):
    comfy.polls_before_history = 10**6
    server = Server(comfy.url)
    server.start_clock(0.5)
    with pytest.raises(TimeoutError, match="in time"):
        server.run(PROMPT)
    assert json.loads(comfy.posted[-1][1]) == {"prompt_id": "p"}


def test_upload_uses_the_name_that_the_server_gives(comfy, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG bytes")
    assert Server(comfy.url).upload(path) == "a (1).png"
    (_, body) = comfy.posted[0]
    assert b'filename="a.png"' in body
    assert path.read_bytes() in body


def test_inputs_of_a_class_and_of_an_unknown_one(comfy):
    server = Server(comfy.url)
    assert server.inputs_of("LoadImage") == {
        "image": {"type": "COMBO", "image_upload": True},
        "n": {"type": "INT", "min": 0},
    }
    assert server.inputs_of("Nothing") is None


def test_nobody_there_is_one_sentence():
    server = Server("127.0.0.1:9")
    with pytest.raises(ConnectionError, match="no ComfyUI answers at http://127"), server:
        pass


def test_a_checkout_without_main_is_refused_and_one_that_dies_is_quoted(tmp_path):
    def checkout(path):
        return Checkout(path, pack_root=tmp_path, base=tmp_path / "base", python=None)

    with pytest.raises(ValueError, match="is not a ComfyUI checkout"):
        checkout(tmp_path)
    (tmp_path / "main.py").write_text("raise SystemExit('no module named torch')")
    with pytest.raises(ValueError, match="ended at start: no module named torch"), checkout(tmp_path):
        pass
