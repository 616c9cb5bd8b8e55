"""Expiry: sessions whose token has ended are closed, after they were told that it will.

    add ─→ (a minute before the end) ─→ on_expiring ─→ (the end, and the leeway) ─→ on_expired
     ↑                                                                                  │
     └──── a new token ←── discard                                     the session is closed

Every session is in one of `SLOTS` slots, and each slot is looked at in its turn. So thousands of
tokens that end at once are closed over the time of a revolution, and nothing is sorted or kept for
who has left. The moments are those of the clock that tokens are made by, however it is set.

May live here: when a session is told, and when its time is over. Must not know tokens, nor how one
is told.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

from ..session.session import Session

NOTICE_SECONDS = 60.0
"""The time before the end in which a client may get a new token."""
SPREAD_SECONDS = 30.0
"""The time over which the notices of tokens that end at once are spread."""
SLOTS = 20
REVOLUTION_SECONDS = 2.0
"""The time within which each session is looked at once, and by which a step may be late."""


class Expiry:
    """Watches over the tokens of sessions, which count for `leeway` seconds after their end.

    `on_expiring(session, seconds)` is called, for sessions that asked for events, so many seconds
    before the end of their token: at least `NOTICE_SECONDS`, or half of what was left of a shorter
    one. `on_expired(session)` is called when it counts no more. With `leeway` None neither is.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        leeway: float | None,
        on_expiring: Callable[[Session, float], None],
        on_expired: Callable[[Session], None],
    ) -> None:
        self._loop = loop
        self._leeway = leeway
        self._on_expiring = on_expiring
        self._on_expired = on_expired
        self._slots: list[dict[Session, float]] = [{} for _ in range(SLOTS)]
        """The moment of each session's next step, in seconds since 1970."""
        self._count = 0
        self._next = 0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, session: Session) -> None:
        """Watch over a session until `discard`, if its token has an end."""
        end = None if session.identity is None else session.identity.expires_at
        if end is None or self._leeway is None:
            return
        step = end + self._leeway
        if session.system_events:
            left = end - time.time()
            early = NOTICE_SECONDS + random.uniform(0, SPREAD_SECONDS)
            step = end - (early if left > 2 * NOTICE_SECONDS else left / 2)
        self._slot(session)[session] = step
        self._count += 1
        if self._timer is None:
            self._tick()

    def discard(self, session: Session) -> None:
        """Stop watching over a session. Does nothing on one that is not watched over."""
        if self._slot(session).pop(session, None) is not None:
            self._count -= 1

    def close(self) -> None:
        """Stop watching over all."""
        if self._timer is not None:
            self._timer.cancel()

    def _slot(self, session: Session) -> dict[Session, float]:
        return self._slots[hash(session) % SLOTS]

    def _tick(self) -> None:
        if not self._count:
            self._timer = None
            return
        self._timer = self._loop.call_later(REVOLUTION_SECONDS / SLOTS, self._tick)
        slot, now = self._slots[self._next], time.time()
        self._next = (self._next + 1) % SLOTS
        for session in [session for session, step in slot.items() if step <= now]:
            if session in slot:  # and was not closed by the one before
                self._step(session, slot, now)

    def _step(self, session: Session, slot: dict[Session, float], now: float) -> None:
        assert session.identity is not None
        assert session.identity.expires_at is not None
        assert self._leeway is not None
        over = session.identity.expires_at + self._leeway
        if now < over:
            slot[session] = over
            self._on_expiring(session, max(0.0, session.identity.expires_at - now))
        else:
            self.discard(session)
            self._on_expired(session)
