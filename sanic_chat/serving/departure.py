"""The departure of a worker that a backend drains: it takes clients until another one does.

    begin ─→ a newer worker takes clients; else one is asked for ─→ leaves the listening socket
          ─→ all that it has accepted is answered ─→ ends, as SIGTERM has it end

Of all workers that take clients the newest stays until there is a newer one. So there is always
one, however many are drained at once.

May live here: the moments of a departure. Must not know how workers are made, nor what a drain is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ..logs.logger import logger

LOOK_SECONDS = 0.05
ASK_SECONDS = 30.0
"""The time after which a successor that has not come is asked for again."""


class Departure:
    """Departs once it is told to begin, however often.

    `may_leave()`: whether clients are taken elsewhere. Until then `ask_for_successor` is called; if
    that is None, there can be no other worker, and nothing is waited for. `has_answered()` tells
    whether what was accepted before `leave` is done; that is waited for `patience` seconds at most.
    """

    def __init__(
        self,
        *,
        may_leave: Callable[[], bool],
        ask_for_successor: Callable[[], None] | None,
        leave: Callable[[], None],
        has_answered: Callable[[], bool],
        patience: float,
        end: Callable[[], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._may_leave = may_leave
        self._ask_for_successor = ask_for_successor
        self._leave = leave
        self._has_answered = has_answered
        self._patience = patience
        self._end = end
        self._has_begun = False
        self._ask_at = self._loop.time()

    def begin(self) -> None:
        """Begin to depart, unless that has begun."""
        if not self._has_begun:
            self._has_begun = True
            logger.info("A backend has asked this worker to drain")
            self._look()

    def _look(self) -> None:
        if self._ask_for_successor is None:
            self._end()
        elif self._may_leave():
            self._leave()
            self._end_when_answered(self._loop.time() + self._patience)
        else:
            now = self._loop.time()
            if now >= self._ask_at:
                self._ask_at = now + ASK_SECONDS
                logger.info("A new worker is made first, which takes new clients")
                self._ask_for_successor()
            self._loop.call_later(LOOK_SECONDS, self._look)

    def _end_when_answered(self, deadline: float) -> None:
        if self._has_answered() or self._loop.time() >= deadline:
            self._end()
        else:
            self._loop.call_later(LOOK_SECONDS, self._end_when_answered, deadline)
