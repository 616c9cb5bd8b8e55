"""The announcer: joins and leaves of rooms, told to sessions with `?events=presence` on every pod.

    joined, left ─→ (250 ms) ─→ those that have not cancelled out ─→ hub and publisher

May live here: for how long an announcement waits, and how many go out. Must not know who listens.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from itertools import chain, islice

from ..hub.hub import Hub
from ..protocol import events
from ..protocol.channels import RedisNames
from ..protocol.frames import text_frame
from ..protocol.message import MESSAGE_HEAD, encode_fields, json_text
from ..protocol.stamp import Stamper
from ..session.session import Session

WINDOW_SECONDS = 0.25
"""The window in which joins and leaves are gathered, and those of one session cancel out."""

MAX_PER_WINDOW = 200
"""The announcements of one room that go out for each window; more are dropped."""

PER_TURN = 200
"""The announcements of all rooms that go out before everything else gets a turn."""

_JOINED, _LEFT = events.encode(events.Joined()), events.encode(events.Left())

Publish = Callable[[bytes, bytes, None, bytes], None]
"""`Publisher.publish`, without a receipt."""


class Announcer:
    """Gathers the joins and leaves of a pod's sessions, and announces them on every pod.

    A session that joins and leaves a room within a window, or leaves and joins it, is not
    announced. Neither is a session to itself.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        hub: Hub,
        publish: Publish,
        names: RedisNames,
        stamper: Stamper,
        *,
        envelope_head: bytes,
    ) -> None:
        self.dropped = 0
        """The announcements beyond `MAX_PER_WINDOW`, which did not go out."""
        self._loop = loop
        self._hub = hub
        self._publish = publish
        self._names = names
        self._stamper = stamper
        self._envelope_head = envelope_head
        self._pending: dict[str, dict[Session, bytes]] = {}
        self._due: Iterator[tuple[str, Session, bytes]] = iter(())
        self._timer: asyncio.Handle | None = None

    def joined(self, session: Session, room: str) -> None:
        """Announce that a session has joined a room."""
        self._note(session, room, _JOINED)

    def left(self, session: Session, room: str) -> None:
        """Announce that a session has left a room, or is closed."""
        self._note(session, room, _LEFT)

    def close(self) -> None:
        """Announce what waits, now, with the same bound a room."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for announcement in chain(self._due, self._take()):
            self._announce(*announcement)

    def _note(self, session: Session, room: str, event: bytes) -> None:
        pending = self._pending.setdefault(room, {})
        if pending.setdefault(session, event) != event:
            del pending[session]
            if not pending:
                del self._pending[room]
        if self._timer is None:
            self._timer = self._loop.call_later(WINDOW_SECONDS, self._tell)

    def _tell(self) -> None:
        self._due = self._take()
        self._go_on()

    def _go_on(self) -> None:
        """Announce the next `PER_TURN`, and the rest in turns; then wait for the next window."""
        due = list(islice(self._due, PER_TURN))
        for announcement in due:
            self._announce(*announcement)
        if len(due) == PER_TURN:
            self._timer = self._loop.call_soon(self._go_on)
        elif self._pending:
            self._timer = self._loop.call_later(WINDOW_SECONDS, self._tell)
        else:
            self._timer = None

    def _take(self) -> Iterator[tuple[str, Session, bytes]]:
        rooms, self._pending = self._pending, {}
        for room, pending in rooms.items():
            self.dropped += max(0, len(pending) - MAX_PER_WINDOW)
            for session, event in islice(pending.items(), MAX_PER_WINDOW):
                yield room, session, event

    def _announce(self, room: str, session: Session, data: bytes) -> None:
        """Tell the room's presence channel, on every pod, that a session joined or left."""
        channel = self._names.presence_channel(room)
        id, timestamp = self._stamper.stamp()
        fields = encode_fields(
            id=id,
            type=b"presence",
            room=json_text(room),
            sender=session.sender,
            data=data,
            timestamp=timestamp,
        )
        listeners = self._hub.channels.get(channel)
        if listeners is not None:
            self._hub.deliver_to_others(listeners, text_frame(fields, MESSAGE_HEAD), session)
        self._publish(channel, fields, None, self._envelope_head)
