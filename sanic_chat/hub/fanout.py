"""The writing of a fan-out: the same bytes to many members, at once or slice by slice.

    channels' pending frames ─→ runs, joined ─→ write_to_all
                                    └─→ FanOut: a slice a turn, or one member before its turn

May live here: which members are still to be written to, and the writing. Must not know when a
fan-out has its turn, nor which members are closed for it: both are the hub's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from .channel import Channel, Member

WAITING_BYTES = 64
"""The memory that a waiting member costs, about."""

Run = tuple[bytes, int, Channel]
"""Frames of one channel in a row, the number of messages in them, and the channel."""


class Lost(NamedTuple):
    """A member that is to be closed, and the number of messages that it did not get."""

    member: Member
    messages: int
    error: Exception | None
    """The error that writing to it raised. None: it is a slow consumer."""


def write_to_all(members: Iterable[Member], frames: bytes, runs: list[Run]) -> list[Lost]:
    """Write `frames`, which are the `runs` joined, to members; return those to be closed.

    An error at one member does not keep the others from getting theirs. No member is closed, joins
    or leaves while this runs.
    """
    lost: list[Lost] = []
    for member in members:
        try:
            if member.writable:
                member.write(frames)
                continue
            missing = 0
            for run in runs:
                if missing or not member.enqueue(*run):
                    missing += run[1]
            if missing:
                lost.append(Lost(member, missing, None))
        except Exception as error:
            lost.append(Lost(member, messages_in(runs), error))
    return lost


def messages_in(runs: list[Run]) -> int:
    """The number of messages in runs."""
    return sum([messages for _, messages, _ in runs])


class FanOut:
    """A long fan-out, and the members that do not have it yet.

    It takes over `members`; the last of them is written to first. A member that leaves is served
    with `write_to` before, or taken out with `withdraw`.
    """

    __slots__ = (
        "_frames",
        "_messages",
        "_runs",
        "channels",
        "delivered",
        "held_bytes",
        "waiting",
    )

    def __init__(self, members: dict[Member, None], frames: bytes, runs: list[Run]) -> None:
        self.waiting = members
        """The members that have not been written to yet; the last one comes next."""
        self.delivered = 0
        """Messages given to members so far, each counted once per member."""
        self.channels = {channel for _, _, channel in runs}
        """The channels whose frames it has."""
        self._frames = frames
        self._messages = messages_in(runs)
        self._runs = runs
        self.held_bytes = len(frames) + WAITING_BYTES * len(members)
        """The memory that it takes until it is done, about."""

    def write(self, limit: int) -> list[Lost]:
        """Write to up to `limit` waiting members, the last first; return those to be closed."""
        return self._write(self._take(limit))

    def _take(self, limit: int) -> list[Member]:
        waiting = self.waiting
        if limit < len(waiting):
            return [waiting.popitem()[0] for _ in range(limit)]
        members = list(reversed(waiting))
        waiting.clear()
        return members

    def write_to(self, member: Member) -> list[Lost]:
        """Write to one member now, if it waits; return it if it is to be closed."""
        if member not in self.waiting:
            return []
        del self.waiting[member]
        return self._write([member])

    def _write(self, members: list[Member]) -> list[Lost]:
        lost = write_to_all(members, self._frames, self._runs)
        self.delivered += self._messages * len(members) - sum(each.messages for each in lost)
        return lost

    def withdraw(self, member: Member) -> int:
        """Take a member out; return the number of messages that it does not get by that."""
        if member not in self.waiting:
            return 0
        del self.waiting[member]
        return self._messages
