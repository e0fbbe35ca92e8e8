"""The parallel map: in order, bounded, and interruptible."""

import threading
import time

import pytest
import torch

from raiha_core.gallery.parallel import map_in_order


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_come_in_the_order_of_the_items(workers):
    def work(n):
        time.sleep(0.002 * (n % 3))  # later items finish first
        return n * n

    assert list(map_in_order(work, range(20), workers=workers)) == [n * n for n in range(20)]


def test_items_are_not_taken_long_before_they_are_needed():
    taken = []

    def source():
        for n in range(1000):
            taken.append(n)
            yield n

    results = map_in_order(lambda n: n, source(), workers=2)
    assert next(results) == 0
    assert len(taken) <= 9
    results.close()


def test_workers_run_at_the_same_time():
    meet = threading.Barrier(3, timeout=10)  # passes only if three are there at once
    assert len(list(map_in_order(lambda _: meet.wait(), range(3), workers=3))) == 3


def test_an_error_of_the_work_ends_the_map():
    def work(n):
        if n == 3:
            raise TimeoutError("mine")  # not to be taken for the map's own polling
        return n

    results = map_in_order(work, range(100), workers=2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(TimeoutError, match="mine"):
        next(results)


def test_interruption_gets_through_while_a_slow_item_is_awaited():
    released, asked = threading.Event(), []

    def interrupted():
        asked.append(1)
        if len(asked) == 3:
            released.set()
            raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        list(map_in_order(lambda _: released.wait(30), range(2), workers=1, interrupted=interrupted))
    assert time.monotonic() - started < 10


def test_each_worker_has_one_torch_thread_and_the_caller_keeps_his():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert set(map_in_order(lambda _: torch.get_num_threads(), range(6), workers=2)) == {1}
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_no_worker_is_an_error():
    with pytest.raises(ValueError, match="at least 1 worker is needed, got 0"):
        next(map_in_order(lambda n: n, [1], workers=0))
