"""Pings, and the end of clients that gave no sign of life, without a task or timer per client.

A wheel: every session sits in one of many slots, and each tick looks at one slot, so every
session is looked at once a revolution and pings are spread evenly over time. A session counts
the looks since it was last heard; no clock is read. After the process was frozen, time that
nobody could have spoken in does not count against the clients.
"""

from __future__ import annotations

import asyncio

from .session import Session, State
from .websocket import ping_frame

LOOKS = 12
"""Looks at each session within the timeout: a dead one is gone between 11/12 and 12/12 of it."""

SLOTS = 50

_FIRST_PING = LOOKS // 2
_PING_EVERY = 2
_CLOSE_LOOKS = 2
"""Looks after which a closing session that did not answer is dropped."""

_PING = ping_frame()


class Heartbeat:
    """Keeps watch over the sessions of one pod.

    `timeout` is in seconds: a session without a sign of life for that long is aborted before it
    is over (its client sees 1006), and is pinged from half of it on.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, timeout: float) -> None:
        self._loop = loop
        self._tick_seconds = timeout / LOOKS / SLOTS
        self._wheel: list[set[Session]] = [set() for _ in range(SLOTS)]
        self._next_add = 0
        self._next_look = 0
        self._next_tick = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.timeouts = 0
        """Sessions ended because nothing was heard of them."""

    def start(self) -> None:
        """Begin to look. The loop must be running, or about to."""
        self._next_tick = self._loop.time() + self._tick_seconds
        self._timer = self._loop.call_at(self._next_tick, self._tick)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def add(self, session: Session) -> None:
        """Watch over a session until `discard`."""
        session.heartbeat_slot = self._next_add
        self._wheel[self._next_add].add(session)
        self._next_add = (self._next_add + 1) % SLOTS

    def discard(self, session: Session) -> None:
        """Watch over a session no more."""
        self._wheel[session.heartbeat_slot].discard(session)

    def sessions(self) -> list[Session]:
        """All sessions that are watched over: every one whose socket is open."""
        return [session for slot in self._wheel for session in slot]

    def _tick(self) -> None:
        now = self._loop.time()
        self._next_tick += self._tick_seconds
        if self._next_tick < now:
            self._next_tick = now + self._tick_seconds
        self._timer = self._loop.call_at(self._next_tick, self._tick)
        slot = self._wheel[self._next_look]
        self._next_look = (self._next_look + 1) % SLOTS
        for session in tuple(slot):
            self._look(session)

    def _look(self, session: Session) -> None:
        quiet = session.quiet_looks = session.quiet_looks + 1
        if session.state is not State.OPEN:
            if quiet > _CLOSE_LOOKS:
                session.abort()
        elif session.is_held:
            session.quiet_looks = 0  # it is we who do not listen
        elif quiet >= LOOKS:
            self.timeouts += 1
            session.abort()
        elif quiet >= _FIRST_PING and quiet % _PING_EVERY == 0:
            session.send(_PING, 0)
