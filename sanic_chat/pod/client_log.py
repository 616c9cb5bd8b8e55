"""The client log: each client that comes and goes, if CHAT_LOG_CLIENTS is on.

    upgrader ─→ ClientLog.session ─→ LoggedSession ─→ ClientLog ─→ pod
                                        counts           logs

May live here: what is counted and kept of a client for the log. Must not know what a message means.
A session that is not logged is a plain `Session`, with the pod itself as its handler, and pays for
nothing of this.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from ..logs.logger import logger
from ..session.handler import EndedBy, Ending, SessionHandler
from ..session.send_queue import Missed
from ..session.session import Session
from ..websocket.frames import count_texts


class AddressedSession(Session):
    """A session that keeps its client's address, which a proxy may have told."""

    __slots__ = ("address",)

    address: str


class LoggedSession(AddressedSession):
    """A session that counts its messages, and keeps when it began and how it ended."""

    __slots__ = ("_count", "ending", "messages_in", "messages_out", "opened_at")

    def __init__(self, handler: ClientLog, **options: Any) -> None:
        super().__init__(handler, **options)
        self._count = handler.count_texts
        self.ending = Ending(EndedBy.NOBODY, None, "")
        self.messages_in = 0
        """The text messages that came, refused ones included."""
        self.messages_out = 0
        """The text messages that kernel or transport have taken."""
        self.opened_at = time.monotonic()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        write, count = self.write, self._count

        def count_and_write(frames: bytes) -> None:
            self.messages_out += count(frames)
            write(frames)

        self.write = count_and_write

    def close(self, code: int, reason: str = "", *, by: EndedBy = EndedBy.SERVER) -> None:
        if self._queue is not None:
            self.messages_out += self._queue.messages  # they are written with the close frame
        super().close(code, reason, by=by)

    @property
    def fields(self) -> dict[str, Any]:
        """The client's ID, user, room and address, for the log."""
        return {
            "client_id": self.client_id,
            "user": self.user,
            "room": None if self.default_channel is None else self.default_channel.room,
            "address": self.address,
        }


class ClientLog:
    """Stands between a pod and its sessions, and logs when they open and close.

    Every call of a session is passed on to `handler`. Sessions must be made by `session`, get an
    `address`, and be given to `opened` once they are open.
    """

    def __init__(self, handler: SessionHandler) -> None:
        self.limits = handler.limits
        self.send_queues = handler.send_queues
        self._handler = handler
        self._counted = b""
        self._texts = 0

    def count_texts(self, frames: bytes) -> int:
        """The number of messages in frames; it is kept for the next call with the same frames."""
        if frames is not self._counted:
            self._counted, self._texts = frames, count_texts(frames)
        return self._texts

    def session(self, **options: Any) -> LoggedSession:
        """Make a session."""
        return LoggedSession(self, **options)

    def opened(self, session: LoggedSession) -> None:
        """Log that a session is open."""
        logger.info(
            "Client %(client_id)s opened: user %(user)r, room %(room)r, address %(address)s",
            {"event": "client_opened", **session.fields},
        )

    # -- as the sessions' handler --------------------------------------------------------------

    def message_received(self, session: Session, payload: bytes) -> None:
        assert isinstance(session, LoggedSession)
        session.messages_in += 1
        self._handler.message_received(session, payload)

    def session_failed(self, session: Session, error: Exception) -> None:
        self._handler.session_failed(session, error)

    def session_ends(self, session: Session, ending: Ending) -> None:
        assert isinstance(session, LoggedSession)
        session.ending = ending
        self._handler.session_ends(session, ending)

    def session_closing(self, session: Session) -> None:
        self._handler.session_closing(session)

    def session_closed(self, session: Session) -> None:
        assert isinstance(session, LoggedSession)
        self._handler.session_closed(session)
        ending = session.ending
        logger.info(
            "Client %(client_id)s closed by %(by)s: %(code)d %(reason)r, user %(user)r, "
            "room %(room)r, address %(address)s, %(messages_in)d messages in, "
            "%(messages_out)d out, %(seconds).1f s",
            {
                "event": "client_closed",
                **session.fields,
                "by": ending.by.value,
                "code": ending.told_code,
                "reason": ending.reason,
                "messages_in": session.messages_in,
                "messages_out": session.messages_out,
                "seconds": round(time.monotonic() - session.opened_at, 3),
            },
        )

    def messages_dropped(self, session: Session, messages: int, reason: str) -> None:
        self._handler.messages_dropped(session, messages, reason)

    def gap_frames(self, session: Session, missed: Missed) -> bytes:
        return self._handler.gap_frames(session, missed)
