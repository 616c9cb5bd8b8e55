"""The users of this pod, and the sessions of each.

May live here: which sessions speak for one user, and how many may. Must not know who let them in.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..protocol.message import json_text
from ..session.session import Session


class Users:
    """The sessions of each user of a pod; a user may have `sessions_per_user`, 0: any number.

    Without tokens each session is a user of its own. So a user with one session, as nearly all,
    costs one entry of a dict and nothing beside it: its key is the session's own `sender`.
    """

    def __init__(self, *, sessions_per_user: int) -> None:
        self._limit = sessions_per_user
        self._sessions: dict[bytes, Session | tuple[Session, ...]] = {}

    def __len__(self) -> int:
        """The number of users."""
        return len(self._sessions)

    def of(self, user: str) -> Sequence[Session]:
        """Return the sessions of a user, in the order in which they came."""
        return self._of(json_text(user))

    def _of(self, sender: bytes) -> Sequence[Session]:
        found = self._sessions.get(sender, ())
        return found if isinstance(found, tuple) else (found,)

    def has_place(self, user: str) -> bool:
        """Whether a user may have one more session."""
        return not self._limit or len(self.of(user)) < self._limit

    def add(self, session: Session) -> None:
        """Add a session, for which its user must have a place."""
        others = self._sessions.setdefault(session.sender, session)
        if others is not session:
            self._sessions[session.sender] = (*self._of(session.sender), session)

    def discard(self, session: Session) -> None:
        """Remove a session. Does nothing on one that was not added."""
        found = self._sessions.get(session.sender)
        if found is session:
            del self._sessions[session.sender]
        elif isinstance(found, tuple):
            left = tuple(other for other in found if other is not session)
            self._sessions[session.sender] = left if len(left) > 1 else left[0]
