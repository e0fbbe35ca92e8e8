"""Runs prompts on a ComfyUI server, over its HTTP interface."""

import json
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from types import TracebackType
from typing import Any

from .host_prompt import Outputs, Prompt, clean

_POLL = 0.2  # seconds between two looks at the history
_PATIENCE = 60.0  # seconds for one answer


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
    return "; ".join(found) or str(error or "no reason was given")


class Server:
    """A ComfyUI that is already running."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/") if "://" in url else f"http://{url.rstrip('/')}"
        self._inputs: dict[str, dict[str, dict[str, Any]] | None] = {}

    def __enter__(self) -> "Server":
        self._json("GET", "system_stats")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The server goes on."""

    def _request(
        self, method: str, route: str, body: bytes | None = None, kind: str = "application/json"
    ) -> bytes:
        headers = {} if body is None else {"Content-Type": kind}
        request = urllib.request.Request(f"{self.url}/{route}", data=body, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=_PATIENCE) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            text = error.read()
            try:
                refusal = json.loads(text)
            except ValueError:
                refusal = {"error": f"HTTP {error.code} for {route}"}
            raise ValueError(f"the server at {self.url} refused: {_sentences(refusal)}") from None
        except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
            reason = getattr(error, "reason", error)
            raise ConnectionError(f"no ComfyUI answers at {self.url}: {reason}") from None

    def _json(self, method: str, route: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        text = self._request(method, route, data)
        try:
            return json.loads(text) if text else None
        except ValueError:
            raise ValueError(f"{self.url}/{route} did not answer in JSON: it is no ComfyUI") from None

    def inputs_of(self, class_type: str) -> dict[str, dict[str, Any]] | None:
        if class_type not in self._inputs:
            info = self._json("GET", f"object_info/{urllib.parse.quote(class_type)}").get(class_type)
            self._inputs[class_type] = None if info is None else _flat(info["input"])
        return self._inputs[class_type]

    def upload(self, path: Path) -> str:
        boundary = uuid.uuid4().hex
        name = path.name.replace('"', "_").replace("\r", "_").replace("\n", "_")
        head = f'Content-Disposition: form-data; name="image"; filename="{name}"\r\n'
        body = b"".join(
            [
                f"--{boundary}\r\n{head}Content-Type: application/octet-stream\r\n\r\n".encode(),
                path.read_bytes(),
                f"\r\n--{boundary}--\r\n".encode(),
            ]
        )
        answer = json.loads(
            self._request("POST", "upload/image", body, f"multipart/form-data; boundary={boundary}")
        )
        return "/".join(filter(None, [answer.get("subfolder", ""), answer["name"]]))

    def run(self, prompt: Prompt, *, timeout: float) -> Outputs:
        """Raises: ValueError naming the faulty node; ConnectionError; TimeoutError."""
        answer = self._json("POST", "prompt", {"prompt": clean(prompt), "client_id": uuid.uuid4().hex})
        prompt_id = answer["prompt_id"]
        if answer.get("node_errors"):  # some outputs would run, the others are dropped silently
            self._stop(prompt_id)
            raise ValueError(f"the server at {self.url} refused: {_sentences(answer)}")
        try:
            return self._wait(prompt_id, time.monotonic() + timeout)
        except (KeyboardInterrupt, TimeoutError):
            self._stop(prompt_id)
            raise

    def _wait(self, prompt_id: str, deadline: float) -> Outputs:
        missing = 0
        while time.monotonic() < deadline:
            entry = self._json("GET", f"history/{prompt_id}").get(prompt_id)
            if entry is not None:
                return _outputs(entry)
            queue = self._json("GET", "queue")
            waiting = [item[1] for key in ("queue_running", "queue_pending") for item in queue[key]]
            missing = 0 if prompt_id in waiting else missing + 1
            if missing > 10:  # a job leaves the queue a moment before it is in the history
                raise ValueError(
                    "the prompt was deleted from the server's queue, or the server was restarted"
                )
            time.sleep(_POLL)
        raise TimeoutError("the workflow did not finish in time and was stopped")

    def _stop(self, prompt_id: str) -> None:
        self._json("POST", "queue", {"delete": [prompt_id]})
        self._json("POST", "interrupt", {"prompt_id": prompt_id})

    def fetch(self, entry: Mapping[str, str]) -> bytes:
        query = urllib.parse.urlencode({name: entry[name] for name in ("filename", "subfolder", "type")})
        return self._request("GET", f"view?{query}")


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
            raise ValueError(
                f"node {data['node_id']} ({data['node_type']}): {str(data['exception_message']).strip()}"
            )
        if kind == "execution_interrupted":
            raise ValueError(f"node {data.get('node_id')} ({data.get('node_type')}) was interrupted")
    raise ValueError("the workflow failed, and the server does not say why")
