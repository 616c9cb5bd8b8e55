"""The heartbeat: pings, and the end of clients that give no sign of life.

    a tick ─→ the sessions of the next slot ─→ a look at each ─→ ping, give up, or nothing

Every session is in one of `SLOTS` slots. So all have one look a revolution, and pings are spread
evenly over time, without a task or timer per client. A session counts the looks since it was last
heard; no clock is read. So time in which the process was frozen does not count against clients.

May live here: when a session is looked at, and what follows. Must not know rooms or messages.
"""

from __future__ import annotations

import asyncio

from ..websocket.frames import ping_frame
from .inbound import State
from .session import Session

LOOKS = 12
"""The looks at each session within the timeout. A dead one is gone after 11/12 to 12/12 of it."""

SLOTS = 50

_FIRST_PING = LOOKS // 2
_PING_EVERY = 2
_CLOSE_LOOKS = 2
"""The looks after which a closing session whose client did not answer is aborted."""

_PING = ping_frame()


class Heartbeat:
    """Watches over the sessions of one pod.

    A session without a sign of life is pinged from half of `timeout` (seconds) on, and aborted
    before it is over: its client sees 1006.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, timeout: float) -> None:
        self.timeout = timeout
        self._loop = loop
        self._tick_seconds = timeout / LOOKS / SLOTS
        self._wheel: list[set[Session]] = [set() for _ in range(SLOTS)]
        self._next_add = 0
        self._next_look = 0
        self._next_tick = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.timeouts = 0
        """Sessions that were ended because they were silent."""

    def start(self) -> None:
        """Begin to look. The loop must be running, or about to run."""
        self._next_tick = self._loop.time() + self._tick_seconds
        self._timer = self._loop.call_at(self._next_tick, self._tick)

    def stop(self) -> None:
        """Stop looking."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def add(self, session: Session) -> None:
        """Watch over a session until `discard`."""
        session.heartbeat_slot = self._next_add
        self._wheel[self._next_add].add(session)
        self._next_add = (self._next_add + 1) % SLOTS

    def discard(self, session: Session) -> None:
        """Stop watching over a session. Does nothing on one that is not watched over."""
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
            session.give_up()
        elif quiet >= _FIRST_PING and quiet % _PING_EVERY == 0:
            session.send(_PING, 0)
