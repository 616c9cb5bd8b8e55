"""Who is in which room on this pod, and the fan-out to them.

May live here: join, leave, deliver. Nothing here awaits, so each of them is atomic. Must not
know JSON, Redis, Sanic or asyncio beyond the `call_soon` it is given.

Rooms are kept by the name of their Redis channel, so what arrives there finds its members with
one look-up, and every kind of channel (rooms, presence, global) is fanned out in the same way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .room import Member, Room
from .websocket import text_frame

CallSoon = Callable[[Callable[[], None]], Any]


class Hub:
    """The rooms and sessions of one pod.

    `deliver` only notes a frame; at the end of the loop turn every member of a room gets all
    frames of that turn in one write. Frames reach a session in the order in which `deliver` was
    called, across rooms too.
    """

    def __init__(self, *, call_soon: CallSoon, everyone: Room) -> None:
        self.everyone = everyone
        """The global room: every session is a member, and nobody leaves it but by closing."""
        self.rooms: dict[bytes, Room] = {everyone.channel: everyone}
        self.deliveries = 0
        """Messages handed to sessions so far."""
        self._call_soon = call_soon
        self._dirty: list[Room] = []
        self._dirty_shared = False
        self._dirty_global = False
        self._flush_scheduled = False

    def add(self, session: Member) -> None:
        """A session begins to receive global messages."""
        if self.everyone.pending:
            self.flush()  # they came before it did
        self.everyone.members.add(session)

    def join(self, session: Member, room: Room) -> bool:
        """A session begins to receive a room's messages; True if it is a member now.

        Joining twice is joining once. `room` is in `rooms`, or becomes so with this first member.
        False if the session was closed as a slow consumer meanwhile, or was never added.
        """
        if session in room.members:
            return True
        if room.pending or session.rooms:
            # What is pending came before it did; and if it may now get two rooms' frames, their
            # common order starts here.
            self.flush()
        if session not in self.everyone.members:
            return False
        if session.rooms:
            room.shared += 1
            if len(session.rooms) == 1:
                session.rooms[0].shared += 1
        self.rooms[room.channel] = room
        room.members.add(session)
        session.rooms += (room,)
        return True

    def leave(self, session: Member, room: Room) -> bool:
        """A session stops receiving a room's messages. True if the room is empty and gone now."""
        if room.pending:
            self.flush()  # they are still for it
        if session not in room.members:
            return False
        room.members.discard(session)
        if len(session.rooms) > 1:
            room.shared -= 1
        session.rooms = tuple(other for other in session.rooms if other is not room)
        if len(session.rooms) == 1:
            session.rooms[0].shared -= 1
        if room.members:
            return False
        self.rooms.pop(room.channel, None)
        return True

    def remove(self, session: Member) -> list[Room]:
        """A session stops receiving anything; returns the rooms that are empty and gone now."""
        if self.everyone.pending:
            self.flush()
        self.everyone.members.discard(session)
        return [room for room in session.rooms if self.leave(session, room)]

    def deliver(self, room: Room, message: bytes, *, muted: Member | None = None) -> None:
        """Send a message to all members of a room, except `muted`, in this loop turn."""
        if not room.pending:
            self._mark_dirty(room)
        if muted is not None:
            if room.muted is None:
                room.muted = {}
            room.muted.setdefault(muted, []).append(len(room.pending))
        room.pending.append(text_frame(message))

    def _mark_dirty(self, room: Room) -> None:
        # Frames are joined per room, which would reorder two rooms' frames for a session that is
        # in both. Where such a session can exist, what came first is written first.
        # Who overflows in a flush may cause more to be delivered, hence `while`.
        while self._dirty and (
            room.is_global or self._dirty_global or (room.shared and self._dirty_shared)
        ):
            self.flush()
        if room.pending:
            return  # what was delivered meanwhile has marked it already
        self._dirty.append(room)
        if room.is_global:
            self._dirty_global = True
        elif room.shared:
            self._dirty_shared = True
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self._call_soon(self._flush_turn)

    def _flush_turn(self) -> None:
        self._flush_scheduled = False
        self.flush()

    def flush(self) -> None:
        """Write now what is pending; members that cannot keep up are closed afterwards."""
        dirty = self._dirty
        if not dirty:
            return
        self._dirty = []
        self._dirty_shared = self._dirty_global = False
        overflowed: list[tuple[Member, int]] = []
        for room in dirty:
            frames, room.pending = room.pending, []
            muted, room.muted = room.muted, None
            count = len(frames)
            chunk = frames[0] if count == 1 else b"".join(frames)
            if muted is None:
                recipients = room.members
            else:
                recipients = room.members - muted.keys()
                self._write_without_echo(room, frames, muted, overflowed)
            self.deliveries += count * len(recipients)
            for session in recipients:
                if session.writable:
                    session.write(chunk)
                elif not session.enqueue(chunk, count):
                    overflowed.append((session, count))
        # Closing changes the sets that were iterated over above.
        for session, count in overflowed:
            self.deliveries -= count
            session.overflow(count)

    def _write_without_echo(
        self,
        room: Room,
        frames: list[bytes],
        muted: dict[Member, list[int]],
        overflowed: list[tuple[Member, int]],
    ) -> None:
        for session, own in muted.items():
            if session not in room.members or len(own) == len(frames):
                continue
            skipped = set(own)
            others = [frame for index, frame in enumerate(frames) if index not in skipped]
            self.deliveries += len(others)
            if session.writable:
                session.write(b"".join(others))
            elif not session.enqueue(b"".join(others), len(others)):
                overflowed.append((session, len(others)))
