"""Runs prompts on a ComfyUI server, over its HTTP interface."""

import json
import logging
import math
import time
import urllib.parse
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from .host_graph import Prompt
from .host_http import Answer, RefusedError, address, is_this_machine, request
from .host_pictures import MOST_BYTES, require_picture
from .host_runner import Outputs

_LOG = logging.getLogger("raiha.host")
_POLL = 0.2  # seconds between two looks at the history
_LOST = 15.0  # seconds without an answer after which a server that has our prompt is given up
_GOODBYE = 5.0  # seconds for telling a server that a prompt is no longer wanted
_MOST_JSON = 100_000_000  # bytes


def _plain(text: object, most: int = 400) -> str:
    """A server's words in one line that cannot steer a terminal."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    return line if len(line) <= most else f"{line[:most]}..."


def _sentences(answer: Mapping[str, Any]) -> str:
    """Everything a refusal says, in one sentence; the details are often only in `node_errors`."""
    found = [
        f"node {node_id} ({entry.get('class_type')}): {error.get('message')}: {error.get('details')}"
        for node_id, entry in (answer.get("node_errors") or {}).items()
        for error in entry.get("errors", [])
    ]
    error = answer.get("error")
    if not found and isinstance(error, Mapping):
        found = [" ".join(filter(None, [str(error.get("message", "")), str(error.get("details", ""))]))]
    return _plain("; ".join(found) or error or "no reason was given", 2000)


class Server:
    """A ComfyUI that is already running."""

    def __init__(self, url: str) -> None:
        self.url = address(url)
        self._until = math.inf
        self._inputs: dict[str, dict[str, dict[str, Any]] | None] = {}

    def __enter__(self) -> "Server":
        if not is_this_machine(self.url):
            _LOG.warning("the pictures of this workflow are sent to the ComfyUI at %s", self.url)
        self._json("GET", "system_stats")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The server goes on."""

    def start_clock(self, seconds: float) -> None:
        """Whatever is asked from now on must be answered within so many seconds, all of it together."""
        self._until = time.monotonic() + seconds

    def _request(
        self,
        method: str,
        route: str,
        body: bytes | None = None,
        kind: str = "application/json",
        most: int = _MOST_JSON,
    ) -> Answer:
        headers = {} if body is None else {"Content-Type": kind}
        try:
            return request(method, f"{self.url}/{route}", body, headers, until=self._until, most=most)
        except RefusedError as error:
            try:
                reason = _sentences(json.loads(error.body))
            except (ValueError, AttributeError, TypeError, RecursionError):
                reason = f"{error} for {route.partition('?')[0]}"
            raise ValueError(f"the server at {self.url} refused: {reason}") from None

    def _json(self, method: str, route: str, body: Any = None) -> dict[str, Any]:
        """An answer as an object; {} for an empty one."""
        data = None if body is None else json.dumps(body).encode()
        return self._object(self._request(method, route, data), route)

    def _object(self, answer: Answer, route: str) -> dict[str, Any]:
        try:
            found = json.loads(answer.body) if answer.body.strip() else {}
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise self._stranger(route)
        return found

    def _stranger(self, route: str) -> ValueError:
        return ValueError(f"{self.url}/{route} did not answer as ComfyUI does")

    def inputs_of(self, class_type: str) -> dict[str, dict[str, Any]] | None:
        if class_type not in self._inputs:
            route = f"object_info/{urllib.parse.quote(class_type, safe='')}"
            info = self._json("GET", route).get(class_type)
            try:
                self._inputs[class_type] = None if info is None else _flat(info["input"])
            except (KeyError, TypeError, ValueError, AttributeError):
                raise self._stranger(route) from None
        return self._inputs[class_type]

    def upload(self, path: Path) -> str:
        boundary = uuid.uuid4().hex
        name = path.name.replace('"', "_").replace("\r", "_").replace("\n", "_")
        head = f'Content-Disposition: form-data; name="image"; filename="{name}"\r\n'
        body = b"".join(
            [
                f"--{boundary}\r\n{head}Content-Type: application/octet-stream\r\n\r\n".encode(
                    errors="replace"
                ),
                path.read_bytes(),
                f"\r\n--{boundary}--\r\n".encode(),
            ]
        )
        route = "upload/image"
        kind = f"multipart/form-data; boundary={boundary}"
        answer = self._object(self._request("POST", route, body, kind), route)
        parts = [answer.get("subfolder") or "", answer.get("name")]
        if not all(isinstance(part, str) for part in parts) or not parts[1]:
            raise self._stranger(route)
        return "/".join(filter(None, parts))

    def run(self, prompt: Prompt) -> Outputs:
        """Raises: ValueError naming the faulty node; ConnectionError where the server is lost;
        TimeoutError.
        """
        answer = self._json("POST", "prompt", {"prompt": prompt, "client_id": uuid.uuid4().hex})
        prompt_id = answer.get("prompt_id")
        if not isinstance(prompt_id, str):
            raise self._stranger("prompt")
        if answer.get("node_errors"):  # some outputs would run, the others are dropped silently
            self._stop(prompt_id)
            raise ValueError(f"the server at {self.url} refused: {_sentences(answer)}")
        try:
            return self._wait(prompt_id)
        except (KeyError, TypeError, AttributeError, IndexError):
            raise self._stranger("history") from None
        except (KeyboardInterrupt, TimeoutError):
            self._stop(prompt_id)
            raise

    def _wait(self, prompt_id: str) -> Outputs:
        missing, heard, away = 0, time.monotonic(), False
        while True:
            try:
                entry = self._json("GET", f"history/{prompt_id}").get(prompt_id)
                if entry is not None:
                    return _outputs(entry)
                queue = self._json("GET", "queue")
                heard = time.monotonic()
            except ConnectionError:
                away = True
                if time.monotonic() - heard > _LOST:
                    raise
            else:
                waiting = [item[1] for key in ("queue_running", "queue_pending") for item in queue[key]]
                missing = 0 if prompt_id in waiting else missing + 1
            if missing > 10:  # a job leaves the queue a moment before it is in the history
                if away:
                    raise ConnectionError(f"the server at {self.url} was restarted and has lost the workflow")
                raise ValueError("the workflow was deleted from the server's queue")
            if time.monotonic() >= self._until:
                raise TimeoutError("the workflow did not finish in time and was stopped")
            time.sleep(_POLL)

    def _stop(self, prompt_id: str) -> None:
        """Best effort: it is called on the way out with another error."""
        clock = self._until
        self.start_clock(_GOODBYE)
        try:
            self._json("POST", "queue", {"delete": [prompt_id]})
            self._json("POST", "interrupt", {"prompt_id": prompt_id})
        except (OSError, ValueError) as error:
            _LOG.debug("the server was not told: %s", error)
        finally:
            self._until = clock  # the next prompt has what time there was

    def fetch(self, entry: Mapping[str, str]) -> bytes:
        """Raises: ValueError naming the file where the answer is not the picture that it should be."""
        query = urllib.parse.urlencode(
            {name: entry.get(name, "") for name in ("filename", "subfolder", "type")}
        )
        answer = self._request("GET", f"view?{query}", most=MOST_BYTES)
        require_picture(answer.body, _plain(entry["filename"], 100), answer.kind)
        return answer.body


def _flat(sections: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """`object_info`'s inputs as {name: {"type", options...}}; old nodes list a combo's entries there."""
    found = {}
    for section in ("required", "optional"):
        for name, (kind, *options) in sections.get(section, {}).items():
            found[name] = {
                **(options[0] if options else {}),
                "type": kind if isinstance(kind, str) else "COMBO",
            }
    return found


def _outputs(entry: Mapping[str, Any]) -> Outputs:
    """The outputs of a finished prompt. Raises: ValueError naming the node that failed."""
    status = entry.get("status") or {}
    if status.get("status_str") == "success":
        return entry["outputs"]
    for kind, data in status.get("messages", []):
        if kind == "execution_error":
            node = f"node {_plain(data.get('node_id'))} ({_plain(data.get('node_type'))})"
            raise ValueError(f"{node}: {_plain(data.get('exception_message'), 2000)}")
        if kind == "execution_interrupted":
            raise ValueError(f"node {data.get('node_id')} ({data.get('node_type')}) was interrupted")
    raise ValueError("the workflow failed, and the server does not say why")
