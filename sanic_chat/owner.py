"""What sessions need of the one that owns them: of a pod, or of a test in its place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from .send_queue import Missed, SendQueues

if TYPE_CHECKING:
    from .session import Session


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """The bounds every session of a pod keeps; see `Config` for their meaning."""

    max_message_bytes: int
    max_message_fragments: int


class SessionOwner(Protocol):
    """What a session needs of the pod it belongs to. All calls are synchronous and do not raise."""

    limits: SessionLimits
    send_queues: SendQueues

    def message_received(self, session: Session, payload: bytes) -> None:
        """A whole text message with valid UTF-8 arrived."""

    def session_closing(self, session: Session) -> None:
        """The session stops receiving messages, for whichever reason; called exactly once."""

    def session_closed(self, session: Session) -> None:
        """The socket is gone; called exactly once, after `session_closing`."""

    def messages_dropped(self, session: Session, messages: int, reason: str) -> None:
        """So many messages in the session's send queue will not be sent."""

    def gap_frames(self, session: Session, missed: Missed) -> bytes:
        """The frames that tell a session that asked for notices what was dropped."""
