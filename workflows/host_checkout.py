"""Starts a ComfyUI checkout with this pack in it, on a free port and in folders of its own."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType

from .host_server import Server

_START = 180.0  # seconds until a slow machine answers
_TAIL = 2000  # characters of the log that are searched for a reason


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _interpreter(checkout: Path, given: str | None) -> str:
    """The named interpreter, else the checkout's own environment, else this one."""
    if given:
        return given
    places = ("bin/python", "Scripts/python.exe")
    for environment in ("venv", ".venv"):
        for place in places:
            if (path := checkout / environment / place).is_file():
                return str(path)
    return sys.executable


class Checkout(Server):
    """A ComfyUI that is started for this run and ended after it."""

    def __init__(self, checkout: Path, *, pack_root: Path, base: Path | None, python: str | None) -> None:
        if not (checkout / "main.py").is_file():
            raise ValueError(f"{checkout} is not a ComfyUI checkout: it has no main.py")
        super().__init__(f"http://127.0.0.1:{_free_port()}")
        self._checkout = checkout.resolve()
        self._pack_root = pack_root
        self._given_base = base
        self._python = _interpreter(self._checkout, python or os.environ.get("COMFYUI_PYTHON"))
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._own_link: Path | None = None

    def __enter__(self) -> "Checkout":
        self._temporary = tempfile.TemporaryDirectory(prefix="raiha-comfyui-", ignore_cleanup_errors=True)
        base = (self._given_base or Path(self._temporary.name, "base")).resolve()
        link = base / "custom_nodes" / "raiha"
        link.parent.mkdir(parents=True, exist_ok=True)
        try:
            if not link.exists():
                _link(link, self._pack_root)
                self._own_link = link
            self._start(base)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _start(self, base: Path) -> None:
        log = Path(str(self._temporary and self._temporary.name), "comfyui.log")
        port = self.url.rpartition(":")[2]
        command = [
            self._python,
            str(self._checkout / "main.py"),
            *("--cpu", "--disable-auto-launch", "--disable-api-nodes"),
            *("--base-directory", str(base), "--port", port),
            *("--database-url", "sqlite:///:memory:"),  # the default lies in the checkout, shared by all
            *("--disable-all-custom-nodes", "--whitelist-custom-nodes", "raiha"),
        ]
        with open(log, "wb") as sink:
            self._process = subprocess.Popen(command, cwd=self._checkout, stdout=sink, stderr=sink)
        deadline = min(time.monotonic() + _START, self._until)
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise ValueError(f"ComfyUI in {self._checkout} ended at start: {_last_line(log)}")
            try:
                super().__enter__()
            except (ConnectionError, ValueError):
                time.sleep(0.2)
                continue
            if self.inputs_of("Raiha_Harmonize") is None:
                raise ValueError(f"ComfyUI could not load this pack: {_import_failure(log)}")
            return
        raise TimeoutError(f"ComfyUI in {self._checkout} did not answer in time")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM if os.name == "nt" else signal.SIGINT)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._own_link is not None:  # before its folder is emptied
            self._own_link.unlink()
            self._own_link = None
        if self._temporary is not None:
            self._temporary.cleanup()


def _link(link: Path, target: Path) -> None:
    """A link to a folder; on Windows a junction, which needs no rights that users lack."""
    if os.name == "nt":
        import _winapi

        _winapi.CreateJunction(str(target), str(link))
    else:
        link.symlink_to(target, target_is_directory=True)


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace")[-_TAIL:].split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it wrote nothing")


def _import_failure(log: Path) -> str:
    for line in log.read_text(encoding="utf-8", errors="replace").split("\n"):
        if "Cannot import" in line or "comfy_entrypoint" in line:
            return line.strip()
    return "its log does not say why"
