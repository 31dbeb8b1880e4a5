"""Work shared out among several workers."""

import threading
import time

import pytest

from fer_hailo.common.workers import cores, shared_out


def test_results_come_in_the_items_order_and_a_worker_has_one_item_at_a_time():
    busy, most = [threading.Lock() for _ in range(3)], []

    def worker(lock):
        def square(number):
            assert lock.acquire(blocking=False)
            time.sleep(0.002 * (number % 3))
            most.append(sum(lock.locked() for lock in busy))
            lock.release()
            return number**2

        return square

    results = list(shared_out([worker(lock) for lock in busy], range(30)))
    assert results == [number**2 for number in range(30)]
    assert max(most) > 1


def test_no_more_than_a_few_items_are_taken_ahead():
    taken = []

    def items():
        for number in range(100):
            taken.append(number)
            yield number

    results = shared_out([abs, abs], items())
    next(results)
    assert len(taken) <= 5
    assert list(results) == list(range(1, 100))


@pytest.mark.parametrize("count", [1, 2])
def test_what_a_worker_raises_is_raised(count):
    with pytest.raises(ZeroDivisionError):
        list(shared_out([lambda number: 1 // number] * count, [2, 1, 0]))


def test_a_single_worker_works_in_the_callers_thread():
    assert list(shared_out([lambda _: threading.current_thread()], [0])) == [threading.current_thread()]
    assert cores() >= 1
