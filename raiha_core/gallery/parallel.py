"""A parallel map that keeps the order, holds few results, and can be interrupted between them."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from contextlib import contextmanager
from typing import TypeVar

import torch

_POLL = 0.2  # seconds between two looks at `interrupted` while a result is awaited

Given = TypeVar("Given")
Result = TypeVar("Result")


def map_in_order(
    work: Callable[[Given], Result],
    items: Iterable[Given],
    *,
    workers: int,
    interrupted: Callable[[], object] | None = None,
) -> Generator[Result, None, None]:
    """Results of `work` in the order of `items`, computed by `workers` threads; close it to end them.

    `interrupted` is called all the while; what it raises ends the map, as does an error of `work`.
    """
    if workers < 1:
        raise ValueError(f"at least 1 worker is needed, got {workers}")
    waiting: deque[Future[Result]] = deque()
    source = iter(items)
    with _one_torch_thread(), ThreadPoolExecutor(workers, "raiha-gallery", _use_one_torch_thread) as pool:
        try:
            for item in source:
                waiting.append(pool.submit(work, item))
                if len(waiting) >= 4 * workers:  # a slow photo must not make the others idle at once
                    yield _wait(waiting.popleft(), interrupted)
            while waiting:
                yield _wait(waiting.popleft(), interrupted)
        finally:
            pool.shutdown(cancel_futures=True)


def _wait(future: Future[Result], interrupted: Callable[[], object] | None) -> Result:
    while True:
        if interrupted is not None:
            interrupted()
        try:
            return future.result(timeout=_POLL)  # never endless: Ctrl-C must get through on Windows too
        except NotYet:
            if future.done():  # in this very moment; or the work itself raised a TimeoutError
                return future.result()


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    """One photo per thread: nested threads would fight, and could change the last bit of a sum."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _use_one_torch_thread() -> None:
    torch.set_num_threads(1)  # OpenMP keeps this number per thread
