"""Outages: the times in which other pods are not reached for certain.

    begin ─→ on_begin ─→ (proven, and calm for a second) ─→ on_end(seconds, lossy)

May live here: when an outage begins and ends, and which of them count as one. Must not know how
that is found out, nor who is told.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

CALM_SECONDS = 1.0
"""The least time between the ends of two outages. Faster ones are told of as one, so that a link
that is cut again and again does not flood clients with events."""


class Outage:
    """An outage of Redis, or none. It begins as one, since nothing is proven yet.

    `on_begin()` is called when an outage begins. `on_end(seconds, lossy)` is called when it is
    over; `lossy`: messages of other pods may have been missed.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        on_begin: Callable[[], None],
        on_end: Callable[[float, bool], None],
    ) -> None:
        self.is_on = True
        """Whether other pods cannot be reached for certain."""
        self._loop = loop
        self._on_begin = on_begin
        self._on_end = on_end
        self._good_until = time.monotonic()
        self._proven_at: float | None = None
        self._lossy = True
        self._last_end = float("-inf")
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, good_until: float, *, lossy: bool) -> None:
        """Begin an outage that lasts since `good_until` (`time.monotonic()`).

        `lossy`: messages of other pods may be missed. Within an outage this only adds to it.
        """
        self._forget_proof()
        if self.is_on:
            self._lossy |= lossy
            return
        self.is_on = True
        self._good_until = good_until
        self._lossy = lossy
        self._on_begin()

    def proven(self) -> None:
        """Note that both ways, to Redis and back, work; this ends an outage, at once or later."""
        if not self.is_on or self._proven_at is not None:
            return
        self._proven_at = time.monotonic()
        wait = self._last_end + CALM_SECONDS - self._proven_at
        if wait > 0:
            self._timer = self._loop.call_later(wait, self._end)
        else:
            self._end()

    def _end(self) -> None:
        assert self._proven_at is not None
        seconds = self._proven_at - self._good_until
        self._forget_proof()
        self._last_end = time.monotonic()
        self.is_on = False
        self._on_end(seconds, self._lossy)

    def _forget_proof(self) -> None:
        self._proven_at = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
