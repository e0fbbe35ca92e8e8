"""One HTTP request to one host: bounded in time and size, straight to this machine, never led elsewhere."""

import ipaddress
import queue
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage
from typing import IO, Any

_PATIENCE = 60.0  # seconds without a single byte
_BLOCK = 1 << 20


class RefusedError(ValueError):
    """The server answered with a status that is no success."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"HTTP {status}")
        self.body = body


@dataclass(frozen=True, slots=True)
class Answer:
    body: bytes
    kind: str  # the announced media type, lower case; "" where none is


def address(text: str) -> str:
    """An address as people write it (`127.0.0.1:8188`, `https://host/comfy/`) as a URL without a last `/`.

    Raises: ValueError for anything but http and https, for a missing host, a bad port, a user name.
    """
    if "@" in text:  # not repeated in the error: it may hold a password
        raise ValueError("the address of a server must not hold a user name or a password")
    url = text.strip().rstrip("/") if "://" in text else f"http://{text.strip().rstrip('/')}"
    try:
        parts = urllib.parse.urlsplit(url)
        sound = bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound or parts.scheme not in ("http", "https") or set(url) & set(" ?#") or not url.isprintable():
        raise ValueError(f"{text!r:.80} is no address of a server: write http://HOST:PORT")
    return url


def is_this_machine(url: str) -> bool:
    host = urllib.parse.urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        found = ipaddress.ip_address(host)
        return found.is_loopback or found.is_unspecified
    except ValueError:
        return False


class _SameHost(urllib.request.HTTPRedirectHandler):
    """Follows an answer that names another place only where that is on the same host and port."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        before, after = (urllib.parse.urlsplit(url) for url in (req.full_url, newurl))
        if after.netloc != before.netloc or req.data is not None:
            raise ValueError(
                f"the server at {before.netloc} sends the request on to {after.netloc or 'another place'}, "
                "which is not followed; name that server yourself if you trust it"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def request(
    method: str, url: str, body: bytes | None, headers: dict[str, str], *, until: float, most: int
) -> Answer:
    """Send one request and read its whole answer.

    Args: until: the time (`time.monotonic`) at which to give up; most: bytes that an answer may have.
    Raises: RefusedError for a status that is no success; ConnectionError where nobody answers or an answer
        breaks off; TimeoutError at `until`; ValueError for an answer that is too long or leads elsewhere.
    """
    handlers: list[Any] = [_SameHost()]
    if is_this_machine(url):
        handlers.append(urllib.request.ProxyHandler({}))
    opener = urllib.request.build_opener(*handlers)
    call = urllib.request.Request(url, data=body, headers=headers, method=method)

    def talk() -> Answer:
        place = url[: url.index("/", url.index("://") + 3)]
        try:
            with opener.open(call, timeout=_PATIENCE) as answer:
                length = answer.headers.get("Content-Length", "")
                data = _read(answer, most, until)
                if length.isdigit() and len(data) != int(length):
                    raise ConnectionError("its answer broke off")
                kind = answer.headers.get_content_type() if "Content-Type" in answer.headers else ""
                return Answer(data, kind)
        except urllib.error.HTTPError as error:
            raise RefusedError(error.code, _read(error, most, until)) from None
        except (urllib.error.URLError, HTTPException, OSError) as error:
            raise ConnectionError(f"no ComfyUI answers at {place}: {_reason(error)}") from None

    return _within(until, talk)


def _reason(error: BaseException) -> str:
    reason = getattr(error, "reason", error)
    if isinstance(reason, TimeoutError):
        return "it was silent for too long"
    return getattr(reason, "strerror", None) or str(reason) or "it hung up"


def _read(answer: Any, most: int, until: float) -> bytes:
    parts, size = [], 0
    try:
        while part := answer.read1(_BLOCK):
            parts.append(part)
            size += len(part)
            if size > most:
                raise ValueError(
                    f"the server's answer is longer than {most / 1e6:g} MB and was not read further"
                )
            if time.monotonic() >= until:
                break  # nobody waits for it any more
    except HTTPException:
        raise ConnectionError("its answer broke off") from None
    return b"".join(parts)


def _within(until: float, work: Callable[[], Answer]) -> Answer:
    """Run in a thread, because a name that is looked up, or a byte a minute, ends no socket's own wait."""
    results: queue.SimpleQueue[Answer | BaseException] = queue.SimpleQueue()

    def run() -> None:
        try:
            results.put(work())
        except BaseException as error:  # handed to whoever waits
            results.put(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        found = results.get(timeout=max(0.0, min(until - time.monotonic(), threading.TIMEOUT_MAX)))
    except queue.Empty:
        raise TimeoutError("the server did not answer in time") from None
    if isinstance(found, BaseException):
        raise found
    return found
