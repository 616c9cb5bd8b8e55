"""Speaks for the server to its sessions: answers to one, notices to all that asked for them."""

from __future__ import annotations

from . import notices
from .clock import Clock
from .message import NULL, OPENING, SERVER_SENDER, build_members, json_bytes
from .send_queue import Missed
from .session import Session
from .websocket import text_frame


class Notifier:
    """Sends system messages, and remembers who opted in to notices."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._listeners: set[Session] = set()

    def add(self, session: Session) -> None:
        """A session that opted in gets every notice from now on."""
        self._listeners.add(session)

    def discard(self, session: Session) -> None:
        """A session gets no more notices."""
        self._listeners.discard(session)

    def tell(self, session: Session, notice: notices.Notice) -> None:
        """Send one session a system message."""
        session.send(self._frame(session, notice))

    def gap_frames(self, session: Session, missed: Missed) -> bytes:
        """The frames that tell a session which messages in its send queue were dropped."""
        return b"".join(
            self._frame(session, notices.missed(room, reason, messages))
            for (room, reason), messages in missed.items()
        )

    def _frame(self, session: Session, notice: notices.Notice) -> bytes:
        id, timestamp = self._clock.stamp()
        members = build_members(
            id=id,
            type=b"system",
            room=NULL if session.room is None else session.room.json_name,
            sender=SERVER_SENDER,
            data=json_bytes(notice),
            timestamp=timestamp,
        )
        return text_frame(members, OPENING)

    def redis_is_away(self) -> None:
        """Tell everybody who opted in that only this pod's clients are reached for certain."""
        for session in tuple(self._listeners):
            self.tell(session, notices.degraded())

    def redis_is_back(self, outage_seconds: float, lossy: bool) -> None:
        """Tell them that the others are reached again and, if so, where messages may be missing."""
        for session in tuple(self._listeners):
            self.tell(session, notices.recovered(outage_seconds))
            if lossy:
                for room in dict.fromkeys((None, *(room.name for room in session.rooms))):
                    self.tell(session, notices.gap(room))
