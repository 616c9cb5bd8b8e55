"""The view of one room that is watched here: its users on all pods, and what was told of them.

    parts, changes, silence ─→ who is where ─→ (the window's end) take_changes ─→ joined, left

A user is present while it has a session on some pod, or is held.

May live here: who is present, and what is new since it was told. Must not know how pods are heard,
nor how sessions are told.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ..protocol.presence import Info, Member, Numbers, Part, Reason, size_of
from .holds import HEARSAY_SECONDS, Hold, Holds, brief_hold
from .own_part import Size

TOLD = 1
"""The bit of a user who was told of; each pod has another one."""
OWN = 2
"""The bit of this pod."""


class Changes(NamedTuple):
    """The differences to what was told last."""

    joined: list[str]
    updated: list[str]
    left: list[tuple[str, Reason]]
    numbers_differ: bool
    """Whether the sums differ, be it that nobody has joined or left."""
    mode_differs: bool
    """Whether users are named now and were not, or the other way round."""

    def __bool__(self) -> bool:
        return bool(self.joined or self.updated or self.left or self.numbers_differ)


class View:
    """A room's users on all pods, each pod known by a bit.

    A user takes an entry of a dict with the bits of its pods; whatever is rare (several sessions on
    one pod, an info, a hold) is kept beside it.
    """

    __slots__ = (
        "_bits",
        "_infos",
        "_more",
        "_names",
        "_news",
        "_numbers",
        "_size",
        "_told",
        "_told_infos",
        "_users",
        "holds",
    )

    def __init__(self) -> None:
        self.holds = Holds()
        self._bits: dict[str, int] = {}
        self._more: dict[tuple[str, int], int] = {}  # sessions of a user on a pod beyond the first
        self._infos: dict[str, dict[int, Info]] = {}
        self._told_infos: dict[str, Info] = {}
        self._users: dict[int, Numbers] = {}  # of each pod that names them
        self._numbers: dict[int, Numbers] = {}  # of each pod that does not
        self._news: dict[str, None] = {}
        self._size = Size()
        self._told = (0, 0)
        self._names = True

    # -- what pods say ---------------------------------------------------------------------

    def replace(self, bit: int, part: Part, now: float) -> None:
        """Replace what a pod has said before by its whole part.

        Users that it does not name any more have time to be seen elsewhere.
        """
        if isinstance(part, Numbers):
            self._take_off(bit, ())
            self._numbers[bit] = part
            return
        self._numbers.pop(bit, None)
        for user in self._take_off(bit, {member.user for member in part}):
            self._hold(user, brief_hold(now))
        self.change(bit, part, now)

    def change(self, bit: int, part: Part, now: float) -> None:
        """Take in what has changed on a pod; numbers replace its part."""
        if isinstance(part, Numbers):
            self.replace(bit, part, now)
            return
        for member in part:
            self._set(bit, member)
            if member.hold_ms:
                self._hold(member.user, Hold(now + member.hold_ms / 1000, member.reason))

    def came(self, user: str, now: float) -> None:
        """Note that a session of a user has come: older holds are over, be it gone meanwhile."""
        if user in self.holds:
            self.holds.discard(user)
            self.holds.add(user, brief_hold(now))

    def is_on(self, user: str, bit: int) -> bool:
        """Whether a user has a session on a pod."""
        return bool(self._bits.get(user, 0) & bit)

    def remove(self, bits: int, hold: Hold) -> bool:
        """Remove pods: their users are held, in case they come back elsewhere.

        Returns whether any of these pods was known here.
        """
        known = [bit for bit in {*self._users, *self._numbers} if bit & bits]
        for bit in known:
            for user in self._take_off(bit, ()):
                self._hold(user, hold)
            self._numbers.pop(bit, None)
            self._users.pop(bit, None)
        return bool(known)

    def _take_off(self, bit: int, keep: Iterable[str]) -> list[str]:
        """Take a pod off all users but those to `keep`; return those that are on no other pod."""
        gone = [user for user, bits in self._bits.items() if bits & bit and user not in keep]
        for user in gone:
            self._set(bit, Member(user, 0))
        return [user for user in gone if self._bits[user] <= TOLD]

    def _hold(self, user: str, hold: Hold) -> None:
        self.holds.add(user, hold, is_here=self._know(user) > TOLD)

    def _know(self, user: str) -> int:
        """Keep a user from now on; return its bits."""
        bits = self._bits.get(user)
        if bits is not None:
            return bits
        self._bits[user] = 0
        self._size.bytes += size_of(user, None)
        self._news[user] = None
        return 0

    def _set(self, bit: int, member: Member) -> None:
        user, sessions = member.user, member.sessions
        if not sessions and user not in self._bits:
            return
        bits = self._know(user)
        before = 1 + self._more.pop((user, bit), 0) if bits & bit else 0
        self._bits[user] = bits | bit if sessions else bits & ~bit
        if sessions > 1:
            self._more[user, bit] = sessions - 1
        if sessions > before:
            self.holds.discard(user)
        users = self._users.get(bit, _NOBODY)
        self._users[bit] = Numbers(
            users.sessions + sessions - before, users.users + bool(sessions) - bool(before)
        )
        self._set_info(bit, user, member.info if sessions else None)
        self._news[user] = None

    def _set_info(self, bit: int, user: str, info: Info | None) -> None:
        infos = self._infos.get(user)
        if infos is not None:
            known = infos.pop(bit, None)
            if known is not None:
                self._size.bytes -= len(bytes(known.content))
            if not infos:
                del self._infos[user]
        if info is not None:
            content = bytes(info.content)
            self._infos.setdefault(user, {})[bit] = Info.of(info.client_id, content)
            self._size.bytes += len(content)

    # -- what is told ----------------------------------------------------------------------

    def take_changes(self, now: float, *, heard_until: float) -> Changes:
        """The differences to the call before. `heard_until`: what pods said till then is known."""
        left = []
        for user, reason in self.holds.take_ended(heard_until - HEARSAY_SECONDS):
            bits = self._bits.get(user, OWN)
            if bits <= TOLD:
                if bits:
                    left.append((user, reason))
                self._forget(user)
        joined, updated = [], []
        news, self._news = self._news, {}
        for user in news:
            if user not in self._bits:
                continue
            bits = self._bits[user]
            if bits <= TOLD and user not in self.holds:  # without a reason: it is given some time
                self.holds.add(user, brief_hold(now))
            info = self.info_of(user)
            if not bits & TOLD:
                joined.append(user)
                self._bits[user] = bits | TOLD
            elif bits > TOLD and info != self._told_infos.get(user):
                updated.append(user)
            else:
                continue
            if info is None:
                self._told_infos.pop(user, None)
            else:
                self._told_infos[user] = info
        self._size.look(len(self._bits))
        told, self._told = self._told, self.numbers
        names, self._names = self._names, self._is_named
        return Changes(joined, updated, left, told != self._told, names != self._names)

    def _forget(self, user: str) -> None:
        del self._bits[user]
        self._size.bytes -= size_of(user, None)
        self._told_infos.pop(user, None)
        self._news.pop(user, None)

    @property
    def _is_named(self) -> bool:
        return not (self._size.is_large or self._numbers)

    @property
    def is_named(self) -> bool:
        """Whether all users were named, as of the changes taken last."""
        return self._names

    @property
    def numbers(self) -> tuple[int, int]:
        """The users, and the sessions. While users are not named, the first is a sum over pods."""
        parts = [*self._users.values(), *self._numbers.values()]
        sessions = sum(part.sessions for part in parts)
        if self._is_named:
            return len(self._bits), sessions
        return sum(part.users for part in parts), sessions

    def members(self) -> list[str]:
        """The users that are present, as of the changes taken last."""
        return list(self._bits)

    def info_of(self, user: str) -> Info | None:
        """The info of a user's newest session that has one."""
        infos = self._infos.get(user)
        if infos is None:
            return self._told_infos.get(user) if self._bits.get(user, 0) <= TOLD else None
        return max(infos.values(), key=lambda info: info.client_id)


_NOBODY = Numbers(0, 0)
