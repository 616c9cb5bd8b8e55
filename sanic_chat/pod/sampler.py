"""The sampler: measures now and then what no message may be asked to pay for.

    four times a second ─┬→ how late this timer is ─→ loop_lag
                         └→ the next turn of the hub, and no other, is timed ─→ fan_out_turns
    once a second ───────→ how long the queues of slow clients are ─→ send_queues

May live here: what is sampled, and how often. Must not know who wants to know it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial

from ..hub.hub import Hub
from ..session.send_queue import SendQueuePool
from ..stats.histogram import MESSAGES, SECONDS, Histogram

INTERVAL_SECONDS = 0.25
QUEUE_TICKS = 4
"""The intervals between two looks at the send queues."""
MAX_QUEUES = 1000
"""The send queues that are looked at in one go; of more, so many of them evenly."""
MAX_MISSED = 240
"""The timers that count as late after one long stall."""


class Sampler:
    """Samples a pod, from `start` to `stop`."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, hub: Hub, send_queues: SendQueuePool
    ) -> None:
        self.loop_lag = Histogram(SECONDS)
        """The lateness of callbacks. In a stall those count too that there was no time for."""
        self.fan_out_turns = Histogram(SECONDS)
        """The seconds of a loop turn's writing to clients: of the first one after each tick."""
        self.send_queues = Histogram(MESSAGES)
        """The messages in each send queue that there is, once a second."""
        self._loop = loop
        self._hub = hub
        self._pool = send_queues
        self._call_soon = hub.call_soon
        self._ticks = 0
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin. The loop must be running, or about to run."""
        self._wait()

    def stop(self) -> None:
        """Measure nothing more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._hub.call_soon = self._call_soon

    def _wait(self) -> None:
        self._due = time.monotonic() + INTERVAL_SECONDS
        self._timer = self._loop.call_later(INTERVAL_SECONDS, self._tick)

    def _tick(self) -> None:
        self._note_lag(max(0.0, time.monotonic() - self._due))
        self._wait()
        self._hub.call_soon = self._time_next_turn
        self._ticks += 1
        if self._ticks % QUEUE_TICKS == 0:
            for messages in self._pool.lengths(MAX_QUEUES):
                self.send_queues.observe(messages)

    def _note_lag(self, lag: float) -> None:
        self.loop_lag.observe(lag)
        for missed in range(1, min(int(lag / INTERVAL_SECONDS), MAX_MISSED) + 1):
            self.loop_lag.observe(lag - missed * INTERVAL_SECONDS)

    def _time_next_turn(self, turn: Callable[[], None]) -> object:
        self._hub.call_soon = self._call_soon
        return self._call_soon(partial(self._timed, turn))

    def _timed(self, turn: Callable[[], None]) -> None:
        began = time.perf_counter()
        turn()
        self.fan_out_turns.observe(time.perf_counter() - began)
