"""The users of this pod, and the sessions of each.

May live here: which sessions speak for one user, and how many may. Must not know who let them in.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..session.session import Session


class Users:
    """The sessions of each user of a pod; a user may have `sessions_per_user`, 0: any number.

    Without tokens each session is a user of its own. So a user with one session, as nearly all,
    costs one entry of a dict and nothing beside it.
    """

    def __init__(self, *, sessions_per_user: int) -> None:
        self._limit = sessions_per_user
        self._sessions: dict[str, Session | tuple[Session, ...]] = {}

    def __len__(self) -> int:
        """The number of users."""
        return len(self._sessions)

    def of(self, user: str) -> Sequence[Session]:
        """Return the sessions of a user, in the order in which they came."""
        found = self._sessions.get(user, ())
        return found if isinstance(found, tuple) else (found,)

    def has_place(self, user: str) -> bool:
        """Whether a user may have one more session."""
        return not self._limit or len(self.of(user)) < self._limit

    def add(self, session: Session) -> None:
        """Add a session, for which its user must have a place."""
        others = self._sessions.setdefault(session.user, session)
        if others is not session:
            self._sessions[session.user] = (*self.of(session.user), session)

    def discard(self, session: Session) -> None:
        """Remove a session. Does nothing on one that was not added."""
        user = session.user
        found = self._sessions.get(user)
        if found is session:
            del self._sessions[user]
        elif isinstance(found, tuple):
            left = tuple(other for other in found if other is not session)
            self._sessions[user] = left if len(left) > 1 else left[0]
