"""The load's event loop: epoll, and timers that keep to the microsecond.

A read costs one look-up and one call beyond what the kernel takes. Knows nothing of what is read.
"""

from __future__ import annotations

import heapq
import itertools
import select
import time
from collections.abc import Callable

Callback = Callable[[], object]


class Loop:
    """Calls the handler of a descriptor whenever it is ready, and timers when they are due."""

    def __init__(self) -> None:
        self.handlers: dict[int, Callback] = {}
        """The function to call when a descriptor is ready; may be replaced at any time."""
        self._epoll = select.epoll()
        self._timers: list[tuple[float, int, Callback]] = []
        self._order = itertools.count()

    def watch(self, descriptor: int, events: int, handler: Callback) -> None:
        """Call `handler` when one of these epoll events holds."""
        self.handlers[descriptor] = handler
        self._epoll.register(descriptor, events)

    def change(self, descriptor: int, events: int, handler: Callback) -> None:
        """Watch for other events from now on."""
        self.handlers[descriptor] = handler
        self._epoll.modify(descriptor, events)

    def forget(self, descriptor: int) -> None:
        """Watch it no more; before it is closed."""
        del self.handlers[descriptor]
        self._epoll.unregister(descriptor)

    def call_at(self, when: float, callback: Callback) -> None:
        """Call once, at that `time.monotonic()`."""
        heapq.heappush(self._timers, (when, next(self._order), callback))

    def run(self, until: float, *, done: Callable[[], bool] = lambda: False) -> bool:
        """Run until that `time.monotonic()`, or until `done()`; True if it was done."""
        handlers, poll, timers, now = self.handlers, self._epoll.poll, self._timers, time.monotonic
        while not done():
            events = poll(0)
            if not events:
                wake = min(until, timers[0][0]) if timers else until
                if (pause := wake - now()) > 0:
                    # epoll waits for whole milliseconds, select for microseconds.
                    select.select([self._epoll], [], [], pause)
                    events = poll(0)
            for descriptor, _ in events:
                handler = handlers.get(descriptor)
                if handler is not None:  # one called before it may have closed this one
                    handler()
            time_now = now()
            while timers and timers[0][0] <= time_now:
                heapq.heappop(timers)[2]()
            if time_now >= until:
                return done()
        return True

    def close(self) -> None:
        """Give back the descriptor."""
        self._epoll.close()
