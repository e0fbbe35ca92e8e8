"""The client of a ComfyUI server, against a small server that answers as ComfyUI 0.33.0 does."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from workflows.run import pack

Server = pack("workflows.host_server").Server
Checkout = pack("workflows.host_checkout").Checkout

PROMPT = {"1": {"class_type": "SaveImage", "inputs": {}}}
SAVED = {"filename": "a_00001_.png", "subfolder": "x", "type": "output"}
MISSING = {"type": "required_input_missing", "message": "Required input is missing", "details": "images"}
NODE_ERRORS = {"1": {"errors": [MISSING], "dependent_outputs": ["1"], "class_type": "SaveImage"}}


class Comfy:
    """What the fake server says, and what it was asked."""

    def __init__(self):
        self.posted = []
        self.prompt = (200, {"prompt_id": "p", "number": 1, "node_errors": {}})
        self.history = {"p": {"outputs": {"1": {"images": [SAVED]}}, "status": {"status_str": "success"}}}
        self.polls_before_history = 1
        self.queue = {"queue_running": [[0, "p"]], "queue_pending": []}

    def answer(self, method, path, body):
        route = path.split("?")[0].strip("/")
        if method == "POST":
            self.posted.append((route, body))
        if route == "prompt":
            return self.prompt
        if route.startswith("history"):
            self.polls_before_history -= 1
            return 200, self.history if self.polls_before_history < 0 else {}
        if route == "queue":
            return 200, self.queue
        if route == "view":
            return 200, b"PNG " + path.encode()
        if route == "upload/image":
            return 200, {"name": "a (1).png", "subfolder": "", "type": "input"}
        if route.startswith("object_info"):
            info = {"required": {"image": [["a.png"], {"image_upload": True}], "n": ["INT", {"min": 0}]}}
            return 200, {"LoadImage": {"input": info}} if route.endswith("LoadImage") else {}
        return 200, {}


@pytest.fixture
def comfy():
    comfy = Comfy()

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, answer = comfy.answer(self.command, self.path, body)
            data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = handle_any  # noqa: N815

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    comfy.url = f"http://127.0.0.1:{server.server_port}"
    yield comfy
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_run_waits_for_the_history_and_fetches_by_subfolder_and_type(comfy):
    with Server(comfy.url) as server:
        outputs = server.run(PROMPT, timeout=10)
        assert outputs == {"1": {"images": [SAVED]}}
        assert server.fetch(SAVED) == b"PNG /view?filename=a_00001_.png&subfolder=x&type=output"
    route, body = comfy.posted[0]
    assert route == "prompt"
    assert json.loads(body)["prompt"] == PROMPT


def test_node_errors_with_status_200_are_a_failure_and_the_rest_is_stopped(comfy):
    comfy.prompt = (200, {"prompt_id": "p", "node_errors": NODE_ERRORS})
    with pytest.raises(ValueError, match=r"node 1 \(SaveImage\): Required input is missing: images"):
        Server(comfy.url).run(PROMPT, timeout=10)
    assert [route for route, _ in comfy.posted] == ["prompt", "queue", "interrupt"]


def test_a_refusal_names_the_node_although_its_details_are_empty(comfy):
    error = {"type": "prompt_outputs_failed_validation", "message": "failed", "details": ""}
    comfy.prompt = (400, {"error": error, "node_errors": NODE_ERRORS})
    with pytest.raises(ValueError, match=r"refused: node 1 \(SaveImage\): Required input is missing"):
        Server(comfy.url).run(PROMPT, timeout=10)


def test_a_bare_500_is_one_sentence(comfy):
    comfy.prompt = (500, b"500 Internal Server Error")
    with pytest.raises(ValueError, match="refused: HTTP 500 for prompt"):
        Server(comfy.url).run(PROMPT, timeout=10)


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
        Server(comfy.url).run(PROMPT, timeout=10)


def test_a_prompt_that_vanishes_is_a_failure(comfy, monkeypatch):
    monkeypatch.setattr(pack("workflows.host_server"), "_POLL", 0.001)
    comfy.queue = {"queue_running": [], "queue_pending": []}
    comfy.polls_before_history = 10**6
    with pytest.raises(ValueError, match="deleted from the server's queue"):
        Server(comfy.url).run(PROMPT, timeout=10)


def test_a_timeout_stops_the_job(comfy):
    comfy.polls_before_history = 10**6
    with pytest.raises(TimeoutError, match="did not finish in time"):
        Server(comfy.url).run(PROMPT, timeout=0.05)
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
