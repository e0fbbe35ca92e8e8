"""Where the embedded host keeps its files and which node runs: the state behind ComfyUI's services.

A session is a context variable, so that two hosts in two threads never see each other's folders.
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path


class InterruptProcessingException(BaseException):
    """The user stopped the prompt. A BaseException, so that `except Exception` does not swallow it."""


@dataclass(slots=True)
class Session:
    """One base folder with `input`, `output`, `temp`, `user`, `models`, and the running node."""

    base: Path
    on_progress: Callable[[str, int, int], None] | None = None  # node id, value, of
    node_id: str | None = None
    interrupted: bool = False
    model_folders: dict[str, tuple[list[str], set[str]]] = field(default_factory=dict)

    def folder(self, kind: str) -> Path:
        path = self.base / kind
        path.mkdir(parents=True, exist_ok=True)
        return path


_CURRENT: contextvars.ContextVar[Session] = contextvars.ContextVar("raiha_host_session")


def current() -> Session:
    """The session in which this code runs. Raises: RuntimeError outside of one."""
    try:
        return _CURRENT.get()
    except LookupError:
        raise RuntimeError("no embedded host is running; enter Host.session() first") from None


@contextlib.contextmanager
def entered(session: Session) -> Iterator[Session]:
    token = _CURRENT.set(session)
    try:
        yield session
    finally:
        _CURRENT.reset(token)
