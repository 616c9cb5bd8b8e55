"""Holds: for how long a user, one of whose sessions has ended, is still here in any case.

May live here: which hold counts, and when it is over. Must not know rooms, nor who is told.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..protocol.presence import Reason
from ..session.handler import EndedBy, Ending

SETTLE_SECONDS = 0.75
"""Three windows: the time that a user has to be seen on another pod before it counts as gone."""
HEARSAY_SECONDS = 0.35
"""A window, and the way to other pods: the time after which they know that a user has come back."""
RELOAD_SECONDS = 5.0
"""The hold of a client that closes with 1001, as pages do that are loaded anew."""
LOST_SECONDS = 15.0
"""The hold of a client that did not say goodbye, or that we sent away."""
RETURN_SECONDS = 5.0
"""The time that a client which a drain sent elsewhere has, after the moment it was told."""

GOING_AWAY = 1001


@dataclass(frozen=True, slots=True)  # 24 bytes less than a tuple
class Hold:
    """The end of a hold, in seconds of a monotonic clock, and why the user has left then."""

    until: float
    reason: Reason


def hold_of(ending: Ending, now: float, reconnect_at: float | None = None) -> Hold:
    """The hold of a session's end. `reconnect_at`: a drain told it to come back then."""
    if reconnect_at is not None:
        return Hold(max(now + LOST_SECONDS, reconnect_at + RETURN_SECONDS), "drained")
    if ending.by is EndedBy.BACKEND:
        return Hold(now + SETTLE_SECONDS, "kicked")
    if ending.by is not EndedBy.CLIENT:
        return Hold(now + LOST_SECONDS, "lost")
    seconds = RELOAD_SECONDS if ending.code == GOING_AWAY else SETTLE_SECONDS
    return Hold(now + seconds, "left")


def brief_hold(now: float) -> Hold:
    """The hold of who has left, and may just be on the way to another pod."""
    return Hold(now + SETTLE_SECONDS, "left")


class Holds:
    """The users of one room that are held. Of several holds of a user the last to end counts.

    A session that comes ends all of them; those that are left over do not.
    """

    __slots__ = ("_due", "_holds")

    def __init__(self) -> None:
        self._holds: dict[str, Hold] = {}
        self._due = float("inf")  # no hold ends before

    def __len__(self) -> int:
        """The number of users that are held."""
        return len(self._holds)

    def __contains__(self, user: str) -> bool:
        return user in self._holds

    def add(self, user: str, hold: Hold, *, is_here: bool = False) -> None:
        """Hold a user until then, unless it is held for longer.

        Nor if it was drained, and `is_here` by another session: it has come back.
        """
        if is_here and hold.reason == "drained":
            return
        known = self._holds.get(user)
        if known is None or known.until < hold.until:
            self._holds[user] = hold
            self._due = min(self._due, hold.until)

    def extend(self, until: float) -> None:
        """Hold all users that are held now at least until then."""
        for user, hold in self._holds.items():
            if hold.until < until:
                self._holds[user] = replace(hold, until=until)

    def discard(self, user: str) -> None:
        """End a hold, since the user has come back."""
        self._holds.pop(user, None)

    def get(self, user: str) -> Hold | None:
        """The hold of a user."""
        return self._holds.get(user)

    def items(self, now: float) -> list[tuple[str, Hold]]:
        """The users that are still held, each with its hold."""
        return [(user, hold) for user, hold in self._holds.items() if hold.until > now]

    def are_over(self, now: float) -> bool:
        """Whether some of them should have ended, as far as is known without a look at all."""
        return self._due <= now

    def take_ended(self, now: float) -> list[tuple[str, Reason]]:
        """End the holds that are over; return the users, and why each has left."""
        if now < self._due:
            return []
        ended = [(user, hold.reason) for user, hold in self._holds.items() if hold.until <= now]
        for user, _ in ended:
            del self._holds[user]
        self._due = min((hold.until for hold in self._holds.values()), default=float("inf"))
        return ended
