"""The interface of sessions to the pod that they belong to, or to a test in its place.

May live here: the calls of a session, and the values in them. Must not know what a pod does.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, Protocol

from ..websocket.parser import FrameLimits
from .send_queue import Missed, SendQueuePool

if TYPE_CHECKING:
    from .session import Session


class EndedBy(Enum):
    """The side that ended a session."""

    CLIENT = "client"
    SERVER = "server"
    BACKEND = "backend"  # it had the server close it
    SILENCE = "silence"  # nothing was heard of the client
    NOBODY = "nobody"  # the connection was lost

    __hash__ = object.__hash__  # `Enum` has one in Python, and each end is counted by it


NO_CODE, NO_FRAME = 1005, 1006
"""The codes that stand for a missing one, and for a missing frame (RFC 6455 section 7.1.5)."""


class Ending(NamedTuple):
    """The end of a session: by the first close frame, of either side, or without one."""

    by: EndedBy
    code: int | None
    """The close frame's. None: it had none, or there was no frame."""
    reason: str
    """The close frame's. It is the client's own text if the client ended the session."""

    @property
    def told_code(self) -> int:
        """The close code, or the one that stands for a missing one."""
        if self.code is None:
            return NO_CODE if self.by is EndedBy.CLIENT else NO_FRAME
        return int(self.code)


class SessionHandler(Protocol):
    """The pod, as its sessions see it. All calls are synchronous.

    None is meant to raise. An error that one raises all the same ends that session (`Session.fail`)
    and no other.
    """

    limits: FrameLimits
    send_queues: SendQueuePool

    def message_received(self, session: Session, payload: bytes) -> None:
        """A whole text message arrived; `payload` is valid UTF-8."""

    def session_failed(self, session: Session, error: Exception) -> None:
        """The session ends because of an error of ours. Called at most once."""

    def session_ends(self, session: Session, ending: Ending) -> None:
        """The session is about to close. Called exactly once, right before `session_closing`."""

    def session_closing(self, session: Session) -> None:
        """The session receives no more messages, for any reason. Called exactly once.

        Its client gets nothing any more but the close frame.
        """

    def session_closed(self, session: Session) -> None:
        """The socket is gone. Called exactly once, after `session_closing`."""

    def messages_dropped(self, session: Session, messages: int, reason: str) -> None:
        """So many messages of the session will not be handled, or not be sent, for `reason`."""

    def gap_frames(self, session: Session, missed: Missed) -> bytes:
        """The `gap` events that tell a session with `?events=system` what was dropped."""
