"""Work shared out among all cores, for what one core does at a time: a LiteRT interpreter, say."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def shared_out(workers: Sequence[Callable[[Item], Result]], items: Iterable[Item]) -> Iterator[Result]:
    """Yield what a worker gives for each item, in the items' order.

    Each worker has one item at a time, in a thread; a single one works in the caller's. No more than a few
    results wait to be taken. Raises what a worker raises.
    """
    if len(workers) == 1:
        yield from map(workers[0], items)
        return
    free: SimpleQueue[Callable[[Item], Result]] = SimpleQueue()
    for worker in workers:
        free.put(worker)

    def work(item: Item) -> Result:
        worker = free.get()
        try:
            return worker(item)
        finally:
            free.put(worker)

    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(len(workers)) as pool:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > 2 * len(workers):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
