"""A channel on one pod: its members, and the frames that they have not got yet.

May live here: which pending frames a member gets. Must not know when they are written, nor what is
in them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

_NONE: Any = MappingProxyType({})
"""The exceptions of a channel that has none. Nearly all channels, nearly always, share it."""


class Member(Protocol):
    """A session, as a channel and its hub see it."""

    echo: bool
    channels: tuple[Channel, ...]
    writable: bool
    write: Callable[[bytes], None]

    def enqueue(self, frames: bytes, messages: int, channel: Channel) -> bool:
        """Put a channel's frames into the send queue. False: it is full, and the hub closes it."""

    def overflow(self, messages: int) -> None:
        """Close it as a slow consumer; `messages` are those that it does not get."""

    def fail(self, error: Exception) -> None:
        """Close it because of an error of ours, in whatever state it is. Never raises."""


class Channel:
    """A channel's members on this pod, and the frames that wait for the next fan-out to them.

    Frames are numbered in the order in which the channel got them. A member gets every pending
    frame, with the exceptions in `served` and `muted`, which are forgotten once the frames are
    taken and written.
    """

    __slots__ = (
        "fan_outs",
        "json_room",
        "members",
        "muted",
        "name",
        "pending",
        "pending_bytes",
        "room",
        "served",
        "shared",
        "taken",
    )

    def __init__(self, name: bytes, room: str | None, json_room: bytes) -> None:
        self.name = name
        self.room = room
        self.json_room = json_room
        self.members: dict[Member, None] = {}
        """Its members; the one that spoke last stands last."""
        self.shared = 0
        """The number of members that are in other channels too, the global one not counted."""
        self.pending: list[tuple[int, bytes]] = []
        """Frames, each with its place in the hub's order of delivery, the oldest first."""
        self.pending_bytes = 0
        self.taken = 0
        """The number of frames taken so far, which is the number of the first pending one."""
        self.served: dict[Member, int] = _NONE
        """For members that get only the later pending frames: the number of the first of those."""
        self.muted: dict[Member, list[int]] = _NONE
        """For senders without echo: the numbers of the pending frames that are their own."""
        self.fan_outs = 0
        """The number of fan-outs to its members that are under way."""

    def skip(self, member: Member) -> None:
        """Give a member none of the frames that are pending now."""
        if self.muted:
            self.muted.pop(member, None)
        if self.served is _NONE:
            self.served = {}
        self.served[member] = self.taken + len(self.pending)

    def is_due(self, member: Member) -> bool:
        """Whether there are pending frames that a member was not given by `skip`."""
        return self.served.get(member, self.taken) < self.taken + len(self.pending)

    def mute(self, member: Member) -> None:
        """Do not give a member the next frame, which is its own."""
        if self.muted is _NONE:
            self.muted = {}
        self.muted.setdefault(member, []).append(self.taken + len(self.pending))

    def forget(self, member: Member) -> int:
        """Forget a member's exceptions; return the number of messages that it would have got."""
        first = self.served.pop(member, self.taken) if self.served else self.taken
        own = self.muted.pop(member, ()) if self.muted else ()
        return self.taken + len(self.pending) - first - len(own)

    def pending_for(self, member: Member) -> list[tuple[int, bytes]]:
        """The pending frames that a member gets, each with its place."""
        if not self.served and not self.muted:  # as nearly always
            return self.pending
        own = self.muted.get(member, ())
        return self._without(own, member, self.pending, self.taken)

    def exceptions(self, frames: list[bytes]) -> list[tuple[list[Member], list[bytes]]]:
        """Members that do not get all of `frames`, which were taken last, and what they get."""
        start = self.taken - len(frames)
        found: list[tuple[list[Member], list[bytes]]] = []
        if self.served:
            groups: dict[int, list[Member]] = {}
            for member, number in self.served.items():
                if number < self.taken and member not in self.muted:
                    groups.setdefault(max(number, start), []).append(member)
            found += [(members, frames[number - start :]) for number, members in groups.items()]
        for member, own in self.muted.items():
            if member in self.members:
                found.append(([member], self._without(own, member, frames, start)))
        return found

    def _without(
        self, own: Collection[int], member: Member, frames: list[T], start: int
    ) -> list[T]:
        """Those of `frames` that a member gets; `start` is the number of the first."""
        first = self.served.get(member, start)
        if first < start:
            first = start
        rest: list[T] = []
        for number, frame in enumerate(frames[first - start :], first):
            if number not in own:
                rest.append(frame)
        return rest

    def take(self, max_messages: int, max_bytes: int) -> list[bytes]:
        """Take the oldest pending frames: at least one, and as many as the bounds allow.

        Their exceptions stay until `forget_taken` is called.
        """
        pending = self.pending
        count = len(pending)
        if count <= max_messages and (self.pending_bytes <= max_bytes or count == 1):
            self.taken += count
            self.pending, self.pending_bytes = [], 0
            return [frame for _, frame in pending]
        frames: list[bytes] = []
        size = 0
        for _, frame in pending[:max_messages]:
            size += len(frame)
            if size > max_bytes and frames:
                size -= len(frame)
                break
            frames.append(frame)
        self.taken += len(frames)
        self.pending_bytes -= size
        del pending[: len(frames)]
        return frames

    def forget_taken(self) -> None:
        """Forget the exceptions of all frames that were taken."""
        taken = self.taken
        if not self.pending:
            self.served = self.muted = _NONE
            return
        self.served = {member: start for member, start in self.served.items() if start > taken}
        self.muted = {
            member: later
            for member, own in self.muted.items()
            if (later := [number for number in own if number >= taken])
        }
