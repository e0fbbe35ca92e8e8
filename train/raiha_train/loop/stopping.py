"""A run that is asked to stop: SIGTERM is noted, and the loop saves after the step that it is in."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Whether someone asked."""

    asked = False


@contextmanager
def listening() -> Iterator[StopRequest]:
    """Note SIGTERM inside the block, and do what was done before about it afterwards.

    Only the main thread can: elsewhere, and in a system without the signal, nothing is noted.
    """
    request = StopRequest()

    def note(number: int, frame: FrameType | None) -> None:
        request.asked = True

    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = signal.signal(signal.SIGTERM, note)
    try:
        yield request
    finally:
        signal.signal(signal.SIGTERM, before)
