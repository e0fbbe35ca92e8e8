"""The client of a ComfyUI server, against servers that misbehave, one way per test."""

import logging
import re
import time

import pytest

from tests.comfy_server import PNG, PROMPT, SAVED, encoded, running
from workflows.run import pack

http = pack("workflows.host_http")
Server = pack("workflows.host_server").Server


@pytest.fixture
def comfy():
    with running() as found:
        yield found


@pytest.fixture
def server(comfy):
    found = Server(comfy.url)
    found.start_clock(30)
    return found


@pytest.mark.parametrize(
    ("kind", "ending"), [("PNG", "png"), ("JPEG", "jpg"), ("WEBP", "webp"), ("TIFF", "tif")]
)
@pytest.mark.parametrize("announced", ["image", "application/octet-stream", None])
def test_a_picture_of_the_announced_type_is_taken(comfy, server, kind, ending, announced):
    comfy.picture = encoded(kind)
    type_ = f"image/{kind.lower()}" if announced == "image" else announced
    comfy.views = {} if type_ is None else {"Content-Type": type_}
    assert server.fetch({**SAVED, "filename": f"a.{ending}"}) == comfy.picture


BROKEN = [
    ({"picture": b"<html>log in first</html>"}, "'a_00001_.png' is no picture"),
    ({"picture": b""}, "is no picture"),
    ({"picture": encoded("JPEG")}, "'a_00001_.png' is of another kind: JPEG"),
    ({"views": {"Content-Type": "text/html"}}, "announced 'a_00001_.png' as text/html, but sent PNG"),
    ({"views": {"Content-Type": "image/jpeg"}}, "as image/jpeg, but sent PNG"),
    ({"picture": PNG[: len(PNG) // 2]}, "cannot be read: a_00001_.png"),
    ({"picture": PNG[:40] + b"xxxx" + PNG[44:]}, "cannot be read"),
]


@pytest.mark.parametrize(("state", "sentence"), BROKEN)
def test_an_answer_that_is_not_the_picture_is_an_error(comfy, server, state, sentence):
    vars(comfy).update(state)
    with pytest.raises(ValueError, match=re.escape(sentence)):
        server.fetch(SAVED)


def test_an_answer_that_breaks_off_is_a_lost_connection(comfy, server):
    comfy.cut = 10
    with pytest.raises(ConnectionError, match="broke off"):
        server.fetch(SAVED)


def test_an_answer_without_end_is_not_read_to_its_end(comfy, server, monkeypatch):
    monkeypatch.setattr(pack("workflows.host_server"), "MOST_BYTES", 1000)
    comfy.picture = PNG + bytes(10_000)
    with pytest.raises(ValueError, match=r"longer than 0\.001 MB"):
        server.fetch(SAVED)


def test_a_byte_now_and_then_does_not_stretch_the_timeout(comfy, server):
    comfy.drip = 0.05
    started = time.monotonic()
    server.start_clock(0.5)
    with pytest.raises(TimeoutError, match="did not answer in time"):
        server.fetch(SAVED)
    assert time.monotonic() - started < 2  # the whole picture would take over 10 s
    comfy.drip = 0


def test_many_quick_answers_do_not_stretch_the_timeout(comfy, server):
    comfy.polls_before_history = 10**6
    started = time.monotonic()
    server.start_clock(0.7)
    with pytest.raises(TimeoutError, match="in time"):
        server.run(PROMPT)
    assert time.monotonic() - started < 3


@pytest.mark.parametrize("target", ["http://169.254.1.1/latest", "https://example.org/x", "//example.org/x"])
@pytest.mark.parametrize("route", ["view", "prompt", "system_stats"])
def test_a_way_to_another_host_is_not_followed(comfy, server, route, target):
    comfy.moved = {route: target}
    with pytest.raises(ValueError, match=r"sends the request on to (169|example).*not followed"):
        {"view": lambda: server.fetch(SAVED), "prompt": lambda: server.run(PROMPT)}.get(
            route, server.__enter__
        )()


def test_another_port_is_another_host_and_the_same_place_is_followed(comfy, server):
    comfy.moved = {"system_stats": "http://127.0.0.1:9/x"}
    with pytest.raises(ValueError, match="not followed"):
        server.__enter__()
    comfy.moved = {"system_stats": "/other"}
    assert server.__enter__() is server
    assert comfy.asked[-1][1] == "/other"


def test_what_is_sent_is_not_sent_twice_by_a_redirect(comfy, server):
    comfy.moved = {"prompt": "/elsewhere"}
    with pytest.raises(ValueError, match="not followed"):
        server.run(PROMPT)


def test_a_proxy_is_not_asked_for_this_machine(comfy, server, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert server.fetch(SAVED) == PNG
    with pytest.raises(ConnectionError):  # another host is asked through the proxy: here, nobody
        Server("http://raiha.invalid").__enter__()


def test_another_host_is_announced_and_this_machine_is_not(comfy, caplog, monkeypatch):
    monkeypatch.setattr(Server, "_json", lambda *_: {})
    with (
        caplog.at_level(logging.WARNING),
        Server(comfy.url),
        Server("localhost:8188"),
        Server("http://[::1]:8188"),
    ):
        assert not caplog.records
    with caplog.at_level(logging.WARNING), Server("gpu.example.org:8188"):
        (record,) = caplog.records
    assert "sent to the ComfyUI at http://gpu.example.org:8188" in record.getMessage()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("file:///etc/passwd", "no address of a server"),
        ("ftp://host", "no address of a server"),
        ("http://", "no address of a server"),
        ("", "no address of a server"),
        ("http://host:99999", "no address of a server"),
        ("http://host:port", "no address of a server"),
        ("http://ho st", "no address of a server"),
        ("http://[::1", "no address of a server"),
        ("http://host?x=1", "no address of a server"),
        ("http://me:secret@host", "must not hold a user name"),
    ],
)
def test_what_is_no_address_is_refused_and_a_password_is_not_repeated(text, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        Server(text)
    assert "secret" not in str(caught.value)


def test_addresses_as_people_write_them():
    assert http.address("127.0.0.1:8188") == "http://127.0.0.1:8188"
    assert http.address(" https://host/comfy/ ") == "https://host/comfy"
    for host in ("127.3.2.1", "[::1]", "localhost", "0.0.0.0"):
        assert http.is_this_machine(f"http://{host}:1"), host
    assert not any(
        http.is_this_machine(f"http://{host}") for host in ("10.0.0.1", "localhost.example.org", "a")
    )


STRANGE = [b"<html>", b"[1, 2]", b'"text"', b"null", b"[" * 100_000, b"\xff\xfe"]


@pytest.mark.parametrize("answer", STRANGE)
def test_a_stranger_is_one_sentence(comfy, server, answer, tmp_path):
    comfy.prompt = (200, answer)
    with pytest.raises(ValueError, match="prompt did not answer as ComfyUI does"):
        server.run(PROMPT)
    comfy.prompt = (500, answer)
    with pytest.raises(ValueError, match=r"refused: (HTTP 500 for prompt|no reason was given)"):
        server.run(PROMPT)


@pytest.mark.parametrize(
    "history",
    [
        {"p": []},
        {"p": {"status": []}},
        {"p": {"status": {"status_str": "success"}}},
        {"p": {"status": {"messages": [1]}}},
    ],
)
def test_a_strange_history_is_one_sentence(comfy, server, history):
    comfy.history = history
    with pytest.raises(ValueError, match=r"did not answer as ComfyUI does|does not say why"):
        server.run(PROMPT)


def test_a_servers_words_cannot_steer_the_terminal(comfy, server):
    data = {"node_id": "4", "node_type": "X", "exception_message": "\x1b[2Jgone\n" + "x" * 5000}
    comfy.history = {
        "p": {"outputs": {}, "status": {"status_str": "error", "messages": [["execution_error", data]]}}
    }
    with pytest.raises(ValueError, match=r"node 4 \(X\): \[2Jgone xxx") as caught:
        server.run(PROMPT)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 2100


def test_a_server_that_is_away_for_a_moment_is_asked_again(comfy, server, monkeypatch):
    monkeypatch.setattr(pack("workflows.host_server"), "_POLL", 0.01)
    real, calls = Server._json, []

    def flaky(self, method, route, body=None):
        calls.append(route)
        if route.startswith("history") and len(calls) < 4:
            raise ConnectionError("away")
        return real(self, method, route, body)

    monkeypatch.setattr(Server, "_json", flaky)
    assert server.run(PROMPT) == {"1": {"images": [SAVED]}}
    assert calls.count("prompt") == 1


def test_a_server_that_came_back_without_the_prompt_is_lost(comfy, server, monkeypatch):
    monkeypatch.setattr(pack("workflows.host_server"), "_POLL", 0.001)
    comfy.queue, comfy.polls_before_history = {"queue_running": [], "queue_pending": []}, 10**6
    real, calls = Server._json, []

    def once_away(self, method, route, body=None):
        calls.append(route)
        if len(calls) == 2:
            raise ConnectionError("away")
        return real(self, method, route, body)

    monkeypatch.setattr(Server, "_json", once_away)
    with pytest.raises(ConnectionError, match="was restarted"):
        server.run(PROMPT)
