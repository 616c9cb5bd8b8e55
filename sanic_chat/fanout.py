"""One fan-out: what a room was given, on its way to the room's members.

May live here: which members are still to be written to, and the writing. Must not know other
rooms, nor when it is its turn: that is the hub's business.
"""

from __future__ import annotations

from collections.abc import Iterable

from .room import Member, Room

WAITING_BYTES = 64
"""What a member that waits costs in memory, about."""

Overflow = tuple[Member, int]
"""A member that is to be closed as a slow consumer, and how many messages did not fit."""


def take_pending(room: Room) -> tuple[bytes, int]:
    """What is pending in a room, joined, and how many messages that are."""
    pending, room.pending = room.pending, []
    return pending[0] if len(pending) == 1 else b"".join(pending), len(pending)


def write_to_all(
    members: Iterable[Member], frames: bytes, messages: int, room: Room
) -> list[Overflow]:
    """Write a room's frames to members; returns those that cannot keep up.

    Nobody joins or leaves by that: these are closed later.
    """
    overflows: list[Overflow] = []
    for member in members:
        if member.writable:
            member.write(frames)
        elif not member.enqueue(frames, messages, room):
            overflows.append((member, messages))
    return overflows


class FanOut:
    """The pending frames of a room, joined, and the members that do not have them yet.

    Making one takes what is pending in the room: who joins afterwards gets none of it. Who leaves
    is to be served with `write_to`, or taken out with `withdraw`.
    """

    __slots__ = (
        "_frames",
        "_messages",
        "_without_own",
        "delivered",
        "frame_bytes",
        "held_bytes",
        "room",
        "waiting",
    )

    def __init__(self, room: Room) -> None:
        pending = room.pending
        muted, room.muted = room.muted, None
        room.fan_outs += 1
        self.room = room
        self.waiting = room.members.copy()
        """Who has not been written to yet; the last one comes first."""
        self.delivered = 0
        """Messages handed to members, each counted once per member."""
        self._frames, self._messages = take_pending(room)
        self._without_own = {
            member: [frame for index, frame in enumerate(pending) if index not in own]
            for member, own in (muted or {}).items()
        }
        self.frame_bytes = len(self._frames)
        self.held_bytes = self.frame_bytes + WAITING_BYTES * len(self.waiting)
        """Memory that it holds until it is done, about."""

    def write(self, limit: int) -> list[Overflow]:
        """Write to up to `limit` of the waiting members, who spoke last first."""
        # Those with frames of their own have all just spoken: they are first in any case.
        overflows = [lost for own in tuple(self._without_own) for lost in self.write_to(own)]
        members = self._take(limit)
        lost = write_to_all(members, self._frames, self._messages, self.room)
        self.delivered += self._messages * (len(members) - len(lost))
        return overflows + lost

    def _take(self, limit: int) -> list[Member]:
        waiting = self.waiting
        if limit < len(waiting):
            return [waiting.popitem()[0] for _ in range(limit)]
        members = list(reversed(waiting))
        waiting.clear()
        return members

    def write_to(self, member: Member) -> list[Overflow]:
        """Write to one member now, if it is waiting."""
        if member not in self.waiting:
            return []
        del self.waiting[member]
        frames, messages = self._frames, self._messages
        if member in self._without_own:
            others = self._without_own.pop(member)
            frames, messages = b"".join(others), len(others)
        if not messages:
            return []
        if member.writable:
            member.write(frames)
        elif not member.enqueue(frames, messages, self.room):
            return [(member, messages)]
        self.delivered += messages
        return []

    def withdraw(self, member: Member) -> int:
        """Take a member out; how many messages it does not get by that."""
        if member not in self.waiting:
            return 0
        del self.waiting[member]
        own = self._without_own.pop(member, None)
        return self._messages if own is None else len(own)
