"""The greeter: what a pod tells a session of its own accord when it opens, and before it ends.

    open ─→ welcome ─→ degraded? ─→ … recovered, gap
    expiry ─→ token_expiring ─→ token_expired, and the close

May live here: who is greeted with what. Must not know who may come in, nor how an event is sent.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Sequence
from functools import partial

from ..broker.broker import Broker
from ..protocol import events
from ..session.session import Session
from ..websocket.frames import CloseCode
from ..websocket.parser import FrameLimits
from .notifier import Notifier
from .rooms import Rooms, Wanted

PROTOCOL = 1
"""The version of what clients and server say to each other; it changes with what breaks clients."""
FEATURES = ("ack", "auth", "personal_rooms", "presence", "rooms")
"""The parts of it that a server may have, or not, by its version or its settings."""


class Greeter:
    """Greets the sessions of one pod; those with `?events=system` hear more.

    It tells them the `FEATURES` but for those `missing` in this server's settings.
    """

    def __init__(
        self,
        pod_id: str,
        *,
        broker: Broker,
        rooms: Rooms,
        notifier: Notifier,
        limits: FrameLimits,
        heartbeat_seconds: float,
        missing: Collection[str],
    ) -> None:
        self._pod_id = pod_id
        self._broker = broker
        self._rooms = rooms
        self._notifier = notifier
        self._limits = limits
        self._heartbeat_seconds = heartbeat_seconds
        self._features = [feature for feature in FEATURES if feature not in missing]

    def greet(self, session: Session, rooms: Sequence[Wanted], *, confirmed: bool) -> None:
        """Tell a session that has just joined `rooms`; `confirmed`: see `Rooms.subscribe`."""
        if session.system_events:
            self._notifier.add(session)
            self._notifier.send(session, self._welcome(session))
            if self._broker.outage.is_on:
                self._notifier.send(session, events.Degraded())
            elif not confirmed:
                self._tell_when_confirmed(session, [wanted.room for wanted in rooms])
        for room, presence in rooms:
            if session.presence and not presence:
                self._notifier.send(session, events.forbidden_presence(room, None))

    def _welcome(self, session: Session) -> events.Event:
        return events.Welcome(
            client_id=session.client_id,
            user=session.user,
            pod_id=self._pod_id,
            protocol=PROTOCOL,
            features=self._features,
            heartbeat_seconds=self._heartbeat_seconds,
            max_message_bytes=self._limits.max_message_bytes,
        )

    def _tell_when_confirmed(self, session: Session, rooms: Sequence[str]) -> None:
        waiting = {
            room: confirmation
            for room in rooms
            if (confirmation := self._rooms.confirmation(room)) is not None
        }
        if not waiting:
            return
        since = time.monotonic()
        self._notifier.send(session, events.Degraded())
        confirmed: list[str] = []

        def is_done(room: str, future: asyncio.Future[None]) -> None:
            del waiting[room]
            if not future.cancelled() and future.exception() is None:
                confirmed.append(room)
            if waiting or not confirmed:
                return
            if not self._broker.outage.is_on:  # else it has its own end
                outage_ms = round((time.monotonic() - since) * 1000)
                self._notifier.send(session, events.Recovered(outage_ms))
            for each in confirmed:
                self._notifier.send(session, events.Gap(each))

        for room, confirmation in waiting.items():
            confirmation.add_done_callback(partial(is_done, room))

    def token_expiring(self, session: Session, seconds: float) -> None:
        """Tell a session that its token ends in so many seconds."""
        self._notifier.send(session, events.TokenExpiring(round(seconds)))

    def token_expired(self, session: Session) -> None:
        """Close a session whose token has ended."""
        sentence = "The token has expired: connect anew with another one"
        self._notifier.send(session, events.Error("token_expired", sentence, None))
        session.close(CloseCode.UNAUTHORIZED, sentence)
