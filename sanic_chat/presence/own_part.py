"""The part of one room that is on this pod: its members by user, and those that are held.

    joined, left ─→ noted ─→ (the window's end) take_changes ─→ what others are to know

May live here: what has changed since it was last told. Must not know who is told, nor how.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..protocol.presence import Info, Member, Numbers, Part, size_of
from .holds import Hold, Holds

LARGE_USERS = 200
"""More users than that in a room are not named."""
SMALL_USERS = 150
"""The users with which a large room is named again."""
LARGE_BYTES = 30 * 1024
"""More bytes than that of users and their info are not named either; half of it ends that."""

Presences = Callable[[str], tuple[int, Info | None]]
"""Returns the sessions of a user in the room on this pod, and the info of the newest that has."""


class Size:
    """The users that a room would have to name, their bytes, and whether that is too much."""

    __slots__ = ("bytes", "is_large")

    def __init__(self) -> None:
        self.bytes = 0
        self.is_large = False

    def look(self, users: int) -> bool:
        """Look whether it is too much, with so many users; return whether that has changed."""
        was_large = self.is_large
        if users > LARGE_USERS or self.bytes > LARGE_BYTES:
            self.is_large = True
        elif users <= SMALL_USERS and self.bytes <= LARGE_BYTES // 2:
            self.is_large = False
        return self.is_large != was_large


class OwnPart:
    """A room's members on this pod, as they were told last, and what was noted since.

    Somebody watches the room on some pod, or it has holds.
    """

    __slots__ = (
        "_noted",
        "_presences",
        "_size",
        "holds",
        "infos",
        "is_watched",
        "sessions",
        "users",
    )

    def __init__(self, presences: Presences) -> None:
        self._presences = presences
        self.is_watched = False
        """Whether its members are kept, since somebody watches."""
        self.users: dict[str, int] = {}
        """The users with a session, and how many."""
        self.infos: dict[str, Info] = {}
        """The info of those of them that have one."""
        self.sessions = 0
        self.holds = Holds()
        self._size = Size()
        self._noted: dict[str, Hold | None] = {}

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to tell of it."""
        return not (self.users or self.holds or self._noted)

    def watch(self, users: Iterable[str]) -> None:
        """Keep its members from now on; `users` are those with a session in the room."""
        if not self.is_watched:
            self.is_watched = True
            for user in users:
                self._count(user)
            self._size.look(len(self.users))

    def unwatch(self) -> None:
        """Keep its members no more; its holds stay."""
        self.is_watched = False
        self.users, self.infos, self.sessions = {}, {}, 0
        self._size = Size()

    def note(self, user: str, hold: Hold | None) -> None:
        """Note that a session of a user comes (no hold), or goes (its hold).

        One that goes may still be among the sessions of the user until the window's end.
        """
        if hold is None:
            self.holds.discard(user)
        else:
            earlier = self._noted.get(user)
            if earlier is not None and earlier.until > hold.until:
                hold = earlier
        self._noted[user] = hold

    def info_changed(self, user: str) -> None:
        """Note that a session of a user has another info, and nobody has come."""
        self._noted.setdefault(user, None)

    def adopt(self, user: str, hold: Hold) -> None:
        """Hold a user for a pod that has left, unless it is known here, which then counts."""
        is_known = user in self.users or user in self.holds or user in self._noted
        if not is_known and not self._presences(user)[0]:
            self.holds.add(user, hold)

    def take_changes(self, now: float) -> tuple[list[Member], bool]:
        """The members that have changed since the last call, and whether it is named otherwise.

        A user who has gone and come back in between has not changed.
        """
        noted, self._noted = self._noted, {}
        changed: list[Member] = []
        for user, hold in noted.items():
            before, info_before = self.users.get(user, 0), self.infos.get(user)
            if self.is_watched:
                self._count(user)
            if hold is not None:
                self.holds.add(user, hold, is_here=self._presences(user)[0] > 0)
            sessions, info = self.users.get(user, 0), self.infos.get(user)
            if sessions != before or info != info_before or hold is not None:
                changed.append(self._member(user, now))
        return changed, self._size.look(len(self.users))

    def part(self, now: float) -> Part:
        """The whole part, as of the changes that were taken last; holds only as far as they fit."""
        return self.numbers if self._size.is_large else self.members(now)

    def members(self, now: float) -> list[Member]:
        """All members by name, however many, and holds as far as they fit."""
        members = [self._member(user, now) for user in self.users]
        size = self._size.bytes
        for member in self.held(now):
            size += size_of(member.user, None)
            if size > LARGE_BYTES:
                break
            members.append(member)
        return members

    def held(self, now: float) -> list[Member]:
        """The users that are held, and have no session here."""
        users = [user for user, _ in self.holds.items(now) if user not in self.users]
        return [self._member(user, now) for user in users]

    def _member(self, user: str, now: float) -> Member:
        sessions, info = self.users.get(user, 0), self.infos.get(user)
        hold = self.holds.get(user)
        if hold is None or hold.until <= now:
            return Member(user, sessions, info=info)
        return Member(user, sessions, max(1, round((hold.until - now) * 1000)), hold.reason, info)

    @property
    def is_large(self) -> bool:
        """Whether it is told in numbers only."""
        return self._size.is_large

    @property
    def numbers(self) -> Numbers:
        """Its sessions and users, as of the changes that were taken last."""
        return Numbers(self.sessions, len(self.users))

    def _count(self, user: str) -> None:
        """Count a user's sessions anew."""
        before = self.users.get(user, 0)
        info_before = self.infos.pop(user, None)
        sessions, info = self._presences(user)
        self.sessions += sessions - before
        if before:
            self._size.bytes -= size_of(user, info_before)
        if sessions:
            self.users[user] = sessions
            self._size.bytes += size_of(user, info)
            if info is not None:
                self.infos[user] = info
        else:
            self.users.pop(user, None)
