"""A server on this machine that serves one file, well or badly: for the tests of what is brought."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MODES = ("well", "cuts off", "always cuts off", "claims more", "claims less", "another file", "redirects",
         "redirects for ever", "slow", "stalls", "absent", "busy once", "no resume", "endless",
         "redirects to a file", "claims a terabyte", "talks nonsense", "goes on elsewhere")  # fmt: skip


class Handler(BaseHTTPRequestHandler):
    data = b""
    mode = "well"
    asked: list[str | None]  # the Range header of each request

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:  # the library's name
        kind = type(self)
        kind.asked.append(self.headers.get("Range"))
        mode, first = kind.mode, len(kind.asked) == 1
        if mode == "absent":
            return self._answer(404, b"no such file")
        if mode == "busy once" and first:
            return self._answer(503, b"busy")
        if mode == "talks nonsense":
            self.wfile.write(b"\x00\x01 this is no answer\r\n")
            self.close_connection = True
            return None
        if mode == "redirects to a file":
            self.send_response(302)
            self.send_header("Location", "file:///etc/passwd")
            return self.end_headers()
        if mode.startswith("redirects") and (mode.endswith("ever") or not self.path.endswith("/moved")):
            self.send_response(302)
            self.send_header("Location", "/moved")
            return self.end_headers()
        data = bytes(len(kind.data)) if mode == "another file" else kind.data
        start = 0
        if (asked := self.headers.get("Range")) and mode != "no resume":
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(data):
                return self._answer(416, b"")
        self._send(
            data,
            start,
            cut=mode == "always cuts off"
            or (mode in ("cuts off", "no resume", "goes on elsewhere") and first),
        )

    def _answer(self, code: int, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _send(self, data: bytes, start: int, *, cut: bool) -> None:
        mode, body = type(self).mode, data[start:]
        claimed = {"claims more": 2 * len(body), "claims less": len(body) // 2}.get(mode, len(body))
        claimed = 1 << 40 if mode == "claims a terabyte" else claimed
        self.send_response(206 if start else 200)
        if start:
            said = 0 if mode == "goes on elsewhere" else start  # what follows is not what was asked for
            self.send_header("Content-Range", f"bytes {said}-{len(data) - 1}/{len(data)}")
        if mode != "endless":
            self.send_header("Content-Length", str(claimed))
        self.end_headers()
        self.close_connection = True
        try:
            if mode == "endless":
                while True:
                    self.wfile.write(bytes(1 << 20))
            body = body[: len(body) // 3] if cut else body
            for place in range(0, len(body), 1 << 14):
                self.wfile.write(body[place : place + (1 << 14)])
                if mode == "slow":
                    time.sleep(0.02)
                if mode == "stalls":
                    time.sleep(1.5)
        except (BrokenPipeError, ConnectionResetError):
            pass


@contextmanager
def serving(data: bytes, mode: str) -> Iterator[tuple[str, list[str | None]]]:
    """The server's address, and what was asked of it."""
    assert mode in MODES
    asked: list[str | None] = []
    kind = type("Serving", (Handler,), {"data": data, "mode": mode, "asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
