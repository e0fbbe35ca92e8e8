"""A small server that answers as ComfyUI 0.33.0 does, or misbehaves as it is told."""

import contextlib
import io
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from PIL import Image

PROMPT = {"1": {"class_type": "SaveImage", "inputs": {}}}
SAVED = {"filename": "a_00001_.png", "subfolder": "x", "type": "output"}


def encoded(kind, size=(8, 6)):
    file = io.BytesIO()
    Image.effect_noise(size, 50).convert("RGB").save(file, kind)
    return file.getvalue()


PNG = encoded("PNG")


class Comfy:
    """What the fake server says, and what it was asked."""

    def __init__(self):
        self.posted = []
        self.asked = []  # (method, path, headers)
        self.views = {}  # headers of an answer to `view`
        self.picture = PNG
        self.drip = 0  # seconds between two bytes of an answer to `view`
        self.cut = 0  # bytes of it that are announced and not sent
        self.moved = {}  # route -> where it sends the request on to
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
            return 200, self.picture
        if route == "upload/image":
            return 200, {"name": "a (1).png", "subfolder": "", "type": "input"}
        if route.startswith("object_info"):
            info = {"required": {"image": [["a.png"], {"image_upload": True}], "n": ["INT", {"min": 0}]}}
            return 200, {"LoadImage": {"input": info}} if route.endswith("LoadImage") else {}
        return 200, {}


@contextlib.contextmanager
def running():
    """A server in a thread; what it says is changed through what is yielded."""
    comfy = Comfy()

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self):
            comfy.asked.append((self.command, self.path, dict(self.headers)))
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            route = self.path.split("?")[0].strip("/")
            status, answer = comfy.answer(self.command, self.path, body)
            data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            view = route == "view"
            self.send_response(302 if route in comfy.moved else status)
            if route in comfy.moved:
                self.send_header("Location", comfy.moved[route])
            for name, value in (comfy.views if view else {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            data = data[: len(data) - comfy.cut] if view else data
            if not (view and comfy.drip):
                self.wfile.write(data)
                return
            for byte in data:
                self.wfile.write(bytes([byte]))
                time.sleep(comfy.drip)

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
