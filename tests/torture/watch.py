"""Everything that Python tells of itself while it works: what is opened, written, started, connected.

Python's own audit events, which no code of ours can avoid; a hook stays for the life of a process, so a
child of its own installs it.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

_STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.startfile")
_STARTS += ("os.fork", "pty.spawn")
_SOCKETS = ("socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname")
_SOCKETS += ("urllib.Request", "ftplib.connect", "http.client.connect", "smtplib.connect")
_OF_LINKS = ("os.remove", "os.mkdir", "os.rmdir", "os.rename", "os.link", "os.symlink")  # they follow none
_CHANGES = (*_OF_LINKS, "os.truncate", "os.chmod", "os.chown", "os.utime", "shutil.rmtree", "shutil.move")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_IGNORED = ("/proc/", "/dev/null", "/dev/fd/", "/dev/urandom", "/sys/")
SHOWN = 10


class Watch:
    """What happened that was not to happen, in words.

    Args: mine: the only folders in which anything may be written. closed: folders of the trial; of what lies
        in them only what is in `open` may be read.
    """

    def __init__(self, mine: Sequence[Path], closed: Path, open_to: Sequence[Path]) -> None:
        self.mine = [os.path.realpath(path) for path in mine]
        self.closed, self.open_to = str(closed), [str(path) for path in open_to]
        self.found: list[str] = []
        self.on = False

    def install(self) -> None:
        sys.addaudithook(self._hear)
        self.on = True

    def _hear(self, event: str, arguments: tuple) -> None:
        if not self.on or len(self.found) >= SHOWN:
            return
        self.on = False  # what is done here is not heard
        try:
            self._judge(event, arguments)
        finally:
            self.on = True

    def _judge(self, event: str, arguments: tuple) -> None:
        loads = event == "ctypes.dlopen" and not _is_library(arguments)
        unpickles = event == "pickle.find_class" or (event == "marshal.loads" and not _importing())
        if event in _STARTS or event in _SOCKETS or loads or unpickles:
            self.found.append(f"{event} {arguments!r:.80}")
        elif event == "open":
            path, _, flags = arguments
            self._opened(path, isinstance(flags, int) and bool(flags & _WRITING))
        elif event in _CHANGES:
            for path in arguments[:2] if event in ("os.rename", "os.link") else arguments[:1]:
                self._written(path, event)

    def _opened(self, path: object, writing: bool) -> None:
        if isinstance(path, int) or path is None:
            return
        if writing:
            self._written(path, "open")
            return
        name = os.path.abspath(os.fsdecode(path))  # type: ignore[arg-type]
        inside = name.startswith(self.closed + os.sep)
        if inside and not any(name == place or name.startswith(place + os.sep) for place in self.open_to):
            self.found.append(f"read {name}")

    def _written(self, path: object, event: str) -> None:
        if isinstance(path, int) or path is None:
            return
        name = os.fsdecode(path)  # type: ignore[arg-type]
        if name.startswith(_IGNORED) or "__pycache__" in name:
            return
        if event in _OF_LINKS:
            real = os.path.join(os.path.realpath(os.path.dirname(name)), os.path.basename(name))
        else:
            real = os.path.realpath(name)
        if not any(real == place or real.startswith(place + os.sep) for place in self.mine):
            self.found.append(f"{event} changes {real}")


def _is_library(arguments: tuple) -> bool:
    """A compiled module that Python or torch brings."""
    name = str(arguments[0])
    return (
        name == "None"
        or name.startswith((sys.prefix, sys.base_prefix))
        or "site-packages" in name
        or ("/" not in name)
    )


def _importing() -> bool:
    """Whether Python is reading the compiled form of a module."""
    frame = sys._getframe()
    while frame is not None:
        if "importlib" in frame.f_code.co_filename:
            return True
        frame = frame.f_back
    return False
