"""Hand-over between two threads of a pipeline."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Closed(Exception):
    """Nobody takes or gives any more."""


class Channel(Generic[T]):
    """Holds one item. While it waits to be taken, `put` waits too; with `drop` it gives way instead, and is
    counted in `dropped`.

    Of the two sides, the giver ends it with `close`, the taker with `cancel`.
    """

    def __init__(self, drop: bool = False):
        self.drop, self.dropped = drop, 0
        self._items: list[T] = []  # none or one
        self._changed = threading.Condition()
        self._closed = False
        self._error: BaseException | None = None

    def put(self, item: T) -> None:
        """Hand an item over. Raises Closed after `cancel`."""
        with self._changed:
            while self._items and not self._closed:
                if self.drop:
                    self._items.clear()
                    self.dropped += 1
                else:
                    self._changed.wait()
            if self._closed:
                raise Closed
            self._items.append(item)
            self._changed.notify_all()

    def close(self, error: BaseException | None = None) -> None:
        """The last item was put; after it the taker gets `error`, if there is one."""
        with self._changed:
            self._closed, self._error = True, error
            self._changed.notify_all()

    def cancel(self) -> None:
        """The taker wants no more: what waits is thrown away, and `put` raises Closed."""
        with self._changed:
            self._closed = True
            self._items.clear()
            self._changed.notify_all()

    def __iter__(self) -> Iterator[T]:
        """The items until the end. Raises the giver's error there."""
        while True:
            with self._changed:
                while not self._items and not self._closed:
                    # Not for ever: on Windows Ctrl-C does not end a wait without a limit
                    self._changed.wait(0.5)
                if not self._items:
                    if self._error:
                        raise self._error
                    return
                item = self._items.pop()
                self._changed.notify_all()
            yield item
