"""Receipts: who asked for one is told that a message went out, or that it may not have.

    message with `ack` ─→ ask ─→ broker.publish ─┬→ (Redis has counted) ─→ ack ──┐
                                                 └→ (dropped: not_published) ─→ nack ─┤
                     session ←─ as fast as its client takes them ←─ (end of the turn) ←┘

An ack says that the message was handed on, never that it was read: nobody can know that. It comes
after Redis has answered the PUBLISH, and for each message that asked there is one ack or one nack,
unless its session ends first. Redis answers many at once, and drops come in thousands. So receipts
wait here, not in the send queue, for a client that does not take them at once.

May live here: what a receipt says, and how many wait. Must not know how a message is published.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from ..broker.publisher import Asked
from ..hub.channel import Channel
from ..protocol import events
from ..session.inbound import Hold, State
from ..session.session import Session
from .notifier import Notifier

MAX_WAITING = 256
"""The receipts of one session that may wait. With more it is held, and then gets at most those of
the messages that are on their way already."""

LOOK_SECONDS = 0.01
"""The interval at which it looks whether clients take more."""

PATIENCE_LOOKS = 100
"""The looks in which a client may take nothing, before it gets a receipt all the same."""


class Receipts:
    """Makes the receipts of one pod; `is_subscribed` tells whether Redis counts this one too.

    They leave in the order in which they were made, many in one write, and fill at most half of a
    send queue of `queue_messages`. A client that takes none of them for a second gets some all the
    same, each second: one that does not read is a slow consumer in the end, however little it is
    sent otherwise.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        notifier: Notifier,
        *,
        is_subscribed: Callable[[bytes], bool],
        queue_messages: int,
    ) -> None:
        self._loop = loop
        self._notifier = notifier
        self._is_subscribed = is_subscribed
        self._share = max(1, queue_messages // 2)
        self.waiting: dict[Session, _Waiting] = {}
        """The receipts that wait, of each session that has any."""
        self._timer: asyncio.TimerHandle | None = None

    def ask(self, session: Session, id: bytes, channel: Channel) -> Asked:
        """Return the receipt of a message that is about to be delivered and published.

        Who is no member, of a user's personal room that is, is not told any number: they would tell
        whether the user is there.
        """
        is_member, name = session in channel.members, channel.name
        local = len(channel.members) - (is_member and not session.echo)
        was_subscribed = self._is_subscribed(name)

        def published(count: int) -> None:
            if not is_member:
                self._give(session, events.Ack(id.decode()))
                return
            # In between it may have been confirmed: then it was most likely counted.
            own = was_subscribed or self._is_subscribed(name)
            self._give(session, events.Ack(id.decode(), local, max(0, count - own)))

        return Asked((session, id, True), published)

    def not_published(self, session: Session, id: bytes, why: str) -> None:
        """Tell that a message which asked was not published, or not for certain; `why` says it."""
        self._give(session, events.Nack(id.decode(), "unavailable", why))

    def discard(self, session: Session) -> None:
        """Drop a session's receipts, since it is closed."""
        if self.waiting.pop(session, None) is not None:
            session.release(Hold.RECEIPTS)

    def close(self) -> None:
        """Give no receipts any more."""
        if self._timer is not None:
            self._timer.cancel()
        self.waiting.clear()

    def _give(self, session: Session, receipt: events.Event) -> None:
        waiting = self.waiting.get(session)
        if waiting is None:
            if session.state is not State.OPEN:
                return
            waiting = self.waiting[session] = _Waiting()
            self._loop.call_soon(self._serve, session)
        waiting.receipts.append(receipt)
        if len(waiting.receipts) == MAX_WAITING:
            session.hold(Hold.RECEIPTS)

    def _look(self) -> None:
        self._timer = None
        for session in tuple(self.waiting):
            self._serve(session)

    def _serve(self, session: Session) -> None:
        waiting = self.waiting.get(session)
        if waiting is None:
            return
        if self._send(session, waiting):
            self.discard(session)
        elif self._timer is None:
            self._timer = self._loop.call_later(LOOK_SECONDS, self._look)

    def _send(self, session: Session, waiting: _Waiting) -> bool:
        """Send what the client takes; return whether that was all."""
        receipts = waiting.receipts
        waiting.idle_looks += 1
        while receipts:
            room = self._share - session.queued_messages
            if room <= 0:
                if waiting.idle_looks < PATIENCE_LOOKS:
                    return False
                room = self._share
            waiting.idle_looks = 0
            some = [receipts.popleft() for _ in range(min(room, len(receipts)))]
            self._notifier.send(session, *some)
        return True


class _Waiting:
    """The receipts that wait for one session, and the looks since it took some."""

    __slots__ = ("idle_looks", "receipts")

    def __init__(self) -> None:
        self.receipts: deque[events.Event] = deque()
        self.idle_looks = 0
