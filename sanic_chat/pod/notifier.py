"""The notifier: it sends events in system messages, to one session or to all that opted in.

May live here: how an event becomes a frame, and who gets it. Must not know why it is sent.
"""

from __future__ import annotations

from ..hub.channel import Channel
from ..protocol import events
from ..protocol.message import MESSAGE_HEAD, NULL, SERVER_SENDER, encode_fields, json_text
from ..protocol.stamp import Stamper
from ..session.send_queue import OVERLOAD, Missed
from ..session.session import Session
from ..websocket.frames import text_frame


class Notifier:
    """Sends events, and remembers the sessions with `?events=system`."""

    def __init__(self, stamper: Stamper) -> None:
        self._stamper = stamper
        self._listeners: set[Session] = set()

    def add(self, session: Session) -> None:
        """Send a session, which has opted in, every event from now on."""
        self._listeners.add(session)

    def discard(self, session: Session) -> None:
        """Remove a session: only `send` reaches it from now on."""
        self._listeners.discard(session)

    def send(self, session: Session, *told: events.Event) -> None:
        """Send one session events in one write, whether it has opted in or not."""
        session.send(
            b"".join([self.frame(event, session.default_channel) for event in told]), len(told)
        )

    def gap_frames(self, session: Session, missed: Missed) -> bytes:
        """Make the frames that tell a session which messages in its send queue were dropped."""
        return b"".join(
            self.frame(events.Gap(room, reason, messages), session.default_channel)
            for (room, reason), messages in missed.items()
        )

    def frame(self, event: events.Event, channel: Channel | None = None) -> bytes:
        """Make an event's frame, for who connected to the room of `channel`; None: to none."""
        room = NULL if channel is None else channel.json_room
        return self._frame(b"system", room, events.encode(event))

    def presence_frame(self, room: str, event: bytes) -> bytes:
        """Make the frame of a presence event of a room, given its JSON."""
        return self._frame(b"presence", json_text(room), event)

    def _frame(self, type: bytes, room: bytes, data: bytes) -> bytes:
        id, timestamp = self._stamper.stamp()
        fields = encode_fields(
            id=id, type=type, room=room, sender=SERVER_SENDER, data=data, timestamp=timestamp
        )
        return text_frame(fields, MESSAGE_HEAD)

    def pod_is_behind(self, channel: Channel, messages: int) -> None:
        """Tell members of a channel that messages of other pods were dropped."""
        for session in tuple(self._listeners):
            if session in channel.members:
                self.send(session, events.Gap(channel.room, OVERLOAD, messages))

    def redis_is_away(self) -> None:
        """Tell that only this pod's clients are reached for certain."""
        for session in tuple(self._listeners):
            self.send(session, events.Degraded())

    def redis_is_back(self, outage_seconds: float, lossy: bool) -> None:
        """Tell that other pods are reached again and, if `lossy`, where messages may be missing."""
        for session in tuple(self._listeners):
            told: list[events.Event] = [events.Recovered(round(outage_seconds * 1000))]
            if lossy:
                rooms = dict.fromkeys((None, *(channel.room for channel in session.channels)))
                told += map(events.Gap, rooms)
            self.send(session, *told)
