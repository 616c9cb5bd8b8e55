"""The limit of a worker's connections: those that are still HTTP give way to new ones.

    accept ──→ add ──→ (a session, or gone) ──→ discard
                └─ too many? ──→ the oldest that is not being answered is closed

May live here: their bound, their order and their count. Must not know what is sent over them.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol, cast

from ..logs.logger import RateLimitedWarning

SPARE_CONNECTIONS = 64
"""The connections beside the clients of a full worker: for checks, refusals and stats."""


class Evictable(Protocol):
    """The protocol of a connection that is still HTTP."""

    def evict(self) -> bool:
        """Close the connection unless a request is being answered. Returns whether it closed it."""


class ConnectionLimit:
    """Bounds sessions and connections that are still HTTP together.

    `limit` bounds the sessions; `most` is the number of connections that there are descriptors for.
    0: no bound. Beyond `limit` and `SPARE_CONNECTIONS`, or beyond `most`, each new connection
    closes the oldest one that is not being answered. So idle connections keep nobody out, and a
    check that asks at once is answered. If all others are being answered, the new one is closed.
    `add` looks at 64 of them at most.
    """

    def __init__(self, *, limit: int, sessions: Callable[[], int], most: int = 0) -> None:
        self.closed = 0
        """The connections that were closed for new ones."""
        bounds = (limit and limit + SPARE_CONNECTIONS, most)
        self._bound = min(filter(None, bounds), default=0)
        self._sessions = sessions
        self._oldest_first: OrderedDict[asyncio.Transport, None] = OrderedDict()
        self._warning = RateLimitedWarning()

    def add(self, transport: asyncio.Transport) -> None:
        """Count a connection that was accepted, and close one if there are too many."""
        if self._bound:
            self._oldest_first[transport] = None
            if len(self._oldest_first) + self._sessions() > self._bound:
                self._evict_one(transport)

    def discard(self, transport: asyncio.Transport) -> None:
        """Count a connection no more: it is lost, or has become a session."""
        self._oldest_first.pop(transport, None)

    def _evict_one(self, newest: asyncio.Transport) -> None:
        for _ in range(SPARE_CONNECTIONS):
            transport, _ = self._oldest_first.popitem(last=False)
            if transport is newest or cast(Evictable, transport.get_protocol()).evict():
                break
            self._oldest_first[transport] = None  # is being answered: asked last, next time
        else:
            transport = newest
            self.discard(newest)
        if transport is newest:
            newest.close()
        self.closed += 1
        self._warning.log(
            "Closed the oldest connection without a request: there are %d connections, and no more "
            "may be (%d more than CHAT_MAX_CONNECTIONS, or what `ulimit -n` allows)",
            self._bound,
            SPARE_CONNECTIONS,
        )
